//! Sources as an axis: trials on other images are other trials, those on the same images are one, whatever their paths say.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use crate::data_formats::{idx, images};
use crate::support::text;

/// Two classes of 8 x 8 images that `shade` tells from those of another folder.
fn write_folder(root: &Path, shade: u8) {
    for (split, count) in [("train", 8), ("test", 2)] {
        for class in 0..2u8 {
            let folder = root.join(split).join(format!("class{class}"));
            fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let pixel = Rgb([shade, 200 * class, 20 * number]);
                RgbImage::from_pixel(8, 8, pixel).save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
}

/// Thirty training and test images of Fashion-MNIST's form.
fn write_idx(root: &Path, salt: usize) {
    fs::create_dir_all(root).unwrap();
    for (name, salt) in [("train", salt), ("t10k", salt + 1)] {
        let (pixels, labels) = idx(&images(30, (1, 28, 28), 10, salt));
        fs::write(root.join(format!("{name}-images-idx3-ubyte")), pixels).unwrap();
        fs::write(root.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// A folder with `x.toml`: vanilla on every one of these `sources`.
fn experiment(name: &str, sources: &str, recipe: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "name = 'x'\n[dataset]\nname = '{name}'\naugment = false\n[backbone]\nname = 'resnet20'\n[recipe]\nbatch = 4\n\
         {recipe}\n[protocol]\nvalidation = 4\n[run]\nthreads = 1\nmeasure = false\n[[grid]]\ndataset.sources = {sources}\n"
    );
    fs::write(dir.path().join("x.toml"), text).unwrap();
    dir
}

fn harness(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(dir).env_remove("HARNESS_DATA").args(arguments).output().unwrap()
}

/// Label and aliases of every trial that a plan lists, and what is noted about them.
fn plan(dir: &Path) -> (Vec<(String, String)>, String) {
    let (code, rows, notes) = plan_and_code(dir);
    assert_eq!(code, Some(0), "{notes}");
    (rows, notes)
}

fn plan_and_code(dir: &Path) -> (Option<i32>, Vec<(String, String)>, String) {
    let output = harness(dir, &["plan", "x.toml", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cell = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().unwrap().iter().map(|row| (cell(row, "trial"), cell(row, "aliases"))).collect();
    (output.status.code(), rows, String::from_utf8(output.stderr).unwrap())
}

fn run(dir: &Path, more: &[&str]) -> String {
    let output = harness(dir, &[&["x.toml", "--progress", "plain"], more].concat());
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Label, aliases and content hash of every trial that finished.
fn results(dir: &Path) -> Vec<(String, Vec<String>, String)> {
    let folder = harness::results::RunFolder::open(&dir.join("reports/x")).unwrap();
    let records = folder.collected().unwrap().done.into_iter();
    records.map(|record| (record.trial.label, record.trial.aliases, record.trial.data.fingerprint)).collect()
}

const SHAPES: &str = "vanilla sources=[\"shapes\"]";
const NOTES: &str = "vanilla sources=[\"notes\"]";

#[test]
fn two_folders_are_two_trials_in_plan_run_only_and_resume() {
    let dir = experiment("images", "[['shapes'], ['notes']]", "epochs = 1");
    write_folder(&dir.path().join("shapes"), 10);
    write_folder(&dir.path().join("notes"), 200);
    let (rows, notes) = plan(dir.path());
    assert_eq!(rows, [(SHAPES.into(), String::new()), (NOTES.into(), String::new())], "{notes}");
    assert!(!notes.contains("duplicates"), "{notes}");

    let said = run(dir.path(), &["--only", "sources=[\"notes\"]"]);
    assert!(said.contains("1 trained, 0 done before, 0 failed"), "{said}");
    let first = results(dir.path());
    assert_eq!((first.len(), first[0].0.as_str()), (1, NOTES));
    let said = run(dir.path(), &[]);
    assert!(said.contains("1 trained, 1 done before, 0 failed"), "{said}");
    let both = results(dir.path());
    let labels: Vec<&str> = both.iter().map(|(label, ..)| label.as_str()).collect();
    assert_eq!(labels, [NOTES, SHAPES]);
    assert_ne!(both[0].2, both[1].2);
    assert!(both.iter().all(|(_, aliases, _)| aliases.is_empty()));
    assert!(run(dir.path(), &[]).contains("0 trained, 2 done before"));
    let report = fs::read_to_string(dir.path().join("reports/x/README.md")).unwrap();
    assert!(report.contains(SHAPES) && report.contains(NOTES), "{report}");
}

#[test]
fn the_same_images_under_two_paths_are_one_trial() {
    let dir = experiment("images", "[['shapes'], ['./shapes', 'elsewhere'], ['copy'], ['notes']]", "epochs = 1");
    write_folder(&dir.path().join("shapes"), 10);
    write_folder(&dir.path().join("copy"), 10);
    write_folder(&dir.path().join("notes"), 200);
    let aliases = "vanilla sources=[\"./shapes\",\"elsewhere\"] = vanilla sources=[\"copy\"]";
    let (rows, notes) = plan(dir.path());
    assert_eq!(rows, [(SHAPES.into(), aliases.into()), (NOTES.into(), String::new())], "{notes}");
    assert!(notes.contains("2 trials dropped as duplicates"), "{notes}");
    assert!(run(dir.path(), &[]).contains("2 trained, 0 done before"));
    let aliases: Vec<usize> = results(dir.path()).iter().map(|(_, aliases, _)| aliases.len()).collect();
    assert_eq!(aliases, [0, 2]);
}

#[test]
fn files_and_synthetic_data_are_two_trials_and_two_sizes_as_well() {
    let sources = "[['idx'], ['synthetic:40+20'], ['synthetic:50+20'], ['nowhere', 'synthetic:40+20']]";
    let dir = experiment("fashion-mnist", sources, "epochs = 1");
    write_idx(&dir.path().join("idx"), 0);
    let (rows, notes) = plan(dir.path());
    let labels: Vec<&str> = rows.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(
        labels,
        ["vanilla sources=[\"idx\"]", "vanilla sources=[\"synthetic:40+20\"]", "vanilla sources=[\"synthetic:50+20\"]"],
        "{notes}"
    );
    assert_eq!(rows[1].1, "vanilla sources=[\"nowhere\",\"synthetic:40+20\"]");
    assert!(run(dir.path(), &[]).contains("3 trained"));
    assert_eq!(results(dir.path()).len(), 3);
}

#[test]
fn what_is_not_there_is_an_open_question_until_a_run_refuses_it() {
    let dir = experiment("fashion-mnist", "[['here'], ['gone'], ['gone', 'lost']]", "epochs = 1");
    write_idx(&dir.path().join("here"), 0);
    let (rows, notes) = plan(dir.path());
    assert_eq!(rows.len(), 3, "{notes}");
    for sources in ["[\"gone\"]", "[\"gone\", \"lost\"]"] {
        let note = format!("dataset.sources = {sources}: no data found for dataset.name = \"fashion-mnist\"; until");
        assert!(notes.contains(&note), "{notes}");
    }
    let refused = harness(dir.path(), &["x.toml"]);
    assert!(!refused.status.success() && text(&refused).contains("tried gone"), "{}", text(&refused));
    // What turns out to be the same once it is there is merged where it is read.
    write_idx(&dir.path().join("gone"), 0);
    write_idx(&dir.path().join("lost"), 7);
    assert_eq!(plan(dir.path()).0.len(), 1);
    // A plan reads what is damaged no further than a run does: it is no one's equal.
    fs::write(dir.path().join("gone/train-labels-idx1-ubyte"), "no labels").unwrap();
    let (code, rows, notes) = plan_and_code(dir.path());
    assert!(rows.len() == 2 && notes.contains("until its images can be read"), "{rows:?} {notes}");
    assert!(code == Some(2) && notes.contains("a run would refuse this"), "{notes}");
}

#[test]
fn no_data_is_looked_at_where_no_trial_depends_on_it() {
    // Costs are the same on any images, and two names are two data sets, whatever they hold.
    let dir = experiment("fashion-mnist", "[['gone'], ['lost']]", "epochs = 0");
    let (rows, notes) = plan(dir.path());
    assert!(rows.len() == 1 && !notes.contains("no data found"), "{rows:?} {notes}");
    let dir = experiment("fashion-mnist", "[['gone']]", "epochs = 1");
    let more = "[[grid]]\ndataset.name = 'cifar10'\ndataset.sources = [['lost']]\n";
    let file = dir.path().join("x.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
    let (rows, notes) = plan(dir.path());
    assert!(rows.len() == 2 && !notes.contains("no data found"), "{rows:?} {notes}");
    // What is written in two ways, and tried in one, is one.
    let dir = experiment("cifar10", "[[], ['data/cifar10', 'download', 'synthetic']]", "epochs = 1");
    let (rows, notes) = plan(dir.path());
    assert!(rows.len() == 1 && !notes.contains("not there yet"), "{rows:?} {notes}");
}
