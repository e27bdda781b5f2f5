//! Tied block convolution: one thin convolution, used for every block of the channels.

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Tied block convolution (arXiv 2009.12021, section 3): the channels are split into B blocks, and one convolution, from
    /// `C_in / B` to `C_out / B` channels, is applied to each of them. Batch norm, residual and ReLU follow all channels, each
    /// with parameters of its own; a bias is the convolution's, and so tied.
    ///
    /// Cost for an output of `h x w`: `h w k^2 C_in C_out / B` MACs, as a grouped convolution, and vanilla's activations; but
    /// `k^2 C_in C_out / B^2` weights. A grouped convolution stays vanilla, and so does one whose channels B does not divide.
    Tied = "tied", "one thin convolution shared by all blocks of the channels (TiedConv)" {
        /// B: blocks of channels that share the convolution.
        blocks: usize = 2, at_least(2);
    }
    knob = blocks
}

impl Method for Tied {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, out_channels, groups, .. } = unit.conv;
        if groups > 1 {
            Some("it is grouped already")
        } else if !in_channels.is_multiple_of(self.blocks) || !out_channels.is_multiple_of(self.blocks) {
            Some("its channels cannot be divided into the blocks")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, .. } = unit.conv;
        let (inputs, outputs) = (in_channels / self.blocks, out_channels / self.blocks);
        let block = |index: usize| net.slice(x, index * inputs..(index + 1) * inputs);
        let blocks = (0..self.blocks).map(block).collect::<Result<Vec<_>>>()?;
        let tied = ConvSpec { in_channels: inputs, out_channels: outputs, ..unit.conv };
        let made = net.tied_conv("tied", tied, &blocks)?;
        let y = net.concat(&made)?;
        net.finish(unit, y, residual)
    }
}
