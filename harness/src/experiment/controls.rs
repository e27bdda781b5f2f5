//! `protocol.controls`: what a pruned network has to be compared with, before anything may be said of pruning. Each control is a setting
//! like any other, made of the pruned one's values.

use std::borrow::Cow;

use toml::Value;

use super::budget::solve::Solver;
use super::budget::{Asked, Budget, Quantity};
use super::network::Networks;
use super::setting::Setting;
use super::sweep::document::{Entry, find};
use crate::config::error::At;
use crate::config::{BudgetConfig, Control, MethodConfig};
use crate::methods::Compression;

/// The control among the methods.
pub(super) const THIN: &str = "thin";

/// Whether a method with its options is a control by itself: there are none of it.
pub(super) fn is_one(method: &MethodConfig) -> bool {
    let is = |key: &str, values: &[&str]| {
        method.options.get(key).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
    };
    is("weights", &["scratch", "scratch_compute"]) || is("criterion", &["random"])
}

/// The values of a control of the pruned setting that was made of these.
///
/// # Errors
/// A narrow network that cannot be made.
pub(super) fn values<'e>(
    control: Control,
    entries: &[Cow<'e, Entry>],
    pruned: &Setting,
    networks: &Networks<'_>,
    solver: &Solver<'_>,
) -> anyhow::Result<Vec<Cow<'e, Entry>>> {
    let at = find(entries, "method.name").map_or(At::File, |entry| entry.at.clone());
    let with = |values: &[(&str, Value)]| -> Vec<Cow<'e, Entry>> {
        let others = entries.iter().filter(|entry| values.iter().all(|(key, _)| entry.key != *key)).cloned();
        let entry =
            |(key, value): &(&str, Value)| Entry { key: (*key).to_owned(), value: value.clone(), at: at.clone() };
        others.chain(values.iter().map(|value| Cow::Owned(entry(value)))).collect()
    };
    Ok(match control {
        Control::Scratch => with(&[("method.weights", "scratch".into())]),
        Control::ScratchCompute => with(&[("method.weights", "scratch_compute".into())]),
        Control::Random => {
            let mut values = vec![("method.criterion", "random".into())];
            // All else is equal, the base too: a criterion may have it trained in a way of its own.
            let penalty = pruned.network.compression.as_ref().map_or(0.0, Compression::penalty);
            if penalty > 0.0 {
                values.push(("method.penalty", penalty.into()));
            }
            with(&values)
        }
        Control::Thin => thin(entries, at.clone(), pruned, networks, solver)?,
    })
}

/// The thin network of the same cost, or of the same budget where the pruned one meets one.
fn thin<'e>(
    entries: &[Cow<'e, Entry>],
    at: At,
    pruned: &Setting,
    networks: &Networks<'_>,
    solver: &Solver<'_>,
) -> anyhow::Result<Vec<Cow<'e, Entry>>> {
    let entry = |key: &str, value: Value| Cow::Owned(Entry { key: key.to_owned(), value, at: at.clone() });
    let others = entries.iter().filter(|entry| !entry.key.starts_with("method."));
    let mut entries: Vec<Cow<'e, Entry>> = others.cloned().collect();
    entries.push(entry("method.name", THIN.into()));
    let own = || Budget {
        quantity: Quantity::Macs,
        share: pruned.network.cost.macs as f64 / pruned.network.vanilla.macs.max(1) as f64,
    };
    let budget = pruned.solved.filter(|solved| !solved.missed).map_or_else(own, |solved| solved.budget);
    let asked = Asked { budgets: vec![budget], how: BudgetConfig::default(), at: at.clone() };
    for solution in solver.solve(networks, &entries, &asked)?.iter() {
        entries.extend(solution.choice.iter().map(|(key, value)| entry(key, value.clone())));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use crate::experiment::sweep::overrides::apply;
    use crate::experiment::{Experiment, Trial, parse, plan::Plan};

    const FILE: &str =
        "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[recipe]\nfinetune_epochs = 2\n";

    fn experiment(rest: &str, sets: &[&str]) -> Experiment {
        let mut document = parse("x.toml", &format!("{FILE}{rest}")).unwrap();
        sets.iter().for_each(|set| apply(&mut document, set).unwrap());
        Experiment::from_document(&document).unwrap_or_else(|error| panic!("{error}"))
    }

    fn shown(trial: &Trial) -> (&str, u64, Vec<&str>) {
        (&trial.label, trial.config.seed, trial.control_of.iter().map(String::as_str).collect())
    }

    const PRUNED: &str = "[protocol]\nseeds = [0, 1]\n[[grid]]\nmethod.name = ['pruned', 'vanilla']\n";

    #[test]
    fn controls_come_behind_all_that_the_file_asks_for_and_know_whose_they_are() {
        let all = experiment(PRUNED, &[]);
        let mut expected = vec![];
        for label in ["pruned", "vanilla"] {
            expected.extend([0, 1].map(|seed| (label.to_owned(), seed, vec![])));
        }
        let controls =
            ["pruned weights=scratch", "pruned weights=scratch_compute", "pruned criterion=random", "thin width=0.711"];
        for label in controls {
            expected.extend([0, 1].map(|seed| (label.to_owned(), seed, vec!["pruned"])));
        }
        let found: Vec<_> = all.trials.iter().map(shown).map(|(l, seed, of)| (l.to_owned(), seed, of)).collect();
        assert_eq!(found, expected);
        let macs = |trial: &Trial| trial.network.cost.macs as f64;
        for control in all.trials.iter().filter(|trial| !trial.control_of.is_empty()) {
            let share = macs(control) / macs(&all.trials[0]);
            assert!((0.97..1.03).contains(&share), "{} costs {share} of the pruned network", control.label);
        }
        let again = experiment_of(&all.frozen);
        let signatures = |e: &Experiment| {
            e.trials.iter().map(|t| (t.label.clone(), t.signature.clone(), t.control_of.clone())).collect::<Vec<_>>()
        };
        assert_eq!(signatures(&all), signatures(&again));
    }

    fn experiment_of(frozen: &str) -> Experiment {
        Experiment::from_document(&parse("frozen.toml", frozen).unwrap()).unwrap()
    }

    #[test]
    fn what_the_file_has_already_is_not_added_and_counts_as_no_duplicate() {
        let only_thin = ["protocol.controls=['thin']"];
        let rest = format!("{PRUNED}[[grid]]\nmethod.name = 'thin'\nmethod.width = [0.711, 0.5]\n");
        let mut document = parse("x.toml", &format!("{FILE}{rest}")).unwrap();
        only_thin.iter().for_each(|set| apply(&mut document, set).unwrap());
        let trials = Experiment::from_document(&document).unwrap().trials;
        let labels: Vec<_> =
            trials.iter().filter(|t| t.config.seed == 0).map(shown).map(|(l, _, of)| (l, of)).collect();
        assert_eq!(
            labels,
            [("pruned", vec![]), ("vanilla", vec![]), ("thin width=0.711", vec!["pruned"]), ("thin width=0.5", vec![])]
        );
        let plan = Plan::new(&document).unwrap();
        assert!(plan.duplicates == 0 && plan.notes().is_empty(), "{:?}", plan.notes());
        // Of one budget, one thin network.
        let budget = "[budget]\nmacs = [0.4]\n[[grid]]\nmethod.name = ['vanilla', 'pruned', 'thin']\n";
        let trials = experiment(budget, &only_thin).trials;
        assert_eq!(trials.len(), 3);
        assert_eq!(trials[2].control_of, [trials[1].label.as_str()]);
    }

    #[test]
    fn networks_that_are_not_trained_or_not_cut_have_none() {
        let count = |rest: &str, sets: &[&str]| experiment(rest, sets).trials.len();
        assert_eq!(count(PRUNED, &["protocol.controls=[]"]), 4);
        assert_eq!(count(PRUNED, &["recipe.epochs=0", "recipe.finetune_epochs=0"]), 4);
        assert_eq!(count(PRUNED, &["protocol.controls=['thin']"]), 6);
        assert_eq!(count("[[grid]]\nmethod.name = ['vanilla', 'ghost', 'thin']\n", &[]), 3);
        // Seeds and settings that conditions drop leave no control behind.
        let sets = ["protocol.controls=['thin']", "exclude=method = pruned and seed = 1"];
        assert_eq!(count(PRUNED, &sets), 4);
        let document = parse("x.toml", &format!("{FILE}{PRUNED}")).unwrap();
        let notes = Plan::new(&document).unwrap().notes();
        assert!(notes[0].contains("controls of pruned ones; protocol.controls = [] leaves them out"), "{notes:?}");
        let mut document = document;
        apply(&mut document, "protocol.controls=['thinn']").unwrap();
        let error = Experiment::from_document(&document).unwrap_err().to_string();
        assert!(error.contains("one of scratch, scratch_compute, random, thin"), "{error}");
    }
}
