//! How many epochs of a trial train which network.

use baselines::pruning::Weights;

use crate::config::Recipe;
use crate::methods::Compression;

/// The epochs of a trial, phase by phase. Without a compression all of them train the whole network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Of the whole network.
    pub whole: usize,
    /// After each compression, with the weights that are left.
    pub finetune: Vec<usize>,
    /// Of the compressed network from fresh weights; those of the whole one, if it was trained, are thrown away.
    pub fresh: usize,
}

impl Phases {
    /// Those of a recipe. `whole`: MACs of the whole network, `compressed`: after each compression of it; they decide how long
    /// equal compute is.
    pub fn new(recipe: &Recipe, compression: Option<&Compression>, whole: u64, compressed: &[u64]) -> Self {
        let Some(compression) = compression else { return Self { whole: recipe.epochs, ..Self::default() } };
        let steps = compression.steps();
        let after = recipe.finetune_epochs.min(recipe.epochs);
        let kept = Self {
            whole: recipe.epochs - after,
            // As evenly as whole epochs allow.
            finetune: (0..steps).map(|step| after * (step + 1) / steps - after * step / steps).collect(),
            fresh: 0,
        };
        let Compression::Pruned(pruned) = compression else { return kept };
        let fresh = match pruned.weights() {
            Weights::Kept => return kept,
            Weights::Scratch => recipe.epochs,
            Weights::ScratchCompute if recipe.epochs == 0 => 0,
            Weights::ScratchCompute => {
                let last = u128::from(compressed.last().copied().unwrap_or(whole).max(1));
                let epochs = (kept.macs(whole, compressed) + last / 2) / last;
                usize::try_from(epochs).unwrap_or(usize::MAX).max(1)
            }
        };
        // What decides the widths without training needs no trained network.
        let whole = if pruned.is_global() { kept.whole } else { 0 };
        Self { whole, finetune: vec![], fresh }
    }

    /// All epochs together.
    pub fn epochs(&self) -> usize {
        self.whole + self.finetune.iter().sum::<usize>() + self.fresh
    }

    /// Multiply-accumulates of all epochs for each image of one of them, forward alone.
    pub fn macs(&self, whole: u64, compressed: &[u64]) -> u128 {
        let epochs = |epochs: usize, macs: u64| epochs as u128 * u128::from(macs);
        let tuned: u128 = self.finetune.iter().zip(compressed).map(|(&after, &macs)| epochs(after, macs)).sum();
        epochs(self.whole, whole) + tuned + epochs(self.fresh, compressed.last().copied().unwrap_or(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(options: &str, epochs: usize, finetune_epochs: usize, compressed: &[u64]) -> Phases {
        let recipe = Recipe { epochs, finetune_epochs, ..Recipe::default() };
        let pruned = toml::from_str(options).unwrap();
        Phases::new(&recipe, Some(&Compression::Pruned(pruned)), 1000, compressed)
    }

    #[test]
    fn fine_tuning_is_divided_among_the_cuts() {
        let of = |options, finetune| phases(options, 20, finetune, &[500]);
        assert_eq!(of("", 5), Phases { whole: 15, finetune: vec![5], fresh: 0 });
        assert_eq!(of("steps = 3", 8).finetune, [2, 3, 3]);
        assert_eq!(of("steps = 4", 4).finetune, [1; 4]);
        let recipe = Recipe { epochs: 7, finetune_epochs: 3, ..Recipe::default() };
        assert_eq!(Phases::new(&recipe, None, 1000, &[]), Phases { whole: 7, ..Phases::default() });
    }

    #[test]
    fn equal_compute_is_rounded_to_whole_epochs() {
        let fresh = |options, compressed: &[u64]| phases(options, 20, 5, compressed);
        assert_eq!(fresh("weights = 'scratch'", &[400]), Phases { fresh: 20, ..Phases::default() });
        // (15 * 1000 + 5 * 400) / 400 = 42.5.
        assert_eq!(fresh("weights = 'scratch_compute'", &[400]), Phases { fresh: 43, ..Phases::default() });
        // (15 * 1000 + 2 * 700 + 3 * 400) / 400 = 44.
        assert_eq!(fresh("weights = 'scratch_compute'\nsteps = 2", &[700, 400]).fresh, 44);
        let global = fresh("weights = 'scratch'\nranking = 'global'", &[400]);
        assert_eq!(global, Phases { whole: 15, finetune: vec![], fresh: 20 });
        assert_eq!((global.epochs(), global.macs(1000, &[400])), (35, 15 * 1000 + 20 * 400));
        assert_eq!(phases("weights = 'scratch_compute'", 0, 0, &[400]).epochs(), 0);
    }
}
