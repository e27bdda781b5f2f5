//! What verdicts promise, held against simulated studies: through the functions that `compare` and reports call, from accuracies
//! to a word.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::images::ImageComparison;
use super::*;

/// Studies of a simulation; shares of 5 % scatter by 0.22 % between so many.
const STUDIES: usize = 10_000;

/// A method in percent, and how its seeds vary.
#[derive(Clone, Copy)]
struct Method {
    mean: f64,
    deviation: f64,
}

/// A study: methods that share the seeds.
struct Study<'m> {
    methods: &'m [Method],
    seeds: u64,
    /// Spread of what a seed does to all methods alike.
    shared: f64,
    /// Images that accuracies are shares of.
    images: f64,
}

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Box and Muller's.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

impl Study<'_> {
    /// Accuracies in percent, each a whole number of images.
    fn draw(&self, random: &mut ChaCha8Rng) -> Vec<Vec<SeedValue>> {
        let levels: Vec<f64> = (0..self.seeds).map(|_| self.shared * normal(random)).collect();
        let mut accuracy = |method: &Method, level: f64| {
            let percent = method.mean + level + method.deviation * normal(random);
            (percent / 100.0 * self.images).round() / self.images * 100.0
        };
        self.methods.iter().map(|m| (0..).zip(levels.iter().map(|level| accuracy(m, *level))).collect()).collect()
    }

    /// Share of studies of which something holds.
    fn share(&self, holds: impl Fn(&[Vec<SeedValue>]) -> bool) -> f64 {
        self.share_of(STUDIES, holds)
    }

    /// The same of so many studies.
    fn share_of(&self, studies: usize, holds: impl Fn(&[Vec<SeedValue>]) -> bool) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(self.seeds);
        (0..studies).filter(|_| holds(&self.draw(&mut random))).count() as f64 / studies as f64
    }
}

fn verdict(study: &[Vec<SeedValue>]) -> Verdict {
    compare(&study[0], &study[1]).verdict()
}

#[test]
fn five_in_a_hundred_null_studies_get_a_verdict() {
    let equal = [Method { mean: 91.3, deviation: 0.3 }; 2];
    let unequal = [Method { mean: 91.3, deviation: 0.1 }, Method { mean: 91.3, deviation: 0.8 }];
    for methods in [equal, unequal] {
        for (seeds, images) in [(2, 10_000.0), (3, 10_000.0), (3, 5_000.0), (5, 10_000.0), (10, 10_000.0)] {
            let study = Study { methods: &methods, seeds, shared: 0.2, images };
            let wrong = study.share(|study| verdict(study) != Verdict::NotDistinguishable);
            assert!((0.045..=0.055).contains(&wrong), "{seeds} seeds: {wrong}");
            let better = study.share(|study| verdict(study) == Verdict::Better);
            assert!((0.02..=0.03).contains(&better), "{seeds} seeds, better alone: {better}");
        }
    }
}

#[test]
fn at_most_five_in_a_hundred_null_tables_get_a_verdict() {
    let equal = [Method { mean: 91.3, deviation: 0.3 }; 6];
    let unequal = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8].map(|deviation| Method { mean: 91.3, deviation });
    for (methods, alike) in [(equal, true), (unequal, false)] {
        for seeds in [3, 5] {
            let study = Study { methods: &methods, seeds, shared: 0.2, images: 10_000.0 };
            let wrong = study
                .share(|study| compare_all(study).iter().any(|pair| pair.verdict() != Verdict::NotDistinguishable));
            // Pairs share methods and what they vary by: fewer than 5 %, and not none. Where they vary unlike each other, eightfold
            // here, some more.
            let most = if alike { 0.05 } else { 0.068 };
            assert!((0.02..=most).contains(&wrong), "{seeds} seeds: {wrong}");
        }
    }
}

/// Two of four methods differ by far: the others' pair must still get no more than its 5 %.
#[test]
fn true_differences_do_not_make_false_ones_more_frequent() {
    let methods = [91.3, 91.3, 70.0, 50.0].map(|mean| Method { mean, deviation: 0.3 });
    let study = Study { methods: &methods, seeds: 5, shared: 0.2, images: 10_000.0 };
    let wrong = study.share(|study| compare_all(study)[0].verdict() != Verdict::NotDistinguishable);
    assert!((0.03..=0.055).contains(&wrong), "{wrong}");
}

#[test]
fn nothing_is_wrongly_beaten_in_more_than_five_in_a_hundred_tables() {
    let methods = [Method { mean: 91.3, deviation: 0.3 }; 5];
    let study = Study { methods: &methods, seeds: 4, shared: 0.2, images: 10_000.0 };
    let wrong = study.share(|study| {
        let means: Vec<f64> = study.iter().map(|seeds| seeds.iter().map(|(_, value)| value).sum()).collect();
        standings(&[1, 2, 3, 4, 5], &means, &compare_all(study)).contains(&Standing::Beaten)
    });
    assert!((0.01..=0.055).contains(&wrong), "{wrong}");
}

/// A table as large as a study's, in which hardly a pair by itself would ever get a verdict.
#[test]
fn a_large_table_sees_what_was_promised_and_nothing_else() {
    const ROWS: usize = 24;
    let wanted = 0.8;
    let difference = detectable_together(3, ROWS, 0.3 * 2f64.sqrt(), wanted, FALSE_VERDICTS).unwrap();
    let mut methods = vec![Method { mean: 80.0, deviation: 0.3 }; ROWS];
    let null = Study { methods: &methods.clone(), seeds: 3, shared: 1.0, images: 10_000.0 };
    let told =
        |study: &[Vec<SeedValue>]| compare_all(study).iter().any(|pair| pair.verdict() != Verdict::NotDistinguishable);
    let wrong = null.share_of(1_000, told);
    assert!(wrong <= 0.05, "{wrong}");
    methods[0].mean += difference;
    let study = Study { methods: &methods, seeds: 3, shared: 1.0, images: 10_000.0 };
    let seen = study.share_of(1_000, |study| compare_all(study)[0].verdict() == Verdict::Better);
    // The promise takes the common spread for known, which leaves out a few hundredths.
    assert!((wanted - 0.1..=wanted + 0.06).contains(&seen), "{seen}");
    let alone = study.share_of(1_000, |study| {
        let pairs = ROWS * (ROWS - 1) / 2;
        compare(&study[0], &study[1]).p.is_ok_and(|p| p < FALSE_VERDICTS / pairs as f64)
    });
    assert!(alone < 0.05, "{alone}");
    // One row that varies three times as much as all others.
    methods[0] = Method { mean: 80.0, deviation: 0.9 };
    let lopsided = Study { methods: &methods, seeds: 3, shared: 1.0, images: 10_000.0 }.share_of(1_000, told);
    assert!(lopsided < 0.11, "{lopsided}");
}

#[test]
fn simulated_differences_are_seen_as_often_as_promised() {
    for seeds in [2, 3, 5, 10] {
        for promised in [0.5, 0.8, 0.9] {
            // Differences vary by the root of both methods' variances; what a seed does to both cancels out.
            let difference = detectable(seeds as usize, 0.5, promised, FALSE_VERDICTS).unwrap();
            let methods = [Method { mean: 80.0 + difference, deviation: 0.3 }, Method { mean: 80.0, deviation: 0.4 }];
            let study = Study { methods: &methods, seeds, shared: 1.0, images: 10_000.0 };
            let seen = study.share(|study| verdict(study) == Verdict::Better);
            // Three standard deviations of a share of 10,000.
            let scatter = 3.0 * (promised * (1.0 - promised) / STUDIES as f64).sqrt();
            assert!((seen - promised).abs() < scatter, "{seeds} seeds: {seen}, and {promised} was promised");
        }
    }
}

/// Worse by just the margin, 2.5 % pass as not worse by more, and of those that are worse still fewer; of equal ones as many as the
/// margin can be seen.
#[test]
fn what_is_worse_by_the_margin_passes_as_not_worse_in_two_and_a_half_of_a_hundred_studies() {
    for seeds in [2, 3, 5, 10] {
        let margin = detectable(seeds as usize, 0.5, 0.8, FALSE_VERDICTS).unwrap();
        let passing = |difference: f64| {
            let methods = [Method { mean: 80.0 + difference, deviation: 0.3 }, Method { mean: 80.0, deviation: 0.4 }];
            let study = Study { methods: &methods, seeds, shared: 1.0, images: 10_000.0 };
            study.share(|study| compare(&study[0], &study[1]).not_worse_by(margin) == Ok(true))
        };
        // Three standard deviations of a share of 10,000, here and below.
        let at_the_margin = passing(-margin);
        assert!((at_the_margin - 0.025).abs() < 0.0047, "{seeds} seeds: {at_the_margin}");
        let worse = passing(-1.2 * margin);
        assert!(worse < 0.025, "{seeds} seeds, worse: {worse}");
        let equal = passing(0.0);
        assert!((equal - 0.8).abs() < 0.012, "{seeds} seeds, equal: {equal}");
    }
}

#[test]
fn two_networks_of_equal_accuracy_rarely_get_a_verdict_from_images() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut right = || uniform(&mut random) < 0.9;
    let studies = 2000;
    let wrong = (0..studies).filter(|_| {
        let (first, second): (Vec<bool>, Vec<bool>) = (0..500).map(|_| (right(), right())).unzip();
        ImageComparison::of(&first, &second).is_some_and(|found| found.verdict() != Verdict::NotDistinguishable)
    });
    let share = wrong.count() as f64 / f64::from(studies);
    // Exact tests of counts stay below 5 %; four standard deviations of a share of 2,000 above it.
    assert!((0.02..=0.07).contains(&share), "{share}");
}

/// Why no verdict hangs on it.
#[test]
fn the_bootstrap_of_three_seeds_covers_three_quarters() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let studies = 500;
    let covered = (0..studies).filter(|_| {
        let values = [0; 3].map(|_| normal(&mut random));
        bootstrap(&values).is_some_and(|interval| interval.low <= 0.0 && interval.high >= 0.0)
    });
    let share = covered.count() as f64 / f64::from(studies);
    assert!((0.68..=0.82).contains(&share), "{share}");
}
