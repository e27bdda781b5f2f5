//! OctConv: some channels at half the resolution.

use candle_core::Result;
use conv_core::options::INSIDE;
use conv_core::{ConvSpec, Method, Scope, UnitSpec, Value, options};

options! {
    /// Octave convolution (arXiv 1904.05049, section 3): the last `alpha C` channels are a low frequency group at half the
    /// resolution. Four convolutions lead from both groups of the inputs to both of the outputs; between resolutions, 2 x 2 means
    /// go down before the kernel and nearest upsampling goes up after it.
    ///
    /// Conventions:
    /// - a unit takes and gives values of one size: the low group is pooled from the input and upsampled into the output, so
    ///   that this is the network of the paper only within a unit;
    /// - odd sizes: means over what the edge cuts count, and what is upsampled is cut to the size;
    /// - at a stride, all four convolutions take it, each on its own resolution;
    /// - the unit's batch norm, residual and ReLU, and a bias before them, follow all channels at the full resolution;
    /// - a grouped convolution stays vanilla, and so does one that has too few channels for both groups, or whose
    ///   padding does not keep the size.
    ///
    /// Parameters are vanilla's. MACs are a quarter where an input or output is low: of vanilla's, `1 - 3/4 alpha (2 - alpha)`
    /// at even sizes, 44 % at `alpha = 1/2`.
    OctConv = "octconv", "some channels at half the resolution, four paths between (OctConv)" {
        /// Share of the channels, in and out, that are at half the resolution.
        alpha: f64 = 0.5, INSIDE;
    }
    knob = alpha
}

impl OctConv {
    /// Of so many channels, those at full resolution and those at half of it.
    fn split(&self, channels: usize) -> (usize, usize) {
        let low = (channels as f64 * self.alpha) as usize;
        (channels - low, low)
    }
}

impl Method for OctConv {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let ConvSpec { in_channels, out_channels, groups, .. } = unit.conv;
        if groups > 1 {
            Some("it is grouped already")
        } else if !unit.conv.is_centred() {
            Some("its padding does not keep the size")
        } else if self.split(in_channels).1 == 0 || self.split(out_channels).1 == 0 {
            Some("it has too few channels for two resolutions")
        } else {
            None
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, kernel, stride, bias, .. } = unit.conv;
        let ((high_in, low_in), (high_out, low_out)) = (self.split(in_channels), self.split(out_channels));
        let high = net.slice(x, 0..high_in)?;
        let halved = net.avg_pool(x, 2, 2, true)?;
        let (high_halved, low) = (net.slice(halved, 0..high_in)?, net.slice(halved, high_in..in_channels)?);
        let spec = |inputs, outputs| ConvSpec::same(inputs, outputs, kernel, stride);
        let high_high = net.conv("high_high", spec(high_in, high_out), false, false, high)?;
        let low_high = net.conv("low_high", spec(low_in, high_out), false, false, low)?;
        let high_low = net.conv("high_low", spec(high_in, low_out), false, false, high_halved)?;
        let low_low = net.conv("low_low", spec(low_in, low_out), false, false, low)?;
        let low_high = net.upsample(low_high, 2, Some(high_high))?;
        let low = net.add(low_low, high_low)?;
        let low = net.upsample(low, 2, Some(high_high))?;
        let high = net.add(high_high, low_high)?;
        let y = net.concat(&[high, low])?;
        let y = if bias { net.bias("bias", y)? } else { y };
        net.finish(unit, y, residual)
    }
}
