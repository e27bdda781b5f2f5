//! Depthwise separable convolution.

use candle_core::Result;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Depthwise separable convolution (MobileNet, arXiv 1704.04861, section 3.1): a `k x k` depthwise convolution with the
    /// stride, batch norm and ReLU, then a 1 x 1 convolution over all channels. No options.
    ///
    /// Conventions:
    /// - the unit's own batch norm, residual addition and activation follow the 1 x 1 convolution;
    /// - the inner ReLU is always there; the inner batch norm where the unit has one (a network without normalisation stays
    ///   without);
    /// - a bias goes to the 1 x 1 convolution, and to the depthwise one too where no batch norm follows it;
    /// - a 1 x 1 convolution stays vanilla (a 1 x 1 depthwise convolution before it would only rescale its input), and so
    ///   does a grouped one.
    ///
    /// Cost for an output of `h x w`: `h w C_in (k^2 + C_out)` MACs, `h w (C_in + C_out)` activations; parameters are the
    /// MACs without `h w`, plus `2 (C_in + C_out)` for batch norms, or `C_in + C_out` for biases without them.
    Depthwise = "depthwise", "depthwise separable: k x k per channel, then 1 x 1 (MobileNet)" {}
}

impl Method for Depthwise {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        match unit.conv {
            ConvSpec { groups: 2.., .. } => Some("it is grouped already"),
            ConvSpec { kernel: 1, .. } => Some("a 1 x 1 convolution has no spatial part to separate"),
            _ => None,
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, bias, .. } = unit.conv;
        let per_channel = ConvSpec { out_channels: in_channels, bias: bias && !unit.norm, ..unit.conv };
        let pointwise = ConvSpec { bias, ..ConvSpec::same(in_channels, out_channels, 1, 1) };
        let y = net.conv("depthwise", per_channel.grouped(in_channels), unit.norm, true, x)?;
        let y = net.unit("pointwise", &UnitSpec { conv: pointwise, ..*unit }, y, residual)?;
        net.signature(|written| format!("separable {}", written.convs()));
        Ok(y)
    }
}
