//! Who follows a training, and what they may ask of it.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{EpochLog, Progress};

/// How far an epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLog {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Mean loss over those.
    pub loss: f64,
    /// Top-1 over those, in [0, 1].
    pub accuracy: f64,
    /// Images per second over those.
    pub images_per_second: f64,
}

/// How a training goes on. Later answers ask for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// As if nobody looked.
    #[default]
    Continue,
    /// After a checkpoint.
    Checkpoint,
    /// Not at all: a checkpoint, then the error [`Interrupted`].
    Stop,
}

/// Follows a training and says how it goes on. Nothing it does reaches the network.
pub trait Observer {
    /// Training begins: `epochs` in all, of `steps_per_epoch` each. `progress`: how far earlier attempts had come.
    fn started(&mut self, _epochs: usize, _steps_per_epoch: usize, _progress: &Progress) {}

    /// The network is computed operation by operation, and not by the engine: its images/s do not compare.
    fn off_engine(&mut self, _why: &str) {}

    /// Something a person should know, such as a checkpoint that could not be read; may come before anything else.
    fn warn(&mut self, _text: &str) {}

    /// After every optimizer step.
    fn step(&mut self, _log: &StepLog) -> Control {
        Control::Continue
    }

    /// Before every batch that the network is evaluated on.
    fn evaluating(&mut self) -> Control {
        Control::Continue
    }

    /// After every epoch and its validation. A checkpoint that is asked for now holds the epoch.
    ///
    /// # Errors
    /// A log that cannot be written; ends the training.
    fn epoch(&mut self, log: &EpochLog) -> Result<Control>;
}

/// The error of a training that was asked to stop: its checkpoint is written. To be found by `downcast_ref`, whatever
/// context was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped after a checkpoint; the next run goes on from it")
    }
}

impl std::error::Error for Interrupted {}
