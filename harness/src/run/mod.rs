//! Executing trials.

mod progress;
pub mod screen;
mod trial;

use std::path::PathBuf;

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use trial::run_trial;

use crate::data;
use crate::experiment::error::explain;
use crate::experiment::{DatasetConfig, Experiment, Trial};
use crate::measure::Environment;
use crate::results::RunFolder;
use crate::train::{EpochLog, Observer, SharedData, StepLog};
use progress::{Progress, TrialProgress};

/// Stack of a compute thread: backward passes of deep networks recurse.
const STACK: usize = 16 << 20;

/// How a sweep is run; nothing here changes a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The run folder, usually `reports/NAME`.
    pub output: PathBuf,
    /// Threads to compute on; 0: as many as the machine has.
    pub threads: usize,
    /// Only trials that fit this filter (see [`Trial::matches`]).
    pub only: Option<String>,
    /// No progress on stderr.
    pub quiet: bool,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Trials trained (or, without epochs, priced) now.
    pub trained: usize,
    /// Trials whose result was there already.
    pub skipped: usize,
    /// Trials that ended in an error, in order. Not empty: the command's exit code is not 0.
    pub failed: Vec<Failure>,
}

/// A trial that ended in an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The trial, with its seed.
    pub trial: String,
    /// What went wrong, causes included.
    pub error: String,
}

/// Runs every trial of the experiment that has no result yet, one after the other.
///
/// A trial that fails is reported at once and the sweep goes on. One that was interrupted starts afresh; those that
/// finished are kept, whatever happens to the others.
///
/// # Errors
/// Data that cannot be loaded or is too small for a trial, an output folder that cannot be used, a filter that no trial
/// passes: nothing was written then. Failing trials are no error here: see [`RunSummary::failed`].
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<RunSummary> {
    compute_threads(options.threads)?.install(|| sweep(experiment, options))
}

/// The threads that networks are computed on; 0: as many as the machine has.
///
/// # Errors
/// Threads that the system refuses to start.
pub fn compute_threads(count: usize) -> Result<ThreadPool> {
    let builder = ThreadPoolBuilder::new().stack_size(STACK).num_threads(count);
    builder.build().context("starting the compute threads")
}

/// A trial that has to be trained, with its key and data.
struct Pending<'a> {
    trial: &'a Trial,
    key: String,
    /// None: nothing is trained.
    data: Option<SharedData>,
}

fn sweep(experiment: &Experiment, options: &RunOptions) -> Result<RunSummary> {
    let mut experiment = experiment.clone();
    if let Some(filter) = &options.only {
        experiment = experiment.only(filter)?;
    }
    // A folder of someone else's is refused before hours of download, and made only once the data is there.
    RunFolder::check(&options.output, &experiment.name)?;
    let environment = Environment::capture(rayon::current_num_threads());

    let mut summary = RunSummary::default();
    let mut loaded = Vec::new();
    let mut asked = Vec::new();
    for trial in &experiment.trials {
        let data = match trial.config.recipe.epochs {
            0 => None,
            _ => {
                let data = shared(&mut loaded, &trial.config.dataset)?;
                experiment.check_images(trial, data.train.len())?;
                Some(data)
            }
        };
        let key = match &data {
            Some(data) => trial.key(&data.provenance.fingerprint),
            None => trial.key(&trial::no_data(&trial.config.dataset.name).fingerprint),
        };
        asked.push(Pending { trial, key, data });
    }
    let folder = RunFolder::create(&options.output, &experiment.name, &experiment.frozen)?;
    let mut pending = Vec::new();
    for trial in asked {
        match folder.record(&trial.key)? {
            Some(_) => summary.skipped += 1,
            None => pending.push(trial),
        }
    }

    let steps = |Pending { trial, data, .. }: &Pending<'_>| {
        data.as_ref().map_or(0, |data| trial.config.recipe.epochs * steps_per_epoch(trial, data))
    };
    let progress = Progress::new(pending.len(), pending.iter().map(steps).sum(), options.quiet);
    if summary.skipped > 0 {
        progress.line(&format!("{} of {} trials are done already", summary.skipped, summary.skipped + pending.len()));
    }
    for (index, Pending { trial, key, data }) in pending.iter().enumerate() {
        let name = name(trial);
        let Some(data) = data else {
            trial::cost_trial(trial, key, &folder, &environment)?;
            summary.trained += 1;
            continue;
        };
        let shown = progress.trial(index, &name, trial.config.recipe.epochs, steps_per_epoch(trial, data));
        let mut observer = Recorder { folder: &folder, key, shown };
        match run_trial(trial, key, data, &folder, &environment, &mut observer) {
            Ok(record) => {
                observer.shown.finish(&record);
                summary.trained += 1;
            }
            Err(error) => {
                let error = explain(&error);
                observer.shown.fail(&error);
                summary.failed.push(Failure { trial: name, error });
            }
        }
    }
    progress.finish();
    Ok(summary)
}

/// Loads a data set at its first use. Trials that differ in augmentation alone share the images.
fn shared(loaded: &mut Vec<(DatasetConfig, SharedData)>, config: &DatasetConfig) -> Result<SharedData> {
    let same = |other: &DatasetConfig| other.name == config.name && other.sources == config.sources;
    if let Some((_, data)) = loaded.iter().find(|(other, _)| same(other)) {
        return Ok(data.clone());
    }
    let data = SharedData::from(data::load(config)?);
    loaded.push((config.clone(), data.clone()));
    Ok(data)
}

/// Writes each epoch to the trial's folder and shows it.
struct Recorder<'a> {
    folder: &'a RunFolder,
    key: &'a str,
    shown: TrialProgress<'a>,
}

impl Observer for Recorder<'_> {
    fn step(&mut self, log: &StepLog) {
        self.shown.step(log);
    }

    fn epoch(&mut self, log: &EpochLog) -> Result<()> {
        self.shown.epoch(log);
        self.folder.append_epoch(self.key, log)
    }
}

fn name(trial: &Trial) -> String {
    format!("{} {} seed {}", trial.config.backbone.name, trial.label, trial.config.seed)
}

/// Optimizer steps an epoch, for the progress line alone.
fn steps_per_epoch(trial: &Trial, data: &SharedData) -> usize {
    let (recipe, images) = (&trial.config.recipe, data.train.labels.len());
    let images = if recipe.subset > 0 { recipe.subset } else { images.saturating_sub(trial.config.validation) };
    images / recipe.batch.max(1)
}
