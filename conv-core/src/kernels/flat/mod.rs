//! The fallback: kernels over the contiguous tensors that [`crate::ops`] is called with, one operation after the other.
//!
//! It runs what the engine does not take: batches of too few images that are trained, networks with operations of their own,
//! gradients of a norm at inference, and the functions of [`crate::ops`] called one by one. Convolutions lay the images of a
//! block out as flat planes (see `lower.rs`), so that vector lanes run over positions, whatever the number of images.
//!
//! It stays because what could replace it measures worse (`cargo bench --profile dev -p conv-core --bench
//! fallback`, table in docs/performance/README.md): one or two images leave most of the engine's vectors empty and take 1.7 to 16 times
//! as long; single convolutions by candle's own operations take 1.7 to 22 times as long at any batch, depthwise ones up to 200
//! times, and a network with a custom operation 8 to 31 times.

pub(crate) mod conv;
mod lower;
pub(crate) mod norm;
pub(crate) mod pool;
mod tile;
