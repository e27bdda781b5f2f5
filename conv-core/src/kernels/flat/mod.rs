//! The fallback: kernels over the contiguous tensors that [`crate::ops`] is called with, one operation after the other.
//!
//! It runs what the engine does not take: batches of too few images that are trained, networks with operations of their own,
//! gradients of a norm at inference, and the functions of [`crate::ops`] called one by one. Convolutions lay the images of a
//! block out as flat planes (see `lower.rs`), so that vector lanes run over positions, whatever the number of images.
//!
//! It stays because what could replace it measures worse (`cargo bench -p conv-core --bench fallback`, table in
//! docs/performance.md): the engine's vectors of 16 images are mostly empty for one to four images, which take two to fifteen
//! times as long, and candle's own operations take two to twenty times as long at any batch, depthwise ones up to two hundred.

pub(crate) mod conv;
mod lower;
pub(crate) mod norm;
pub(crate) mod pool;
mod tile;
