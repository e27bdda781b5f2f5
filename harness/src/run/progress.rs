//! What a person sees while trials run: on stderr, live lines on a terminal, plain ones elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::results::TrialRecord;
use crate::train::{EpochLog, StepLog};

const SWEEP: &str = "sweep {wide_bar} {msg}, {elapsed} gone, {eta} left";
const TRIAL: &str = "{prefix} {wide_bar} {msg}, {eta} left";

/// The sweep.
pub(super) struct Progress {
    trials: usize,
    started: Instant,
    output: Output,
}

enum Output {
    /// A line for the sweep, below it one for the current trial.
    Live { lines: MultiProgress, sweep: ProgressBar },
    /// A line per epoch.
    Plain,
    /// Nothing but failures, which nobody should miss.
    Quiet,
}

impl Progress {
    /// A sweep of so many trials with, in all, so many optimizer steps.
    pub fn new(trials: usize, steps: usize, quiet: bool) -> Self {
        let output = if quiet {
            Output::Quiet
        } else if stderr().is_terminal() && trials > 0 {
            let lines = MultiProgress::new();
            let sweep = lines.add(ProgressBar::new(steps as u64));
            sweep.set_style(style(SWEEP));
            sweep.enable_steady_tick(Duration::from_secs(1));
            Output::Live { lines, sweep }
        } else {
            Output::Plain
        };
        Self { trials, started: Instant::now(), output }
    }

    /// A trial that starts: the `index`-th from 0, `epochs` epochs of `steps` optimizer steps.
    pub fn trial(&self, index: usize, name: &str, epochs: usize, steps: usize) -> TrialProgress<'_> {
        let bar = match &self.output {
            Output::Live { lines, sweep } => {
                sweep.set_message(format!("trial {}/{}", index + 1, self.trials));
                let bar = lines.add(ProgressBar::new((epochs * steps) as u64));
                bar.set_style(style(TRIAL));
                bar.set_prefix(name.to_owned());
                bar.set_message("starts");
                Some(bar)
            }
            Output::Plain | Output::Quiet => None,
        };
        let prefix = format!("[{}/{}] {name}", index + 1, self.trials);
        TrialProgress { sweep: self, prefix, epochs, steps, started: Instant::now(), bar, validation: None }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.output {
            Output::Live { lines, .. } => drop(lines.println(text)),
            Output::Plain => eprintln!("{text}"),
            Output::Quiet => {}
        }
    }

    pub fn finish(&self) {
        if let Output::Live { sweep, .. } = &self.output {
            sweep.finish_and_clear();
        }
        if self.trials > 0 {
            let time = duration(self.started.elapsed().as_secs_f64());
            let trials = if self.trials == 1 { "trial" } else { "trials" };
            self.line(&format!("{} {trials} in {time}", self.trials));
        }
    }
}

/// One trial's line.
pub(super) struct TrialProgress<'a> {
    sweep: &'a Progress,
    prefix: String,
    epochs: usize,
    steps: usize,
    started: Instant,
    bar: Option<ProgressBar>,
    validation: Option<f64>,
}

impl TrialProgress<'_> {
    pub fn step(&mut self, log: &StepLog) {
        if let (Some(bar), Output::Live { sweep, .. }) = (&self.bar, &self.sweep.output) {
            sweep.inc(1);
            let validation = self.validation.map_or(String::new(), |top1| format!(", val {}", percent(top1)));
            bar.set_position(((log.epoch - 1) * self.steps + log.step) as u64);
            bar.set_message(format!(
                "epoch {}/{}, loss {:.3}, acc {}{validation}, {:.0} img/s",
                log.epoch,
                self.epochs,
                log.loss,
                percent(log.accuracy),
                log.images_per_second
            ));
        }
    }

    pub fn epoch(&mut self, log: &EpochLog) {
        self.validation = Some(log.validation_accuracy);
        if let Output::Plain = &self.sweep.output {
            let per_epoch = self.started.elapsed().as_secs_f64() / log.epoch as f64;
            let left = per_epoch * self.epochs.saturating_sub(log.epoch) as f64;
            eprintln!("{}", plain(&self.prefix, self.epochs, log, left));
        }
    }

    /// The trial is done.
    pub fn finish(&self, record: &TrialRecord) {
        self.clear();
        let test = record.test.map_or(String::new(), |test| format!(", test {}", percent(test.top1)));
        self.sweep.line(&format!(
            "{}: done, val {}{test}, {} params, {} MACs, {}",
            self.prefix,
            percent(record.validation.top1),
            record.params,
            record.macs,
            duration(record.seconds)
        ));
    }

    /// The trial failed; the sweep goes on.
    pub fn fail(&self, error: &str) {
        let text = format!("{}: FAILED: {error}", self.prefix);
        match (&self.sweep.output, &self.bar) {
            // The steps that will not come are gone too.
            (Output::Live { sweep, .. }, Some(bar)) => sweep.inc(self.total().saturating_sub(bar.position())),
            (Output::Quiet, _) => eprintln!("{text}"),
            _ => {}
        }
        self.sweep.line(&text);
        self.clear();
    }

    fn total(&self) -> u64 {
        (self.epochs * self.steps) as u64
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// An epoch as a line of text; `left`: estimated seconds to the trial's end.
fn plain(prefix: &str, epochs: usize, log: &EpochLog, left: f64) -> String {
    format!(
        "{prefix}: epoch {}/{epochs}{}, loss {:.3}, acc {}, val {}, {:.0} img/s, {} left",
        log.epoch,
        if log.phase == "train" { String::new() } else { format!(" ({})", log.phase) },
        log.train_loss,
        percent(log.train_accuracy),
        percent(log.validation_accuracy),
        log.images_per_second,
        duration(left)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// A template of ours, in a style; one that indicatif could not read would fall back to its default.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_everything() {
        let log = EpochLog {
            epoch: 9,
            phase: "finetune".into(),
            train_loss: 1.2344,
            train_accuracy: 0.5,
            validation_accuracy: 0.456,
            images_per_second: 1234.4,
            ..EpochLog::default()
        };
        assert_eq!(
            plain("[1/8] resnet20 pruned seed 0", 10, &log, 83.0),
            "[1/8] resnet20 pruned seed 0: epoch 9/10 (finetune), loss 1.234, acc 50.0 %, val 45.6 %, 1234 img/s, \
             1 min 23 s left"
        );
    }

    #[test]
    fn durations() {
        assert_eq!(duration(59.4), "59 s");
        assert_eq!(duration(60.0), "1 min 0 s");
        assert_eq!(duration(10_925.0), "3 h 2 min");
    }

    #[test]
    fn templates_are_ones_that_indicatif_reads() {
        for template in [SWEEP, TRIAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
