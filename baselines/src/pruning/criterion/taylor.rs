//! Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019, arXiv 1906.10771), Taylor-FO-BN: the first
//! order of what the loss would change by, squared, if a batch norm's scale were 0: `(gamma dL/dgamma)^2`, its mean over
//! batches of training images. Of filters that go together the sum counts (their equation 8), and all filters of a network
//! are ranked together as they are: `ranking = "global"`.
//!
//! The authors' code (NVlabs/Taylor_pruning, method 31) takes gradients in training mode and accumulates squares batch by batch, as
//! here. It also fine-tunes while it accumulates, cuts a hundred filters every 30 batches or so, and averages over cuts with a
//! momentum of 0.9: here a network is seen as it is when it is cut, and `steps` says how often that is. Where it is given a
//! shift, it adds `beta dL/dbeta` before it squares; the paper's formula, taken here, has the scale alone.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};

use super::Scores;

/// The importance of filters, gathered batch by batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// Sums over batches, by layer.
    sums: BTreeMap<String, Vec<f64>>,
}

impl Importance {
    /// Adds what a batch says of a layer: its batch norm's `scale`, and the loss's `gradient` to that.
    ///
    /// # Errors
    /// Tensors that are not of one and the same dimension.
    pub fn add(&mut self, layer: &str, scale: &Tensor, gradient: &Tensor) -> Result<()> {
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.to_vec1::<f32>();
        let (scale, gradient) = (values(scale)?, values(gradient)?);
        let sums = self.sums.entry(layer.to_owned()).or_insert_with(|| vec![0.0; scale.len()]);
        if sums.len() != scale.len() || scale.len() != gradient.len() {
            bail!("pruning: {} scales of `{layer}` with {} gradients", scale.len(), gradient.len());
        }
        for (sum, (scale, gradient)) in sums.iter_mut().zip(scale.into_iter().zip(gradient)) {
            *sum += (f64::from(scale) * f64::from(gradient)).powi(2);
        }
        Ok(())
    }
}

pub(super) fn scores(layer: &str, importance: &Importance) -> Result<Scores> {
    match importance.sums.get(layer) {
        // As many batches for all: the sum ranks as the mean does.
        Some(sums) => Ok(Scores { of: sums.clone(), size: 1.0 }),
        None => bail!("pruning: no gradients of the batch norm of `{layer}`, which taylor ranks by"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{Criterion, Evidence};
    use super::*;
    use crate::pruning::{Coupling, Place};

    #[test]
    fn squares_are_summed_over_batches_and_over_tied_filters() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let mut importance = Importance::default();
        // (2 * 0.5)^2 + (2 * -1)^2 = 5; opposite signs of two batches do not cancel.
        for gradient in [[0.5, 0.0], [-1.0, 3.0]] {
            importance.add("a", &tensor(&[2.0, -1.0]), &tensor(&gradient)).unwrap();
        }
        importance.add("b", &tensor(&[1.0, 1.0]), &tensor(&[2.0, 0.0])).unwrap();
        assert!(importance.add("b", &tensor(&[1.0]), &tensor(&[2.0])).is_err());
        let evidence = Evidence { weights: &BTreeMap::new(), importance: &importance, seed: 0 };
        let mut coupling = Coupling::plain("a", &[], 2, 1, 1);
        let scores = |coupling: &Coupling, comparable| Criterion::Taylor.scores(coupling, &evidence, comparable);
        assert_eq!(scores(&coupling, false).unwrap(), [5.0, 9.0]);
        coupling.producers.push(Place::whole("b", 2));
        for comparable in [false, true] {
            assert_eq!(scores(&coupling, comparable).unwrap(), [9.0, 9.0]);
        }
        coupling.producers.push(Place::whole("c", 2));
        assert!(scores(&coupling, false).unwrap_err().to_string().contains("no gradients of the batch norm of `c`"));
    }
}
