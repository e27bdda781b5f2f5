//! `harness status` and `harness cancel`: how the submitted trials stand, from the results and from Slurm's queue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    /// It has no result, and Slurm no longer knows of it: cancelled, or lost; why, where the task's output says.
    Gone(Option<&'static str>),
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
                (TrialState::Open | TrialState::Damaged(_), None) => ended(&job.output(index)),
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
        trials.iter().filter(|trial| matches!(trial.state, TaskState::Gone(_))).map(|trial| trial.task.0).collect();
    if !gone.is_empty() {
        let preempted = preempted(&gone.into_iter().collect::<Vec<_>>());
        let stopped =
            |trial: &&mut SubmittedTrial| matches!(trial.state, TaskState::Gone(_)) && preempted.contains(&trial.task);
        trials.iter_mut().filter(stopped).for_each(|trial| trial.state = TaskState::Preempted);
    }
    Ok(trials)
}

/// How a task without a result ended, by what Slurm writes into its output: sites without accounting tell it nowhere else.
fn ended(output: &Path) -> TaskState {
    let text = std::fs::read(output).unwrap_or_default();
    let last = String::from_utf8_lossy(&text[text.len().saturating_sub(1 << 16)..]).into_owned();
    let says = |words: &str| last.lines().rev().any(|line| line.contains("slurmstepd: error:") && line.contains(words));
    match () {
        () if says("DUE TO PREEMPTION") => TaskState::Preempted,
        () if says("DUE TO TIME LIMIT") => TaskState::Gone(Some("reached its time limit")),
        () if says("oom") => TaskState::Gone(Some("was ended for want of memory")),
        () if says("DUE TO NODE FAILURE") => TaskState::Gone(Some("lost its node")),
        () if says("CANCELLED") => TaskState::Gone(Some("was cancelled")),
        () => TaskState::Gone(None),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_task_ended_stands_in_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.out");
        assert_eq!(ended(&path), TaskState::Gone(None));
        for (line, expected) in [
            ("JOB 7 ON node1 CANCELLED AT 2026-11-28T14:00:00 DUE TO PREEMPTION ***", TaskState::Preempted),
            ("JOB 7 ON node1 CANCELLED AT x DUE TO TIME LIMIT ***", TaskState::Gone(Some("reached its time limit"))),
            ("Detected 1 oom_kill event in StepId=7.batch.", TaskState::Gone(Some("was ended for want of memory"))),
            ("*** JOB 7 ON node1 CANCELLED AT x ***", TaskState::Gone(Some("was cancelled"))),
        ] {
            std::fs::write(&path, format!("[1/1] epoch 3\nslurmstepd: error: *** {line}\n")).unwrap();
            assert_eq!(ended(&path), expected, "{line}");
        }
        std::fs::write(&path, "a room for zoom, DUE TO PREEMPTION of nothing\n").unwrap();
        assert_eq!(ended(&path), TaskState::Gone(None));
    }
}
