//! The run folder: what a trial leaves behind, and how trials become a frame.

pub mod checksums;
mod epochs;
mod failure;
mod folder;
mod frame;
mod frozen;
mod reuse;
mod trials;
pub mod verify;

pub use epochs::epoch_frame;
pub use failure::{Failure, FailureKind};
pub use folder::{FolderLock, Headings, Names, RunFolder};
pub use frame::{collect, frame, write_frames};
pub use frozen::FrozenTrial;
pub use trials::{Claim, Collected, State};

use serde::{Deserialize, Serialize};

use crate::config::TrialConfig;
use crate::data::Provenance;
use crate::measure::Environment;
use crate::train::Evaluation;

/// A finished trial: `reports/NAME/trials/KEY/result.json`. One row of `results.csv` and `results.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The trial's identity (see `experiment`).
    pub key: String,
    /// Other settings of the same experiment that make the same network, and so share this row: short descriptions
    /// such as `compconv c0=64`.
    pub aliases: Vec<String>,
    /// How the report names the method: name and the options that were set, e.g. `compconv depth=2`.
    pub label: String,
    /// Everything that was asked for.
    pub config: TrialConfig,
    /// Origin of the data.
    pub data: Provenance,
    /// Training images used (after validation was carved and the subset drawn).
    pub train_images: usize,
    /// Trainable parameters of the final network, counted in it.
    pub params: u64,
    /// Multiply-accumulates per image of the final network, closed form.
    pub macs: u64,
    /// Elements written by convolutions and linear layers per image.
    pub activations: u64,
    /// Deepest effective recursion of any layer, for methods that recurse.
    pub depth: Option<usize>,
    /// Which layers the method made, in words.
    pub replaced: String,
    /// What the method remarked about layers (fallbacks, costs above vanilla), each with the layer's name.
    pub remarks: Vec<String>,
    /// Last epoch, validation images.
    pub validation: Evaluation,
    /// The finished network on the test split, read once; none if the protocol left it closed.
    pub test: Option<Evaluation>,
    /// Training loss of the last epoch.
    #[serde(deserialize_with = "crate::files::nan_if_null")]
    pub train_loss: f64,
    /// Epochs trained, fine-tuning included.
    pub epochs: usize,
    /// Wall time of the whole trial, seconds.
    pub seconds: f64,
    /// Training images per second over the whole training.
    pub images_per_second: f64,
    /// Where and with what it was made.
    pub environment: Environment,
    /// Why there is no result: then accuracies, losses and times say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl TrialRecord {
    /// Whether nothing was trained: only the cost is a result, accuracies and times are not.
    pub fn cost_only(&self) -> bool {
        self.config.recipe.epochs == 0
    }

    /// Whether accuracies, losses and times are results.
    pub fn measured(&self) -> bool {
        !self.cost_only() && self.failure.is_none()
    }
}
