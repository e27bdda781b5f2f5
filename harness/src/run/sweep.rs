//! The sweep itself: starts processes while there are trials, room and time, and follows them to their end.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::child::TrialEnd;
use super::prepare::{PreparedSweep, drop_shared};
use super::process::{Launch, Message, Process, ProcessEnd};
use super::screen::{Display, Event, Request, TrialEntry, TrialSummary, Update};
use super::{FailedTrial, PricedTrial, RunOptions, RunSummary, interrupt, limits};
use crate::experiment::OnFailure;
use crate::results::{Failure, FailureKind, FrozenTrial, TrialState};
use crate::stamp::Environment;

/// How often the screen is drawn and the clock looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often it is asked whether another process has finished its trial.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A sweep that does not heed a signal within this time is stuck, and ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far a trial of the sweep has come.
enum Stage {
    Waiting,
    Running {
        process: Process,
        slot: usize,
        epoch: f64,
    },
    /// Another process has it; when to ask again.
    Elsewhere(Instant),
    Over,
}

/// Room for one process.
struct Slot {
    /// The processors that its process is kept to; empty where processes are not kept apart.
    processors: Vec<usize>,
    taken: bool,
}

struct Runner<'a> {
    sweep: PreparedSweep,
    options: &'a RunOptions,
    screen: Display,
    stages: Vec<Stage>,
    attempts: Vec<u32>,
    queue: VecDeque<usize>,
    slots: Vec<Slot>,
    threads: usize,
    sender: Sender<Message>,
    messages: Receiver<Message>,
    started: Instant,
    /// Epochs trained by this sweep.
    trained: f64,
    /// Why nothing more is started.
    stopping: Option<String>,
}

/// Runs what is missing; what came of it.
pub(super) fn train_missing(sweep: PreparedSweep, options: &RunOptions) -> Result<RunSummary> {
    let watch = interrupt::Watch::start(Some(PATIENCE));
    let entries: Vec<TrialEntry> = sweep.missing.iter().map(|(_, entry)| entry.clone()).collect();
    let (threads, slots) = slots(options, entries.len());
    let (sender, messages) = channel();
    let screen = Display::start(options.progress, &sweep.name, &entries);
    for note in &sweep.notes {
        screen.show(Update::Line(note.clone()));
    }
    let done = sweep.summary.skipped + sweep.summary.reused;
    if done > 0 {
        let (all, taken) = (done + entries.len() + sweep.summary.trained, sweep.summary.reused);
        let copied = if taken > 0 { format!(", {taken} of them taken from elsewhere") } else { String::new() };
        screen.show(Update::Line(format!("{done} of {all} trials are done already{copied}")));
    }
    let mut runner = Runner {
        stages: entries.iter().map(|_| Stage::Waiting).collect(),
        attempts: vec![0; entries.len()],
        queue: (0..entries.len()).collect(),
        sweep,
        options,
        screen,
        slots,
        threads,
        sender,
        messages,
        started: Instant::now(),
        trained: 0.0,
        stopping: None,
    };
    let result = runner.follow();
    if result.is_err() {
        runner.kill();
    }
    // Everything is on the disk: from here on a signal may end the process.
    drop(watch);
    let summary = &mut runner.sweep.summary;
    summary.open = runner.stages.len() - runner.stages.iter().filter(|stage| matches!(stage, Stage::Over)).count();
    summary.stopped = runner.stopping;
    runner.screen.finish(summary.trained, summary.failed.len(), summary.open, summary.stopped.is_some());
    result?;
    if summary.open == 0 && summary.failed.is_empty() {
        drop_shared(runner.sweep.folder.root());
    }
    Ok(runner.sweep.summary)
}

/// Threads of a process, and the processors of each that may run at once: kept apart where there are enough for all.
fn slots(options: &RunOptions, trials: usize) -> (usize, Vec<Slot>) {
    let jobs = options.settings.jobs.clamp(1, trials.max(1));
    let processors = limits::processors();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.settings.threads.unwrap_or((cores / jobs).max(1));
    let apart = jobs > 1 && jobs * threads <= processors.len();
    let of = |job: usize| if apart { processors[job * threads..][..threads].to_vec() } else { Vec::new() };
    (threads, (0..jobs).map(|job| Slot { processors: of(job), taken: false }).collect())
}

impl Runner<'_> {
    fn follow(&mut self) -> Result<()> {
        let mut heeded = 0;
        loop {
            let requests = interrupt::requests();
            for _ in heeded..requests {
                if interrupt::has_hung_up() {
                    // The system says so more than once, and it is no impatience.
                    self.stop_for("its terminal is gone");
                } else {
                    self.stop("interrupted");
                }
            }
            heeded = requests;
            let left = self.options.deadline.map(|deadline| self.until(deadline));
            if left == Some(Duration::ZERO) && self.stopping.is_none() {
                self.stop("the deadline has come");
            }
            self.elsewhere()?;
            self.launch()?;
            let running = self.running();
            let waiting = self.stages.iter().any(|stage| matches!(stage, Stage::Elsewhere(_)));
            if running == 0 && (self.stopping.is_some() || (self.queue.is_empty() && !waiting)) {
                return Ok(());
            }
            if let Ok(message) = self.messages.recv_timeout(TICK) {
                self.hear(message)?;
                while let Ok(message) = self.messages.try_recv() {
                    self.hear(message)?;
                }
            }
            for request in self.screen.tick(self.estimate(), left) {
                match request {
                    Request::Stop => self.stop("stopped from the keyboard"),
                    Request::Skip(index) => self.skip(index),
                    Request::HangUp => interrupt::hang_up(),
                }
            }
        }
    }

    /// Time to the moment the sweep has to stop so that checkpoints and report are written before the deadline.
    fn until(&self, deadline: Duration) -> Duration {
        let margin = deadline.mul_f64(0.05).clamp(Duration::from_secs(1), Duration::from_secs(30));
        deadline.saturating_sub(margin).saturating_sub(self.started.elapsed())
    }

    fn running(&self) -> usize {
        self.stages.iter().filter(|stage| matches!(stage, Stage::Running { .. })).count()
    }

    /// Stops after checkpoints; asked again: at once.
    fn stop(&mut self, why: &str) {
        if self.stopping.is_some() {
            self.kill();
            return;
        }
        self.stopping = Some(why.to_owned());
        self.screen
            .show(Update::Line(format!("{why}: running trials write a checkpoint and stop; once more: at once")));
        for stage in &mut self.stages {
            if let Stage::Running { process, .. } = stage {
                process.stop();
            }
        }
    }

    fn kill(&mut self) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            if let Stage::Running { process, .. } = stage {
                process.kill();
                *stage = Stage::Waiting;
                self.screen.show(Update::Stopped(index));
            }
        }
    }

    /// Leaves a trial out: it stays unfinished.
    fn skip(&mut self, index: usize) {
        match self.stages.get_mut(index) {
            Some(Stage::Running { process, .. }) => process.stop(),
            Some(Stage::Waiting) if self.queue.contains(&index) => {
                self.queue.retain(|&other| other != index);
                self.screen.show(Update::Stopped(index));
            }
            _ => {}
        }
    }

    fn launch(&mut self) -> Result<()> {
        while self.stopping.is_none() {
            let Some(slot) = self.slots.iter().position(|slot| !slot.taken) else { return Ok(()) };
            let Some(index) = self.queue.pop_front() else { return Ok(()) };
            self.attempts[index] += 1;
            let (frozen, _) = &self.sweep.missing[index];
            let processors = &self.slots[slot].processors;
            let (threads, jobs, attempt) = (self.threads, self.slots.len(), self.attempts[index]);
            let launch = Launch { threads, jobs, processors, attempt };
            self.sweep.folder.freeze(frozen)?;
            let named = (index, frozen.key.as_str());
            let process = Process::start(&self.sweep.folder, named, &launch, self.options, self.sender.clone())?;
            self.slots[slot].taken = true;
            self.stages[index] = Stage::Running { process, slot, epoch: 0.0 };
            self.screen.show(Update::Launched(index, self.attempts[index]));
        }
        Ok(())
    }

    /// Trials of other processes: taken over once those are gone, counted once they are done.
    fn elsewhere(&mut self) -> Result<()> {
        let now = Instant::now();
        for index in 0..self.stages.len() {
            if !matches!(self.stages[index], Stage::Elsewhere(when) if when <= now) {
                continue;
            }
            self.stages[index] = Stage::Elsewhere(now + ASK_AGAIN);
            let key = self.sweep.missing[index].0.key.clone();
            if let TrialState::Done(record) = self.sweep.folder.state(&key)? {
                self.over(index, Update::Done(index, summary(&record)));
                self.sweep.summary.skipped += 1;
            } else if self.stopping.is_none() && self.sweep.folder.claim(&key)?.is_some() {
                self.stages[index] = Stage::Waiting;
                self.queue.push_back(index);
            }
        }
        Ok(())
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Event(index, event) => {
                self.count(index, &event);
                self.screen.show(Update::Event(index, event));
                Ok(())
            }
            Message::Silent(index) => self.ended(index),
        }
    }

    /// Keeps count of the epochs trained.
    fn count(&mut self, index: usize, event: &Event) {
        let total = self.sweep.missing[index].1.epochs as f64;
        let Some(Stage::Running { epoch, .. }) = self.stages.get_mut(index) else { return };
        match event {
            // What an earlier attempt trained is not this sweep's speed.
            Event::Started { resumed, .. } => *epoch = resumed.len() as f64,
            Event::Epoch(log) => {
                self.trained += (log.epoch as f64 - *epoch).clamp(0.0, total);
                *epoch = log.epoch as f64;
            }
            Event::Step(_) | Event::OffEngine { .. } | Event::Warning { .. } => {}
        }
    }

    /// Time to the end, as fast as it went so far.
    fn estimate(&self) -> Option<Duration> {
        if self.trained <= 0.0 {
            return None;
        }
        let open = self.stages.iter().zip(&self.sweep.missing).map(|(stage, (_, entry))| match stage {
            Stage::Over => 0.0,
            Stage::Running { epoch, .. } => (entry.epochs as f64 - epoch).max(0.0),
            Stage::Waiting | Stage::Elsewhere(_) => entry.epochs as f64,
        });
        let seconds = self.started.elapsed().as_secs_f64() / self.trained * open.sum::<f64>();
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn ended(&mut self, index: usize) -> Result<()> {
        let Stage::Running { process, slot, .. } = std::mem::replace(&mut self.stages[index], Stage::Waiting) else {
            return Ok(());
        };
        let asked = process.stopping();
        let end = process.end();
        self.slots[slot].taken = false;
        let (frozen, entry) = self.sweep.missing[index].clone();
        match end {
            ProcessEnd::Reported(TrialEnd::Done) => match self.sweep.folder.state(&frozen.key)? {
                TrialState::Done(record) => {
                    self.sweep.summary.trained += 1;
                    self.over(index, Update::Done(index, summary(&record)));
                }
                _ => self.failed(index, &entry, FailureKind::Error, "it says it is done and left no result".into()),
            },
            ProcessEnd::Reported(TrialEnd::Busy) => {
                self.attempts[index] -= 1;
                self.stages[index] = Stage::Elsewhere(Instant::now() + ASK_AGAIN);
                self.screen.show(Update::Elsewhere(index));
            }
            ProcessEnd::Reported(TrialEnd::Stopped) => self.screen.show(Update::Stopped(index)),
            ProcessEnd::Reported(TrialEnd::DiskFull) => {
                self.screen.show(Update::Stopped(index));
                self.stop_for("the disk is full: free some space and run again; what was done is kept");
            }
            ProcessEnd::Reported(TrialEnd::Failed | TrialEnd::FailedForGood) => {
                let (kind, reason) = match self.sweep.folder.state(&frozen.key)? {
                    TrialState::Failed(record) => {
                        record.failure().map(|failure| (failure.kind, failure.reason.clone()))
                    }
                    _ => None,
                }
                .unwrap_or_else(|| (FailureKind::Error, "see its log".to_owned()));
                self.failed(index, &entry, kind, reason);
            }
            // Killed by whoever asked it to stop, because it took too long.
            ProcessEnd::Died(_) if asked && self.stopping.is_some() => self.screen.show(Update::Stopped(index)),
            ProcessEnd::Died(how) => {
                self.write_down(&frozen, &how, self.attempts[index]);
                self.failed(index, &entry, FailureKind::Killed, how);
            }
        }
        Ok(())
    }

    /// A process that ended without a word leaves the words to this one.
    fn write_down(&self, frozen: &FrozenTrial, how: &str, attempts: u32) {
        let environment = Environment::capture(self.threads);
        let failure = Failure { kind: FailureKind::Killed, reason: how.to_owned(), attempts };
        // It is on the screen and in the summary already; a row less is no reason to stop the others.
        let _ = PricedTrial::new(frozen.clone())
            .and_then(|trial| self.sweep.folder.save_failure(&trial.failed(&environment, failure)));
    }

    fn failed(&mut self, index: usize, entry: &TrialEntry, kind: FailureKind, reason: String) {
        let again = match self.options.settings.on_failure {
            OnFailure::Retry(times) => kind.may_pass() && self.attempts[index] <= times && self.stopping.is_none(),
            OnFailure::Continue | OnFailure::Stop => false,
        };
        let error = format!("{kind}: {reason}");
        self.screen.show(Update::Failed(index, error.clone(), again));
        if again {
            self.queue.push_back(index);
            return;
        }
        self.stages[index] = Stage::Over;
        let why = format!("{} failed, and run.on_failure = \"stop\"", entry.name);
        self.sweep.summary.failed.push(FailedTrial { trial: entry.name.clone(), error, log: entry.log.clone() });
        if self.options.settings.on_failure == OnFailure::Stop {
            self.stop_for(&why);
        }
    }

    /// Stops after checkpoints. A reason that comes again does not mean at once, as a second Ctrl-C does.
    fn stop_for(&mut self, why: &str) {
        if self.stopping.is_none() {
            self.stop(why);
        }
    }

    fn over(&mut self, index: usize, update: Update) {
        self.stages[index] = Stage::Over;
        self.screen.show(update);
    }
}

fn summary(record: &crate::results::TrialRecord) -> TrialSummary {
    let measures = record.measures();
    TrialSummary {
        validation: measures.and_then(|measures| measures.validation).map(|validation| validation.top1),
        test: measures.and_then(|measures| measures.test).map(|test| test.top1),
        params: record.network.cost.params,
        macs: record.network.cost.macs,
        seconds: measures.map_or(0.0, |measures| measures.seconds),
    }
}
