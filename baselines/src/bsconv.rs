//! Blueprint separable convolution.

use candle_core::Result;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Blueprint separable convolution, unconstrained (BSConv-U, arXiv 2003.13549, section 3): a 1 x 1 convolution over all
    /// channels, then a `k x k` depthwise one with the stride. Every filter is one `k x k` blueprint times a weight for each
    /// input channel; MobileNet's order is the other way round. No options.
    ///
    /// Conventions:
    /// - nothing stands between the two convolutions, as in the paper's definition and its released code (a ReLU there would make
    ///   it no blueprint); the unit's own batch norm, residual addition and activation follow the depthwise convolution;
    /// - a bias is the depthwise convolution's, as in the released code;
    /// - a 1 x 1 convolution stays vanilla (a 1 x 1 depthwise convolution behind it would only rescale it), and so does a grouped
    ///   one.
    ///
    /// Cost for an input of `H x W` and an output of `h x w`: `H W C_in C_out + h w k^2 C_out` MACs, `(H W + h w) C_out`
    /// activations. With a stride the 1 x 1 convolution works on all that it reads: at stride 2 four times the output's size.
    /// Parameters: `C_out (C_in + k^2)`, plus `2 C_out` for a batch norm and `C_out` for a bias.
    BsConv = "bsconv", "blueprint separable: 1 x 1, then k x k per channel (BSConv-U)" {}
}

impl Method for BsConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        match unit.conv {
            ConvSpec { groups: 2.., .. } => Some("it is grouped already"),
            ConvSpec { kernel: 1, .. } => Some("a 1 x 1 convolution has no spatial part to separate"),
            _ => None,
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, .. } = unit.conv;
        let blueprints = ConvSpec { in_channels: out_channels, ..unit.conv }.grouped(out_channels);
        let y = net.conv("pointwise", ConvSpec::same(in_channels, out_channels, 1, 1), false, false, x)?;
        net.unit("depthwise", &UnitSpec { conv: blueprints, ..*unit }, y, residual)
    }
}
