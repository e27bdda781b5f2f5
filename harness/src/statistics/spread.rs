//! What all comparisons of a table tell of the spread of each of them.
//!
//! Three seeds tell little of a spread: of two equal methods one pair in a hundred seems to vary seven times less than another. So a
//! pair by itself needs a difference of many spreads for a verdict, and among the thousand pairs of a large table none gets one. But a
//! table has many pairs. Smyth (2004, *Linear models and empirical Bayes methods for assessing differential expression*, section 6)
//! estimates from all of them how spreads are distributed, and replaces each by its posterior mean: where pairs vary alike, by
//! what they have in common; where they do not, by nearly its own.

use super::distributions::{critical, digamma, trigamma, trigamma_inverse, two_sided};
use super::{FALSE_VERDICTS, Interval, Summary};

/// Of fewer comparisons nothing is learnt about how spreads are distributed.
pub(super) const FEWEST: usize = 6;

/// How spreads are distributed over the comparisons of a table: as the inverse of a chi square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedSpread {
    /// As many degrees of freedom as a comparison gets from the others: infinite where all vary alike.
    freedom: f64,
    /// What the variances have in common.
    variance: f64,
    /// No test has more degrees of freedom than all values together.
    most: f64,
}

impl SharedSpread {
    /// Of the differences of a table whose values have `most` degrees of freedom together. None of too few differences with a spread.
    pub fn of(differences: &[Summary], most: f64) -> Option<Self> {
        let known: Vec<(f64, f64)> = differences
            .iter()
            .filter_map(|difference| Some(((difference.n - 1) as f64, difference.deviation?.powi(2))))
            .filter(|(freedom, variance)| *freedom >= 1.0 && variance.is_finite() && *variance > 0.0)
            .collect();
        if known.len() < FEWEST {
            return None;
        }
        let count = known.len() as f64;
        // Logarithms of the variances, without what degrees of freedom do to their mean.
        let logs =
            known.iter().map(|(freedom, variance)| variance.ln() - digamma(0.5 * freedom) + (0.5 * freedom).ln());
        let logs: Vec<f64> = logs.collect();
        let mean = logs.iter().sum::<f64>() / count;
        let scatter = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let expected = known.iter().map(|(freedom, _)| trigamma(0.5 * freedom)).sum::<f64>() / count;
        let (freedom, variance) = if scatter > expected {
            let freedom = 2.0 * trigamma_inverse(scatter - expected);
            (freedom, (mean + digamma(0.5 * freedom) - (0.5 * freedom).ln()).exp())
        } else {
            let weights: f64 = known.iter().map(|(freedom, _)| freedom).sum();
            (f64::INFINITY, known.iter().map(|(freedom, variance)| freedom * variance).sum::<f64>() / weights)
        };
        Some(Self { freedom, variance, most })
    }

    /// Standard deviation of the mean of a difference, and the degrees of freedom of its t. Never less than its own: a pair that
    /// varies more than all others would be told apart by their constancy.
    fn error(&self, difference: &Summary) -> Option<(f64, f64)> {
        let (own, freedom) = (difference.deviation?.powi(2), (difference.n - 1) as f64);
        let posterior = if self.freedom.is_finite() {
            (self.freedom * self.variance + freedom * own) / (self.freedom + freedom)
        } else {
            self.variance
        };
        let error = (posterior.max(own) / difference.n as f64).sqrt();
        Some((error, (self.freedom + freedom).min(self.most)))
    }

    /// Two-sided p of no difference, and the 95 % interval.
    pub fn test(&self, difference: &Summary) -> Option<(f64, Interval)> {
        let (error, freedom) = self.error(difference)?;
        let half = error * critical(FALSE_VERDICTS, freedom);
        let interval = Interval { low: difference.mean - half, high: difference.mean + half };
        Some((two_sided(difference.mean / error, freedom), interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(mean: f64, deviation: f64) -> Summary {
        Summary { n: 3, mean, deviation: Some(deviation) }
    }

    /// By limma's formulas in NumPy and SciPy 1.17.
    #[test]
    fn a_spread_is_smyths() {
        let deviations = [0.1, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 2.0];
        let differences: Vec<Summary> = deviations.iter().map(|deviation| difference(1.0, *deviation)).collect();
        let SharedSpread { freedom, variance, .. } = SharedSpread::of(&differences, 14.0).unwrap();
        assert!(
            (freedom - 2.659_308_910_794).abs() < 1e-6 && (variance - 0.214_536_280_772).abs() < 1e-9,
            "{freedom} {variance}"
        );
    }

    #[test]
    fn where_all_vary_alike_a_pair_has_the_spread_of_all_and_never_less_than_its_own() {
        let differences: Vec<Summary> =
            [0.3, 0.31, 0.32, 0.29, 0.28, 0.3].iter().map(|deviation| difference(1.0, *deviation)).collect();
        let shared = SharedSpread::of(&differences, 6.0).unwrap();
        assert_eq!(shared.freedom, f64::INFINITY);
        let (p, interval) = shared.test(&difference(1.0, 0.01)).unwrap();
        // t = 1 / sqrt(0.09017 / 3) = 5.768 at 6 degrees of freedom.
        assert!((p - 0.001_184).abs() < 2e-5, "{p}");
        assert!(interval.low > 0.5 && interval.high < 1.5, "{interval:?}");
        let (loose, wide) = shared.test(&difference(1.0, 0.9)).unwrap();
        assert!(loose > 0.09 && wide.low < 0.0, "{loose} {wide:?}");
    }

    #[test]
    fn few_comparisons_share_nothing() {
        let differences = vec![difference(1.0, 0.3); FEWEST - 1];
        assert_eq!(SharedSpread::of(&differences, 6.0), None);
        let without = vec![Summary { n: 1, mean: 1.0, deviation: None }; 20];
        assert_eq!(SharedSpread::of(&without, 6.0), None);
    }
}
