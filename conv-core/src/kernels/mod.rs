//! CPU kernels: plain slices in, plain slices out, no tensors.
//!
//! Every kernel exists once, written over [`simd::Simd`], and is compiled for each [`Isa`]. There are four families:
//!
//! - [`batch16`]: 16 images at a time, an image a lane. The engine trains and infers batches with it.
//! - [`bf16`]: the same in bfloat16, on matrix and dot product instructions of their own; norms, masks and poolings are those of
//!   [`batch16`], over lines as they are [`stored`].
//! - [`image`]: one image, pixels or channels as lanes. The engine infers few images with it.
//! - [`flat`]: the fallback, operation by operation on candle's tensors.
//!
//! All of them take their sizes from [`shape`] and [`windows`], their borders from [`taps`], their functions of single values
//! from [`map`] and their statistics from [`moments`]. Which of their kernels runs when, [`engine/choice.rs`](crate::engine) alone decides.
//!
//! The result has the same bits for any number of threads: work is split by the shapes alone, and partial sums are added in
//! order. Bits do differ between instruction sets, so results are stamped with theirs.
//!
//! NaN stays NaN: an output is not a number where the same sum in plain Rust is not (the tests' `reference`), so that a
//! network that diverges is seen to. Where zeros of the padding are multiplied instead of left out (pixels as lanes, flat
//! planes), a weight that is not finite also spoils outputs whose tap meets padding; Winograd's transforms may make NaN
//! of an infinity.

pub(crate) mod batch16;
pub(crate) mod bf16;
mod epilogue;
pub(crate) mod flat;
pub(crate) mod image;
pub(crate) mod map;
pub(crate) mod moments;
#[cfg(test)]
pub(crate) mod reference;
mod scratch;
pub(crate) mod shape;
pub(crate) mod simd;
pub(crate) mod stored;
pub(crate) mod taps;
pub(crate) mod tiles;
pub(crate) mod windows;

pub use simd::Isa;
