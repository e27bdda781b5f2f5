//! What gates are made of. Composed of candle's ops on every device: the engine has kernels of its own for all of it.

use candle_core::{Result, Tensor, bail};

use crate::kernels::windows::Windows;
use crate::layers::check_groups;

/// `x by`: of the same shape, or `x: [n, c, h, w]` with one value for each of its channels, `by: [n, c]` or `[n, c, 1, 1]`.
///
/// # Errors
/// Other shapes.
pub fn product(x: &Tensor, by: &Tensor) -> Result<Tensor> {
    if x.dims() == by.dims() {
        return x * by;
    }
    match (x.dims(), by.dims()) {
        (&[n, c, _, _], &[m, d] | &[m, d, 1, 1]) if (n, c) == (m, d) => x.broadcast_mul(&by.reshape((n, c, 1, 1))?),
        (x, by) => bail!("a product of {x:?} and {by:?}; accepted: equal shapes, or one value for each channel"),
    }
}

/// `1 / (1 + exp(-x))`, any shape.
///
/// # Errors
/// Those of the device.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// The spatial gate of SCConv (CVPR 2023, section 3): with `s = sigmoid(gate)`, what is informative (`s > threshold`) passes
/// whole, else its part `s` does, and to that is added what passes of the channel half of them apart, where the informative
/// adds nothing and the rest its part `s`. `x, gate: [n, c, ..]` to the same shape, `c` even. Where `s` was replaced by 1 or 0
/// `gate` has no gradient. A gate that is NaN makes NaN of both channels that its own is added to.
///
/// # Errors
/// Shapes that differ; channels that have no half.
pub fn crossed_gate(x: &Tensor, gate: &Tensor, threshold: f64) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if x.dims() != gate.dims() {
        bail!("{:?} is gated by {:?}; accepted: equal shapes", x.dims(), gate.dims());
    }
    let half = check_halves(channels)?;
    let share = sigmoid(gate)?;
    let informative = share.gt(threshold)?;
    let own = (x * informative.where_cond(&share.ones_like()?.detach(), &share)?)?;
    let other = (x * informative.where_cond(&share.zeros_like()?.detach(), &share)?)?;
    own + Tensor::cat(&[other.narrow(1, half, half)?, other.narrow(1, 0, half)?], 1)?
}

/// Half of these channels.
///
/// # Errors
/// An odd number.
pub(crate) fn check_halves(channels: usize) -> Result<usize> {
    if !channels.is_multiple_of(2) {
        bail!("{channels} channels are gated crosswise; accepted: an even number");
    }
    Ok(channels / 2)
}

/// Softmax between `parts` parts of the channels, for each place in a part and each pixel by itself: `[n, parts c, ..]`.
///
/// # Errors
/// Parts that do not divide the channels.
pub fn softmax_between(x: &Tensor, parts: usize) -> Result<Tensor> {
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    if parts == 0 || c % parts != 0 {
        bail!("softmax: {parts} parts do not divide {c} channels");
    }
    let parted = x.reshape((n, parts, x.elem_count() / (n * parts).max(1)))?;
    // A constant: softmax does not depend on it.
    let largest = parted.max_keepdim(1)?.detach();
    let powers = parted.broadcast_sub(&largest)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(1)?)?.reshape(x.shape())
}

/// Group normalisation: `weight (x - mean) / sqrt(variance + eps) + bias`, with mean and variance of each image over each group
/// of channels. `x: [n, c, ..]`, `weight, bias: [c]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    check_groups(groups, c)?;
    if weight.dims() != [c] || bias.dims() != [c] {
        bail!("group norm: {c} channels, but weight {:?} and bias {:?}", weight.dims(), bias.dims());
    }
    let grouped = x.reshape((n, groups, x.elem_count() / (n * groups).max(1)))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape((n, c, ()))?;
    let by_channel = |t: &Tensor| t.reshape((1, c, 1));
    normal.broadcast_mul(&by_channel(weight)?)?.broadcast_add(&by_channel(bias)?)?.reshape(x.shape())
}

/// Nearest upsampling: every pixel `factor` times along rows and columns, `[n, c, h, w] -> [n, c, factor h, factor w]`; cut to
/// a `size` where one is given, which may lack no more than the last copies of the last row and column.
///
/// # Errors
/// A factor of 0, or a size that it does not lead to.
pub fn upsample(x: &Tensor, factor: usize, size: Option<(usize, usize)>) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (height, width) = Windows::repeating((h, w), factor, size)?.input;
    let repeated = x.reshape((n, c, h, 1, w, 1))?.broadcast_as((n, c, h, factor, w, factor))?;
    repeated.reshape((n, c, h * factor, w * factor))?.narrow(2, 0, height)?.narrow(3, 0, width)
}
