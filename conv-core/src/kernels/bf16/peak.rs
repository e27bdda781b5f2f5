//! The most products that a path makes: what the rates of convolutions are held against.

use std::hint::black_box;

use super::product::{Pairs, Product, ROWS, TILES};
use super::{HalfPath, LANES, Line};
use crate::kernels::simd::{Simd, Task};

/// Pairs of a chunk: as many as a tile holds.
const PAIRS: usize = 16;

/// Chunks of a sum. Their weights are 32 KiB, which a first-level cache holds, and storing the sums is short beside them.
const CHUNKS: usize = 32;

/// Multiply-accumulates of one sum of products.
pub(crate) const MACS: usize = TILES * ROWS * LANES * 2 * PAIRS * CHUNKS;

/// Makes sums of products on this thread so many times, of what its first-level cache holds; what the last came to.
pub(crate) fn multiply(path: HalfPath, times: usize) -> [[Line; ROWS]; TILES] {
    path.isa().execute(Multiply { path, times })
}

struct Multiply {
    path: HalfPath,
    times: usize,
}

impl Task for Multiply {
    type Output = [[Line; ROWS]; TILES];

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) -> Self::Output {
        let product = Product::new(self.path, PAIRS);
        let together = product.together(2);
        let weights = vec![Pairs([0x3f80_3f80; LANES]); CHUNKS * ROWS];
        let values = [Pairs([0x3f80_3f80; LANES]); PAIRS];
        let mut sums = [[Line::ZERO; ROWS]; TILES];
        for _ in 0..self.times {
            let (weights, values) = (black_box(&*weights), black_box(&values).as_ptr().cast::<u8>());
            // SAFETY: there are as many tiles of weights as chunks, and `PAIRS` lines at the only offset, 0; a task executes it.
            unsafe { product.sums(simd, together, [weights; 2], [values; TILES], &[0; CHUNKS], PAIRS, &mut sums) };
            black_box(&mut sums);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_makes_all_the_products_that_are_counted() {
        for path in HalfPath::available() {
            let sums = multiply(path, 2);
            let ones = 2 * PAIRS * CHUNKS;
            assert!(sums.as_flattened().iter().all(|line| line.0 == [ones as f32; LANES]), "{}", path.name());
            assert_eq!(sums.as_flattened().len() * LANES * ones, MACS);
        }
    }
}
