//! Partial convolution.

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Partial convolution (FasterNet, arXiv 2303.03667, section 3): a `k x k` convolution of the first `c = C_in / parts`
    /// channels (rounded down, as in the released code) among themselves, the other channels passed on as they are, then a 1 x 1
    /// convolution over all of them, which sets the width.
    ///
    /// Conventions:
    /// - nothing stands between the two convolutions, as in the paper; the unit's batch norm, residual addition and activation
    ///   follow the 1 x 1 convolution (there FasterNet has its one norm; its block's second 1 x 1 convolution is left out);
    /// - FasterNet strides elsewhere. Here the `k x k` convolution takes the stride, and of the channels passed on every
    ///   `stride`-th pixel is taken: the same function as a stride of the 1 x 1 convolution, without pixels that it would leave out;
    /// - a bias is the 1 x 1 convolution's;
    /// - a convolution of fewer channels than parts stays vanilla, and so does a 1 x 1 one, one that is grouped already, or whose
    ///   padding does not keep the size.
    ///
    /// Cost for an output of `h x w`: `h w (k^2 c^2 + C_in C_out)` MACs, `h w (c + C_out)` activations; parameters are the MACs
    /// without `h w`, plus `2 C_out` for a batch norm and `C_out` for a bias.
    PConv = "pconv", "k x k on the first channels, the others passed on, then 1 x 1 (FasterNet)" {
        /// One channel in so many is convolved.
        parts: usize = 4, at_least(2);
    }
    knob = parts
}

impl Method for PConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, kernel, groups, .. } = unit.conv;
        if groups > 1 {
            Some("it is grouped already")
        } else if kernel == 1 {
            Some("a 1 x 1 convolution has no spatial part to separate")
        } else if !unit.conv.is_centred() {
            Some("its padding does not keep the size")
        } else if in_channels < self.parts {
            Some("it has fewer channels than parts")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, stride, bias, .. } = unit.conv;
        let convolved = in_channels / self.parts;
        let partial = ConvSpec { in_channels: convolved, out_channels: convolved, bias: false, ..unit.conv };
        let first = net.slice(x, 0..convolved)?;
        let first = net.conv("partial", partial, false, false, first)?;
        let others = net.slice(x, convolved..in_channels)?;
        let others = net.avg_pool(others, 1, stride, false)?;
        let all = net.concat(&[first, others])?;
        let pointwise = ConvSpec { bias, ..ConvSpec::same(in_channels, out_channels, 1, 1) };
        net.unit("pointwise", &UnitSpec { conv: pointwise, ..*unit }, all, residual)
    }
}
