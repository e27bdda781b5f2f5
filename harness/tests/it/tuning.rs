//! Settings that are tuned: all alike, on validation alone, by results alone, and whatever interrupts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::results::{RunFolder, TrialRecord};
use tempfile::TempDir;

use crate::support::{children, signal, text, without_times};

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:200+50"]
[backbone]
name = "resnet20"
[recipe]
epochs = 2
batch = 20
subset = 60
[protocol]
seeds = [0, 1]
validation = 40
[run]
threads = 1
checkpoint_every = "20ms"
keep_weights = false
measure = false
[tune]
tries = 3
seed = 1
epochs = 1
recipe.lr = { log_uniform = [0.01, 0.5] }
recipe.weight_decay = { log_uniform = [1e-5, 1e-2] }
[[grid]]
method.name = ["vanilla", "ghost"]
"#;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tiny.toml"), FILE).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).args(arguments);
    command
}

fn harness(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn done(root: PathBuf) -> Vec<TrialRecord> {
    RunFolder::open(&root).unwrap().collected().unwrap().done
}

/// Rate and decay of each trial, by method.
fn points(records: &[TrialRecord]) -> BTreeMap<String, BTreeSet<String>> {
    let mut points: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        let config = &record.trial.config;
        let point = format!("{} {}", config.recipe.lr, config.recipe.weight_decay);
        points.entry(config.method.name.clone()).or_default().insert(point);
    }
    points
}

/// Rate of the try with the best validation, by method.
fn best(tries: &[TrialRecord]) -> BTreeMap<String, String> {
    let mut best: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for record in tries {
        let found = (record.measures().unwrap().validation.unwrap().top1, record.trial.config.recipe.lr);
        let known = best.entry(record.trial.config.method.name.clone()).or_insert(found);
        if found.0 > known.0 {
            *known = found;
        }
    }
    best.into_iter().map(|(method, (_, rate))| (method, rate.to_string())).collect()
}

#[test]
fn every_setting_is_tuned_alike_and_trained_with_what_was_best() {
    let dir = folder();
    let path = dir.path();
    let plan = text(&harness(path, &["plan", "tiny.toml"]));
    assert!(
        plan.contains("not known yet")
            && plan.contains("tuning: 3 tries each over lr log-uniform 0.01 to 0.5, weight_decay log-uniform 1e-5 to 0.01, 1 epoch a try, with seed 100; 6 trainings"),
        "{plan}"
    );
    let only = harness(path, &["tiny.toml", "--only-tuning"]);
    assert!(only.status.success() && text(&only).contains("6 trained"), "{}", text(&only));
    assert!(!path.join("reports/tiny/README.md").exists());
    let page = fs::read_to_string(path.join("reports/tiny/tuning/README.md")).unwrap();
    assert!(page.starts_with("# tiny: tries of its tuning") && page.contains("test not read"), "{page}");

    let run = harness(path, &["tiny.toml"]);
    let said = text(&run);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("tuning: 0 trained, 6 done before, 0 failed\n4 trained, 0 done before, 0 failed"), "{said}");
    let (tries, finals) = (done(path.join("reports/tiny/tuning")), done(path.join("reports/tiny")));
    assert_eq!((tries.len(), finals.len()), (6, 4));

    // Parity: the same points for both, and only validation was looked at.
    let tried = points(&tries);
    assert_eq!((tried["vanilla"].len(), &tried["vanilla"]), (3, &tried["ghost"]));
    for record in &tries {
        let config = &record.trial.config;
        assert!(!config.test && config.seed == 100 && config.recipe.epochs == 1, "{}", record.trial.label);
        assert_eq!(record.measures().unwrap().test, None);
        let dir = path.join("reports/tiny/tuning/trials").join(&record.trial.key);
        assert!(!dir.join("predictions.parquet").exists());
    }
    for (method, chosen) in points(&finals) {
        assert_eq!(chosen.len(), 1, "{method}: all seeds with the same values");
        assert!(tried[&method].is_superset(&chosen));
        let best = &best(&tries)[&method];
        // Equal ones are settled by the order of the draws, which the folder does not know.
        let ties = tries.iter().filter(|try_| try_.trial.config.method.name == method);
        let mut top: Vec<f64> = ties.map(|try_| try_.measures().unwrap().validation.unwrap().top1).collect();
        top.sort_by(f64::total_cmp);
        if top[1] < top[2] {
            assert!(chosen.first().unwrap().starts_with(&format!("{best} ")), "{method}: {chosen:?}, not {best}");
        }
    }
    let page = fs::read_to_string(path.join("reports/tiny/README.md")).unwrap();
    for part in [
        "**Tuning**: 3 tries each over lr log-uniform 0.01 to 0.5, weight_decay log-uniform 1e-5 to 0.01, 1 epoch a try, the same points \
         for every row; chosen on 40 validation images after the last epoch, with seed 100; then fresh seeds 0, 1. The test split",
        "rate tuned cosine",
        "weight decay tuned",
        "### What was chosen",
        "| Method | lr | weight_decay | Try | Best try (%) | Worst try (%) | Failed tries |",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains("groups by data") && !page.contains("Unfinished"), "{page}");
    assert_eq!(page.matches("| Method | Params |").count() + page.matches("| Method | Depth |").count(), 1, "{page}");
    let csv = fs::read_to_string(path.join("reports/tiny/results.csv")).unwrap();
    let column = csv.lines().next().unwrap().split(',').position(|title| title == "tuned");
    assert!(column.is_some() && csv.lines().skip(1).all(|line| line.contains(",true,")), "{csv}");
    let plan = text(&harness(path, &["plan", "tiny.toml"]));
    assert!(plan.contains("is chosen, try") && !plan.contains("not known yet"), "{plan}");

    // Nothing more is to be done, here or with what was done here.
    let again = text(&harness(path, &["tiny.toml"]));
    assert!(again.contains("tuning: 0 trained, 6 done before, 0 failed\n0 trained, 4 done before"), "{again}");
    let reused = harness(path, &["tiny.toml", "--reuse", "reports/tiny", "--output", "other"]);
    let said = text(&reused);
    assert!(said.contains("0 failed, 6 taken from elsewhere\n0 trained, 0 done before, 0 failed, 4 taken"), "{said}");
    let alone = text(&harness(path, &["other/tuning/experiment.toml", "--output", "other/tuning"]));
    assert!(alone.contains("0 trained, 6 done before"), "{alone}");
    // One row of several, and another number of tries: what was drawn stays.
    let more = harness(path, &["tiny.toml", "--only", "ghost", "--set", "tune.tries=4"]);
    let said = text(&more);
    assert!(more.status.success() && said.contains("tuning: 1 trained, 3 done before"), "{said}");
    let page = fs::read_to_string(path.join("reports/tiny/README.md")).unwrap();
    assert!(page.contains("**Not at parity**"), "{page}");
}

#[test]
#[cfg(unix)]
fn killed_while_tuning_it_chooses_the_same_and_ends_with_the_same_bits() {
    let dir = folder();
    let path = dir.path();
    let undisturbed = harness(path, &["tiny.toml", "--output", "undisturbed"]);
    assert!(undisturbed.status.success(), "{}", text(&undisturbed));
    for round in 0..9 {
        let mut sweep = command(path, &["tiny.toml", "--output", "killed", "--progress", "plain"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 + 130 * round));
        let trials = children(sweep.id());
        match round % 3 {
            0 => trials.iter().chain([&sweep.id()]).for_each(|&process| signal("KILL", process)),
            // A try that is killed alone is no try that failed.
            1 => trials.iter().for_each(|&process| signal("KILL", process)),
            _ => signal("INT", sweep.id()),
        }
        if round % 3 == 1 {
            std::thread::sleep(Duration::from_millis(100));
            signal("KILL", sweep.id());
        }
        sweep.wait().unwrap();
    }
    let finished = harness(path, &["tiny.toml", "--output", "killed"]);
    assert!(finished.status.success(), "{}", text(&finished));
    for table in ["results.csv", "trials.json"] {
        let read = |folder: &str| fs::read_to_string(path.join(folder).join(table)).unwrap();
        assert_eq!(without_times(&read("killed")), without_times(&read("undisturbed")), "{table}");
    }
    let tries = |folder: &str| {
        let records = done(path.join(folder).join("tuning")).into_iter();
        records.map(|record| (record.trial.key.clone(), record.measures().unwrap().validation)).collect::<Vec<_>>()
    };
    assert_eq!(tries("killed"), tries("undisturbed"));
}

#[test]
fn a_try_that_diverges_counts_and_cannot_win() {
    let dir = folder();
    let path = dir.path();
    let sets = ["--set", "tune.tries=6", "--set", "tune.recipe.lr=[0.05, 1e9]", "--set", "protocol.seeds=[0]"];
    let run = harness(path, &[&["tiny.toml", "--output", "some"], &sets[..]].concat());
    let said = text(&run);
    assert!(run.status.success() && said.contains("diverged"), "{said}");
    let finals = done(path.join("some"));
    assert_eq!(finals.len(), 2);
    assert!(finals.iter().all(|record| record.trial.config.recipe.lr == 0.05));
    let failed = finals[0].trial.tuned.as_ref().unwrap().failed;
    assert!((1..6).contains(&failed), "{failed}");
    // It would diverge again.
    let again = text(&harness(path, &[&["tiny.toml", "--output", "some"], &sets[..]].concat()));
    assert!(again.contains("tuning: 0 trained") && !again.contains("diverged"), "{again}");

    let none = ["--set", "tune.recipe.lr=[1e9]", "--set", "protocol.seeds=[0]", "--output", "none"];
    let run = harness(path, &[&["tiny.toml"], &none[..]].concat());
    let said = text(&run);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(
        said.contains("vanilla seed 0: not tuned: all of its 3 tries failed, the first one so: diverged"),
        "{said}"
    );
    // Where the others have something to show, it is a row that failed; and none any more once there is something to choose.
    let mended = ["--set", "tune.recipe.lr=[0.05]", "--set", "protocol.seeds=[0]", "--output", "none"];
    let run = harness(path, &[&["tiny.toml"], &mended[..]].concat());
    assert!(run.status.success(), "{}", text(&run));
    let page = fs::read_to_string(path.join("none/README.md")).unwrap();
    assert!(!page.contains("Trials that failed") && !page.contains("Unfinished"), "{page}");
}
