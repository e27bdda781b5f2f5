//! The files of a report, from fabricated trials: which there are, and what stands in them.

use std::fs;

use harness::data::Provenance;
use harness::report;

use crate::report::{costs, folder, study, trial};

#[test]
fn a_report_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("study");
    let folder = folder(&root, &study(&[0, 1, 2]));
    let written = report::write(&folder).unwrap().written;
    let names: Vec<_> = written.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
    let page = fs::read_to_string(&written[0]).unwrap();
    for plot in ["accuracy-over-macs", "compconv-depth", "compconv-c0", "ghost-ratio", "thin-width", "learning-curves"]
    {
        let png = format!("plots/resnet20-cifar10-{plot}.png");
        assert!(names.contains(&png), "{png} not in {names:?}");
        assert!(page.contains(&png), "the page does not show {png}");
        let picture = image::open(root.join(&png)).unwrap().to_rgb8();
        assert_eq!(picture.width(), 1200);
        assert!(picture.pixels().any(|pixel| pixel.0 == [213, 94, 0]) || !plot.contains("compconv"), "{png} is empty");
        let svg = fs::read_to_string(root.join(png.replace(".png", ".svg"))).unwrap();
        assert!(svg.contains("short schedule (12 epochs)"), "{png}: the title hides the short schedule");
        // Text is what stands between tags; lines may end between any two words.
        let text = svg.split('<').filter_map(|part| Some(part.split_once('>')?.1)).collect::<String>();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("10,000 training images (a subset)"), "{png} hides the subset");
        assert!(words.contains("every convolution but the stem"), "{png} hides which layers were replaced");
    }
    assert!(page.contains("> **Short schedule**") && page.contains("| Method | conv1 | layer1 | fc |"), "{page}");
}

#[test]
fn several_folders_make_one_report_that_leads_to_their_trials() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other, all] = ["one", "other", "all"].map(|name| dir.path().join(name));
    let (vanilla, ghost) = (trial("vanilla", 0, 40, 4, 0.75), trial("ghost ratio=2", 0, 20, 2, 0.7));
    // Vanilla is in both, and stands once.
    let folders = [folder(&one, std::slice::from_ref(&vanilla)), folder(&other, &[vanilla, ghost.clone()])];
    let report = report::merge(&folders, &all, Some("Both")).unwrap();
    assert!(report.written.iter().all(|path| path.starts_with(&all)), "{:?}", report.written);
    let text = fs::read_to_string(all.join("README.md")).unwrap();
    assert!(text.starts_with("# Both\n"), "{text}");
    let rows = fs::read_to_string(all.join("tables/resnet20-cifar10-comparison.csv")).unwrap();
    let labels: Vec<&str> = rows.lines().filter_map(|row| row.split(',').next()).collect();
    assert_eq!(labels, ["label", "vanilla", "ghost ratio=2"]);
    let page = fs::read_to_string(all.join("index.html")).unwrap();
    assert!(page.contains(&format!("\"path\":\"../other/trials/{}\"", ghost.trial.key)), "{page}");
    let csv = fs::read_to_string(all.join("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    // Neither of the folders was touched, and what is no report is not written over.
    assert!(!one.join("README.md").exists());
    let error = report::merge(&folders, dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("nothing was touched"), "{error}");
}

#[test]
fn plots_that_no_longer_hold_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("study");
    let depths = [trial("compconv depth=1", 0, 20, 2, 0.7), trial("compconv depth=2", 0, 10, 1, 0.6)];
    let run = folder(&root, &depths);
    report::write(&run).unwrap();
    let plot = root.join("plots/resnet20-cifar10-compconv-depth.svg");
    assert!(plot.exists());
    fs::remove_dir_all(run.trial_dir(&depths[1].trial.key)).unwrap();
    report::write(&run).unwrap();
    assert!(!plot.exists());
}

#[test]
fn synthetic_results_say_so_in_every_title() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = study(&[0]);
    for record in &mut records {
        record.trial.data = Provenance {
            label: "SYNTHETIC (procedural, 10 classes)".into(),
            source: "synthetic".into(),
            synthetic: true,
            fingerprint: "0".into(),
            remarks: vec![],
        };
    }
    let folder = folder(&dir.path().join("study"), &records);
    for path in report::write(&folder).unwrap().written {
        if path.extension().is_some_and(|ending| ending == "svg") {
            assert!(fs::read_to_string(&path).unwrap().contains("SYNTHETIC"), "{}", path.display());
        }
    }
    let page = fs::read_to_string(folder.root().join("README.md")).unwrap();
    assert!(page.starts_with("# A study\n\nWhy.\n\n> **SYNTHETIC data**"), "{page}");
}

#[test]
fn costs_alone_are_plotted_over_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("study");
    let mut records = study(&[0]);
    costs(&mut records);
    let written = report::write(&folder(&root, &records)).unwrap().written;
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.contains(&"resnet20-cifar10-compconv-c0.png".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("accuracy") || name.contains("curves")), "{names:?}");
}
