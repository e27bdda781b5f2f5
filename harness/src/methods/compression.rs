//! What is done to a trained network as a whole.

use baselines::masking::Magnitude;
use baselines::pruning::{Pruned, Weights};
use serde::Serialize;

/// What makes another network of a trained one, with less to compute or to keep: no method of a layer, as it needs all of the
/// network and its weights.
///
/// A training of one has its phases: the whole network, then as often as [`Compression::steps`] says what compresses it, and
/// fine-tuning. What differs between compressions is asked for here and nowhere else; an identity holds the options as they
/// serialize.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Compression {
    /// Filters are removed.
    Pruned(Pruned),
    /// Weights are set to 0.
    Magnitude {
        /// Tells its options from those of pruning.
        magnitude: Magnitude,
    },
    /// Methods make their units of trained vanilla ones: which, and how, the architecture says.
    Approximated {
        /// Raised whenever a method makes other parameters of the same trained ones.
        approximated: u32,
    },
}

impl Compression {
    /// Methods make their units of trained vanilla ones.
    pub const APPROXIMATED: Self = Self::Approximated { approximated: 1 };

    /// How often the network is compressed, at least once.
    pub fn steps(&self) -> usize {
        match self {
            Self::Pruned(pruned) => pruned.steps(),
            Self::Magnitude { magnitude } => magnitude.steps,
            Self::Approximated { .. } => 1,
        }
    }

    /// Whether what is left is known only after training.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Pruned(pruned) => pruned.is_global(),
            // Which weights are 0 changes no cost.
            Self::Magnitude { .. } | Self::Approximated { .. } => false,
        }
    }

    /// Whether `recipe.finetune_epochs` and `recipe.finetune_lr` decide anything.
    pub fn reads_finetuning(&self) -> (bool, bool) {
        match self {
            Self::Pruned(pruned) => {
                let kept = pruned.weights() == Weights::Kept;
                (kept || pruned.is_global() || pruned.weights() == Weights::ScratchCompute, kept)
            }
            Self::Magnitude { .. } | Self::Approximated { .. } => (true, true),
        }
    }

    /// L1 penalty on the scales of batch norms until the network is compressed.
    pub fn penalty(&self) -> f64 {
        match self {
            Self::Pruned(pruned) => pruned.penalty(),
            Self::Magnitude { .. } | Self::Approximated { .. } => 0.0,
        }
    }

    /// Raised whenever the same options make another network, so that results never mix.
    pub fn version(&self) -> u32 {
        match self {
            Self::Pruned(_) => Pruned::VERSION,
            Self::Magnitude { .. } => Magnitude::VERSION,
            // It holds its version, as it has no options.
            Self::Approximated { .. } => 1,
        }
    }

    /// What a table says of the layers that are `replaced`, or `none` of them.
    pub fn words(&self, replaced: &str) -> String {
        match self {
            Self::Pruned(pruned) if pruned.weights() == Weights::Kept => {
                "none replaced; filters removed after training".into()
            }
            Self::Pruned(_) => "none replaced; trained with the widths that removing filters leaves".into(),
            Self::Magnitude { .. } => format!("none replaced; weights set to 0 after training in {replaced}"),
            Self::Approximated { .. } => replaced.into(),
        }
    }

    /// What is done to the trained network: as a title, as it is said to be afterwards, and what each time is called.
    pub fn done(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pruned(_) => ("Cut", "cut", "cut"),
            Self::Magnitude { .. } => ("Masked", "masked", "mask"),
            Self::Approximated { .. } => ("Approximated", "approximated by its factors", "approximation"),
        }
    }
}
