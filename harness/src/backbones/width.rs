//! How many channels a scaled network has.

/// What a network's nominal channel counts are scaled by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Width {
    /// On every count.
    pub factor: f64,
    /// Scaled counts are multiples of it.
    pub divisor: usize,
}

impl Width {
    /// `channels`, scaled and rounded to the nearest multiple of the divisor, of which there is one at least. What is not scaled is
    /// left as it is published.
    pub fn of(self, channels: usize) -> usize {
        #[expect(clippy::float_cmp, reason = "exactly one scales nothing")]
        if self.factor == 1.0 {
            return channels;
        }
        let divisor = self.divisor.max(1);
        let multiples = (channels as f64 * self.factor / divisor as f64).round() as usize;
        multiples.max(1) * divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_multiples_unless_nothing_is_scaled() {
        let of = |factor, divisor, channels| Width { factor, divisor }.of(channels);
        assert_eq!((of(0.961, 1, 16), of(0.961, 2, 16), of(0.961, 2, 32)), (15, 16, 30));
        assert_eq!((of(0.01, 1, 16), of(0.01, 8, 16)), (1, 8));
        assert_eq!((of(1.0, 8, 10), of(2.0, 8, 10)), (10, 24));
    }
}
