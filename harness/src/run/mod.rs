//! Executing trials: which are missing ([`prepare`]), each in a process of its own ([`process`], [`child`]) within its
//! [`limits`], several at once and as long as there is time ([`sweep`]), for somebody to watch ([`screen`]);
//! or on a cluster ([`slurm`]). Settings that are tuned go through it twice ([`tuned`]). Once trials are over, [`measuring`] measures
//! what their networks cost to run, each in fresh processes ([`probe`]).

mod base;
mod child;
mod finished;
pub mod gate;
mod interrupt;
mod limits;
pub mod measuring;
mod model;
mod prepare;
mod priced;
mod probe;
mod process;
pub mod screen;
pub mod slurm;
mod sweep;
mod trial;
mod tuned;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use child::{ChildOptions, run_child};
pub use finished::FinishedNetwork;
pub use limits::check_parameters;
pub use priced::PricedTrial;
pub use probe::{ProbeOptions, run_probe};
pub use trial::{TrialOptions, run_trial};
pub use tuned::choices;

use crate::experiment::{Experiment, RunSettings};

/// Stack of a compute thread: backward passes of deep networks recurse.
const STACK: usize = 16 << 20;

/// How a sweep is run; nothing here changes a result.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run folder, usually `reports/NAME`.
    pub output: PathBuf,
    /// The harness itself, which the trials' processes are started from.
    pub program: PathBuf,
    /// Threads, jobs, limits.
    pub settings: RunSettings,
    /// The sweep stops, with checkpoints, before it has taken that long.
    pub deadline: Option<Duration>,
    /// Run folders of other experiments, whose finished trials are taken over.
    pub reuse: Vec<PathBuf>,
    /// Whether a trial may go on from a checkpoint of another kernel path: its bits will be neither's.
    pub allow_path_change: bool,
    /// How it is shown.
    pub progress: screen::ScreenKind,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Trials trained (or, without epochs, priced) now.
    pub trained: usize,
    /// Trials whose result was there already.
    pub skipped: usize,
    /// Trials whose result came from another run folder.
    pub reused: usize,
    /// Trials that ended in an error, in order. Not empty: the command's exit code is not 0.
    pub failed: Vec<FailedTrial>,
    /// Trials that are still to be finished: the sweep was stopped.
    pub open: usize,
    /// Why it was stopped, if it was.
    pub stopped: Option<String>,
    /// What the tries came to, where settings are tuned.
    pub tries: Option<Box<RunSummary>>,
}

/// A trial that ended in an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTrial {
    /// The trial, with its seed.
    pub trial: String,
    /// What went wrong, causes included.
    pub error: String,
    /// The output of its process.
    pub log: PathBuf,
}

/// Runs every trial of the experiment that has no result yet.
///
/// A trial that fails is reported at once, leaves a row that says why, and the sweep goes on as `run.on_failure` says.
/// One that was interrupted goes on from its checkpoint; those that finished are kept, whatever happens to the others.
///
/// # Errors
/// Data that cannot be loaded or is too small for a trial, an output folder that cannot be used: nothing was written
/// then. Failing trials are no error here: see [`RunSummary::failed`].
pub fn run_experiment(experiment: &Experiment, options: &RunOptions) -> Result<RunSummary> {
    interrupt::listen();
    if experiment.tuning.is_some() {
        return tuned::run(experiment, options);
    }
    let sweep = prepare::prepare(experiment, options)?;
    sweep::train_missing(sweep, options)
}

/// Whether this process was asked to stop, by a signal or because its terminal or parent is gone.
pub fn was_asked_to_stop() -> bool {
    interrupt::requests() > 0
}

/// The threads that networks are computed on; 0: as many as the machine has.
///
/// # Errors
/// Threads that the system refuses to start.
pub fn compute_threads(count: usize) -> Result<ThreadPool> {
    let builder = ThreadPoolBuilder::new().stack_size(STACK).num_threads(count);
    builder.build().context("starting the compute threads")
}
