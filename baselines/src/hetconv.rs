//! HetConv.

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// HetConv (arXiv 1903.04120, section 3): kernels of two sizes. A `k x k` convolution in P groups and a `1 x 1` one over all
    /// channels read the same input and take the same stride; their sum is the output. (DualConv, arXiv 2202.07481, is the same
    /// under another name.)
    ///
    /// In the paper a filter has `k x k` kernels on one input channel in P and `1 x 1` ones on the others, shifted from filter
    /// to filter: up to the order of channels, groups. The `1 x 1` taps that a `k x k` kernel covers are superfluous, not wrong.
    ///
    /// Conventions:
    /// - the unit's batch norm, residual addition and activation follow the sum, and there are no others;
    /// - a bias is the `k x k` convolution's;
    /// - a 1 x 1 convolution stays vanilla, and so does one that is grouped already, that the parts do not divide, or whose
    ///   padding does not keep the size (both kernels have one centre).
    ///
    /// Cost for an output of `h x w`: `h w C_in C_out (k^2 / P + 1)` MACs, `2 h w C_out` activations; parameters are the MACs
    /// without `h w`, plus `2 C_out` for a batch norm and `C_out` for a bias. The paper counts `k^2 / P + 1 - 1 / P`: it leaves
    /// the superfluous taps out.
    HetConv = "hetconv", "k x k in groups and 1 x 1 over all channels, summed (HetConv)" {
        /// P: groups of the k x k convolution.
        parts: usize = 4, at_least(2);
    }
    knob = parts
}

impl Method for HetConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, out_channels, kernel, groups, .. } = unit.conv;
        let divides = |channels: usize| channels.is_multiple_of(self.parts);
        if groups > 1 {
            Some("it is grouped already")
        } else if kernel == 1 {
            Some("a 1 x 1 kernel has nothing smaller beside it")
        } else if !unit.conv.is_centred() {
            Some("its padding does not keep the size")
        } else if !divides(in_channels) || !divides(out_channels) {
            Some("its channels cannot be divided into the parts")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, stride, .. } = unit.conv;
        let wide = net.conv("wide", unit.conv.grouped(self.parts), false, false, x)?;
        let narrow = net.conv("narrow", ConvSpec::same(in_channels, out_channels, 1, stride), false, false, x)?;
        let sum = net.add(wide, narrow)?;
        net.finish(unit, sum, residual)
    }
}
