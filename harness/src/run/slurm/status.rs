//! `harness status` and `harness cancel`: how the submitted trials stand, from the results and from Slurm's queue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;

use super::jobs;
use super::queue::{command, preempted, queued};
use crate::results::{FrozenTrial, RunFolder, TrialState};
use crate::run::PricedTrial;

/// How a submitted trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It has a result.
    Done,
    /// It failed: why.
    Failed(String),
    /// Slurm has it: its word for how, and why it waits or where it runs.
    Queued(String, String),
    /// It has no result: Slurm stopped it to make room for another job, and the site does not queue it again by itself.
    Preempted,
    /// It has no result, and Slurm no longer knows of it: cancelled, or lost.
    Gone,
}

/// A submitted trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmittedTrial {
    /// Its identity.
    pub key: String,
    /// How the experiment names it.
    pub label: String,
    /// Its seed, if it was frozen.
    pub seed: Option<u64>,
    /// Its latest array job and index.
    pub task: (u64, usize),
    /// How it stands.
    pub state: TaskState,
    /// Epochs finished so far, and epochs in all, if it was frozen.
    pub epochs: (usize, Option<usize>),
    /// Output of the task's script.
    pub output: PathBuf,
}

/// Every trial that was ever submitted from this folder, once, as its latest task; in order of submission.
///
/// # Errors
/// Files that cannot be read; `squeue` that is not there or fails.
pub fn status(folder: &RunFolder) -> Result<Vec<SubmittedTrial>> {
    let jobs = jobs(folder)?;
    let queue = if jobs.is_empty() { Default::default() } else { queued()? };
    let names = folder.names()?;
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut trials: Vec<SubmittedTrial> = Vec::new();
    for job in &jobs {
        for (index, key) in job.keys.iter().enumerate() {
            let state = match (folder.state(key)?, queue.get(&(job.id, index))) {
                (TrialState::Done(_), _) => TaskState::Done,
                // Failed before, and running again.
                (_, Some(task)) => {
                    let more = if task.nodes.is_empty() {
                        task.reason.clone()
                    } else {
                        format!("{} on {}", task.time, task.nodes)
                    };
                    TaskState::Queued(task.state.clone(), more)
                }
                (TrialState::Failed(record), None) => {
                    TaskState::Failed(record.failure().map_or_else(String::new, |failure| failure.reason.clone()))
                }
                (TrialState::Open | TrialState::Damaged(_), None) => TaskState::Gone,
            };
            let frozen = folder.frozen(key).ok();
            let label = names.get(key).map(|names| names.label.clone());
            let trial = SubmittedTrial {
                key: key.clone(),
                label: label.unwrap_or_else(|| frozen.as_ref().map_or_else(String::new, |trial| trial.label.clone())),
                seed: frozen.as_ref().map(|trial| trial.config.seed),
                task: (job.id, index),
                state,
                epochs: (folder.epochs(key)?.len(), frozen.map(epochs)),
                output: job.output(index),
            };
            match places.get(key) {
                Some(&place) => trials[place] = trial,
                None => {
                    places.insert(key.clone(), trials.len());
                    trials.push(trial);
                }
            }
        }
    }
    let gone: BTreeSet<u64> =
        trials.iter().filter(|trial| trial.state == TaskState::Gone).map(|trial| trial.task.0).collect();
    if !gone.is_empty() {
        let preempted = preempted(&gone.into_iter().collect::<Vec<_>>());
        let stopped = |trial: &&mut SubmittedTrial| trial.state == TaskState::Gone && preempted.contains(&trial.task);
        trials.iter_mut().filter(stopped).for_each(|trial| trial.state = TaskState::Preempted);
    }
    Ok(trials)
}

/// How many epochs a trial has, its price permitting.
fn epochs(frozen: FrozenTrial) -> usize {
    let planned = frozen.config.recipe.epochs;
    PricedTrial::new(frozen).and_then(|trial| trial.phases()).map_or(planned, |phases| phases.epochs())
}

/// What [`cancel`] found and did.
pub struct Cancelled {
    /// Trials that were ever submitted.
    pub submitted: usize,
    /// Those among them that fit.
    pub fitting: usize,
    /// Those that were in the queue and are no more.
    pub cancelled: usize,
}

/// Takes the trials that fit out of the queue, and stops those that run, after a checkpoint; what came of it.
///
/// # Errors
/// Those of [`status`], and of `scancel`.
pub fn cancel(folder: &RunFolder, fits: impl Fn(&SubmittedTrial) -> bool) -> Result<Cancelled> {
    let trials = status(folder)?;
    let fitting: Vec<&SubmittedTrial> = trials.iter().filter(|trial| fits(trial)).collect();
    let queued = fitting.iter().filter(|trial| matches!(trial.state, TaskState::Queued(..)));
    let tasks: Vec<String> = queued.map(|SubmittedTrial { task: (job, index), .. }| format!("{job}_{index}")).collect();
    // So many at a time that no command line is too long.
    for some in tasks.chunks(500) {
        command("scancel", some)?;
    }
    Ok(Cancelled { submitted: trials.len(), fitting: fitting.len(), cancelled: tasks.len() })
}
