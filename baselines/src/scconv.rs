//! SCConv: spatial and channel reconstruction.

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// SCConv (CVPR 2023, section 3; its authors released no code), with the paper's `alpha = 1/2`, squeeze ratio 2 and two
    /// groups. The spatial unit gates its input by `w = sigmoid(GN(x) gamma / sum(gamma))`: where `w > 0.5` a value is
    /// informative and passes whole, else its part `w` does; of what is not informative, that part alone. Crosswise, one half of
    /// the channels of either is added to the other half of the other. The channel unit squeezes both halves of the result by
    /// 1 x 1 convolutions to `C / 4`; the upper one goes through `k x k` in two groups and 1 x 1, summed; the lower one
    /// through 1 x 1 to `3 C / 4`, and is itself the last quarter. Both are added with weights for each channel: the softmax
    /// between their global average pools.
    ///
    /// Conventions: the unit's batch norm, residual and ReLU follow the sum, and a bias comes before them. What has another
    /// stride than 1, other outputs than inputs, groups, a 1 x 1 kernel, or channels that the groups of the norm or 8 do not
    /// divide, stays vanilla.
    ///
    /// Cost of `C` channels for an output of `h x w`: `h w C^2 (k^2 / 8 + 11 / 16)` MACs, 1.8125 `C^2` a pixel at 3 x 3, and
    /// `3.25 h w C` activations; parameters are the MACs without `h w`, plus `2 C` for the group norm and `2 C` for the batch norm.
    ScConv = "scconv", "inputs gated and crossed, then a split of k x k and 1 x 1, fused by softmax (SCConv)" {
        /// Groups of the norm that gates.
        groups: usize = 16, at_least(1);
    }
}

impl Method for ScConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, .. } = unit.conv;
        if groups > 1 {
            Some("it is grouped already")
        } else if kernel == 1 {
            Some("a 1 x 1 kernel has no spatial part to make cheaper")
        } else if stride != 1 || in_channels != out_channels || 2 * padding + 1 != kernel {
            Some("it changes the size or the number of channels")
        } else if in_channels % self.groups != 0 || in_channels % 8 != 0 {
            Some("its channels cannot be divided into the groups")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels: channels, kernel, bias, .. } = unit.conv;
        let (half, quarter) = (channels / 2, channels / 4);
        let gate = net.group_norm("gate", self.groups, true, x)?;
        let crossed = net.crossed_gate(x, gate, 0.5)?;
        let (upper, lower) = (net.slice(crossed, 0..half)?, net.slice(crossed, half..channels)?);
        let upper = net.conv("upper", ConvSpec::same(half, quarter, 1, 1), false, false, upper)?;
        let lower = net.conv("lower", ConvSpec::same(half, quarter, 1, 1), false, false, lower)?;
        let wide = net.conv("wide", ConvSpec::same(quarter, channels, kernel, 1).grouped(2), false, false, upper)?;
        let narrow = net.conv("narrow", ConvSpec::same(quarter, channels, 1, 1), false, false, upper)?;
        let cheap = net.conv("cheap", ConvSpec::same(quarter, channels - quarter, 1, 1), false, false, lower)?;
        let (one, other) = (net.add(wide, narrow)?, net.concat(&[cheap, lower])?);
        let means = [net.global_avg_pool(one)?, net.global_avg_pool(other)?];
        let weights = net.softmax_between(&means)?;
        let (one, other) = (net.product(one, weights[0])?, net.product(other, weights[1])?);
        let sum = net.add(one, other)?;
        let sum = if bias { net.bias("bias", sum)? } else { sum };
        net.finish(unit, sum, residual)
    }
}
