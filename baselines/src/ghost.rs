//! Ghost module.

use candle_core::Result;
use conv_core::options::{Kind, at_least};
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Ghost module (GhostNet, arXiv 1911.11907, section 3.1, with the choices of its released code): a primary `k x k`
    /// convolution, which takes the stride, makes `m = ceil(C_out / s)` channels; a cheap depthwise convolution makes
    /// `m (s - 1)` more of them; both are concatenated and the first `C_out` channels are the output.
    ///
    /// Conventions, where batch norm and ReLU stand:
    /// - The module's inner batch norms and ReLUs serve as the unit's own; nothing follows the concatenation.
    /// - Unit with activation, no residual (VGG; first convolution of a block): batch norm and ReLU after the primary and after
    ///   the cheap convolution.
    /// - Unit without activation (shortcut projections): batch norms only, as `relu=False` in the released code.
    /// - Unit with a residual (last convolution of a block): batch norms only, both convolutions; then the addition, then the
    ///   unit's activation. Parameters and cost are the same.
    /// - Unit without norm: no inner batch norms either. A bias goes to both inner convolutions, `m s` values.
    ///
    /// Channels beyond `C_out` (where `s` does not divide it) are computed and cut, as in the released code, and counted:
    /// for an output of `h x w`, `h w m (k^2 C_in + (s - 1) q^2)` MACs with the cheap kernel `q`, `h w m s` activations;
    /// parameters are the MACs without `h w`, plus `2 m s` for batch norms and `m s` for biases. A grouped convolution stays
    /// vanilla.
    Ghost = "ghost", "Ghost module: some channels computed, the others cheaply derived from them (GhostNet)" {
        /// Output channels per computed channel.
        ratio: usize = 2, at_least(2);
        /// Side of the depthwise kernel that derives the others.
        cheap_kernel: usize = 3, Kind::Odd;
    }
    knob = ratio
}

impl Method for Ghost {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        (unit.conv.groups > 1).then_some("it is grouped already")
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { out_channels, bias, .. } = unit.conv;
        let computed = out_channels.div_ceil(self.ratio);
        let primary = ConvSpec { out_channels: computed, ..unit.conv };
        let ghosts = computed.saturating_mul(self.ratio - 1);
        if self.ratio > out_channels {
            let ratio = self.ratio;
            net.remarks(|| vec![format!("ratio {ratio} is above its {out_channels} channels: the others are made and cut off")]);
        }
        let cheap = ConvSpec { bias, ..ConvSpec::same(computed, ghosts, self.cheap_kernel, 1).grouped(computed) };
        // With a residual, ReLU follows the addition instead.
        let relu = unit.relu() && residual.is_none();
        let primary = net.conv("primary", primary, unit.norm, relu, x)?;
        let ghosts = net.conv("cheap", cheap, unit.norm, relu, primary)?;
        let all = net.concat(&[primary, ghosts])?;
        let y = net.slice(all, 0..out_channels)?;
        // As trials have it that are older than derived signatures.
        net.signature(|written| format!("ghost {} first {out_channels}", written.convs()));
        net.add_relu(y, residual, unit.relu() && !relu)
    }
}
