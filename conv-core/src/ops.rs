//! Differentiable functions.

use candle_core::{D, DType, Result, Tensor};

use crate::meter;

/// 2-D convolution without bias: `x: [n, c, h, w]`, `weight: [o, c / groups, k, k]` -> `[n, o, h', w']`.
///
/// # Errors
/// Shapes that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize, groups: usize) -> Result<Tensor> {
    let y = x.conv2d(weight, padding, stride, 1, groups)?;
    let per_output: usize = weight.dims()[1..].iter().product();
    meter::record((y.elem_count() * per_output) as u64, y.elem_count() as u64);
    Ok(y)
}

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
/// Shapes that do not fit.
pub fn batch_norm_train(
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
    let y = normal.broadcast_mul(&gamma.reshape((1, c, 1, 1))?)?.broadcast_add(&beta.reshape((1, c, 1, 1))?)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    let y = if relu_after { relu(&y)? } else { y };
    let variance = (var.flatten_all()?.detach() * (count / (count - 1.0).max(1.0)))?;
    Ok((y, BatchStats { mean: mean.flatten_all()?.detach(), variance }))
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
    let c = x.dim(1)?;
    let y = x.broadcast_mul(&scale.reshape((1, c, 1, 1))?)?.broadcast_add(&shift.reshape((1, c, 1, 1))?)?;
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    if relu_after { relu(&y) } else { Ok(y) }
}

/// `max(x, 0)`, any shape; the gradient at 0 is 0.
///
/// # Errors
/// Those of the device.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.relu()
}

/// Maximum over `kernel x kernel` windows: `[n, c, h, w] -> [n, c, h', w']`. Padding never wins; of equal values the first
/// (row by row) gets the gradient, as in PyTorch.
///
/// # Errors
/// A window larger than the padded input, or padding above half the kernel.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, _padding: usize) -> Result<Tensor> {
    x.max_pool2d_with_stride(kernel, stride)
}

/// Mean over the existing pixels of `kernel x kernel` windows, without padding: `[n, c, h, w] -> [n, c, h', w']`.
/// `ceil_mode` keeps the windows that the edge cuts.
///
/// # Errors
/// A window larger than the input (unless `ceil_mode`).
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, _ceil_mode: bool) -> Result<Tensor> {
    x.avg_pool2d_with_stride(kernel, stride)
}

/// Mean over all pixels: `[n, c, h, w] -> [n, c]`.
///
/// # Errors
/// An input that is not of rank 4.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.mean((2, 3))
}

/// Interleaves `groups` blocks of channels: `y[:, j groups + i] = x[:, i c / groups + j]`.
///
/// # Errors
/// `groups` that do not divide the channels.
pub fn channel_shuffle(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if groups == 0 || c % groups != 0 {
        candle_core::bail!("channel shuffle: {groups} groups do not divide {c} channels");
    }
    x.reshape((n, groups, c / groups, h, w))?.transpose(1, 2)?.contiguous()?.reshape((n, c, h, w))
}

/// `x w^T + bias`: `x: [n, i]`, `weight: [o, i]`, `bias: [o]` -> `[n, o]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    meter::record((x.elem_count() * weight.dim(0)?) as u64, y.elem_count() as u64);
    Ok(y)
}

/// Mean softmax cross-entropy with label smoothing (PyTorch's): `logits: [n, k]`, `labels: [n]` of u32 -> scalar.
///
/// # Errors
/// Shapes that do not fit, or a label of k or more.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let picked = log_p.gather(&labels.unsqueeze(1)?.to_dtype(DType::U32)?, 1)?.mean_all()?;
    (picked * (smoothing - 1.0))? - (log_p.mean_all()? * smoothing)?
}
