//! Differentiable functions.
//!
//! On the CPU, in f32, they are candle custom ops over the kernels of this crate, each with its own backward pass.
//! Elsewhere, and inside of [`composed`], they are composed of candle's own ops, with the same results and gradients.

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

use std::cell::Cell;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work`, in which every function of this module that is called on this thread is composed of candle's own
/// ops, on the CPU too. What was computed so also has its backward pass by candle's ops, whenever it runs.
///
/// Holds for this thread alone, until `work` returns or panics. A thread of a rayon pool that waits inside of `work`
/// may take up other tasks of that pool meanwhile, and these meet it as well.
pub fn composed<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);

    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }

    let _restore = Restore(COMPOSED.replace(true));
    work()
}

/// Whether this thread is inside of [`composed`].
pub(crate) fn is_composed() -> bool {
    COMPOSED.get()
}

/// Whether the kernels take this tensor.
pub(crate) fn on_kernels(x: &Tensor) -> bool {
    is_cpu_f32(x) && !is_composed()
}

/// Whether the kernels could take this tensor.
pub(crate) fn is_cpu_f32(x: &Tensor) -> bool {
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
pub(crate) fn with_values<T>(x: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
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

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use candle_core::Device;

    use super::*;

    #[test]
    fn the_kernels_are_left_for_the_duration_of_the_closure_and_on_this_thread_alone() {
        let kernels = || on_kernels(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        assert!(kernels());
        composed(|| {
            assert!(!kernels());
            composed(|| assert!(!kernels()));
            assert!(!kernels(), "the inner closure ends, the outer one goes on");
            std::thread::scope(|scope| scope.spawn(|| assert!(kernels())).join().unwrap());
        });
        assert!(kernels());
        assert!(catch_unwind(|| composed(|| panic!("as a failing operation may"))).is_err());
        assert!(kernels(), "a panic ends the closure, too");
        let failed: Result<()> = composed(|| bail!("an error"));
        assert!(failed.is_err() && kernels());
    }
}
