//! Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017, arXiv 1608.08710), section 3.1: the sum of a filter's absolute
//! weights.
//!
//! Between layers: per weight, so that a filter is not worth more for reading more channels. The paper ranks layers apart.

use candle_core::{DType, Result, Tensor};

use super::Scores;

pub(super) fn scores(weight: &Tensor) -> Result<Scores> {
    let sums = weight.to_dtype(DType::F32)?.abs()?.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?;
    let size = weight.elem_count() / sums.len().max(1);
    Ok(Scores { of: sums.into_iter().map(f64::from).collect(), size: size as f64 })
}

#[cfg(test)]
mod tests {
    use super::super::Criterion;
    use super::super::tests::scores;

    #[test]
    fn absolute_weights_are_summed() {
        let [own, comparable] =
            scores(Criterion::L1, &[&[1.0, -2.0, 0.5, 0.0], &[-1.0, -1.0, -1.0, -1.0], &[0.25, 0.0, 0.0, -0.5]]);
        assert_eq!(own.unwrap(), [3.5, 4.0, 0.75]);
        assert_eq!(comparable.unwrap(), [0.875, 1.0, 0.1875]);
    }
}
