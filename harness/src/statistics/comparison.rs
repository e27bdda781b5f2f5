//! Two methods, seed by seed.

use super::distributions::two_sided;
use super::{FALSE_VERDICTS, Interval, Summary};

/// A seed and what a method came to with it.
pub type SeedValue = (u64, f64);

/// What can be said of one method beside another, larger values being better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its mean over all seeds is larger.
    Better,
    /// Its mean over all seeds is smaller.
    Worse,
    /// Either may be so.
    NotDistinguishable,
}

/// Why two methods could not even be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No seed was finished with both.
    NoCommonSeed,
    /// One seed was: it says nothing of others.
    OneSeed,
    /// Some value is NaN or infinite.
    NotFinite,
    /// Every seed gives the same difference, and not 0: nothing tells how others would vary.
    NoSpread,
}

/// One method beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Differences, first less second, over the seeds that both have; none without such a seed.
    pub difference: Option<Summary>,
    /// Seeds that only one of both has: they are left out.
    pub left_out: usize,
    /// Two-sided p of no difference (paired t test), or why there is none.
    pub p: Result<f64, Doubt>,
}

impl Verdict {
    /// Of a p value and the difference that it is about.
    pub fn of(p: f64, difference: f64) -> Self {
        match p < FALSE_VERDICTS {
            true if difference > 0.0 => Self::Better,
            true if difference < 0.0 => Self::Worse,
            _ => Self::NotDistinguishable,
        }
    }

    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NotDistinguishable => "not distinguishable",
        }
    }
}

impl Doubt {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCommonSeed => "no common seed",
            Self::OneSeed => "one seed",
            Self::NotFinite => "a value is not a number",
            Self::NoSpread => "no spread between seeds",
        }
    }
}

impl Comparison {
    /// Seeds that both have.
    pub fn seeds(&self) -> usize {
        self.difference.map_or(0, |difference| difference.n)
    }

    /// 95 % interval of the difference (Student t): it leaves out 0 where there is a verdict. None of fewer than two seeds.
    pub fn interval(&self) -> Option<Interval> {
        self.difference?.interval()
    }

    /// Whether the seeds show that the first method is not worse by more than `margin` (>= 0, in the unit of the values): the
    /// interval begins above it. Of methods that are worse by just so much, 2.5 % pass: the lower half of the 5 %.
    ///
    /// # Errors
    /// Why the two could not be tested.
    pub fn not_worse_by(&self, margin: f64) -> Result<bool, Doubt> {
        self.p?;
        Ok(self.interval().is_some_and(|interval| interval.low > -margin))
    }

    /// On the first method.
    pub fn verdict(&self) -> Verdict {
        match (self.p, self.difference) {
            (Ok(p), Some(difference)) => Verdict::of(p, difference.mean),
            _ => Verdict::NotDistinguishable,
        }
    }
}

/// Compares two methods by the seeds that both have; of a seed that comes twice, the first counts. Exact where differences
/// between seeds are normal, whatever either method's own spread; conservative where they are symmetric with heavier tails.
pub fn compare(a: &[SeedValue], b: &[SeedValue]) -> Comparison {
    let differences = differences(a, b);
    let left_out = a.len() + b.len() - 2 * differences.len();
    let difference = Summary::of(&differences);
    // What is left of equal differences after rounding is no spread.
    let rounding = 1e-12 * a.iter().chain(b).fold(0.0f64, |most, (_, value)| most.max(value.abs()));
    let p = match difference {
        None => Err(Doubt::NoCommonSeed),
        Some(difference) if !difference.mean.is_finite() => Err(Doubt::NotFinite),
        Some(difference) => match difference.error() {
            None => Err(Doubt::OneSeed),
            Some(error) if error.max(difference.mean.abs()) <= rounding => Ok(1.0),
            Some(error) if error <= rounding => Err(Doubt::NoSpread),
            Some(error) => Ok(two_sided(difference.mean / error, (difference.n - 1) as f64)),
        },
    };
    Comparison { difference, left_out, p }
}

/// First less second, by the seeds that both have, in the order of the first.
pub fn differences(a: &[SeedValue], b: &[SeedValue]) -> Vec<f64> {
    let common = a.iter().filter_map(|(seed, mine)| {
        let (_, theirs) = b.iter().find(|(other, _)| other == seed)?;
        Some(mine - theirs)
    });
    common.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seeds(values: &[f64]) -> Vec<SeedValue> {
        (0..).zip(values.iter().copied()).collect()
    }

    /// Student's own data (additional hours of sleep); R: `t.test(group1, group2, paired = TRUE)` gives t = -4.0621, df = 9,
    /// p-value = 0.002833, interval -2.4598858 to -0.7001142.
    #[test]
    fn the_test_is_rs_paired_t_test() {
        let a = seeds(&[0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]);
        let b = seeds(&[1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]);
        let found = compare(&a, &b);
        assert!((found.p.unwrap() - 0.002_832_890_197).abs() < 1e-11, "{found:?}");
        let Interval { low, high } = found.interval().unwrap();
        assert!((low + 2.459_885_8).abs() < 1e-6 && (high + 0.700_114_2).abs() < 1e-6, "{low} {high}");
        assert_eq!((found.verdict(), compare(&b, &a).verdict()), (Verdict::Worse, Verdict::Better));
    }

    #[test]
    fn seeds_pair_by_number_and_others_are_left_out() {
        let found = compare(&[(7, 1.0), (2, 5.0), (9, 4.0)], &[(2, 3.0), (7, 0.5), (4, 9.0)]);
        let difference = found.difference.unwrap();
        assert_eq!((found.seeds(), found.left_out, difference.mean), (2, 2, 1.25));
    }

    #[test]
    fn what_is_not_worse_by_a_margin_is_told_by_the_interval() {
        // Differences -0.2, 0.1, -0.2, 0.3, -0.3: the interval begins at -0.3717.
        let a = seeds(&[10.0, 10.5, 10.2, 11.0, 9.8]);
        let found = compare(&a, &seeds(&[10.2, 10.4, 10.4, 10.7, 10.1]));
        assert_eq!([0.37, 0.38].map(|margin| found.not_worse_by(margin)), [Ok(false), Ok(true)]);
        assert_eq!(found.not_worse_by(0.0), Ok(false));
        // Two that are the same are not worse by anything; what could not be tested shows nothing.
        assert_eq!(compare(&a, &a).not_worse_by(0.1), Ok(true));
        assert_eq!(compare(&a[..1], &a).not_worse_by(100.0), Err(Doubt::OneSeed));
        assert_eq!(compare(&seeds(&[2.0, 3.0]), &seeds(&[1.0, 2.0])).not_worse_by(9.0), Err(Doubt::NoSpread));
    }

    #[test]
    fn too_little_for_a_test_is_said_and_never_a_verdict() {
        let told = |a: &[SeedValue], b: &[SeedValue]| {
            let found = compare(a, b);
            assert_eq!(found.verdict(), Verdict::NotDistinguishable, "{found:?}");
            found.p
        };
        assert_eq!(told(&[], &[(0, 1.0)]), Err(Doubt::NoCommonSeed));
        assert_eq!(told(&[(0, 9.0), (1, 9.0)], &[(2, 1.0), (3, 1.0)]), Err(Doubt::NoCommonSeed));
        assert_eq!(told(&[(0, 9.0)], &[(0, 1.0), (1, 1.0)]), Err(Doubt::OneSeed));
        assert_eq!(told(&seeds(&[9.0, f64::NAN]), &seeds(&[1.0, 2.0])), Err(Doubt::NotFinite));
        assert_eq!(told(&seeds(&[f64::INFINITY, 2.0]), &seeds(&[1.0, 2.0])), Err(Doubt::NotFinite));
        // Equal differences, not all of them after rounding.
        assert_eq!(told(&seeds(&[0.3, 0.4, 0.9]), &seeds(&[0.1, 0.2, 0.7])), Err(Doubt::NoSpread));
        // No difference anywhere is no doubt.
        assert_eq!(told(&seeds(&[5.0, 6.0]), &seeds(&[5.0, 6.0])), Ok(1.0));
    }

    proptest! {
        #[test]
        fn the_interval_leaves_out_0_where_there_is_a_verdict(
            pairs in prop::collection::vec((0.0..100.0f64, -1.0..1.5f64), 2..12),
        ) {
            let a: Vec<f64> = pairs.iter().map(|(base, more)| base + more).collect();
            let b: Vec<f64> = pairs.iter().map(|(base, _)| *base).collect();
            let found = compare(&seeds(&a), &seeds(&b));
            let Interval { low, high } = found.interval().unwrap();
            let expected = match () {
                () if low > 0.0 => Verdict::Better,
                () if high < 0.0 => Verdict::Worse,
                () => Verdict::NotDistinguishable,
            };
            prop_assert_eq!(found.verdict(), expected);
        }

        #[test]
        fn neither_order_nor_scale_nor_a_seeds_own_level_matters(
            pairs in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64, -0.2..0.2f64), 2..8), turn in 0usize..8,
        ) {
            let a: Vec<f64> = pairs.iter().map(|(a, ..)| *a).collect();
            let b: Vec<f64> = pairs.iter().map(|(_, b, _)| *b).collect();
            let moved = |values: &[f64]| {
                let moved = values.iter().zip(&pairs).map(|(value, (.., level))| 100.0 * (value + level));
                let mut moved = seeds(&moved.collect::<Vec<_>>());
                moved.rotate_left(turn % values.len());
                moved
            };
            let (one, other) = (compare(&seeds(&a), &seeds(&b)), compare(&moved(&a), &moved(&b)));
            if let (Ok(p), Ok(q)) = (one.p, other.p) {
                prop_assert!((p - q).abs() < 1e-6, "{} {}", p, q);
            }
            let swapped = compare(&seeds(&b), &seeds(&a));
            prop_assert_eq!(swapped.p, one.p);
        }
    }
}
