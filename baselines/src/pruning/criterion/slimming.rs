//! Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (ICCV 2017, arXiv 1708.06519): the absolute
//! scale of the batch norm behind a filter. Training before the cut adds `penalty * |gamma|` for every batch norm to the loss,
//! by the subgradient `penalty * sign(gamma)`, with 1e-4 as in the authors' code (Eric-mingjie/network-slimming, whose penalty, as
//! here, is on every batch norm, pruned or not). They rank all scales of a network together: `ranking = "global"`.
//!
//! Between layers: as it is; of filters that go together, their mean.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};

use super::Scores;

pub(super) fn scores(layer: &str, weights: &BTreeMap<String, Tensor>) -> Result<Scores> {
    let Some(scale) = weights.get(&format!("{layer}.bn.weight")) else {
        bail!("pruning: `{layer}` has no batch norm, whose scale slimming ranks by");
    };
    let scale = scale.to_dtype(DType::F32)?.abs()?.to_vec1::<f32>()?;
    Ok(Scores { of: scale.into_iter().map(f64::from).collect(), size: 1.0 })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{Criterion, Evidence, Importance};
    use super::*;
    use crate::pruning::Coupling;

    #[test]
    fn scales_count_without_their_sign() {
        let scale = Tensor::new(&[0.5f32, -2.0, 0.0], &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("c.bn.weight".to_owned(), scale)]);
        let evidence = Evidence { weights: &weights, importance: &Importance::default(), seed: 0 };
        for comparable in [false, true] {
            let of = |layer| Criterion::Slimming.scores(&Coupling::plain(layer, &[], 3, 1, 1), &evidence, comparable);
            assert_eq!(of("c").unwrap(), [0.5, 2.0, 0.0]);
            assert!(of("d").unwrap_err().to_string().contains("`d` has no batch norm"));
        }
    }
}
