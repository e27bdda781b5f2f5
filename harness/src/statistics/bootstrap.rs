//! The percentile bootstrap (Efron 1979): samples drawn from the sample.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{FALSE_VERDICTS, Interval};

/// Samples that are drawn.
const DRAWS: usize = 10_000;

/// 95 % percentile interval of the mean; none for fewer than two values. The same values in the same order give the same
/// interval. It describes the values that are there: of two, three, five and ten seeds, the interval covers the mean of all
/// seeds in about 50, 75, 83 and 91 % of studies.
pub fn bootstrap(values: &[f64]) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    percentiles(|draw| {
        let sum: f64 = values.iter().map(|_| values[draw(values.len())]).sum();
        sum / values.len() as f64
    })
}

/// 95 % interval of a statistic over drawn samples. `statistic` gets a function that draws an index below a length. None where a
/// draw is not finite: nothing can be said of such values.
pub(super) fn percentiles(statistic: impl Fn(&mut dyn FnMut(usize) -> usize) -> f64) -> Option<Interval> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |length: usize| ((u64::from(random.next_u32()) * length as u64) >> 32) as usize;
    let mut draws: Vec<f64> = (0..DRAWS).map(|_| statistic(&mut draw)).collect();
    if draws.iter().any(|value| !value.is_finite()) {
        return None;
    }
    draws.sort_unstable_by(f64::total_cmp);
    let tail = (DRAWS as f64 * 0.5 * FALSE_VERDICTS) as usize;
    Some(Interval { low: draws[tail], high: draws[DRAWS - 1 - tail] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_values_give_their_extremes() {
        // Of 27 samples one holds the smallest value three times: 3.7 %, more than the 2.5 % at that end.
        assert_eq!(bootstrap(&[2.0, 7.0, 3.0]), Some(Interval { low: 2.0, high: 7.0 }));
    }

    #[test]
    fn many_values_give_the_interval_of_the_normal_distribution() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 % 1000)).collect();
        let Interval { low, high } = bootstrap(&values).unwrap();
        // 499.5 +- 1.96 * 288.67 / sqrt(1000), within the scatter of 10,000 draws.
        assert!((low - 481.6).abs() < 1.0 && (high - 517.4).abs() < 1.0, "{low} {high}");
    }

    #[test]
    fn the_same_values_give_the_same_interval() {
        let values = [0.3, 0.1, 0.8, 0.4, 0.45];
        let interval = bootstrap(&values).unwrap();
        assert_eq!(bootstrap(&values), Some(interval));
        assert!(interval.low > 0.1 && interval.high < 0.8, "{interval:?}");
    }

    #[test]
    fn what_has_no_spread_or_no_mean_has_no_interval() {
        assert_eq!(bootstrap(&[1.0]), None);
        assert_eq!(bootstrap(&[1.0, f64::NAN]), None);
        assert_eq!(bootstrap(&[2.0, 2.0]), Some(Interval { low: 2.0, high: 2.0 }));
    }
}
