//! `harness compare`, and what `harness plan` says of seeds, on fabricated trials.

use std::path::Path;
use std::process::Command;

use harness::results::TrialRecord;
use harness::train::Prediction;
use serde_json::Value;
use tempfile::TempDir;

use crate::report::{folder, measures, trial};
use crate::report_seeds::seeded;

/// Exit code, stdout, stderr.
fn harness(at: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(at).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn study() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut records = seeded();
    // One seed, and one method more on another backbone.
    records.push(trial("thin width=0.5", 0, 10_000_000, 1, 0.6));
    for label in ["vanilla", "thin width=0.5"] {
        let mut elsewhere = trial(label, 7, 90_000_000, 9, 0.7);
        elsewhere.trial.config.backbone.name = "vgg16".into();
        records.push(elsewhere);
    }
    let folder = folder(&dir.path().join("study"), &records);
    // Of seed 1 alone both methods kept what they made of the test images: of these, 7 and 1 are right in one network only.
    for (label, seed, wrong) in [("ghost ratio=2", 1, 0..7), ("vanilla", 1, 7..8), ("ghost ratio=2", 2, 0..1)] {
        let record =
            records.iter().find(|record| (&*record.trial.label, record.trial.config.seed) == (label, seed)).unwrap();
        let image =
            |image| Prediction { label: 0, guess: Some(0), rank: Some(wrong.contains(&image).into()), loss: 0.5 };
        folder.save_predictions(&record.trial.key, &(0..400).map(image).collect::<Vec<_>>()).unwrap();
    }
    dir
}

#[test]
fn a_comparison_is_told_with_its_interval_and_verdict() {
    let dir = study();
    let (code, out, err) = harness(dir.path(), &["compare", "study", "ghost", "method=vanilla,backbone=resnet20"]);
    assert_eq!((code, err.as_str()), (1, ""));
    insta::assert_snapshot!(out, @r"
    ghost ratio=2 against vanilla: ResNet-20 on CIFAR-10 (JPEG copy): short schedule (12 epochs)

    ghost ratio=2  71.34 ± 0.43 % on test (seeds 0, 1, 2, 3, 4)
    vanilla        74.18 ± 0.28 % on test (seeds 0, 1, 2, 3, 4)
    difference     -2.84 points, 95 % interval [-3.05, -2.63] (Student t, paired by seed); bootstrap [-2.98, -2.72]
    verdict        worse (p < 0.0001, 5 common seeds)
    seen so far    5 seeds see 0.28 points at 80 % power, at the spread of 0.17 that was found

    over images (of two networks and not of their methods; 95 % bootstrap interval over images, McNemar's exact test):
    seed 1: 1 of 400 test images are right in the first network alone, 7 in the second alone; -1.50 points [-3.00, -0.25], p = 0.0703
    ");
    let (code, out, _) = harness(dir.path(), &["compare", "study", "vanilla", "ghost ratio=2"]);
    assert!(code == 0 && out.contains("better (p "), "{code} {out}");
    let (code, out, _) = harness(dir.path(), &["compare", "study", "ghost", "compconv"]);
    assert!(code == 4 && out.contains("not distinguishable (p = 0."), "{code} {out}");
    assert!(out.contains("the true difference, "), "{out}");
    assert_eq!(harness(dir.path(), &["compare", "study", "ghost", "compconv", "--require", "not-worse"]).0, 0);
    assert_eq!(harness(dir.path(), &["compare", "study", "ghost", "vanilla", "--require", "not-worse"]).0, 1);
}

#[test]
fn one_common_seed_is_no_verdict_and_passes_no_requirement() {
    let dir = study();
    for requirement in ["better", "not-worse"] {
        let arguments = ["compare", "study", "compconv", "thin width=0.5", "--require", requirement];
        let (code, out, _) = harness(dir.path(), &arguments);
        assert_eq!(code, 4, "{out}");
        assert!(out.contains("not distinguishable: one seed") && out.contains("4 trials whose seed"), "{out}");
    }
    // A filter of seeds leaves two that share none.
    let (code, out, _) = harness(dir.path(), &["compare", "study", "compconv,seed=1", "ghost,seed=2"]);
    assert!(code == 4 && out.contains("not distinguishable: no common seed"), "{code} {out}");
}

#[test]
fn programs_get_a_row() {
    let dir = study();
    let (code, out, _) = harness(dir.path(), &["compare", "study", "ghost", "compconv", "--format", "json"]);
    assert_eq!(code, 4);
    let rows: Value = serde_json::from_str(&out).unwrap();
    let row = &rows[0];
    assert_eq!(
        (&row["a"], &row["b"], &row["split"]),
        (&"ghost ratio=2".into(), &"compconv depth=1".into(), &"test".into())
    );
    assert_eq!((&row["seeds"], &row["left_out"], &row["why"]), (&5.into(), &0.into(), &Value::Null));
    assert_eq!(row["verdict"], "not distinguishable");
    // Differences -0.2, 0.1, -0.2, 0.3, -0.3: mean -0.06, deviation 0.2510, t = -0.5345 at four degrees.
    let number = |key: &str| row[key].as_f64().unwrap();
    assert!((number("difference") + 0.06).abs() < 1e-9, "{row}");
    assert!((number("low") + 0.3717).abs() < 1e-3 && (number("high") - 0.2517).abs() < 1e-3, "{row}");
    assert!((number("p") - 0.6213).abs() < 1e-3, "{row}");
    assert!(number("bootstrap_low") > number("low") && number("bootstrap_high") < number("high"), "{row}");
}

#[test]
fn what_is_not_one_pair_is_refused_with_what_would_be() {
    let dir = study();
    let refused = |a: &str, b: &str| {
        let (code, out, err) = harness(dir.path(), &["compare", "study", a, b]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        err
    };
    let unknown = refused("gost", "vanilla");
    assert!(unknown.contains("`gost` fits no trained row") && unknown.contains("ghost ratio=2"), "{unknown}");
    let several = refused("thin width=0.5", "vanilla");
    assert!(
        several.contains("fit several pairs") && several.contains("VGG-16") && several.contains("ResNet-20"),
        "{several}"
    );
    let apart = refused("ghost", "backbone=vgg16");
    assert!(apart.contains("are not two rows of one table"), "{apart}");
    let same = refused("ghost", "ghost ratio=2");
    assert!(same.contains("two different rows"), "{same}");
    let (code, _, err) = harness(dir.path(), &["compare", "nowhere", "a", "b"]);
    assert!(code == 2 && err.contains("no such folder"), "{err}");
}

#[test]
fn plan_says_what_the_seeds_will_see() {
    let dir = study();
    let file = |seeds: &str| {
        let text = format!(
            "name = 'study'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[protocol]\nseeds = {seeds}\n\
             [[grid]]\nmethod.name = ['vanilla', 'ghost']\n"
        );
        std::fs::write(dir.path().join("x.toml"), text).unwrap();
    };
    let line = |arguments: &[&str]| {
        let (code, out, err) = harness(dir.path(), arguments);
        assert_eq!(code, 0, "{err}");
        let told = |line: &&str| line.contains("at 80 % power") || line.contains("tells no two settings apart");
        out.lines().find(told).unwrap_or_else(|| panic!("{out}")).to_owned()
    };
    file("[0, 1, 2]");
    assert!(
        line(&["plan", "x.toml"]).starts_with("3 seeds see 3.26 times the spread"),
        "{}",
        line(&["plan", "x.toml"])
    );
    let stated = line(&["plan", "x.toml", "--spread", "0.5"]);
    assert!(
        stated.starts_with("3 seeds see 1.63 points at 80 % power")
            && stated.contains("0.50 points between seeds, as stated"),
        "{stated}"
    );
    // Pooled over ghost and compconv: the root of (0.028 + 0.037) / 2 is 0.180.
    let found = line(&["plan", "x.toml", "--output", "study"]);
    assert!(
        found.starts_with("3 seeds see 0.59 points")
            && found.contains("0.18 points between seeds, that of 10 differences"),
        "{found}"
    );
    let dry = line(&["x.toml", "--dry-run", "--output", "study"]);
    assert_eq!(dry, found);
    let filtered = line(&["plan", "x.toml", "--only", "seed=1"]);
    assert!(filtered.starts_with("one seed tells no two settings apart"), "{filtered}");
    file("[0]");
    assert!(line(&["plan", "x.toml"]).starts_with("one seed tells no two settings apart"));
    let (code, _, err) = harness(dir.path(), &["plan", "x.toml", "--spread=-1"]);
    assert!(code == 2 && err.contains("a spread is a number of percentage points"), "{err}");
}

#[test]
fn a_margin_says_what_is_not_worse_by_more() {
    let dir = study();
    let run = |margin: &str, more: &[&str]| {
        let arguments = [&["compare", "study", "ghost", "compconv", "--margin", margin], more].concat();
        let (code, out, err) = harness(dir.path(), &arguments);
        (code, out + &err)
    };
    // The interval begins at -0.37.
    let (code, out) = run("0.3", &["--require", "not-worse"]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("may be worse by more than 0.3 points (the interval begins at -0.37)"), "{out}");
    let (code, out) = run("0.4", &["--require", "not-worse"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("not worse by more than 0.4 points (the interval begins at -0.37)"), "{out}");
    assert_eq!(run("0.4", &[]).0, 4, "nothing was required but to be better");
    let rows: Value = serde_json::from_str(&run("0.4", &["--format", "json"]).1).unwrap();
    assert_eq!((&rows[0]["margin"], &rows[0]["not_worse"]), (&0.4.into(), &"shown".into()));
    // Worse beyond doubt, and by less than the margin.
    let worse = |margin: &str| {
        let arguments = ["compare", "study", "ghost", "method=vanilla,backbone=resnet20", "--margin", margin];
        harness(dir.path(), &[&arguments[..], &["--require", "not-worse"]].concat()).0
    };
    assert_eq!((worse("3.1"), worse("3.0")), (0, 1));
    for margin in ["-0.3", "nan"] {
        let (code, out) = run(margin, &[]);
        assert!(code == 2 && out.contains("a margin is a number of percentage points from 0"), "{out}");
    }
}

#[test]
fn what_two_folders_made_alike_is_compared_and_nothing_else() {
    let dir = study();
    // The same methods, made by another build with other accuracies, and on another backbone with the same labels.
    let make = |name: &str, change: fn(&mut TrialRecord)| {
        let mut records = seeded();
        records.iter_mut().for_each(change);
        folder(&dir.path().join(name), &records)
    };
    let later = make("later", |record| {
        measures(record).test.as_mut().unwrap().top1 += 0.001 * (1 + record.trial.config.seed % 2) as f64;
        record.environment.commit = "fedcba9876543210".into();
    });
    make("elsewhere", |record| {
        record.trial.data.fingerprint = "other".into();
        record.trial.config.recipe.lr = 0.2;
    });
    make("rates", |record| {
        measures(record).test.as_mut().unwrap().top1 += 0.001 * (1 + record.trial.config.seed % 2) as f64;
        record.trial.config.recipe.lr = 0.2;
    });
    let run = |arguments: &[&str]| harness(dir.path(), &[&["compare"], arguments].concat());
    let (code, out, err) = run(&["later", "study", "--label", "ghost"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!(out, @r"
    ghost ratio=2 (later) against ghost ratio=2 (study): ResNet-20 on CIFAR-10 (JPEG copy): short schedule (12 epochs)

    ghost ratio=2 (later)  71.48 ± 0.48 % on test (seeds 0, 1, 2, 3, 4)
    ghost ratio=2 (study)  71.34 ± 0.43 % on test (seeds 0, 1, 2, 3, 4)
    difference             +0.14 points, 95 % interval [+0.07, +0.21] (Student t, paired by seed); bootstrap [+0.10, +0.18]
    verdict                better (p = 0.0046, 5 common seeds)
    seen so far            5 seeds see 0.09 points at 80 % power, at the spread of 0.05 that was found
    stamps                 made with more than one build: commit 0123456789ab / commit fedcba987654

    what other test images would say of these networks is not known: no predictions are kept
    ");
    // Any two methods; predictions come from each one's own folder.
    let record =
        seeded().into_iter().find(|r| (&*r.trial.label, r.trial.config.seed) == ("compconv depth=1", 1)).unwrap();
    let image = |image| Prediction { label: 0, guess: Some(0), rank: Some((image < 9).into()), loss: 0.5 };
    later.save_predictions(&record.trial.key, &(0..400).map(image).collect::<Vec<_>>()).unwrap();
    let (code, out, _) = run(&["later:compconv", "study:ghost"]);
    assert!(code == 0 || code == 4, "{out}");
    assert!(out.contains("compconv depth=1 (later) against ghost ratio=2 (study)"), "{out}");
    assert!(
        out.contains("seed 1: 0 of 400 test images are right in the first network alone, 2 in the second alone"),
        "{out}"
    );

    let refused = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        err
    };
    let unlike = refused(&["study", "elsewhere", "--label", "ghost"]);
    for said in [
        "`ghost` of study and `ghost` of elsewhere were not made alike: ",
        "data fingerprint is 5eed and other; recipe.lr is 0.1 and 0.2\n",
        "accepted: results of the same data, backbone and recipe",
    ] {
        assert!(unlike.contains(said), "{said:?} is not in\n{unlike}");
    }
    let (code, out, err) = run(&["rates", "study", "--label", "ghost", "--despite", "recipe.lr"]);
    assert!(code == 0 && out.contains("(12 epochs), though recipe.lr is 0.2 and 0.1\n"), "{out}{err}");
    // Asked for, they are compared despite one of the two; not despite the other, nor despite what is no key.
    let despite = refused(&["study", "elsewhere", "--label", "ghost", "--despite", "recipe.lr"]);
    assert!(despite.contains("data fingerprint is 5eed and other\n") && !despite.contains("recipe.lr is"), "{despite}");
    let no_key = refused(&["study", "elsewhere", "--label", "ghost", "--despite", "lr"]);
    assert!(no_key.contains("such as recipe.precision"), "{no_key}");
    let unknown = refused(&["study", "later", "--label", "thin"]);
    assert!(unknown.contains("later") && unknown.contains("`thin` fits no trained row"), "{unknown}");
    let missing = refused(&["study", "later"]);
    assert!(missing.contains("FOLDER FOLDER --label A"), "{missing}");
}
