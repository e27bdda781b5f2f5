//! The fallback: kernels over the contiguous tensors that [`crate::ops`] is called with, one operation after the other.
//!
//! It runs what the engine does not take: batches of too few images that are trained, networks with operations of their own,
//! gradients of a norm at inference, and the functions of [`crate::ops`] called one by one. Convolutions lay the images of a
//! block out as flat planes (see `lower.rs`), so that vector lanes run over positions, whatever the number of images.

pub(crate) mod conv;
mod lower;
pub(crate) mod norm;
pub(crate) mod pool;
mod tile;
