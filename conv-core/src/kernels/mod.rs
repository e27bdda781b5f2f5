//! CPU kernels: plain slices in, plain slices out, no tensors.
//!
//! Every kernel exists once, written over [`simd::Simd`], and is compiled for each [`Isa`]. Work is split over image
//! blocks whose size depends on the shapes alone, and partial sums are added in block order: the result has the same
//! bits for any number of threads. Bits do differ between paths, so results are stamped with theirs.

pub(crate) mod conv;
pub(crate) mod lanes;
mod lower;
pub(crate) mod norm;
pub(crate) mod peak;
pub(crate) mod pool;
#[cfg(test)]
pub(crate) mod reference;
mod scratch;
pub(crate) mod simd;
pub(crate) mod single;
mod tile;

pub use simd::Isa;
