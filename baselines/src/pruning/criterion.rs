//! What makes a filter worth keeping.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};
use conv_core::choice;

choice! {
    /// Scores the filters of a convolution; the lowest go first.
    Criterion {
        /// Sum of the absolute weights of a filter (Li et al., section 3.1); the bias does not count.
        L1 = "l1",
    }
}

impl Criterion {
    /// One score per filter of the convolution called `producer`, out of the network's `weights`.
    ///
    /// # Errors
    /// No `PRODUCER.weight`, one that is no convolution's, or weights that are not finite.
    pub fn scores(self, producer: &str, weights: &BTreeMap<String, Tensor>) -> Result<Vec<f32>> {
        let weight = filters(producer, weights)?;
        let scores = match self {
            Self::L1 => weight.to_dtype(DType::F32)?.abs()?.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?,
        };
        if let Some(filter) = scores.iter().position(|score| !score.is_finite()) {
            bail!("pruning: filter {filter} of `{producer}.weight` is not finite: the network has diverged");
        }
        Ok(scores)
    }
}

/// The weight `[filters, c, k, k]` of a vanilla convolution.
pub(super) fn filters<'a>(producer: &str, weights: &'a BTreeMap<String, Tensor>) -> Result<&'a Tensor> {
    let Some(weight) = weights.get(&format!("{producer}.weight")) else {
        bail!("pruning: no `{producer}.weight`; only vanilla convolutions can be pruned");
    };
    if weight.rank() != 4 {
        bail!("pruning: `{producer}.weight` is {:?}; a convolution's has four dimensions", weight.dims());
    }
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn l1_sums_the_absolute_weights_of_a_filter() {
        // Three filters over two channels of 1 x 2 pixels each.
        let values = [1f32, -2.0, 0.5, 0.0, -1.0, -1.0, -1.0, -1.0, 0.25, 0.0, 0.0, -0.5];
        let weight = Tensor::from_slice(&values, (3, 2, 1, 2), &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("c.weight".to_owned(), weight)]);
        assert_eq!(Criterion::L1.scores("c", &weights).unwrap(), [3.5, 4.0, 0.75]);
        let error = Criterion::L1.scores("d", &weights).unwrap_err().to_string();
        assert!(error.contains("no `d.weight`"), "{error}");
    }

    #[test]
    fn diverged_weights_are_refused() {
        let weight = Tensor::from_slice(&[1f32, f32::NAN], (2, 1, 1, 1), &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("c.weight".to_owned(), weight)]);
        assert!(Criterion::L1.scores("c", &weights).unwrap_err().to_string().contains("filter 1"));
    }
}
