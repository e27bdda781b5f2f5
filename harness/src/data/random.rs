//! Keyed random streams: a draw depends on what it is for, never on which thread makes it or what was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for, so that equal numbers elsewhere in the key never meet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
    Split = 3,
    Synthetic = 4,
    Sample = 5,
    Flip = 6,
}

/// The stream of (`purpose`, `seed`, `epoch`, `index`).
pub(crate) fn stream(purpose: Purpose, seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16] = purpose as u8;
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// Uniform in `0..n`; the bias of the multiplication is below `n / 2^64`.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Uniform in `[low, high)`.
pub(crate) fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * ((rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32)
}

/// Fisher and Yates' shuffle.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |p, s, e, i| stream(p, s, e, i).next_u64();
        let draws = [
            first(Purpose::Order, 0, 0, 0),
            first(Purpose::Augment, 0, 0, 0),
            first(Purpose::Order, 1, 0, 0),
            first(Purpose::Order, 0, 1, 0),
            first(Purpose::Order, 0, 0, 1),
        ];
        let distinct: std::collections::HashSet<_> = draws.iter().collect();
        assert_eq!(distinct.len(), draws.len());
        assert_eq!(first(Purpose::Order, 0, 0, 0), draws[0]);
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = stream(Purpose::Split, 0, 0, 0);
        let mut counts = [0; 9];
        (0..90_000).for_each(|_| counts[below(&mut rng, 9)] += 1);
        // Six standard deviations.
        assert!(counts.iter().all(|&c| (9_430..=10_570).contains(&c)), "{counts:?}");
    }
}
