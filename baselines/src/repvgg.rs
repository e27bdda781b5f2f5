//! RepVGG block.

mod fused;

use candle_core::Result;
use conv_core::{ConvSpec, Fused, Method, Scope, UnitSpec, Value, options};
use fused::{OneKernel, fuse};

options! {
    /// RepVGG block (arXiv 2101.03697, section 3): trained as a `k x k` convolution, a 1 x 1 one and, where stride and widths
    /// allow, the input itself, each with a batch norm of its own, summed; [fused](Method::fused) into one `k x k` convolution with
    /// a bias, which infers at vanilla's cost. No options.
    ///
    /// Conventions: residual addition and activation follow the sum. In a unit without norm no branch has one. A bias is the
    /// `k x k` convolution's. A 1 x 1 convolution stays vanilla, in its fused form too, and so does a grouped one, or one whose
    /// padding does not keep the size (all kernels have one centre).
    ///
    /// Cost as trained, for an output of `h x w`: `h w C_in C_out (k^2 + 1)` MACs, `2 h w C_out` activations; parameters are the
    /// MACs without `h w`, plus `2 C_out` for every batch norm (three with the input's branch, else two), `C_out` for a bias.
    RepVgg = "repvgg", "k x k, 1 x 1 and the input, summed in training, one k x k kernel after it (RepVGG)" {}
}

impl Method for RepVgg {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        match unit.conv {
            ConvSpec { groups: 2.., .. } => Some("it is grouped already"),
            ConvSpec { kernel: 1, .. } => Some("a 1 x 1 kernel has nothing smaller beside it"),
            conv => (!conv.is_centred()).then_some("its padding does not keep the size"),
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, stride, .. } = unit.conv;
        let wide = net.conv("wide", unit.conv, unit.norm, false, x)?;
        let narrow = UnitSpec { conv: ConvSpec::same(in_channels, out_channels, 1, stride), activation: None, ..*unit };
        let mut sum = net.unit("narrow", &narrow, x, Some(wide))?;
        if has_identity(unit) {
            let identity = if unit.norm { net.norm("identity.bn", false, x)? } else { x };
            sum = net.add(sum, identity)?;
        }
        net.add_relu(sum, residual, unit.relu())
    }

    fn fused(&self) -> Option<Fused> {
        let what = "the k x k, the 1 x 1 and the input's branch, their batch norms folded in, are one k x k convolution with a bias";
        Some(Fused { what, method: Box::new(OneKernel), parameters: fuse })
    }
}

/// Whether the input itself can be added.
fn has_identity(unit: &UnitSpec) -> bool {
    unit.conv.in_channels == unit.conv.out_channels && unit.conv.stride == 1
}
