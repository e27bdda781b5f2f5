//! Differentiable functions.
//!
//! On the CPU, in f32, they are candle custom ops over the kernels of this crate, each with its own backward pass.
//! Elsewhere, and inside of [`composed`], they are composed of candle's own ops, with the same results and gradients. Those that
//! gates are made of ([`product`], [`group_norm`], ...) always are.

mod activation;
mod conv;
mod gate;
mod head;
mod norm;
mod pool;

pub use activation::{channel_shuffle, relu, relu6};
pub use conv::conv2d;
pub(crate) use gate::check_halves;
pub use gate::{crossed_gate, group_norm, product, sigmoid, softmax_between, upsample};
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

    use candle_core::{Device, Var};

    use super::*;
    use crate::kernels::reference::{NOT_FINITE, Special};

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

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The output, and the gradients that noise (with something that is not finite at `at`) gives the arguments.
    fn compute(
        arguments: &[Tensor],
        dy: Option<(usize, f32)>,
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<Vec<Vec<f32>>> {
        let vars: Vec<Var> = arguments.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let y = f(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>())?;
        let mut noise: Vec<f32> =
            crate::normal_stream(9, "dy", y.elem_count()).into_iter().map(|value| value as f32).collect();
        if let Some((at, kind)) = dy {
            let len = noise.len();
            noise[at % len] = kind;
        }
        // Handed to the operation as it is: a product would have made its own of what is not finite.
        struct Hand(Vec<f32>);
        impl candle_core::CustomOp1 for Hand {
            fn name(&self) -> &'static str {
                "hand"
            }

            fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
                output(vec![0.0], ())
            }

            fn bwd(&self, y: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
                gradient(self.0.clone(), y).map(Some)
            }
        }
        let store = y.apply_op1(Hand(noise))?.backward()?;
        let gradients = vars.iter().map(|var| store.get(var).map(values).unwrap_or_default());
        Ok(std::iter::once(values(&y)).chain(gradients).collect())
    }

    /// On the kernels and composed of candle's ops, with values that are not finite in every argument and in the output's
    /// gradient: these are in the same places of the results.
    #[test]
    fn nan_and_infinities_come_out_where_they_do_with_candle() -> Result<()> {
        type Function = fn(&[Tensor]) -> Result<Tensor>;
        let tensor = |dims: &[usize], seed: u64| {
            let noise = crate::normal_stream(seed, "x", dims.iter().product());
            Tensor::from_vec(noise.into_iter().map(|value| value as f32).collect(), dims, &Device::Cpu).unwrap()
        };
        let (x, residual) = (tensor(&[2, 4, 5, 6], 1), tensor(&[2, 4, 5, 6], 2));
        let (scale, shift) = (tensor(&[4], 3), tensor(&[4], 4));
        let normed = vec![x.clone(), scale, shift, residual];
        let cases: Vec<(&str, Function, Vec<Tensor>, Special)> = vec![
            ("relu", |a| relu(&a[0]), vec![x.clone()], Special::Same),
            ("shuffle", |a| channel_shuffle(&a[0], 2), vec![x.clone()], Special::Same),
            ("max", |a| max_pool2d(&a[0], 3, 2, 1), vec![x.clone()], Special::Same),
            ("max in order", |a| max_pool2d(&a[0], 2, 1, 0), vec![x.clone()], Special::Same),
            ("mean", |a| avg_pool2d(&a[0], 2, 2, true), vec![x.clone()], Special::Same),
            ("affine", |a| channel_affine(&a[0], &a[1], &a[2], Some(&a[3]), true), normed.clone(), Special::Same),
            ("plain affine", |a| channel_affine(&a[0], &a[1], &a[2], None, false), normed.clone(), Special::Same),
            ("norm", |a| Ok(batch_norm_train(&a[0], &a[1], &a[2], 1e-5, Some(&a[3]), false)?.0), normed, Special::Same),
            ("conv", |a| conv2d(&a[0], &a[1], 1, 1, 1), vec![x.clone(), tensor(&[3, 4, 3, 3], 5)], Special::Further),
            ("grouped", |a| conv2d(&a[0], &a[1], 2, 1, 2), vec![x, tensor(&[6, 2, 3, 3], 6)], Special::Further),
        ];
        for (name, function, arguments, special) in cases {
            let check = |arguments: &[Tensor], dy: Option<(usize, f32)>, what: &str| -> Result<()> {
                let got = compute(arguments, dy, function)?;
                let want = composed(|| compute(arguments, dy, function))?;
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    special.assert(|| format!("{name}, {what}, result {at}"), got, want);
                }
                Ok(())
            };
            check(&arguments, None, "finite")?;
            // Through the statistics of a batch infinities meet each other in another order: NaN alone is compared there.
            let kinds = if name == "norm" { &NOT_FINITE[..1] } else { &NOT_FINITE };
            for (which, argument) in arguments.iter().enumerate() {
                for at in (0..argument.elem_count()).step_by(argument.elem_count() / 60 + 1) {
                    for &kind in kinds {
                        let mut arguments = arguments.clone();
                        let mut changed = values(argument);
                        changed[at] = kind;
                        arguments[which] = Tensor::from_vec(changed, argument.shape(), &Device::Cpu)?;
                        check(&arguments, None, &format!("{kind} at {at} of argument {which}"))?;
                        // Where an output and its gradient are both no numbers.
                        check(&arguments, Some((at, kind)), &format!("{kind} at {at} of argument {which} and dy"))?;
                    }
                }
            }
            for (at, kind) in (0..120).step_by(3).flat_map(|at| kinds.iter().map(move |&kind| (at, kind))) {
                check(&arguments, Some((at, kind)), &format!("{kind} at {at} of dy"))?;
            }
        }
        Ok(())
    }
}
