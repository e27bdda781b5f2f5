//! Two trained networks on the same images: whether others of these would judge them the same. It says nothing of the methods
//! that made them: another seed is another network.

use libm::lgamma;

use super::bootstrap::percentiles;
use super::{Interval, Verdict};

/// Two networks on the same images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageComparison {
    /// Images.
    pub images: usize,
    /// Those that the first alone gets right.
    pub first_only: usize,
    /// Those that the second alone gets right.
    pub second_only: usize,
}

impl ImageComparison {
    /// Which images each gets right, in one order; none where there are none, or not as many of both.
    pub fn of(first: &[bool], second: &[bool]) -> Option<Self> {
        if first.len() != second.len() || first.is_empty() {
            return None;
        }
        let count = |wanted: (bool, bool)| first.iter().zip(second).filter(|&(a, b)| (*a, *b) == wanted).count();
        Some(Self { images: first.len(), first_only: count((true, false)), second_only: count((false, true)) })
    }

    /// Share that the first gets right, less that of the second.
    pub fn difference(&self) -> f64 {
        (self.first_only as f64 - self.second_only as f64) / self.images as f64
    }

    /// 95 % percentile interval of the difference over images; none where a single image is all there is.
    pub fn interval(&self) -> Option<Interval> {
        if self.images < 2 {
            return None;
        }
        percentiles(|draw| {
            let mut sum = 0i64;
            for _ in 0..self.images {
                let image = draw(self.images);
                if image < self.first_only {
                    sum += 1;
                } else if image < self.first_only + self.second_only {
                    sum -= 1;
                }
            }
            sum as f64 / self.images as f64
        })
    }

    /// Two-sided p of no difference: McNemar's exact test. Images on which both agree do not count.
    pub fn p(&self) -> f64 {
        (2.0 * self.tail()).min(1.0)
    }

    /// The same with half the probability of what was found (mid-p): less conservative, and not exact. 1 where both differ on
    /// no image.
    pub fn mid_p(&self) -> f64 {
        (2.0 * self.tail() - self.chance(self.fewer())).min(1.0)
    }

    /// On the first network, by the exact test.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.p(), self.difference())
    }

    fn fewer(&self) -> usize {
        self.first_only.min(self.second_only)
    }

    /// Chance of at most the fewer, were each as likely to be right where they differ.
    fn tail(&self) -> f64 {
        (0..=self.fewer()).map(|k| self.chance(k)).sum()
    }

    /// Binomial probability of `k` among those on which they differ.
    fn chance(&self, k: usize) -> f64 {
        let (n, k) = ((self.first_only + self.second_only) as f64, k as f64);
        (lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) - n * std::f64::consts::LN_2).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(first_only: usize, second_only: usize) -> ImageComparison {
        ImageComparison { images: 10_000, first_only, second_only }
    }

    /// The first is the example of M. W. Fagerland and others (2013): exact 0.0703, mid-p 0.0391. The others are SciPy's
    /// (`binomtest`).
    #[test]
    fn p_is_that_of_mcnemars_exact_test() {
        let known = [
            (counts(1, 7), 0.0703125),
            (counts(59, 16), 6.114156572521501e-07),
            (counts(200, 240), 0.06286871784615478),
            (counts(2200, 2000), 0.0021323556719912455),
            (counts(0, 0), 1.0),
            (counts(5, 5), 1.0),
        ];
        for (found, p) in known {
            assert!((found.p() - p).abs() < 1e-9 * p, "{found:?}: {}", found.p());
            assert!(found.mid_p() <= found.p());
        }
        assert!((counts(1, 7).mid_p() - 0.0390625).abs() < 1e-12);
        assert_eq!(counts(0, 0).mid_p(), 1.0);
    }

    #[test]
    fn images_are_compared_one_by_one() {
        let first = [true, true, false, true, false];
        let second = [true, false, true, false, false];
        let found = ImageComparison::of(&first, &second).unwrap();
        assert_eq!(found, ImageComparison { images: 5, first_only: 2, second_only: 1 });
        assert!((found.difference() - 0.2).abs() < 1e-15);
        assert_eq!(found.verdict(), Verdict::NotDistinguishable);
        assert_eq!(ImageComparison::of(&first, &second[1..]), None);
        assert_eq!(ImageComparison::of(&[], &[]), None);
    }

    #[test]
    fn a_verdict_is_on_the_first_network() {
        assert_eq!(counts(59, 16).verdict(), Verdict::Better);
        assert_eq!(counts(16, 59).verdict(), Verdict::Worse);
        assert_eq!(counts(1, 7).verdict(), Verdict::NotDistinguishable);
    }

    #[test]
    fn the_interval_is_that_of_the_normal_distribution_for_many_images() {
        // 0.02 +- 1.96 * sqrt((0.05 + 0.03 - 0.0004) / 1000), within the scatter of the draws.
        let found = ImageComparison { images: 1000, first_only: 50, second_only: 30 };
        let Interval { low, high } = found.interval().unwrap();
        assert!((low - 0.0025).abs() < 0.0012 && (high - 0.0375).abs() < 0.0012, "{low} {high}");
        assert_eq!(ImageComparison { images: 1, ..found }.interval(), None);
    }
}
