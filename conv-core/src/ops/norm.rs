use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{gradient, on_kernels, output, relu, slice, with_values};
use crate::kernels::Isa;
use crate::kernels::flat::norm::{self, Gradients, Planes, Saved};
use crate::kernels::moments::{Moments, inv_std};

/// Statistics of a batch, per channel, for the layer to update its running ones.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// Mean over batch and pixels, `[c]`.
    pub mean: Tensor,
    /// Variance over batch and pixels with Bessel's correction (as PyTorch's running variance), `[c]`.
    pub variance: Tensor,
}

/// Batch normalisation in training: `relu?(gamma (x - mean) / sqrt(var + eps) + beta + residual?)`.
/// `x: [n, c, h, w]`, `gamma, beta: [c]`, `residual` as `x`.
///
/// # Errors
/// Shapes that do not fit; a single value per channel, which has no variance.
pub fn batch_norm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    residual: Option<&Tensor>,
    relu_after: bool,
) -> Result<(Tensor, BatchStats)> {
    let planes = check(x, gamma, beta, residual)?;
    let count = (planes.batch * planes.pixels) as f64;
    if count <= 1.0 {
        bail!("batch norm: training needs more than one value per channel, the input is {:?}", x.dims());
    }
    if !on_kernels(x) {
        return compose(x, gamma, beta, eps, residual, relu_after);
    }
    let (isa, x) = (Isa::best(), x.contiguous()?);
    let moments = with_values(&x, |x| Ok(norm::moments(isa, &planes, x)))?;
    let narrow = |of: &dyn Fn(&Moments) -> f64| -> Vec<f32> { moments.iter().map(|all| of(all) as f32).collect() };
    let inv_std = narrow(&|all| inv_std(all.variance(), eps));
    let variance = narrow(&|all| all.variance() * count / (count - 1.0));
    let mean = narrow(&|all| all.mean);
    let stats = BatchStats {
        mean: Tensor::from_slice(&mean, planes.channels, x.device())?,
        variance: Tensor::from_vec(variance, planes.channels, x.device())?,
    };
    let op = BatchNorm { planes, isa, mean, inv_std, relu: relu_after };
    let affine = Tensor::cat(&[gamma, beta], 0)?;
    let y = match residual {
        Some(residual) => x.apply_op3(&affine, &residual.contiguous()?, op)?,
        None => x.apply_op2(&affine, op)?,
    };
    Ok((y, stats))
}

/// Per-channel affine map, as batch normalisation is at inference: `relu?(scale x + shift + residual?)`.
/// `x: [n, c, h, w]`, `scale, shift: [c]`, `residual` as `x`.
///
/// # Errors
/// Shapes that do not fit.
pub fn channel_affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    relu_after: bool,
) -> Result<Tensor> {
    let planes = check(x, scale, shift, residual)?;
    if !on_kernels(x) {
        return compose_affine(x, scale, shift, residual, relu_after);
    }
    let op = Affine { planes, isa: Isa::best(), relu: relu_after };
    let affine = Tensor::cat(&[scale, shift], 0)?;
    let x = x.contiguous()?;
    match residual {
        Some(residual) => x.apply_op3(&affine, &residual.contiguous()?, op),
        None => x.apply_op2(&affine, op),
    }
}

fn check(x: &Tensor, gamma: &Tensor, beta: &Tensor, residual: Option<&Tensor>) -> Result<Planes> {
    let (batch, channels, height, width) = x.dims4()?;
    if gamma.dims() != [channels] || beta.dims() != [channels] {
        bail!("batch norm: {channels} channels, but scale {:?} and shift {:?}", gamma.dims(), beta.dims());
    }
    if let Some(residual) = residual
        && residual.dims() != x.dims()
    {
        bail!("the residual is {:?}, what it is added to {:?}", residual.dims(), x.dims());
    }
    Ok(Planes { batch, channels, pixels: height * width })
}

/// With candle's ops.
fn compose(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    residual: Option<&Tensor>,
    relu_after: bool,
) -> Result<(Tensor, BatchStats)> {
    let (n, c, h, w) = x.dims4()?;
    let count = (n * h * w) as f64;
    let mean = (x.sum_keepdim((0, 2, 3))? / count)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = (centred.sqr()?.sum_keepdim((0, 2, 3))? / count)?;
    let normal = centred.broadcast_div(&(&var + eps)?.sqrt()?)?;
    let y = compose_affine(&normal, gamma, beta, residual, relu_after)?;
    let variance = (var.reshape(c)?.detach() * (count / (count - 1.0)))?;
    Ok((y, BatchStats { mean: mean.reshape(c)?.detach(), variance }))
}

fn compose_affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    relu_after: bool,
) -> Result<Tensor> {
    let per_channel = |t: &Tensor| t.reshape((1, t.elem_count(), 1, 1));
    let y = x.broadcast_mul(&per_channel(scale)?)?.broadcast_add(&per_channel(shift)?)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    if relu_after { relu(&y) } else { Ok(y) }
}

/// Training: statistics of the batch, through which the gradient flows.
struct BatchNorm {
    planes: Planes,
    isa: Isa,
    mean: Vec<f32>,
    inv_std: Vec<f32>,
    relu: bool,
}

impl BatchNorm {
    fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let (gamma, beta) = affine.split_at(self.planes.channels);
        let scale: Vec<f32> = gamma.iter().zip(&self.inv_std).map(|(gamma, inv)| gamma * inv).collect();
        let shift: Vec<f32> =
            beta.iter().zip(self.mean.iter().zip(&scale)).map(|(beta, (mean, scale))| beta - mean * scale).collect();
        norm::affine(self.isa, &self.planes, x, &scale, &shift, residual, self.relu)
    }

    /// Gradients of x, gamma and beta in one flat tensor, and the residual.
    fn backward(&self, x: &Tensor, affine: &Tensor, y: &Tensor, dy: &Tensor, residual: bool) -> Result<Flat> {
        let gradients = with_values(x, |x_values| {
            with_values(affine, |affine| {
                with_values(y, |y| {
                    with_values(dy, |dy| {
                        let saved = Saved {
                            x: x_values,
                            y: self.relu.then_some(y),
                            mean: &self.mean,
                            inv_std: &self.inv_std,
                            gamma: &affine[..self.planes.channels],
                        };
                        Ok(norm::backward(self.isa, &self.planes, &saved, dy, residual))
                    })
                })
            })
        })?;
        flat(gradients, x, affine)
    }
}

/// Gradients to (x, scale and shift, residual).
type Flat = (Tensor, Tensor, Option<Tensor>);

fn flat(gradients: Gradients, x: &Tensor, affine: &Tensor) -> Result<Flat> {
    let Gradients { x: dx, mut gamma, beta, residual } = gradients;
    gamma.extend(beta);
    let residual = residual.map(|residual| gradient(residual, x)).transpose()?;
    Ok((gradient(dx, x)?, gradient(gamma, affine)?, residual))
}

/// Inference: constants per channel.
struct Affine {
    planes: Planes,
    isa: Isa,
    relu: bool,
}

impl Affine {
    fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let (scale, shift) = affine.split_at(self.planes.channels);
        norm::affine(self.isa, &self.planes, x, scale, shift, residual, self.relu)
    }

    /// Composed: networks are not trained through running statistics, so this only has to be right.
    fn backward(&self, x: &Tensor, affine: &Tensor, y: &Tensor, dy: &Tensor, residual: bool) -> Result<Flat> {
        let c = self.planes.channels;
        let g = if self.relu { y.le(0f32)?.where_cond(&dy.zeros_like()?, dy)? } else { dy.clone() };
        let dx = g.broadcast_mul(&affine.narrow(0, 0, c)?.reshape((1, c, 1, 1))?)?;
        let scale = (&g * x)?.sum((0, 2, 3))?;
        Ok((dx, Tensor::cat(&[scale, g.sum((0, 2, 3))?], 0)?, residual.then_some(g)))
    }
}

/// Both ops exist with and without a residual, as two and three argument ops.
macro_rules! custom_ops {
    ($op:ty, $name:literal) => {
        impl CustomOp2 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, a: &CpuStorage, al: &Layout) -> Result<(CpuStorage, Shape)> {
                output(self.forward(slice(x, xl)?, slice(a, al)?, None), xl.shape())
            }

            fn bwd(&self, x: &Tensor, a: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
                let (dx, da, _) = self.backward(x, a, y, dy, false)?;
                Ok((Some(dx), Some(da)))
            }
        }

        impl CustomOp3 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &self,
                x: &CpuStorage,
                xl: &Layout,
                a: &CpuStorage,
                al: &Layout,
                r: &CpuStorage,
                rl: &Layout,
            ) -> Result<(CpuStorage, Shape)> {
                output(self.forward(slice(x, xl)?, slice(a, al)?, Some(slice(r, rl)?)), xl.shape())
            }

            fn bwd(
                &self,
                x: &Tensor,
                a: &Tensor,
                _: &Tensor,
                y: &Tensor,
                dy: &Tensor,
            ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
                let (dx, da, dr) = self.backward(x, a, y, dy, true)?;
                Ok((Some(dx), Some(da), dr))
            }
        }
    };
}

custom_ops!(BatchNorm, "batch_norm");
custom_ops!(Affine, "channel_affine");
