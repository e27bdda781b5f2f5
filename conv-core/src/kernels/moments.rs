//! What batch normalisation makes of a channel's values, whichever family of kernels goes through them.

/// Sums of some of a channel's values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    /// Sum of squared distances from the mean.
    pub(crate) squares: f64,
}

impl Moments {
    /// Both together (Chan, Golub & LeVeque 1979).
    pub(crate) fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let distance = other.mean - self.mean;
        let mean = self.mean + distance * other.count / count;
        let squares = self.squares + other.squares + distance * distance * self.count * other.count / count;
        Self { count, mean, squares }
    }

    /// All together, of parts with the same count. The sum is the same as that of [`Moments::merge`] but for rounding: the
    /// mean is made first, and every part then meets the final one.
    pub(crate) fn of_equal_parts(parts: impl ExactSizeIterator<Item = Self> + Clone) -> Self {
        let parts_count = parts.len() as f64;
        let mean = parts.clone().map(|part| part.mean).sum::<f64>() / parts_count;
        let squares = parts.clone().map(|part| part.squares + part.count * (part.mean - mean).powi(2)).sum();
        Self { count: parts.map(|part| part.count).sum(), mean, squares }
    }

    /// The biased variance, which normalises.
    pub(crate) fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

/// What a norm divides by, inverted.
pub(crate) fn inv_std(variance: f64, eps: f64) -> f64 {
    1.0 / (variance + eps).sqrt()
}

/// A norm's weight and bias with the statistics that normalise, as `scale x + shift`.
pub(crate) fn scale_and_shift(weight: f32, bias: f32, mean: f64, inv_std: f64) -> (f32, f32) {
    let scale = f64::from(weight) * inv_std;
    (scale as f32, (f64::from(bias) - scale * mean) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        Moments { count, mean, squares: values.iter().map(|value| (value - mean).powi(2)).sum() }
    }

    fn assert_close(got: Moments, want: Moments) {
        let close = |got: f64, want: f64| (got - want).abs() <= 1e-12 * want.abs().max(1.0);
        let same = got.count == want.count && close(got.mean, want.mean) && close(got.squares, want.squares);
        assert!(same, "{got:?}, not {want:?}");
    }

    #[test]
    fn parts_together_are_the_whole_in_either_way() {
        // A large mean, of which differences have to be kept.
        let values: Vec<f64> = crate::normal_stream(3, "moments", 60).into_iter().map(|value| value + 100.0).collect();
        let parts = || values.chunks_exact(12).map(of);
        let want = of(&values);
        assert_close(parts().fold(Moments::default(), Moments::merge), want);
        assert_close(Moments::of_equal_parts(parts()), want);
        // Of different counts, and none at all.
        assert_close(of(&values[..7]).merge(of(&values[7..])), want);
        assert_eq!(Moments::default().merge(Moments::default()), Moments::default());
        assert!((want.variance() - want.squares / 60.0).abs() < 1e-15);
    }

    #[test]
    fn scale_and_shift_normalise_to_weight_and_bias() {
        let (mean, variance) = (3.0, 4.0 - 1e-5);
        let inv = inv_std(variance, 1e-5);
        assert!((inv - 0.5).abs() < 1e-12);
        assert_eq!(scale_and_shift(3.0, -1.0, mean, inv), (1.5, -5.5));
    }
}
