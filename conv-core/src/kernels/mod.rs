//! CPU kernels: plain slices in, plain slices out, no tensors.
//!
//! Every kernel exists once, written over [`simd::Simd`], and is compiled for each [`Isa`]. There are three families:
//!
//! - `lanes`: 16 images at a time, an image a lane. The engine trains and infers batches with it.
//! - `single`: one image, pixels or channels as lanes. The engine infers few images with it.
//! - the fallback, operation by operation on candle's tensors: `conv`, `lower` and `tile` (convolutions on flat planes),
//!   `norm` and `pool`. It runs what the engine does not take: batches of too few images that are trained, networks with
//!   operations of their own, gradients of a norm at inference, and the functions of [`crate::ops`] called one by one.
//!
//! The result has the same bits for any number of threads: work is split by the shapes alone, and partial sums are added in
//! order. Bits do differ between instruction sets, so results are stamped with theirs.
//!
//! NaN stays NaN: an output is not a number where the same sum in plain Rust is not (the tests' `reference`), so that a
//! network that diverges is seen to. Where zeros of the padding are multiplied instead of left out (pixels as lanes, flat
//! planes), a weight that is not finite also spoils outputs whose tap meets padding; Winograd's transforms may make NaN
//! of an infinity.

pub(crate) mod conv;
pub(crate) mod lanes;
mod lower;
pub(crate) mod norm;
pub(crate) mod pool;
#[cfg(test)]
pub(crate) mod reference;
mod scratch;
pub(crate) mod simd;
pub(crate) mod single;
mod tile;

pub use simd::Isa;
