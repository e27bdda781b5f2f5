use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{gradient, on_kernels, output, slice, with_values};
use crate::kernels::{Isa, flat::conv, shape::ConvShape};
use crate::meter;

/// 2-D convolution without bias: `x: [n, c, h, w]`, `weight: [o, c / groups, k, k]` -> `[n, o, h', w']`.
///
/// # Errors
/// Shapes that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize, groups: usize) -> Result<Tensor> {
    let shape = ConvShape::new(x.dims(), weight.dims(), stride, padding, groups)?;
    meter::record(shape.macs(), shape.y_len() as u64);
    if !on_kernels(x) {
        return compose(x, weight, &shape);
    }
    // The input of a network needs no gradient: a third of the stem's work.
    let op = Convolution { shape, isa: Isa::best(), x_needs_gradient: x.track_op() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// With candle's op.
fn compose(x: &Tensor, weight: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let ConvShape { input, output, kernel, stride, padding, groups, .. } = *shape;
    // What the windows reach of the padded input; some rows and columns at its end may be left over.
    let reach = |out: usize| (out - 1) * stride + kernel;
    if input.0 + reach(output.1) == input.1 + reach(output.0) {
        return x.conv2d(weight, padding, stride, 1, groups);
    }
    // candle's backward pass fails where not as many rows as columns are left over; here none are.
    let x = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    x.narrow(2, 0, reach(output.0))?.narrow(3, 0, reach(output.1))?.conv2d(weight, 0, stride, 1, groups)
}

struct Convolution {
    shape: ConvShape,
    isa: Isa,
    x_needs_gradient: bool,
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let s = &self.shape;
        let y = conv::forward(self.isa, s, slice(x, xl)?, slice(w, wl)?);
        output(y, (s.batch, s.out_channels, s.output.0, s.output.1))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (isa, s) = (self.isa, &self.shape);
        with_values(dy, |dy| {
            let dx = if self.x_needs_gradient {
                Some(with_values(w, |w| gradient(conv::input_gradient(isa, s, dy, w), x))?)
            } else {
                None
            };
            let dw = with_values(x, |x| gradient(conv::weight_gradient(isa, s, x, dy), w))?;
            Ok((dx, Some(dw)))
        })
    }
}
