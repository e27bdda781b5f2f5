//! What makes a filter worth keeping: a file for each criterion.
//!
//! A criterion scores the filters of one convolution. Filters that go together, because a residual addition ties them, have
//! the sum of their scores. Where all filters of a network are ranked together, scores of layers of different sizes have to
//! be comparable: each file says what is done for that.

mod fpgm;
mod l1;
mod random;
mod slimming;
mod taylor;

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};
use conv_core::choice;

use super::Coupling;

pub use taylor::Importance;

choice! {
    /// Scores the filters of a convolution; the lowest go first.
    Criterion {
        /// Sum of the absolute weights of a filter (Li et al., section 3.1); the bias does not count.
        L1 = "l1",
        /// Sum of a filter's distances to the others of its layer (He et al., "Filter Pruning via Geometric Median").
        Fpgm = "fpgm",
        /// Absolute scale of the filter's batch norm, which an L1 penalty made small in training (Liu et al., "network slimming").
        Slimming = "slimming",
        /// Squared first-order change of the loss without the filter, by its batch norm's scale (Molchanov et al., Taylor-FO-BN).
        Taylor = "taylor",
        /// Any filter as well as another: the control.
        Random = "random",
    }
}

/// What is known of a trained network when its filters are ranked.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Parameters and running statistics, by name.
    pub weights: &'a BTreeMap<String, Tensor>,
    /// What training images say of its filters; only [`Criterion::Taylor`] looks at it.
    pub importance: &'a Importance,
    /// The trial's; only [`Criterion::Random`] looks at it.
    pub seed: u64,
}

/// Scores of a layer's filters, and by how much they grow with the layer's size alone.
struct Scores {
    of: Vec<f64>,
    size: f64,
}

impl Criterion {
    /// Whether it has to see gradients on training images: [`Evidence::importance`].
    pub fn needs_gradients(self) -> bool {
        self == Self::Taylor
    }

    /// One score for each filter of the coupling. `comparable`: also with those of other couplings.
    ///
    /// # Errors
    /// No `LAYER.weight` (or, for those that look at it, no batch norm), one that is no convolution's, or weights that are not
    /// finite.
    pub fn scores(self, coupling: &Coupling, evidence: &Evidence<'_>, comparable: bool) -> Result<Vec<f64>> {
        if self == Self::Random {
            return Ok(random::scores(evidence.seed, coupling));
        }
        let mut sums = vec![0.0; coupling.filters()];
        let mut size = 0.0;
        for place in &coupling.producers {
            let scores = self.of_layer(&place.layer, evidence)?;
            if let Some(filter) = scores.of.iter().position(|score| !score.is_finite()) {
                bail!("pruning: filter {filter} of `{}` is not finite: the network has diverged", place.layer);
            }
            for (sum, &channel) in sums.iter_mut().zip(&place.channels) {
                let Some(score) = scores.of.get(channel) else {
                    bail!("pruning: `{}` has no filter {channel}, only {}", place.layer, scores.of.len());
                };
                *sum += score;
            }
            size += scores.size;
        }
        if comparable && self != Self::Taylor {
            sums.iter_mut().for_each(|sum| *sum /= size);
        }
        Ok(sums)
    }

    fn of_layer(self, layer: &str, evidence: &Evidence<'_>) -> Result<Scores> {
        match self {
            Self::L1 => l1::scores(filters(layer, evidence.weights)?),
            Self::Fpgm => fpgm::scores(filters(layer, evidence.weights)?),
            Self::Slimming => slimming::scores(layer, evidence.weights),
            Self::Taylor => taylor::scores(layer, evidence.importance),
            Self::Random => bail!("pruning: random filters are drawn for a coupling, not for `{layer}`"),
        }
    }
}

/// The weight `[filters, c, k, k]` of a vanilla convolution.
pub(super) fn filters<'a>(layer: &str, weights: &'a BTreeMap<String, Tensor>) -> Result<&'a Tensor> {
    let Some(weight) = weights.get(&format!("{layer}.weight")) else {
        bail!("pruning: no `{layer}.weight`; only vanilla convolutions can be pruned");
    };
    if weight.rank() != 4 {
        bail!("pruning: `{layer}.weight` is {:?}; a convolution's has four dimensions", weight.dims());
    }
    Ok(weight)
}

/// A weight's filters, one row of f32 each.
fn rows(weight: &Tensor) -> Result<Vec<Vec<f32>>> {
    weight.to_dtype(DType::F32)?.flatten_from(1)?.to_vec2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Scores of a layer `c` of these filters over one channel, by themselves and comparable.
    pub(super) fn scores(criterion: Criterion, filters: &[&[f32]]) -> [Result<Vec<f64>>; 2] {
        let (count, pixels) = (filters.len(), filters[0].len());
        let weight = Tensor::from_slice(&filters.concat(), (count, 1, 1, pixels), &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("c.weight".to_owned(), weight)]);
        let evidence = Evidence { weights: &weights, importance: &Importance::default(), seed: 0 };
        let coupling = Coupling::plain("c", &[], count, 1, 1);
        [false, true].map(|comparable| criterion.scores(&coupling, &evidence, comparable))
    }

    #[test]
    fn diverged_weights_are_refused() {
        for criterion in [Criterion::L1, Criterion::Fpgm] {
            let [error, _] = scores(criterion, &[&[1.0], &[f32::NAN], &[2.0]]);
            assert!(error.unwrap_err().to_string().contains("has diverged"), "{criterion:?}");
        }
    }

    #[test]
    fn scores_of_tied_filters_are_summed() {
        let layer = |values: [f32; 4]| Tensor::from_slice(&values, (4, 1, 1, 1), &Device::Cpu).unwrap();
        let weights = BTreeMap::from([
            ("a.weight".to_owned(), layer([1.0, 2.0, 3.0, 4.0])),
            ("b.weight".to_owned(), layer([10.0, 20.0, 30.0, 40.0])),
        ]);
        let evidence = Evidence { weights: &weights, importance: &Importance::default(), seed: 0 };
        let mut coupling = Coupling::plain("a", &[], 2, 1, 1);
        coupling.producers[0].channels = vec![1, 2];
        coupling.producers.push(crate::pruning::Place { layer: "b".into(), channels: vec![0, 3] });
        assert_eq!(Criterion::L1.scores(&coupling, &evidence, false).unwrap(), [12.0, 43.0]);
        // One weight a filter, two filters.
        assert_eq!(Criterion::L1.scores(&coupling, &evidence, true).unwrap(), [6.0, 21.5]);
        coupling.producers[1].channels = vec![0, 4];
        let error = Criterion::L1.scores(&coupling, &evidence, false).unwrap_err().to_string();
        assert!(error.contains("`b` has no filter 4"), "{error}");
        coupling.producers[1].layer = "d".into();
        let error = Criterion::L1.scores(&coupling, &evidence, false).unwrap_err().to_string();
        assert!(error.contains("no `d.weight`"), "{error}");
    }
}
