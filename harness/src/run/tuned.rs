//! Settings that are tuned: the tries in a run folder of their own, the choice among what they came to, then the final trials.
//!
//! The choice is made anew whenever it is needed, and only of results: a run that goes on chooses as one that was never stopped.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::prepare::{PreparedSweep, drop_shared, prepare};
use super::sweep::train_missing;
use super::{FailedTrial, PricedTrial, RunOptions, RunSummary};
use crate::data::Provenance;
use crate::experiment::choice::Choice;
use crate::experiment::tuning::{Tries, TunedSetting};
use crate::experiment::{Experiment, OnFailure};
use crate::results::{Failure, FailureKind, FrozenTrial, Names, RunFolder, TrialState};
use crate::stamp::Environment;

/// What the tries of a setting came to.
pub(super) enum Outcome {
    /// Something to train with, and the data that it was found on.
    Chosen(Choice, Provenance),
    /// Every try failed: why the first one did, on which data, and where its log is.
    Failed(String, Provenance, PathBuf),
    /// Not all of them are over.
    Open,
}

/// Runs the tries that are missing, then the final trials of those settings whose tries are over.
pub(super) fn run(experiment: &Experiment, options: &RunOptions) -> Result<RunSummary> {
    let started = Instant::now();
    let (tries, sweep) = prepare_tries(experiment, options)?;
    let (folder, keys) = (sweep.folder.clone(), sweep.keys.clone());
    let of_tries = match sweep.missing.is_empty() {
        true => sweep.summary,
        false => train_missing(sweep, &options_of_tries(options))?,
    };
    if let Some(why) = of_tries.stopped.clone() {
        let open = experiment.trials.len();
        return Ok(RunSummary { open, stopped: Some(why), tries: Some(Box::new(of_tries)), ..RunSummary::default() });
    }
    let outcomes = outcomes(experiment, &tries, &folder, &keys)?;
    if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Open)) {
        drop_shared(folder.root());
    }
    let sweep = prepare_finals(experiment, &tries, &outcomes, options)?;
    let deadline = options.deadline.map(|deadline| deadline.saturating_sub(started.elapsed()));
    let mut summary = train_missing(sweep, &RunOptions { deadline, ..options.clone() })?;
    for (setting, outcome) in tries.settings.iter().zip(outcomes) {
        match outcome {
            Outcome::Chosen(..) => {}
            Outcome::Open => summary.open += setting.trials.len(),
            Outcome::Failed(why, _, log) => summary.failed.extend(setting.trials.iter().map(|&index| {
                let trial = &experiment.trials[index];
                let name = format!("{} {} seed {}", trial.config.backbone.name, trial.label, trial.config.seed);
                FailedTrial { trial: name, error: format!("{}: {why}", FailureKind::Untuned), log: log.clone() }
            })),
        }
    }
    summary.tries = Some(Box::new(of_tries));
    Ok(summary)
}

/// What of an experiment can be trained now: tries, or, once none is missing, final trials.
///
/// # Errors
/// Those of preparing a run.
pub(super) fn prepare_next(experiment: &Experiment, options: &RunOptions) -> Result<PreparedSweep> {
    if experiment.tuning.is_none() {
        return prepare(experiment, options);
    }
    let (tries, sweep) = prepare_tries(experiment, options)?;
    if !sweep.missing.is_empty() {
        return Ok(sweep);
    }
    let outcomes = outcomes(experiment, &tries, &sweep.folder, &sweep.keys)?;
    prepare_finals(experiment, &tries, &outcomes, options)
}

/// A try that fails is a try, and stops no other.
fn options_of_tries(options: &RunOptions) -> RunOptions {
    let mut options = options.clone();
    if options.settings.on_failure == OnFailure::Stop {
        options.settings.on_failure = OnFailure::Continue;
    }
    options.output = RunFolder::tuning(&options.output);
    options
}

fn prepare_tries(experiment: &Experiment, options: &RunOptions) -> Result<(Tries, PreparedSweep)> {
    // The folder around it first: one of someone else's is refused before anything is written.
    RunFolder::check(&options.output, &experiment.name)?;
    let tries = experiment.tries()?;
    let mut sweep = prepare(&experiment.clone().into_tries()?, &options_of_tries(options))?;
    sweep.name = format!("{}, tuning", sweep.name);
    let mut over = Vec::new();
    for setting in &tries.settings {
        let keys = || setting.tries.iter().flatten().map(|&index| &sweep.keys[index]);
        let mut states = keys().map(|key| Ok((key, sweep.folder.state(key)?))).collect::<Result<Vec<_>>>()?;
        // Where some try is done, those that failed are done with. Where none is, all but those that would fail again, bit for
        // bit, are tried again: memory or time may have been short.
        let any_done = states.iter().any(|(_, state)| matches!(state, TrialState::Done(_)));
        states.retain(|(_, state)| match state {
            TrialState::Failed(record) => {
                record.failure().is_some_and(|failure| !failure.kind.may_pass() || any_done && counts(failure.kind))
            }
            _ => false,
        });
        over.extend(states.into_iter().map(|(key, _)| key.clone()));
    }
    sweep.missing.retain(|(frozen, _)| !over.contains(&frozen.key));
    Ok((tries, sweep))
}

/// Whether a failure is the try's own: a process that was ended from outside says nothing of it.
fn counts(kind: FailureKind) -> bool {
    kind != FailureKind::Killed
}

/// What the tries of each setting came to.
fn outcomes(experiment: &Experiment, tries: &Tries, folder: &RunFolder, keys: &[String]) -> Result<Vec<Outcome>> {
    tries.settings.iter().map(|setting| outcome(experiment, setting, folder, |index| Ok(keys[index].clone()))).collect()
}

/// What the tries of a setting came to; `key` gives that of a try.
fn outcome(
    experiment: &Experiment,
    setting: &TunedSetting,
    folder: &RunFolder,
    key: impl Fn(usize) -> Result<String>,
) -> Result<Outcome> {
    let tuning = experiment.tuning.as_ref().context("what is not tuned has no tries")?;
    let (mut results, mut data, mut failed) = (Vec::new(), None, None);
    for of_point in &setting.tries {
        let mut sum = Some(0.0);
        for &index in of_point {
            let key = key(index)?;
            match folder.state(&key)? {
                TrialState::Done(record) => {
                    let top1 = record.measures().and_then(|measures| Some(measures.validation?.top1));
                    sum = sum.zip(top1).map(|(sum, top1)| sum + top1);
                    data.get_or_insert(record.trial.data.clone());
                }
                TrialState::Failed(record) => {
                    let Some(failure) = record.failure().filter(|failure| counts(failure.kind)) else {
                        return Ok(Outcome::Open);
                    };
                    sum = None;
                    let why = format!("{}: {} (tuning/trials/{key})", failure.kind, failure.reason);
                    failed.get_or_insert((why, record.trial.data.clone(), folder.log(&key)));
                }
                TrialState::Open | TrialState::Damaged(_) => return Ok(Outcome::Open),
            }
        }
        results.push(sum.map(|sum| sum / of_point.len() as f64));
    }
    let choice = Choice::of(&setting.id, &tuning.terms, &tuning.points, &results);
    Ok(match (choice, data, failed) {
        (Some(choice), Some(data), _) => Outcome::Chosen(choice, data),
        (None, _, Some((why, data, log))) => {
            let why = match results.len() {
                1 => format!("its only try failed ({why})"),
                count => format!("all of its {count} tries failed, the first one so: {why}"),
            };
            Outcome::Failed(why, data, log)
        }
        _ => Outcome::Open,
    })
}

/// The final trials of all settings with a choice. The others' are failures where all tries failed.
fn prepare_finals(
    experiment: &Experiment,
    tries: &Tries,
    outcomes: &[Outcome],
    options: &RunOptions,
) -> Result<PreparedSweep> {
    let choices = outcomes.iter().map(|outcome| match outcome {
        Outcome::Chosen(choice, _) => Some(choice.clone()),
        Outcome::Failed(..) | Outcome::Open => None,
    });
    let chosen = experiment.with_choices(tries, &choices.collect::<Vec<_>>())?;
    let sweep = prepare(&chosen, options)?;
    for (setting, outcome) in tries.settings.iter().zip(outcomes) {
        for &index in &setting.trials {
            let trial = &experiment.trials[index];
            match outcome {
                Outcome::Open => {}
                Outcome::Chosen(_, data) => {
                    sweep.folder.withdraw_failure(&trial.key(&data.fingerprint), FailureKind::Untuned)?;
                }
                Outcome::Failed(why, data, _) => {
                    let frozen = FrozenTrial::new(trial, data.clone());
                    let FrozenTrial { label, aliases, budgets, control_of, .. } = frozen.clone();
                    let names = Names { label, aliases, budgets, control_of, tuned: None };
                    sweep.folder.add_names([(frozen.key.clone(), names)])?;
                    let failure = Failure { kind: FailureKind::Untuned, reason: why.clone(), attempts: 0 };
                    let environment = Environment::capture(rayon::current_num_threads());
                    sweep.folder.save_failure(&PricedTrial::new(frozen)?.failed(&environment, failure))?;
                }
            }
        }
    }
    Ok(sweep)
}

/// What is chosen for each setting, as far as its tries are over in the run folder at `root`: for people to see. Data is not read:
/// its content is known from the tries that used it.
///
/// # Errors
/// A folder that cannot be read; points at which a setting cannot be trained.
pub fn choices(experiment: &Experiment, root: &Path) -> Result<Vec<Option<Choice>>> {
    let (tries, root) = (experiment.tries()?, RunFolder::tuning(root));
    if !root.is_dir() {
        return Ok(vec![None; tries.settings.len()]);
    }
    let folder = RunFolder::open(&root)?;
    let trials = folder.collected()?;
    let mut prints: Vec<String> =
        trials.done.iter().chain(&trials.failed).map(|record| record.trial.data.fingerprint.clone()).collect();
    prints.sort();
    prints.dedup();
    let chosen = |setting: &TunedSetting| -> Result<Option<Choice>> {
        for print in &prints {
            let key = |index: usize| Ok(tries.trials[index].key(print));
            if let Outcome::Chosen(choice, _) = outcome(experiment, setting, &folder, key)? {
                return Ok(Some(choice));
            }
        }
        Ok(None)
    };
    tries.settings.iter().map(chosen).collect()
}
