//! All pairs of a table: each with the spread that all of them tell of it, and with Holm's correction.

use super::spread::SharedSpread;
use super::{Comparison, Interval, SeedValue, Summary, Verdict, compare};

/// Two methods of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Index of the first; the verdict is on it.
    pub first: usize,
    /// Index of the second, greater.
    pub second: usize,
    /// The two by themselves.
    pub comparison: Comparison,
    /// The two as a part of their table; none where there is no test.
    pub tested: Option<Tested>,
}

/// A comparison as one of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// Two-sided p of no difference, with what the others tell of its spread ([`SharedSpread`]).
    pub p: f64,
    /// The same with Holm's correction for the number of comparisons.
    pub adjusted: f64,
    /// 95 % interval of the difference, of this comparison by itself.
    pub interval: Interval,
}

impl Pair {
    /// On the first method, with the correction.
    pub fn verdict(&self) -> Verdict {
        match (self.tested, self.comparison.difference) {
            (Some(tested), Some(difference)) => Verdict::of(tested.adjusted, difference.mean),
            _ => Verdict::NotDistinguishable,
        }
    }

    /// The same on either of the two.
    pub fn verdict_on(&self, method: usize) -> Verdict {
        match self.verdict() {
            Verdict::Better if method == self.second => Verdict::Worse,
            Verdict::Worse if method == self.second => Verdict::Better,
            verdict => verdict,
        }
    }

    /// The mean difference of either of the two less the other one; none without a common seed.
    pub fn difference_on(&self, method: usize) -> Option<f64> {
        let mean = self.comparison.difference?.mean;
        Some(if method == self.second { -mean } else { mean })
    }

    /// The interval of either of the two less the other one.
    pub fn interval_on(&self, method: usize) -> Option<Interval> {
        let Interval { low, high } = self.tested?.interval;
        Some(if method == self.second { Interval { low: -high, high: -low } } else { Interval { low, high } })
    }
}

/// The pair of two methods, whichever comes first.
pub fn pair_of(pairs: &[Pair], one: usize, other: usize) -> Option<&Pair> {
    pairs.iter().find(|pair| (pair.first, pair.second) == (one.min(other), one.max(other)))
}

/// Compares every method with every later one. At most 5 % of tables without any difference get a verdict where methods vary alike
/// between seeds, and no more false ones whatever the true differences are; methods share seeds and each other, which only makes it
/// fewer. Where they vary unlike each other it may be somewhat more: see the module's documentation.
pub fn compare_all(methods: &[Vec<SeedValue>]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = (0..methods.len())
        .flat_map(|first| (first + 1..methods.len()).map(move |second| (first, second)))
        .map(|(first, second)| {
            let comparison = compare(&methods[first], &methods[second]);
            Pair { first, second, comparison, tested: None }
        })
        .collect();
    // Of a table of methods and seeds, both of which have a mean.
    let seeds = || methods.iter().map(|method| method.len().saturating_sub(1));
    let freedom = seeds().sum::<usize>() - seeds().max().unwrap_or(0);
    let comparisons: Vec<Comparison> = pairs.iter().map(|pair| pair.comparison).collect();
    for (pair, tested) in pairs.iter_mut().zip(test_together(&comparisons, freedom as f64)) {
        pair.tested = tested;
    }
    pairs
}

/// Tests several comparisons whose values have so many degrees of freedom together; none where there is no test.
pub fn test_together(comparisons: &[Comparison], freedom: f64) -> Vec<Option<Tested>> {
    let differences: Vec<Summary> = comparisons.iter().filter_map(|comparison| comparison.difference).collect();
    let shared = SharedSpread::of(&differences, freedom);
    let alone = |comparison: &Comparison| -> Option<(f64, Interval)> {
        let (p, own) = (comparison.p.ok()?, comparison.interval()?);
        // Where all seeds give the same the two are equal, and no spread of others says otherwise.
        let differs = comparison.difference.is_some_and(|difference| difference.mean != 0.0 || own.low != own.high);
        shared.filter(|_| differs).and_then(|shared| shared.test(&comparison.difference?)).or(Some((p, own)))
    };
    let found: Vec<Option<(f64, Interval)>> = comparisons.iter().map(alone).collect();
    // One counts if it has the seeds for a test, whatever came of them: to leave one out for its values would be a choice made
    // after looking.
    let counts = |at: usize| comparisons[at].seeds() >= 2;
    let tested = (0..comparisons.len()).filter(|&at| counts(at));
    let mut adjusted = holm(&tested.map(|at| found[at].map_or(1.0, |(p, _)| p)).collect::<Vec<_>>()).into_iter();
    let of = |at: usize| match counts(at) {
        true => adjusted.next().and_then(|adjusted| found[at].map(|(p, interval)| Tested { p, adjusted, interval })),
        false => None,
    };
    (0..comparisons.len()).map(of).collect()
}

/// Adjusted p values, in the order of the given ones (Holm 1979): the smallest of m times m, the next times m - 1, and so on, none
/// smaller than the one before it, and none above 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::Doubt;

    /// R: `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")` gives 0.03 0.06 0.06 0.02.
    #[test]
    fn holm_is_rs() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-15, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.7, 0.9, 0.6]), [1.0, 1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn pairs_without_a_test_get_no_verdict_and_count_by_their_seeds_alone() {
        let base = [1.0, 2.0, 4.0, 3.0];
        let method = |values: [f64; 4]| -> Vec<SeedValue> { (0..).zip(values).collect() };
        let better = method([11.0, 12.1, 13.9, 13.0]);
        let lifted = method(base.map(|value| value + 5.0));
        let lonely = vec![(0, 50.0)];
        let pairs = compare_all(&[method(base), better, lifted, lonely]);
        let told: Vec<_> = pairs.iter().map(|pair| (pair.first, pair.second, pair.verdict())).collect();
        assert_eq!(
            told,
            [
                (0, 1, Verdict::Worse),
                (0, 2, Verdict::NotDistinguishable),
                (0, 3, Verdict::NotDistinguishable),
                (1, 2, Verdict::Better),
                (1, 3, Verdict::NotDistinguishable),
                (2, 3, Verdict::NotDistinguishable),
            ]
        );
        assert_eq!(pairs[1].comparison.p, Err(Doubt::NoSpread));
        let turned = pair_of(&pairs, 2, 1).unwrap();
        assert_eq!([1, 2].map(|method| turned.verdict_on(method)), [Verdict::Better, Verdict::Worse]);
        assert_eq!(pair_of(&pairs, 1, 1), None);
        assert_eq!((pairs[1].tested, pairs[2].tested), (None, None));
        // Three pairs have the seeds for a test, one of them without a spread.
        let (p, adjusted) = (pairs[0].comparison.p.unwrap(), pairs[0].tested.unwrap().adjusted);
        assert!((adjusted - 3.0 * p).abs() < 1e-15, "{p} {adjusted}");
    }

    proptest! {
        #[test]
        fn a_correction_never_lowers_p_and_keeps_its_order(p in prop::collection::vec(0.0..=1.0f64, 1..20)) {
            let adjusted = holm(&p);
            let least = p.iter().copied().fold(1.0, f64::min);
            for (i, found) in adjusted.iter().enumerate() {
                prop_assert!(*found >= p[i] && *found <= 1.0);
                prop_assert!(p.iter().zip(&adjusted).all(|(other, theirs)| *other > p[i] || theirs <= found));
            }
            let smallest = adjusted.iter().copied().fold(1.0, f64::min);
            prop_assert!((smallest - (least * p.len() as f64).min(1.0)).abs() < 1e-12, "Bonferroni's for the smallest");
        }
    }
}
