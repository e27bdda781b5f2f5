//! Whether a program has become slower, by times of the old and the new one that were taken in pairs.
//!
//! Two stages: an alarm of the first is believed only if a second one, measured anew, alarms too. Within a stage the order of each
//! pair alternates, so that where nothing has changed either sign of a difference is as likely as the other, whatever the machine's
//! noise looks like; the signed-rank test (Wilcoxon 1945) needs no more.

use super::distributions::normal_tail;

/// A slowdown that has to be found, as a share.
pub const SLOWDOWN: f64 = 0.05;
/// What nobody would act on, though it may be real.
const NEGLIGIBLE: f64 = 0.01;
/// Stages that alarm where nothing has changed; both do in the square of it, 0.04 %.
pub const FALSE_ALARMS: f64 = 0.02;
/// Fewer pairs than these say little.
const FEWEST: usize = 28;
/// More pairs than these take too long.
pub const MOST: usize = 300;
/// Pairs of equal programs that tell how noisy the machine is.
pub const CALIBRATION: usize = 16;
/// Up to so many pairs the test is exact.
const EXACT: usize = 40;

/// What a stage found for one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// By which factor the new program takes longer.
    pub ratio: f64,
    /// One-sided p of no slowdown.
    pub p: f64,
    /// Whether it alarms.
    pub alarms: bool,
}

impl Finding {
    /// Of the logarithms of new over old times, one a pair, where so many metrics are looked at together.
    pub fn of(logs: &[f64], metrics: usize) -> Self {
        Self { ratio: hodges_lehmann(logs).exp(), p: signed_rank(logs), alarms: alarms(logs, metrics) }
    }
}

fn alarms(logs: &[f64], metrics: usize) -> bool {
    signed_rank(logs) < FALSE_ALARMS / metrics.max(1) as f64 && hodges_lehmann(logs) > NEGLIGIBLE.ln_1p()
}

/// How many pairs a stage needs to find [`SLOWDOWN`] in 97.5 % of cases, and both stages so in 95 %, by logarithms of ratios between
/// equal programs; none where the machine is so noisy that it would take more than [`MOST`].
pub fn pairs_needed(equal: &[f64], metrics: usize) -> Option<usize> {
    // The quantiles of the two errors, and what the test by ranks loses beside that by means where noise is normal. A spread of few
    // values may well be too small, and neighbours that come and go are not in it.
    let quantiles = critical(FALSE_ALARMS / metrics.max(1) as f64) + critical(0.025);
    let spread = 1.5 * spread(equal);
    let pairs = (quantiles * spread / (1.0 + SLOWDOWN).ln()).powi(2) / 0.955;
    (pairs <= MOST as f64).then(|| (pairs.ceil() as usize).max(FEWEST))
}

/// A standard deviation, by the median distance from the median: what happens seldom does not count.
fn spread(values: &[f64]) -> f64 {
    let middle = median(values.to_vec());
    1.4826 * median(values.iter().map(|value| (value - middle).abs()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The value that a standard normal exceeds with this probability.
fn critical(probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_tail(middle) > probability { low = middle } else { high = middle }
    }
    high
}

/// The median of all means of two values: where the values lie, whatever a few of them do.
fn hodges_lehmann(values: &[f64]) -> f64 {
    let pairs = (0..values.len()).flat_map(|at| (at..values.len()).map(move |other| (at, other)));
    median(pairs.map(|(one, other)| f64::midpoint(values[one], values[other])).collect())
}

/// One-sided p that values as large as these come where either sign is as likely. Exact for few values, by the normal approximation
/// with a correction for continuity beyond; 1 where there are none but zeros, or one is no number.
fn signed_rank(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return 1.0;
    }
    let mut values: Vec<f64> = values.iter().copied().filter(|value| *value != 0.0).collect();
    values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = values.len();
    // Twice the ranks, so that the mean of tied ones is whole.
    let mut ranks = vec![0usize; n];
    let mut start = 0;
    while start < n {
        let end = (start..n).find(|at| values[*at].abs() > values[start].abs()).unwrap_or(n);
        ranks[start..end].fill(start + end + 1);
        start = end;
    }
    let positive: usize = values.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    let all: usize = ranks.iter().sum();
    if n > EXACT {
        let variance: f64 = ranks.iter().map(|rank| (*rank as f64).powi(2)).sum::<f64>() / 4.0;
        return normal_tail((positive as f64 - all as f64 / 2.0 - 1.0) / variance.sqrt());
    }
    // How likely each sum of ranks is where every sign is drawn.
    let mut likely = vec![0.0; all + 1];
    likely[0] = 1.0;
    for rank in ranks {
        for sum in (0..=all).rev() {
            let with = if sum >= rank { likely[sum - rank] } else { 0.0 };
            likely[sum] = f64::midpoint(likely[sum], with);
        }
    }
    likely[positive..].iter().sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Logarithms of times, one after the other, of a machine on which others compute.
    struct Machine {
        random: ChaCha8Rng,
        spread: f64,
        /// A slow change, from one time to the next.
        drift: f64,
        level: f64,
        /// How many more times a neighbour stays, and what it costs.
        neighbour: (u32, f64),
    }

    impl Machine {
        fn new(seed: u64, spread: f64) -> Self {
            let random = ChaCha8Rng::seed_from_u64(seed);
            Self { random, spread, drift: 0.3 * spread, level: 0.0, neighbour: (0, 0.0) }
        }

        fn uniform(&mut self) -> f64 {
            (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            radius * (std::f64::consts::TAU * self.uniform()).cos()
        }

        fn time(&mut self) -> f64 {
            self.level = 0.98 * self.level + self.drift * self.normal();
            let comes = self.uniform() < 0.05;
            self.neighbour = match self.neighbour {
                (0, _) if comes => ((1.0 + 4.0 * self.uniform()) as u32, 0.7 * self.uniform()),
                (0, _) => (0, 0.0),
                (left, cost) => (left - 1, cost),
            };
            self.level + self.neighbour.1 + self.spread * self.normal()
        }

        /// Pairs, new over old, each in the other order than the one before.
        fn pairs(&mut self, count: usize, slower: f64) -> Vec<f64> {
            let pair = |at: usize| {
                let (one, other) = (self.time(), self.time());
                slower.ln_1p() + if at.is_multiple_of(2) { one - other } else { other - one }
            };
            (0..count).map(pair).collect()
        }

        /// The whole way of a gate with two metrics: both stages, as many pairs as the machine's noise asks for. None where that is too
        /// much.
        fn gate(&mut self, slower: f64) -> Option<bool> {
            let pairs = pairs_needed(&self.pairs(CALIBRATION, 0.0), 2)?;
            let first = [0, 1].map(|_| alarms(&self.pairs(pairs, slower), 2));
            let alarmed = first.iter().filter(|alarms| **alarms).count();
            Some((0..alarmed).any(|_| alarms(&self.pairs(pairs, slower), alarmed)))
        }
    }

    #[test]
    fn equal_programs_fail_less_than_once_in_a_thousand_comparisons() {
        const COMPARISONS: u64 = 10_000;
        for spread in [0.01, 0.04, 0.08] {
            let failed = (0..COMPARISONS).filter(|seed| Machine::new(*seed, spread).gate(0.0) == Some(true)).count();
            assert!(failed < 10, "{failed} of {COMPARISONS} at {spread}");
        }
    }

    #[test]
    fn a_program_that_is_slower_by_a_twentieth_fails_in_95_of_100() {
        for spread in [0.01, 0.04, 0.08] {
            let told: Vec<bool> = (0..600).filter_map(|seed| Machine::new(seed, spread).gate(SLOWDOWN)).collect();
            let failed = told.iter().filter(|failed| **failed).count();
            assert!(
                told.len() >= 300 && failed as f64 >= 0.95 * told.len() as f64,
                "{failed} of {} at {spread}",
                told.len()
            );
        }
    }

    #[test]
    fn a_machine_that_is_too_noisy_is_said_to_be() {
        let equal: Vec<f64> = (0..CALIBRATION).map(|at| if at.is_multiple_of(2) { 0.6 } else { -0.6 }).collect();
        assert_eq!(pairs_needed(&equal, 2), None);
        assert_eq!(pairs_needed(&[1e-6, -1e-6, 2e-6, -2e-6], 2), Some(FEWEST));
    }

    /// R: `wilcox.test(c(1.1, -0.4, 2.2, 0.7, -0.2, 1.5), alternative = "greater")` gives V = 18, p = 0.07812;
    /// `c(1, 2, 3, 4, 5)` gives p = 0.03125.
    #[test]
    fn the_test_is_rs() {
        assert!((signed_rank(&[1.1, -0.4, 2.2, 0.7, -0.2, 1.5]) - 0.078_125).abs() < 1e-12);
        assert!((signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0]) - 0.031_25).abs() < 1e-12);
        assert_eq!((signed_rank(&[]), signed_rank(&[0.0, 0.0]), signed_rank(&[f64::NAN, 1.0])), (1.0, 1.0, 1.0));
        assert!((critical(0.025) - 1.959_964).abs() < 1e-5);
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 30.0]), 8.75);
    }

    #[test]
    fn exact_and_approximate_agree_where_they_meet() {
        let values: Vec<f64> = (0..41).map(|at| f64::from(at) * if at % 3 == 0 { -1.0 } else { 1.0 } + 0.5).collect();
        let (exact, approximate) = (signed_rank(&values[..40]), signed_rank(&values));
        assert!((exact / approximate).ln().abs() < 0.5, "{exact} {approximate}");
    }
}
