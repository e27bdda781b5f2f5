//! Where a training stands.

use super::fit::StepMetrics;
use super::{EpochLog, Evaluation, StepLog};

/// Where a training stands. With the weights and the momentum this decides everything that follows: the schedule is a
/// function of the step, and order and augmentation are keyed by (seed, epoch, image), so that no random stream has a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// `train`, `finetune` (the second time `finetune 2`, and so on) or `scratch`.
    pub phase: String,
    /// Epoch of the next step, counted from 1; one more than there are when all are done.
    pub epoch: usize,
    /// What that epoch came to so far; its number of steps is the position in the epoch's data.
    pub tally: Tally,
    /// The epochs that are done.
    pub history: Vec<EpochLog>,
    /// The network after the last of them, on validation; none where no images validate. Validation decides nothing: no epoch is
    /// picked, none is left out.
    pub validation: Option<Evaluation>,
    /// Wall time of the trial so far, seconds, earlier attempts included up to their last checkpoints.
    pub seconds: f64,
}

impl Progress {
    /// Before the first step of the phase called `phase`.
    pub fn new(phase: &str) -> Self {
        Self {
            phase: phase.to_owned(),
            epoch: 1,
            tally: Tally::default(),
            history: Vec::new(),
            validation: None,
            seconds: 0.0,
        }
    }

    /// The epoch is over.
    pub(super) fn finish_epoch(&mut self, log: EpochLog, validation: Option<Evaluation>) {
        self.epoch = log.epoch + 1;
        self.history.push(log);
        self.validation = validation;
        self.tally = Tally::default();
    }
}

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Optimizer steps.
    pub steps: usize,
    /// Images they saw.
    pub images: usize,
    /// Images whose class was the first guess.
    pub correct: usize,
    /// Sum of the batches' mean losses.
    pub loss: f64,
    /// Wall time, seconds.
    pub seconds: f64,
}

impl Tally {
    /// Another step on so many images; `seconds`: wall time of the epoch up to its end.
    pub(super) fn add(&mut self, step: StepMetrics, images: usize, seconds: f64) {
        self.steps += 1;
        self.images += images;
        self.correct += step.correct;
        self.loss += step.loss;
        self.seconds = seconds;
    }

    pub(super) fn log(&self, epoch: usize) -> StepLog {
        StepLog {
            epoch,
            step: self.steps,
            loss: self.loss / self.steps.max(1) as f64,
            accuracy: self.correct as f64 / self.images.max(1) as f64,
            images_per_second: self.images as f64 / self.seconds.max(1e-9),
        }
    }
}
