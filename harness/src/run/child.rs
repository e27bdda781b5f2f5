//! The process of one trial: `harness trial FOLDER KEY`. It reads what was frozen, trains, and leaves a result, a failure
//! or a checkpoint.

use std::backtrace::Backtrace;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::prepare::images;
use super::screen::Event;
use super::{PricedTrial, TrialOptions, compute_threads, interrupt, limits, run_trial};
use crate::config::error::explain;
use crate::config::schema::off_engine_remark;
use crate::data::{self, decoded};
use crate::results::{Failure, FailureKind, FrozenTrial, RunFolder, TrialState};
use crate::stamp::Environment;
use crate::train::{Control, Diverged, EpochLog, Interrupted, Observer, Progress, SharedData, StepLog};

/// Least time between two steps that are told.
const TELL_EVERY: Duration = Duration::from_millis(150);

/// What a trial's process is told besides which trial it is.
#[derive(Clone, Debug)]
pub struct ChildOptions {
    /// Threads to compute on; 0: as many as it may use.
    pub threads: usize,
    /// Trials that its sweep lets run at once; none where nobody knows.
    pub jobs: Option<usize>,
    /// Processors to stay on; empty: any.
    pub processors: Vec<usize>,
    /// Most memory to hold, bytes.
    pub memory: Option<u64>,
    /// Most time to take.
    pub time_limit: Option<Duration>,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// Whether it may go on from a checkpoint of another kernel path.
    pub allow_path_change: bool,
    /// Whether the finished network's weights are not kept.
    pub drop_weights: bool,
    /// How often the trial is tried, this time included.
    pub attempt: u32,
    /// Whether a parent reads what it says on standard output, and closes standard input to stop it.
    pub attached: bool,
}

/// How a trial's process ends: its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrialEnd {
    /// With a result.
    Done = 0,
    /// With a failure, written down.
    Failed = 1,
    /// With a checkpoint, as it was asked to.
    Stopped = 3,
    /// At once: another process has the trial.
    Busy = 4,
    /// With its last checkpoint: the disk is full.
    DiskFull = 5,
    /// With a failure that another attempt would end in, too.
    FailedForGood = 6,
}

impl TrialEnd {
    pub(super) const ALL: [Self; 6] =
        [Self::Done, Self::Failed, Self::Stopped, Self::Busy, Self::DiskFull, Self::FailedForGood];
}

/// Runs the trial `key` of the run folder at `root`. The exit code says how it ended; anything else than a result is also
/// said on stderr.
pub fn run_child(root: &Path, key: &str, options: &ChildOptions) -> u8 {
    let _watch = interrupt::Watch::start(None);
    if options.attached {
        interrupt::follow_stdin();
    }
    let _taken = limits::pin(&options.processors);
    limits::offer_to_the_oom_killer();
    let ended = work(root, key, options).unwrap_or_else(|error| {
        say!("error: {}", explain(&error));
        if disk_is_full(&error) { TrialEnd::DiskFull } else { TrialEnd::Failed }
    });
    ended as u8
}

fn work(root: &Path, key: &str, options: &ChildOptions) -> Result<TrialEnd> {
    let folder = RunFolder::open(root)?;
    let Some(_claim) = folder.claim(key)? else { return Ok(TrialEnd::Busy) };
    if let TrialState::Done(_) = folder.state(key)? {
        return Ok(TrialEnd::Done);
    }
    let trial = PricedTrial::new(folder.frozen(key)?)?;
    let pool = compute_threads(options.threads)?;
    let environment = Environment { jobs: options.jobs, ..Environment::capture(pool.current_num_threads()) };
    let fail = {
        let (folder, trial, environment, attempts) =
            (folder.clone(), trial.clone(), environment.clone(), options.attempt);
        move |kind: FailureKind, reason: String| {
            say!("FAILED, {kind}: {reason}");
            folder.save_failure(&trial.failed(&environment, Failure { kind, reason, attempts }))
        }
    };
    let exceeded = fail.clone();
    limits::watch(options.memory, options.time_limit, move |kind, reason| {
        let written = exceeded(kind, reason);
        // Without a failure written down, its parent finds a process that ended without a word.
        std::process::exit(written.map_or(2, |()| i32::from(TrialEnd::Failed as u8)));
    });
    let trained = caught(|| {
        pool.install(|| {
            let data = images_of(&folder, trial.frozen())?;
            let mut reporter = Reporter::new(&folder, key, options);
            let resume = TrialOptions {
                allow_path_change: options.allow_path_change,
                drop_weights: options.drop_weights,
                memory: options.memory,
            };
            run_trial(&trial, &data, &folder, &environment, &mut reporter, resume)
        })
    });
    match trained {
        Ok(Ok(_)) => Ok(TrialEnd::Done),
        Ok(Err(error)) if error.is::<Interrupted>() => Ok(TrialEnd::Stopped),
        Ok(Err(error)) if disk_is_full(&error) => Err(error),
        Ok(Err(error)) => {
            let kind = if error.is::<Diverged>() {
                FailureKind::Diverged
            } else if error.is::<limits::TooLarge>() {
                FailureKind::OutOfMemory
            } else {
                FailureKind::Error
            };
            let ended = if kind.may_pass() { TrialEnd::Failed } else { TrialEnd::FailedForGood };
            fail(kind, explain(&error)).map(|()| ended)
        }
        Err(panic) => fail(FailureKind::Panic, panic).map(|()| TrialEnd::Failed),
    }
}

/// The images the trial was planned with: as they were left decoded, or from their source.
fn images_of(folder: &RunFolder, frozen: &FrozenTrial) -> Result<SharedData> {
    let dataset = match decoded::read(&images(folder, &frozen.data), &frozen.data, &frozen.config.dataset) {
        Some(dataset) => dataset,
        None => data::load(&frozen.config.dataset)?,
    };
    ensure!(
        dataset.provenance.fingerprint == frozen.data.fingerprint,
        "the data has changed since the trial was planned: {} now, {} then; run the experiment again",
        dataset.provenance.fingerprint,
        frozen.data.fingerprint
    );
    Ok(SharedData::from(dataset))
}

/// Whether the error came from a disk, or a share of one, that is full.
fn disk_is_full(error: &anyhow::Error) -> bool {
    let full = |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let text = "No space left on device";
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(full) || cause.to_string().contains(text))
}

/// What `work` returns, or the first panic on the way, in one line. The process is to end soon after.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let panicked = remember_panics();
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let reason = panicked.lock().ok().and_then(|mut text| text.take());
        reason.unwrap_or_else(|| "a panic without a message".into())
    })
}

/// Keeps the message of a panic, wherever in the process it happens, beside printing it with its backtrace; not of those that
/// a reader of files makes into errors.
fn remember_panics() -> Arc<Mutex<Option<String>>> {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    std::panic::set_hook(Box::new(move |info| {
        say!("{info}\n{}", Backtrace::force_capture());
        if let Ok(mut text) = keep.lock() {
            text.get_or_insert_with(|| info.to_string().replace('\n', " "));
        }
    }));
    data::hush_caught_panics();
    kept
}

/// Tells of the training, writes its epochs, and decides when to write a checkpoint and when to stop.
struct Reporter<'a> {
    folder: &'a RunFolder,
    key: &'a str,
    options: &'a ChildOptions,
    told: Instant,
    checkpoint: Instant,
}

impl<'a> Reporter<'a> {
    fn new(folder: &'a RunFolder, key: &'a str, options: &'a ChildOptions) -> Self {
        let now = Instant::now();
        Self { folder, key, options, told: now, checkpoint: now }
    }

    fn tell(&self, event: &Event) {
        let mut stdout = std::io::stdout().lock();
        // Nobody may be reading any more; that ends no training.
        let _ = match serde_json::to_string(event) {
            Ok(line) if self.options.attached => writeln!(stdout, "{line}").and_then(|()| stdout.flush()),
            _ => Ok(()),
        };
    }

    fn control(&mut self) -> Control {
        if interrupt::requests() > 0 {
            return Control::Stop;
        }
        if self.checkpoint.elapsed() < self.options.checkpoint_every {
            return Control::Continue;
        }
        self.checkpoint = Instant::now();
        Control::Checkpoint
    }
}

impl Observer for Reporter<'_> {
    fn started(&mut self, epochs: usize, steps_per_epoch: usize, progress: &Progress) {
        if progress.epoch > 1 || progress.tally.steps > 0 {
            say!("goes on from epoch {}, step {} of {steps_per_epoch}", progress.epoch, progress.tally.steps);
        }
        self.tell(&Event::Started { epochs, steps_per_epoch, resumed: progress.history.clone() });
    }

    fn off_engine(&mut self, why: &str) {
        say!("{}", off_engine_remark(why));
        self.tell(&Event::OffEngine { why: why.to_owned() });
    }

    fn warn(&mut self, text: &str) {
        say!("warning: {text}");
        self.tell(&Event::Warning { text: text.to_owned() });
    }

    fn step(&mut self, log: &StepLog) -> Control {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.tell(&Event::Step(*log));
        }
        self.control()
    }

    fn evaluating(&mut self) -> Control {
        self.control()
    }

    fn epoch(&mut self, log: &EpochLog) -> Result<Control> {
        if !self.options.attached {
            let validation = log.validation_accuracy;
            let validation = validation.map_or(String::new(), |share| format!(", validation {:.2} %", 100.0 * share));
            println!("epoch {}, loss {:.4}{validation}", log.epoch, log.train_loss);
        }
        self.tell(&Event::Epoch(log.clone()));
        self.folder.append_epoch(self.key, log).context("logging an epoch")?;
        Ok(self.control())
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn a_panic_on_any_thread_is_a_reason_with_its_place() {
        assert_eq!(caught(|| 3), Ok(3));
        let here = caught(|| -> () { panic!("two\nlines") });
        assert!(here.is_err_and(|why| why.contains("child.rs:") && why.ends_with("two lines")));
        // As in a kernel: in one of the threads that compute.
        let index = |at: usize| [1.0f32; 3][at];
        let pool = compute_threads(2).unwrap();
        let there = caught(|| pool.install(|| (0..4usize).into_par_iter().map(index).sum::<f32>()));
        assert!(there.is_err_and(|why| why.contains("the len is 3 but the index is 3")));
    }
}
