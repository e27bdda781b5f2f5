//! He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration" (CVPR 2019, arXiv
//! 1811.00250), equation 8: the sum of a filter's Euclidean distances to all filters of its layer. The smallest are near the
//! layer's geometric median, where others can stand for them.
//!
//! The authors' code (he-y/filter-pruning-geometric-median) can first leave out a share of filters by their norm, and zeroes
//! filters after every epoch of a training, of which they may come back; by its default (`rate_norm` 1) all that goes, goes by
//! distance, as here, and what is cut here is gone.
//!
//! Between layers: the mean distance to another filter, per root of its number of weights, which is the root mean square difference
//! of two weights. The paper ranks layers apart.

use candle_core::{Result, Tensor};

use super::{Scores, rows};

pub(super) fn scores(weight: &Tensor) -> Result<Scores> {
    let rows = rows(weight)?;
    let mut sums = vec![0.0; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        for (other, against) in rows.iter().enumerate().skip(index + 1) {
            let square = |(a, b): (&f32, &f32)| f64::from(a - b) * f64::from(a - b);
            let distance = row.iter().zip(against).map(square).sum::<f64>().sqrt();
            sums[index] += distance;
            sums[other] += distance;
        }
    }
    let (others, weights) = (rows.len().saturating_sub(1).max(1), rows.first().map_or(1, Vec::len));
    Ok(Scores { of: sums, size: others as f64 * (weights as f64).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::super::Criterion;
    use super::super::tests::scores;

    #[test]
    fn distances_to_the_other_filters_are_summed() {
        // (0, 0), (3, 4), (6, 8) and (0, 8): distances 5, 10, 8; 5, 5, 5; 10, 5, 6; 8, 5, 6.
        let [own, comparable] = scores(Criterion::Fpgm, &[&[0.0, 0.0], &[3.0, 4.0], &[6.0, 8.0], &[0.0, 8.0]]);
        assert_eq!(own.unwrap(), [23.0, 15.0, 21.0, 19.0]);
        let root = 2f64.sqrt();
        assert_eq!(comparable.unwrap(), [23.0, 15.0, 21.0, 19.0].map(|sum| sum / (3.0 * root)));
        // By norm the first would go, by distance the one in the middle.
        assert_eq!(scores(Criterion::Fpgm, &[&[7.0]])[1].as_ref().unwrap(), &[0.0]);
    }
}
