//! Which filters stay.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::{Coupling, Pruned};

/// The filters that stay: per producer their indices, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By the producer's name.
    pub kept: BTreeMap<String, Vec<usize>>,
}

impl Selection {
    /// Width of every producer after the cut.
    pub fn widths(&self) -> BTreeMap<String, usize> {
        self.kept.iter().map(|(producer, kept)| (producer.clone(), kept.len())).collect()
    }
}

impl Pruned {
    /// Ranks the filters of every producer on the trained `weights` and keeps the best [`Pruned::kept`] of each; among equal
    /// scores the lower index stays.
    ///
    /// # Errors
    /// Options that do not fit the network, producers without weights, weights that are not finite.
    pub fn select(&self, couplings: &[Coupling], weights: &BTreeMap<String, Tensor>) -> Result<Selection> {
        self.check(couplings)?;
        let mut selection = Selection::default();
        for coupling in couplings {
            let scores = self.criterion.scores(&coupling.producer, weights)?;
            let mut kept: Vec<usize> = (0..scores.len()).collect();
            kept.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            kept.truncate(self.kept(coupling, scores.len()));
            kept.sort_unstable();
            selection.kept.insert(coupling.producer.clone(), kept);
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pruning::Ratio;
    use candle_core::Device;

    fn select(scores: &[f32], ratio: f64) -> Vec<usize> {
        let weight = Tensor::from_slice(scores, (scores.len(), 1, 1, 1), &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("c.weight".to_owned(), weight)]);
        let coupling = Coupling { producer: "c".into(), consumers: vec![], number: 1, stage: 1 };
        let pruned = Pruned { ratio: Ratio::Uniform(ratio), ..Pruned::default() };
        pruned.select(&[coupling], &weights).unwrap().kept["c"].clone()
    }

    #[test]
    fn the_largest_norms_stay_in_order() {
        assert_eq!(select(&[0.1, -3.0, 2.0, -0.5, 1.0], 0.4), [1, 2, 4]);
        assert_eq!(select(&[0.1, -3.0, 2.0], 0.0), [0, 1, 2]);
        assert_eq!(select(&[0.1, -3.0, 2.0], 0.9), [1]);
    }

    #[test]
    fn of_equal_norms_the_first_stay() {
        assert_eq!(select(&[1.0, -1.0, 1.0, -1.0], 0.5), [0, 1]);
        assert_eq!(select(&[0.0; 6], 0.5), [0, 1, 2]);
    }
}
