//! Accuracy against cost, where accuracies are uncertain.

use super::{Pair, Verdict};

/// What those that are no dearer do to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None does as well by its mean, but for those that equal it in both: it is on the front of the means.
    Front,
    /// Some does, but no verdict says that it is better.
    Undecided,
    /// Some is better, by a verdict that is corrected for the number of pairs.
    Beaten,
}

impl Standing {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "on the front",
            Self::Undecided => "undecided",
            Self::Beaten => "beaten",
        }
    }
}

/// Where methods stand: `costs` and `means` in the order of the table that `pairs` is of (`compare_all`). The front that
/// accounts for the spread is all that is not [`Standing::Beaten`].
pub fn standings(costs: &[u64], means: &[f64], pairs: &[Pair]) -> Vec<Standing> {
    let n = costs.len().min(means.len());
    let beats = |other: usize, one: usize| {
        pairs.iter().any(|pair| match pair.verdict() {
            Verdict::Better => (pair.first, pair.second) == (other, one),
            Verdict::Worse => (pair.second, pair.first) == (other, one),
            Verdict::NotDistinguishable => false,
        })
    };
    let standing = |one: usize| {
        let rivals = || (0..n).filter(move |&other| other != one && costs[other] <= costs[one]);
        if rivals().any(|other| beats(other, one)) {
            Standing::Beaten
        } else if rivals()
            .any(|other| means[other] >= means[one] && (means[other] > means[one] || costs[other] < costs[one]))
        {
            Standing::Undecided
        } else {
            Standing::Front
        }
    };
    (0..n).map(standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{SeedValue, compare_all};

    fn stand(methods: &[(u64, &[f64])]) -> Vec<Standing> {
        let values: Vec<Vec<SeedValue>> =
            methods.iter().map(|(_, values)| (0..).zip(values.iter().copied()).collect()).collect();
        let means: Vec<f64> =
            methods.iter().map(|(_, values)| values.iter().sum::<f64>() / values.len() as f64).collect();
        let costs: Vec<u64> = methods.iter().map(|(cost, _)| *cost).collect();
        standings(&costs, &means, &compare_all(&values))
    }

    #[test]
    fn only_a_verdict_beats() {
        let found = stand(&[
            (40, &[90.0, 91.0, 90.4, 90.6]),
            // Cheaper and as good as the first; better beyond doubt than the next two.
            (20, &[90.0, 90.9, 90.6, 90.5]),
            (20, &[80.1, 81.0, 80.3, 80.6]),
            (30, &[70.2, 71.0, 70.4, 70.3]),
            // The worst, and the cheapest.
            (10, &[50.0, 51.1, 50.4, 50.6]),
        ]);
        use Standing::{Beaten, Front, Undecided};
        // The first two do equally well, and the second is cheaper: that is no verdict.
        assert_eq!(found, [Undecided, Front, Beaten, Beaten, Front]);
        let wavering = stand(&[(40, &[90.0, 91.0, 90.4, 90.6]), (20, &[90.3, 90.9, 90.2, 91.2])]);
        assert_eq!(wavering, [Undecided, Front]);
    }

    #[test]
    fn the_front_of_the_means_leaves_out_what_is_dearer_and_no_better() {
        // 0 does worse than 1, which is cheaper; 4 worse than 3, as dear; 5 equals 3 in both, 6 is dearer than 1 and as good.
        let points = [(50, 60.0), (40, 61.0), (10, 40.0), (20, 55.0), (20, 50.0), (20, 55.0), (90, 61.0)];
        let (costs, means): (Vec<u64>, Vec<f64>) = points.into_iter().unzip();
        let found = standings(&costs, &means, &[]);
        let front: Vec<usize> = (0..points.len()).filter(|&point| found[point] == Standing::Front).collect();
        assert_eq!(front, [1, 2, 3, 5]);
        assert!(!found.contains(&Standing::Beaten), "without pairs there is no verdict");
    }

    #[test]
    fn one_seed_beats_nobody() {
        let found = stand(&[(40, &[50.0]), (20, &[90.0]), (20, &[90.0])]);
        assert_eq!(found, [Standing::Undecided, Standing::Front, Standing::Front]);
    }

    #[test]
    fn who_is_dearer_beats_nobody() {
        let better = [90.0, 91.0, 90.4, 90.6];
        assert_eq!(stand(&[(41, &better), (40, &[1.0, 2.2, 1.4, 1.5])]), [Standing::Front; 2]);
    }
}
