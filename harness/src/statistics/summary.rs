//! Mean and spread.

use super::FALSE_VERDICTS;
use super::distributions::critical;

/// Two ends of which the lower comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Mean and spread of a quantity over seeds. NaN among the values makes both NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1 in the denominator); none for a single value.
    pub deviation: Option<f64>,
}

impl Summary {
    /// None of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (n >= 2).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { n, mean, deviation })
    }

    /// Standard deviation of the mean; none for a single value.
    pub fn error(&self) -> Option<f64> {
        Some(self.deviation? / (self.n as f64).sqrt())
    }

    /// 95 % confidence interval of the mean (Student t, two-sided), exact for normal values; none for a single value.
    pub fn interval(&self) -> Option<Interval> {
        let half = self.error()? * critical(FALSE_VERDICTS, (self.n - 1) as f64);
        Some(Interval { low: self.mean - half, high: self.mean + half })
    }
}

/// The pooled sample standard deviation of several quantities; those of one value, or that are not finite, tell nothing. None where
/// nothing varies.
pub fn pooled_deviation(summaries: impl IntoIterator<Item = Summary>) -> Option<f64> {
    let (mut squares, mut freedom) = (0.0, 0);
    for Summary { n, deviation, .. } in summaries {
        if let Some(deviation) = deviation.filter(|deviation| deviation.is_finite()) {
            squares += (n - 1) as f64 * deviation * deviation;
            freedom += n - 1;
        }
    }
    (squares > 0.0).then(|| (squares / freedom as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_spread_and_interval_are_those_of_a_hand_computation() {
        let summary = Summary::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((summary.n, summary.mean), (4, 2.5));
        assert!((summary.deviation.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
        // 2.5 +- 3.182446 * 1.290994 / 2.
        let Interval { low, high } = summary.interval().unwrap();
        assert!((low - 0.445_739_7).abs() < 1e-6 && (high - 4.554_260_3).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn one_value_has_no_spread_and_none_no_mean() {
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.mean, one.deviation, one.interval()), (3.0, None, None));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn nan_stays_nan() {
        let summary = Summary::of(&[1.0, f64::NAN, 3.0]).unwrap();
        assert!(summary.mean.is_nan() && summary.deviation.unwrap().is_nan());
        assert!(summary.interval().unwrap().low.is_nan());
    }
}
