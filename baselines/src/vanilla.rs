//! The convolution itself, dense: what everything is compared with.

use candle_core::Result;
use conv_core::{Method, Scope, UnitSpec, Value, options};

options! {
    /// Vanilla convolution, `k x k` over all input channels. No options.
    ///
    /// Cost for an output of `h x w`: `h w k^2 C_in C_out / groups` MACs, `h w C_out` activations; parameters are the MACs
    /// without `h w`, plus `C_out` for a bias and `2 C_out` for a batch norm.
    Vanilla = "vanilla", "dense convolutions: what everything is compared with" {}
}

impl Method for Vanilla {
    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        net.unit("", unit, x, residual)
    }
}
