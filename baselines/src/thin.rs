//! Vanilla convolutions in a narrower network: the control that most papers leave out.

use candle_core::Result;
use conv_core::options::FACTOR;
use conv_core::{Method, Scope, UnitSpec, Value, options};

options! {
    /// MobileNet's width multiplier (arXiv 1704.04861, section 3.3) on an otherwise vanilla network.
    ///
    /// The backbone scales its channel counts by [`Method::width`]; each unit, at its already reduced width, is then vanilla's in
    /// everything. MACs and parameters fall roughly with the square of the width.
    Thin = "thin", "dense convolutions in a network of reduced width: the control" {
        /// Factor on every channel count of the network.
        width: f64 = 0.5, FACTOR;
    }
    knob = width
}

impl Method for Thin {
    fn width(&self) -> f64 {
        self.width
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        net.unit("", unit, x, residual)
    }
}
