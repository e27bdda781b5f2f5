use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{gradient, on_kernels, output, slice, with_values};
use crate::kernels::flat::pool;

/// `max(x, 0)`, any shape; the gradient at 0 is 0.
///
/// # Errors
/// Those of the device.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if on_kernels(x) {
        return x.contiguous()?.apply_op1(Relu);
    }
    // candle's own `relu` has gradient 1 at 0.
    // Asked for what is not positive, so that NaN stays NaN.
    let zeros = x.zeros_like()?;
    x.le(&zeros)?.where_cond(&zeros, x)
}

/// `min(max(x, 0), 6)`, any shape; the gradient at 0 and at 6 is 0.
///
/// # Errors
/// Those of the device.
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    let y = relu(x)?;
    let six = (y.zeros_like()? + 6.0)?.detach();
    // Asked for what is too large, so that NaN stays NaN.
    y.ge(&six)?.where_cond(&six, &y)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        output(pool::relu(slice(x, layout)?), layout.shape())
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        with_values(y, |y| with_values(dy, |dy| gradient(pool::relu_backward(y, dy), x))).map(Some)
    }
}

/// Interleaves `groups` blocks of channels: `y[:, j groups + i] = x[:, i c / groups + j]`, `[n, c, h, w]` or `[n, c]`.
///
/// # Errors
/// `groups` that do not divide the channels.
pub fn channel_shuffle(x: &Tensor, groups: usize) -> Result<Tensor> {
    if let &[n, c] = x.dims() {
        return channel_shuffle(&x.reshape((n, c, 1, 1))?, groups)?.reshape((n, c));
    }
    let (n, c, h, w) = x.dims4()?;
    if groups == 0 || c % groups != 0 {
        bail!("channel shuffle: {groups} groups do not divide {c} channels");
    }
    if groups == 1 {
        return Ok(x.clone());
    }
    if !on_kernels(x) {
        return x.reshape((n, groups, c / groups, h, w))?.transpose(1, 2)?.contiguous()?.reshape((n, c, h, w));
    }
    x.contiguous()?.apply_op1(Shuffle { channels: c, pixels: h * w, groups })
}

struct Shuffle {
    channels: usize,
    pixels: usize,
    groups: usize,
}

impl CustomOp1 for Shuffle {
    fn name(&self) -> &'static str {
        "channel_shuffle"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        output(pool::shuffle(slice(x, layout)?, self.channels, self.pixels, self.groups), layout.shape())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        // The inverse is the shuffle by the number of channels in a group.
        let back = |dy: &[f32]| gradient(pool::shuffle(dy, self.channels, self.pixels, self.channels / self.groups), x);
        with_values(dy, back).map(Some)
    }
}
