//! The shape of a convolution, as every family of kernels reads it.

use candle_core::{Result, bail};

use super::taps::Axis;
use crate::ConvSpec;

/// A convolution with everything that its kernels need to know, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) input: (usize, usize),
    pub(crate) output: (usize, usize),
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
}

impl ConvShape {
    /// `x: [n, c, h, w]`, `weight: [o, c / groups, k, k]`.
    pub(crate) fn new(x: &[usize], weight: &[usize], stride: usize, padding: usize, groups: usize) -> Result<Self> {
        let (&[batch, in_channels, h, w], &[out_channels, per_group, kernel, kernel_w]) = (x, weight) else {
            bail!("convolution: input {x:?} and weight {weight:?} must both have 4 dimensions");
        };
        if kernel != kernel_w || groups == 0 || per_group * groups != in_channels {
            bail!("convolution: weight {weight:?} with {groups} groups does not fit input {x:?} (square kernels only)");
        }
        let spec = ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, bias: false };
        spec.validate()?;
        let output = spec.output_size((h, w))?;
        Ok(Self { batch, in_channels, out_channels, input: (h, w), output, kernel, stride, padding, groups })
    }

    pub(crate) fn x_len(&self) -> usize {
        self.batch * self.in_channels * self.input.0 * self.input.1
    }

    pub(crate) fn y_len(&self) -> usize {
        self.batch * self.out_channels * self.output.0 * self.output.1
    }

    pub(crate) fn w_len(&self) -> usize {
        self.out_channels * (self.in_channels / self.groups) * self.taps()
    }

    /// Multiply-accumulates of the direct sum, padding counted.
    pub(crate) fn macs(&self) -> u64 {
        (self.y_len() * self.w_len() / self.out_channels) as u64
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Its two dimensions.
    pub(crate) fn axes(&self) -> (Axis, Axis) {
        let Self { kernel, stride, padding, .. } = *self;
        let axis = |input, output| Axis { input, output, kernel, stride, padding };
        (axis(self.input.0, self.output.0), axis(self.input.1, self.output.1))
    }
}
