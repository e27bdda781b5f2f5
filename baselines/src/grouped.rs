//! Convolution in groups with a channel shuffle.

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{Method, Scope, UnitSpec, Value, options};

options! {
    /// A `k x k` convolution in groups, which takes the stride, and a channel shuffle behind it, by which the next convolution's
    /// groups read from every group of this one (ShuffleNet, arXiv 1707.01083, section 3.1).
    ///
    /// ShuffleNet has its groups in 1 x 1 convolutions (1, 2, 3, 4 and 8 of them are compared) and its `k x k` ones depthwise;
    /// here every convolution gets them, as in the comparisons that papers make with "group convolution".
    ///
    /// Conventions:
    /// - the unit's batch norm, residual addition and activation follow the shuffle, and there are no others (before a shuffle
    ///   batch norm and ReLU would compute the same; the residual's channels meet shuffled ones);
    /// - a bias is the convolution's;
    /// - a convolution whose channels the groups do not divide stays vanilla, and so does one that is grouped already.
    ///
    /// Cost for an output of `h x w`: `h w k^2 C_in C_out / groups` MACs, `h w C_out` activations; parameters are the MACs
    /// without `h w`, plus `2 C_out` for a batch norm and `C_out` for a bias.
    Grouped = "grouped", "k x k in groups, then a channel shuffle (ShuffleNet)" {
        /// Groups of channels convolved apart.
        groups: usize = 2, at_least(2);
    }
    knob = groups
}

impl Method for Grouped {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let divides = |channels: usize| channels.is_multiple_of(self.groups);
        if unit.conv.groups > 1 {
            Some("it is grouped already")
        } else if !divides(unit.conv.in_channels) || !divides(unit.conv.out_channels) {
            Some("its channels cannot be divided into the groups")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = net.conv("grouped", unit.conv.grouped(self.groups), false, false, x)?;
        let y = net.shuffle(y, self.groups)?;
        net.finish(unit, y, residual)
    }
}
