//! What may be searched, what is tried, and what becomes of a choice.

use super::*;
use crate::config::TrialConfig;
use crate::experiment::Experiment;
use crate::experiment::choice::Choice;
use crate::experiment::keys::keys;
use crate::experiment::sweep::overrides::apply;

const HEAD: &str =
    "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[recipe]\nlr = 0.3\nepochs = 4\n";
const TUNE: &str = "[tune]\ntries = 3\ntraining_seeds = [7, 8]\nrecipe.lr = { log_uniform = [0.01, 0.5] }\n";
const GRID: &str = "[[grid]]\nmethod.name = ['vanilla', 'ghost', 'pruned']\nprotocol.seeds = [0, 1]\n\
    protocol.controls = []\n";

fn experiment(text: &str, sets: &[&str]) -> Result<Experiment> {
    let mut document = Document::parse(keys(), "x.toml", &format!("{HEAD}{text}"))?;
    for set in sets {
        apply(&mut document, set)?;
    }
    Experiment::from_document(&document)
}

fn rates(tries: &Tries, setting: usize) -> Vec<f64> {
    let of_setting = tries.settings[setting].tries.iter().flatten();
    of_setting.map(|&index| tries.trials[index].config.recipe.lr).collect()
}

#[test]
fn every_setting_tries_the_same_points_with_seeds_of_their_own_and_the_test_split_closed() {
    let whole = experiment(&format!("{TUNE}epochs = 2\n{GRID}"), &[]).unwrap();
    let tries = whole.tries().unwrap();
    assert_eq!((whole.trials.len(), tries.settings.len(), tries.trials.len()), (6, 3, 3 * 3 * 2));
    assert!(tries.settings.iter().all(|setting| setting.trials.len() == 2 && setting.tries.len() == 3));
    for trial in &tries.trials {
        let TrialConfig { recipe, test, seed, .. } = &trial.config;
        assert!(!test && [7, 8].contains(seed) && recipe.epochs == 2, "{}", trial.label);
    }
    assert_eq!(rates(&tries, 0), rates(&tries, 1));
    assert_eq!(rates(&tries, 0), rates(&tries, 2));
    assert!(tries.trials[0].label.starts_with("vanilla lr="));
    // More tries keep those that there were.
    let more = experiment(&format!("{TUNE}{GRID}"), &["tune.tries=5", "tune.epochs=2"]).unwrap().tries().unwrap();
    assert_eq!(rates(&more, 1)[..6], rates(&tries, 1)[..]);
    assert_eq!(more.trials[0].signature, tries.trials[0].signature);
}

#[test]
fn a_chosen_value_is_as_good_as_one_that_was_written() {
    let whole = experiment(&format!("{TUNE}{GRID}"), &[]).unwrap();
    let tries = whole.tries().unwrap();
    let tuning = whole.tuning.as_ref().unwrap();
    let choose =
        |setting: &TunedSetting| Choice::of(&setting.id, &tuning.terms, &tuning.points, &[None, Some(0.5), None]);
    let mut choices: Vec<Option<Choice>> = tries.settings.iter().map(choose).collect();
    choices[2] = None;
    let finals = whole.with_choices(&tries, &choices).unwrap();
    let Value::Float(rate) = tuning.points[1]["lr"] else { panic!("{:?}", tuning.points) };
    let written = experiment(&GRID.replace(", 'pruned'", ""), &[&format!("recipe.lr={rate}")]).unwrap();
    let signatures =
        |e: &Experiment| e.trials.iter().map(|t| (t.label.clone(), t.signature.clone())).collect::<Vec<_>>();
    assert_eq!(signatures(&finals), signatures(&written));
    // The value that the recipe had before names no setting, and neither does the number of tries.
    let other = experiment(&format!("{}{TUNE}{GRID}", "gamma = 0.1\n"), &["tune.tries=9"]).unwrap();
    let ids = |tries: &Tries| tries.settings.iter().map(|setting| setting.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&other.tries().unwrap()), ids(&tries));
}

#[test]
fn settings_and_points_that_are_the_same_are_tried_once() {
    let grid = "[[grid]]\nmethod.name = 'vanilla'\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = 0\n";
    let tune = "[tune]\ntries = 9\nrecipe.lr = [0.1, 0.2]\nrecipe.finetune_lr = { uniform = [0.1, 0.2] }\n";
    let tries = experiment(&format!("{tune}{grid}"), &[]).unwrap().tries().unwrap();
    assert_eq!((tries.settings.len(), tries.settings[0].tries.len(), tries.trials.len()), (1, 9, 2));
    assert_eq!(tries.trials[0].aliases.len(), 1);
}

#[test]
fn what_is_frozen_tunes_the_same_and_the_tries_alone_are_an_experiment() {
    let whole = experiment(&format!("{TUNE}{GRID}"), &["tune.recipe.weight_decay=[0.1, 0.2]", "tune.seed=3"]).unwrap();
    let again = |text: &str| Experiment::from_document(&Document::parse(keys(), "frozen.toml", text).unwrap()).unwrap();
    let signatures =
        |trials: &[Trial]| trials.iter().map(|t| (t.label.clone(), t.signature.clone())).collect::<Vec<_>>();
    let tries = whole.tries().unwrap().trials;
    assert_eq!(signatures(&again(&whole.frozen).tries().unwrap().trials), signatures(&tries));
    let alone = whole.into_tries().unwrap();
    assert!(alone.only_tries && alone.tuning.is_none());
    assert_eq!(signatures(&alone.trials), signatures(&tries));
    assert_eq!(signatures(&again(&alone.frozen).trials), signatures(&tries));
}

#[test]
fn slips_are_refused_where_they_are() {
    for (tune, sets, part) in [
        ("[tune]\ntries = 3", &[][..], "x.toml:10: [tune] searches nothing"),
        ("[tune]\ntries = 0\nrecipe.lr = [0.1, 0.2]", &[], "x.toml:10: `tune.tries` is out of range"),
        ("[tune]\ntires = 3\nrecipe.lr = [0.1, 0.2]", &[], "did you mean `tune.tries`?"),
        ("[tune]\nrecipe.rl = { uniform = [0.1, 0.2] }", &[], "x.toml:10: unknown key `recipe.rl`"),
        ("[tune]\nrecipe.lr = { unifrom = [0.1, 0.2] }", &[], "did you mean `uniform`?"),
        ("[tune]\nrecipe.lr = { uniform = [0.0, 0.2] }", &[], "x.toml:10: `recipe.lr` is out of range, at an end"),
        ("[tune]\nmethod.depth = [1, 2]", &[], "x.toml:10: `method.depth` cannot be searched"),
        ("[tune]\nprotocol.validation = [1, 2]", &[], "`protocol.validation` cannot be searched"),
        ("[tune]\nrecipe.epochs = [1, 2]", &[], "tune.epochs sets how long"),
        ("[tune]\nrecipe.lr = [0.1, 0.2]", &["recipe.epochs=0"], "--set recipe.epochs=0: [tune] has nothing to tune"),
        (
            "[tune]\nrecipe.lr = [0.1, 0.2]\ntraining_seeds = [5, 1]",
            &["protocol.seeds=[0, 1]"],
            "x.toml:11: `tune.train",
        ),
        ("[tune]\nrecipe.lr = [0.1, 0.2]", &["protocol.seeds=[100]"], "has seed 100 of protocol.seeds"),
        (
            "[tune]\nrecipe.lr = [0.1, 0.2]\n[[grid]]\nrecipe.lr = 0.3",
            &[],
            "x.toml:12: `recipe.lr` is searched by [tune] (x.toml:10)",
        ),
        ("[tune]\nrecipe.lr = [0.1, 0.2]", &["recipe.lr=0.3"], "--set recipe.lr=0.3: `recipe.lr` is searched"),
        ("[tune]\nrecipe.lr = [0.1, 0.2]", &["exclude=lr > 1"], "asked for by a condition"),
        (
            "[tune]\nrecipe.lr = [0.1, 0.2]",
            &["tune.recipe.rl=0.3"],
            "--set tune.recipe.rl=0.3: unknown key `recipe.rl`",
        ),
        (
            "[tune]\nrecipe.warmup_epochs = [1, 5]",
            &["tune.seed=1"],
            "x.toml:10: `recipe.warmup_epochs` is out of range",
        ),
        ("[tune]\nrecipe.batch = [1, 70000]", &[], "x.toml:10: `recipe.batch`"),
        ("[[grid]]\ntune.tries = [1, 2]", &[], "`tune.tries` cannot vary in a [[grid]]"),
        ("[tune]\nrecipe.lr = [0.1, 0.2]", &["when=tries = 3"], "unknown key `tries` in a condition"),
    ] {
        let error = experiment(tune, sets).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{tune} {sets:?}: {error}");
    }
}
