//! What a number of seeds can see, before any is trained. `deviation` is the sample standard deviation of the differences of
//! two methods at the same seed, in the unit of the difference.

use super::distributions::{bisect, critical, noncentral_above, noncentral_above_with};
use super::spread::FEWEST;

/// More seeds than this are not proposed.
const MOST_SEEDS: usize = 100_000;

/// The power at which it is said what seeds can see.
pub const POWER: f64 = 0.8;

/// Probability that `seeds` >= 2 common seeds give the right verdict on a true `difference` > 0, at a share `alpha` of false ones;
/// 0 where no verdict is possible.
pub fn power(seeds: usize, difference: f64, deviation: f64, alpha: f64) -> f64 {
    if seeds < 2 {
        return 0.0;
    }
    shifted_power(seeds, difference / deviation * (seeds as f64).sqrt(), alpha)
}

/// The smallest true difference on which `seeds` give the right verdict with probability `power` (such as 0.8); none of fewer
/// than two seeds.
pub fn detectable(seeds: usize, deviation: f64, power: f64, alpha: f64) -> Option<f64> {
    if seeds < 2 || !(alpha..1.0).contains(&power) {
        return None;
    }
    let unseen = |shift: f64| shifted_power(seeds, shift, alpha) < power;
    let mut high = 1.0;
    while unseen(high) {
        high *= 2.0;
    }
    Some(bisect(0.0, high, unseen) * deviation / (seeds as f64).sqrt())
}

/// The smallest true difference on which `seeds` give the right verdict with probability `power` in a table of so many `rows`, all
/// pairs of which are tested together: at worst, when no other pair gets a verdict before it. None of fewer than two seeds or rows.
pub fn detectable_together(seeds: usize, rows: usize, deviation: f64, wanted: f64, alpha: f64) -> Option<f64> {
    let pairs = rows * rows.saturating_sub(1) / 2;
    let alpha = alpha / pairs.max(1) as f64;
    if pairs < FEWEST {
        return detectable(seeds, deviation, wanted, alpha);
    }
    if seeds < 2 || !(alpha..1.0).contains(&wanted) {
        return None;
    }
    let own = (seeds - 1) as f64;
    // The spread of all is as good as known; where the pair's own is larger, that counts.
    let bound = critical(alpha, own * (rows - 1) as f64);
    let unseen = |shift: f64| noncentral_above_with(bound, own, shift, 1.0) < wanted;
    let mut high = 1.0;
    while unseen(high) {
        high *= 2.0;
    }
    Some(bisect(0.0, high, unseen) * deviation / (seeds as f64).sqrt())
}

/// How few seeds give the right verdict on a true `difference` with probability `power`; none where 100,000 would not do.
pub fn seeds_needed(difference: f64, deviation: f64, wanted: f64, alpha: f64) -> Option<usize> {
    let enough = |seeds: usize| power(seeds, difference, deviation, alpha) >= wanted;
    let (mut few, mut many) = (1, 2);
    while !enough(many) {
        if many > MOST_SEEDS {
            return None;
        }
        (few, many) = (many, 2 * many);
    }
    while many - few > 1 {
        let middle = few.midpoint(many);
        if enough(middle) { many = middle } else { few = middle }
    }
    Some(many)
}

/// The same of a difference in units of the mean's own standard deviation.
fn shifted_power(seeds: usize, shift: f64, alpha: f64) -> f64 {
    let freedom = (seeds - 1) as f64;
    noncentral_above(critical(alpha, freedom), freedom, shift)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Against SciPy 1.17: roots of `nct.sf(t.isf(0.025, n - 1), n - 1, d * sqrt(n))`. R's `power.t.test(type = "paired")` is the
    /// same function.
    #[test]
    fn detectable_differences_are_scipys() {
        let known = [
            (2, 0.8, 11.549888435882387),
            (3, 0.8, 3.2640435498199274),
            (4, 0.8, 2.127949410370006),
            (5, 0.8, 1.6819972822157454),
            (10, 0.8, 0.9960022543068846),
            (20, 0.8, 0.6604424098186567),
            (3, 0.9, 3.9234485080857278),
            (20, 0.9, 0.7644580223125235),
        ];
        for (seeds, wanted, expected) in known {
            let found = detectable(seeds, 1.0, wanted, 0.05).unwrap();
            assert!((found - expected).abs() < 1e-7 * expected, "{seeds} seeds: {found}");
            assert_eq!(seeds_needed(found * 1.000_001, 1.0, wanted, 0.05), Some(seeds));
        }
    }

    /// Against SciPy 1.17: roots in d of the integral of `norm.cdf(d * sqrt(n) - t.isf(alpha / 2, freedom) * sqrt(max(u, 1)))` over
    /// `u = chi2(n - 1) / (n - 1)`, with alpha = 0.05 over the number of pairs.
    #[test]
    fn what_a_table_sees_is_scipys() {
        for (seeds, rows, expected) in
            [(3, 4, 3.1224252116236713), (3, 24, 3.266152136540986), (5, 10, 2.1885013806367213)]
        {
            let found = detectable_together(seeds, rows, 1.0, 0.8, 0.05).unwrap();
            assert!((found - expected).abs() < 1e-6 * expected, "{seeds} seeds, {rows} rows: {found}");
        }
        let three = detectable_together(3, 3, 1.0, 0.8, 0.05);
        assert_eq!(three, detectable(3, 1.0, 0.8, 0.05 / 3.0), "three rows share nothing");
        assert_eq!(detectable_together(1, 10, 1.0, 0.8, 0.05), None);
    }

    #[test]
    fn where_no_verdict_is_possible_nothing_is_seen() {
        assert_eq!(power(1, 100.0, 1.0, 0.05), 0.0);
        assert_eq!(detectable(1, 1.0, 0.8, 0.05), None);
        assert_eq!(detectable(0, 1.0, 0.8, 0.05), None);
        assert_eq!(detectable(3, 1.0, 1.0, 0.05), None);
        assert_eq!(seeds_needed(1e-6, 1.0, 0.8, 0.05), None);
        assert_eq!(seeds_needed(0.0, 1.0, 0.8, 0.05), None);
    }

    proptest! {
        #[test]
        fn more_seeds_larger_differences_and_laxer_tests_see_more(seeds in 2usize..30, difference in 0.01..8.0f64) {
            let now = power(seeds, difference, 1.0, 0.05);
            prop_assert!((0.0..=1.0 + 1e-9).contains(&now));
            prop_assert!(power(seeds + 1, difference, 1.0, 0.05) > now - 1e-9);
            prop_assert!(power(seeds, difference + 0.1, 1.0, 0.05) > now - 1e-9);
            prop_assert!(power(seeds, difference, 1.0, 0.01) < now + 1e-9);
            prop_assert!((power(seeds, 3.0 * difference, 3.0, 0.05) - now).abs() < 1e-9);
        }
    }
}
