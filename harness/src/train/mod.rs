//! Training: loop, optimizer, schedule, metrics, checkpoints.

mod average;
mod checkpoint;
mod codec;
mod course;
mod feed;
mod fit;
mod memory;
mod metrics;
mod observe;
mod optimizer;
mod progress;
mod schedule;

pub use average::Average;
pub use checkpoint::{Checkpoint, Checkpoints};
pub use course::Course;
pub use feed::{Feed, SharedData, workers};
pub use fit::{Diverged, StepMetrics, TrainingPhase, fit, step};
pub use memory::Memory;
pub use metrics::{Prediction, evaluate, predict};
pub use observe::{Control, Interrupted, Observer, StepLog};
pub use optimizer::{Optimizer, remembered};
pub use progress::{Progress, Tally};
pub use schedule::LearningRate;

use serde::{Deserialize, Serialize};

/// One line of a trial's per-epoch log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochLog {
    /// Counted from 1; what follows a compression goes on counting.
    pub epoch: usize,
    /// `train`; `finetune` after a compression; `scratch` for a compressed network that began afresh.
    pub phase: String,
    /// Rate at the epoch's last step.
    pub lr: f64,
    /// Mean training loss over the epoch's batches (with label smoothing, as optimised).
    #[serde(deserialize_with = "crate::files::nan_if_null")]
    pub train_loss: f64,
    /// Top-1 on the augmented training batches while they were trained on, in [0, 1].
    pub train_accuracy: f64,
    /// Mean cross-entropy on validation, without smoothing; none where no images validate.
    pub validation_loss: Option<f64>,
    /// Top-1 on validation, in [0, 1]; none where no images validate.
    pub validation_accuracy: Option<f64>,
    /// Wall time of training in this epoch, seconds, validation not counted.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Accuracy and loss over a whole split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of images whose class is the first guess, in [0, 1].
    pub top1: f64,
    /// Share of images whose class is among the first five guesses, in [0, 1].
    pub top5: f64,
    /// Mean cross-entropy, without smoothing.
    #[serde(deserialize_with = "crate::files::nan_if_null")]
    pub loss: f64,
}
