//! How sure a share of images is.

use super::Interval;

/// Of a standard normal distribution 95 % lie within so many deviations.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// 95 % interval of a share of which `right` of `all` were seen, by Wilson's score: it stays within 0 and 1, and says something of
/// shares of 0 and 1, too. It describes other images of the same kind, not other trainings. None where nothing was seen.
pub fn proportion(right: usize, all: usize) -> Option<Interval> {
    if all == 0 {
        return None;
    }
    let (n, share, z2) = (all as f64, right as f64 / all as f64, DEVIATIONS * DEVIATIONS);
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = DEVIATIONS * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    Some(Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbooks' example of 8 of 10 among them; the others by another implementation of the formula.
    #[test]
    fn intervals_are_wilsons() {
        for (right, all, low, high) in [
            (8, 10, 0.490_162, 0.943_318),
            (0, 20, 0.0, 0.161_125),
            (20, 20, 0.838_875, 1.0),
            (9123, 10000, 0.906_598, 0.917_687),
        ] {
            let found = proportion(right, all).unwrap();
            assert!((found.low - low).abs() < 2e-6 && (found.high - high).abs() < 2e-6, "{right} of {all}: {found:?}");
        }
        assert_eq!(proportion(0, 0), None);
    }
}
