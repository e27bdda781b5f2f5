//! Whether a machine was quiet while it was measured.

/// Rounds of a quiet machine differ by no more than this share of the fastest.
pub const QUIET: f64 = 0.10;

/// By which share of the smallest the largest of some times exceeds it; none for fewer than two, and for what is no time.
pub fn spread(times: &[f64]) -> Option<f64> {
    let smallest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = times.iter().copied().fold(0.0, f64::max);
    let told = times.len() >= 2 && times.iter().all(|time| time.is_finite() && *time > 0.0);
    told.then_some(largest / smallest - 1.0)
}

/// Whether the medians of a network's rounds differ by more than [`QUIET`]; none for fewer than two rounds.
pub fn noisy(rounds: &[f64]) -> Option<bool> {
    spread(rounds).map(|spread| spread > QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_in_one_round_shows_and_steady_times_do_not() {
        assert_eq!(noisy(&[1.00, 1.04, 1.02, 1.09, 1.01]), Some(false));
        // Somebody computed beside the third round.
        assert_eq!(noisy(&[1.00, 1.04, 1.31, 1.02, 1.01]), Some(true));
        // A clock that falls from round to round.
        assert_eq!(noisy(&[1.00, 1.04, 1.08, 1.12, 1.16]), Some(true));
        // What is slow is not noisy for that.
        assert_eq!(noisy(&[1000.0, 1040.0]), Some(false));
    }

    #[test]
    fn a_single_round_tells_nothing() {
        assert_eq!((noisy(&[]), noisy(&[1.0]), noisy(&[0.0, 1.0]), noisy(&[f64::NAN; 2])), (None, None, None, None));
        assert!((spread(&[2.0, 2.5, 1.0]).unwrap() - 1.5).abs() < 1e-12);
    }
}
