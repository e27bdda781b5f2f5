//! A trial while it runs.

use std::time::Instant;

use super::series::Series;
use super::text::{duration, one_line, percent};
use crate::train::{EpochLog, StepLog};

/// A running trial in its own words.
#[derive(Clone, Debug)]
pub struct Live {
    pub epochs: usize,
    pub steps: usize,
    /// The epoch it is in and the steps done of it.
    pub epoch: usize,
    pub step: usize,
    /// Of the epoch so far.
    pub loss: Option<f64>,
    pub accuracy: Option<f64>,
    pub validation: Option<EpochLog>,
    pub images_per_second: Option<f64>,
    /// Whether it trains operation by operation, so that its images/s do not compare.
    pub off_engine: bool,
    pub curves: Curves,
    /// When this attempt first told a step, and how many epochs were done then: what earlier ones did says nothing of its
    /// pace, and one that was interrupted goes on in the middle of an epoch.
    began: Option<(Instant, f64)>,
    /// When it last said how far it is.
    heard: Instant,
}

/// Curves over epochs.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    pub loss: Series,
    pub validation_loss: Series,
    pub accuracy: Series,
    pub validation_accuracy: Series,
}

impl Live {
    pub fn new(epochs: usize, steps: usize, now: Instant) -> Self {
        Self {
            epochs,
            steps,
            epoch: 0,
            step: 0,
            loss: None,
            accuracy: None,
            validation: None,
            images_per_second: None,
            off_engine: false,
            curves: Curves::default(),
            began: None,
            heard: now,
        }
    }

    pub fn step(&mut self, log: &StepLog, now: Instant) {
        (self.epoch, self.step, self.heard) = (log.epoch, log.step, now);
        (self.loss, self.accuracy) = (Some(log.loss), Some(log.accuracy));
        self.images_per_second = Some(log.images_per_second);
        let x = self.position();
        self.began.get_or_insert((now, x));
        self.curves.loss.push(x, log.loss);
        self.curves.accuracy.push(x, log.accuracy);
    }

    pub fn epoch(&mut self, log: &EpochLog, now: Instant) {
        (self.epoch, self.step, self.heard) = (log.epoch, self.steps, now);
        (self.loss, self.accuracy) = (Some(log.train_loss), Some(log.train_accuracy));
        self.images_per_second = Some(log.images_per_second);
        let x = log.epoch as f64;
        self.curves.loss.push(x, log.train_loss);
        self.curves.accuracy.push(x, log.train_accuracy);
        let curves = &mut self.curves;
        let validation = [
            (&mut curves.validation_loss, log.validation_loss),
            (&mut curves.validation_accuracy, log.validation_accuracy),
        ];
        for (series, value) in validation {
            if let Some(value) = value {
                series.push(x, value);
            }
        }
        self.validation = Some(log.clone());
    }

    /// Epochs done.
    pub fn position(&self) -> f64 {
        let part = if self.steps == 0 { 0.0 } else { self.step as f64 / self.steps as f64 };
        // An epoch whose steps are unknown is done once it was validated.
        let validated = self.validation.as_ref().map_or(0, |log| log.epoch);
        (self.epoch.saturating_sub(1) as f64 + part.min(1.0)).max(validated.min(self.epoch) as f64)
    }

    /// Estimated seconds to its end, at the pace of this attempt.
    pub fn left(&self, now: Instant) -> Option<f64> {
        let (began, before) = self.began?;
        let done = self.position() - before;
        let took = self.heard.saturating_duration_since(began).as_secs_f64();
        let since = now.saturating_duration_since(self.heard).as_secs_f64();
        (done > 0.0).then(|| (took / done * (self.epochs as f64 - self.position()) - since).max(0.0))
    }

    /// What marks its images/s, as in reports: nothing where they compare.
    pub fn speed_mark(&self) -> &'static str {
        if self.off_engine { "†" } else { "" }
    }

    /// An epoch as a line of text.
    pub fn sentence(&self, log: &EpochLog, now: Instant) -> String {
        format!(
            "epoch {}/{}{}, loss {:.3}, acc {}{}, {:.0}{} img/s{}",
            log.epoch,
            self.epochs,
            if log.phase == "train" { String::new() } else { format!(" ({})", one_line(&log.phase)) },
            log.train_loss,
            percent(log.train_accuracy),
            log.validation_accuracy.map_or(String::new(), |share| format!(", val {}", percent(share))),
            log.images_per_second,
            self.speed_mark(),
            // Nothing is left after the last epoch.
            self.left(now)
                .filter(|&left| left >= 0.5)
                .map_or(String::new(), |left| format!(", {} left", duration(left)))
        )
    }
}
