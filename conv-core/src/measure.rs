//! What the machine can do at most: what the rates of kernels are held against.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::kernels::bf16::{HalfPath, peak};
use crate::kernels::simd::{Isa, Simd, Task};

/// Rounds, of which the best counts: whatever else the machine does only slows it down.
const ROUNDS: usize = 25;

/// Multiply-adds a chain and round: some 10 ms, beside which starting the threads is short.
const STEPS: usize = 1 << 22;

/// Sums of tiles a round: some milliseconds where tiles are registers, and a tenth of a second where they are emulated.
const SUMS: usize = 2000;

/// Chains of multiply-adds, none of which waits for another: two units with a latency of four or five cycles need ten.
/// With the factor they stay below 16 registers.
const CHAINS: usize = 12;

/// The same for the portable set, whose vectors are two registers each where only SSE can be counted on.
const PORTABLE_CHAINS: usize = CHAINS / 2;

/// The most that all threads of the current rayon pool compute on these instructions together, in 1e9 floating-point
/// operations a second: multiply-adds on registers alone, two operations a lane (on the portable set, a product and a sum).
pub fn peak_gflops(isa: Isa) -> f64 {
    let (chains, seconds) = if isa.has_fma() {
        (CHAINS, best(|| drop(rayon::broadcast(|_| isa.execute(Chains::<CHAINS>)))))
    } else {
        (PORTABLE_CHAINS, best(|| drop(rayon::broadcast(|_| isa.execute(Chains::<PORTABLE_CHAINS>)))))
    };
    let operations = 2 * isa.execute(Lanes) * chains * STEPS * rayon::current_num_threads();
    operations as f64 / seconds * 1e-9
}

/// The same of products of bfloat16, on the fastest of this processor's instructions for them or those that `CONV_PATH` names: sums
/// of tiles out of the first-level cache.
///
/// # Errors
/// Instructions that `CONV_PATH` names and this processor does not have.
pub fn peak_gflops_of_bf16() -> candle_core::Result<f64> {
    let path = HalfPath::best()?;
    let seconds = best(|| drop(rayon::broadcast(|_| black_box(peak::multiply(path, SUMS)))));
    Ok((2 * peak::MACS * SUMS * rayon::current_num_threads()) as f64 / seconds * 1e-9)
}

/// The most that all threads of the current rayon pool copy together, in 1e9 bytes a second, from one block of `bytes`
/// to another. Counted as STREAM counts it: every byte once as it is read and once as it is written; what caches fetch
/// before it is overwritten is not. Blocks have to be several times as large as the last cache for this to be the
/// memory's.
pub fn copy_gbytes(bytes: usize) -> f64 {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let share = bytes.div_ceil(rayon::current_num_threads()).max(1);
    let seconds = best(|| {
        let shares = to.par_chunks_mut(share).zip(from.par_chunks(share)).with_max_len(1);
        shares.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    2.0 * bytes as f64 / seconds * 1e-9
}

/// Seconds of the fastest round; one more goes before, in which clocks rise and pages are mapped.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

/// `N` chains of multiply-adds on whole vectors.
struct Chains<const N: usize>;

impl<const N: usize> Task for Chains<N> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        // A value that the compiler cannot know; the sums tend to 1.
        let half = black_box(0.5f32);
        let factor = simd.splat(half);
        let mut sums = [factor; N];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, factor);
            }
        }
        // As they are: a sum over them would tempt the compiler to keep single lanes in registers.
        black_box(sums);
    }
}

/// How many lanes a vector has.
struct Lanes;

impl Task for Lanes {
    type Output = usize;

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_a_peak_and_copies_have_one() {
        for isa in Isa::available() {
            let peak = peak_gflops(isa);
            assert!(peak > 0.0 && peak.is_finite(), "{isa:?}: {peak}");
        }
        let of_bf16 = peak_gflops_of_bf16().unwrap();
        assert!(of_bf16 > 0.0 && of_bf16.is_finite(), "{of_bf16}");
        for bytes in [1, 1 << 20] {
            let rate = copy_gbytes(bytes);
            assert!(rate > 0.0 && rate.is_finite(), "{bytes} bytes: {rate}");
        }
    }
}
