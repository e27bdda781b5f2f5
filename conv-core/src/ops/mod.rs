//! Differentiable functions.
//!
//! On the CPU, in f32, they are candle custom ops over the kernels of this crate, each with its own backward pass. Elsewhere
//! they are composed of candle's own ops, with the same results and gradients.

mod activation;
mod conv;
mod head;
mod norm;
mod pool;

pub use activation::{channel_shuffle, relu};
pub use conv::conv2d;
pub use head::{cross_entropy, linear};
pub use norm::{BatchStats, batch_norm_train, channel_affine};
pub use pool::{avg_pool2d, global_avg_pool, max_pool2d};

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

/// Whether the kernels take this tensor.
fn on_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The values of a contiguous f32 tensor on the CPU.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a tensor that is not contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `work` with the values of `x`, copied only if they do not lie in order.
fn with_values<T>(x: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(slice(storage, layout)?),
        _ => bail!("a CPU kernel was given a tensor of another device"),
    }
}

/// What a custom op returns.
fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// A gradient shaped as `like`.
fn gradient(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}
