//! SPConv: a split by importance, fused by what the branches hold.

use candle_core::Result;
use conv_core::options::INSIDE;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// SPConv (Split to Be Slim, arXiv 2006.12085, section 3, with the choices of its released code): the first
    /// `alpha C_in` channels go through a `k x k` convolution in two groups and through a 1 x 1 one, which are summed; the
    /// rest through a 1 x 1 convolution. Both branches are normalised, and added with weights for each channel: the softmax
    /// between their global average pools.
    ///
    /// Conventions:
    /// - the branches' batch norms serve as the unit's own (the released ResNet-50 keeps that as well); residual and ReLU follow
    ///   the sum, and so does a bias;
    /// - at a stride of `s`, the 1 x 1 convolutions read `s x s` averages, those that the edge cuts too;
    /// - a grouped or 1 x 1 convolution stays vanilla, and so does one whose channels are too few to split, whose first ones
    ///   or outputs are no two groups, or whose padding does not keep the size.
    ///
    /// Cost for an output of `h x w`: `h w C_in C_out (alpha k^2 / 2 + 1)` MACs, `3 h w C_out` activations; parameters are the
    /// MACs without `h w`, plus `4 C_out` for batch norms. Pools, softmax and products are not counted.
    SpConv = "spconv", "some channels k x k in two groups, the others 1 x 1, fused by softmax (SPConv)" {
        /// Share of the input channels that meet the k x k kernel.
        alpha: f64 = 0.5, INSIDE;
    }
    knob = alpha
}

impl SpConv {
    /// Of so many input channels, those that meet the large kernel.
    fn important(&self, channels: usize) -> usize {
        (channels as f64 * self.alpha) as usize
    }
}

impl Method for SpConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, out_channels, kernel, groups, .. } = unit.conv;
        let important = self.important(in_channels);
        if groups > 1 {
            Some("it is grouped already")
        } else if kernel == 1 {
            Some("a 1 x 1 kernel has nothing smaller beside it")
        } else if !unit.conv.is_centred() {
            Some("its padding does not keep the size")
        } else if important == 0 || important % 2 + out_channels % 2 > 0 {
            Some("its channels cannot be split into two groups")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, kernel, stride, bias, .. } = unit.conv;
        let important = self.important(in_channels);
        let (first, rest) = (net.slice(x, 0..important)?, net.slice(x, important..in_channels)?);
        let wide = ConvSpec::same(important, out_channels, kernel, stride).grouped(2);
        let pointwise = |inputs| ConvSpec::same(inputs, out_channels, 1, 1);
        let wide = net.conv("wide", wide, false, false, first)?;
        let small = net.avg_pool(first, stride, stride, true)?;
        let narrow = net.conv("narrow", pointwise(important), false, false, small)?;
        let mut one = net.add(wide, narrow)?;
        if unit.norm {
            one = net.norm("bn", false, one)?;
        }
        let small = net.avg_pool(rest, stride, stride, true)?;
        let other = net.conv("rest", pointwise(in_channels - important), unit.norm, false, small)?;
        let means = [net.global_avg_pool(one)?, net.global_avg_pool(other)?];
        let weights = net.softmax_between(&means)?;
        let (one, other) = (net.product(one, weights[0])?, net.product(other, weights[1])?);
        let sum = net.add(one, other)?;
        let sum = if bias { net.bias("bias", sum)? } else { sum };
        net.add_relu(sum, residual, unit.relu())
    }
}
