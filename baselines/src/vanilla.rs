//! The convolution itself, dense: what everything is compared with.

use candle_core::Result;
use candle_nn::VarBuilder;
use conv_core::layers::DenseUnit;
use conv_core::{ConvMethod, ConvUnit, Cost, Layout, UnitSpec};
use serde::{Deserialize, Serialize};

/// Vanilla convolution, `k x k` over all input channels. No options.
///
/// Cost for an output of `h x w`: `h w k^2 C_in C_out / groups` MACs, `h w C_out` activations; parameters are the MACs
/// without `h w`, plus `C_out` for a bias and `2 C_out` for a batch norm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vanilla {}

impl Vanilla {
    /// Nothing can be out of range.
    ///
    /// # Errors
    /// None.
    pub fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl ConvMethod for Vanilla {
    fn name(&self) -> &str {
        "vanilla"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        Ok(Box::new(DenseUnit::new(spec, vb)?))
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        spec.conv.validate()?;
        Ok(DenseUnit::cost(spec, out))
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        spec.conv.validate()?;
        Ok(Layout::plain(DenseUnit::signature(spec)))
    }
}

/// Layout of a unit that a method leaves as it is: vanilla's signature, so that it counts as the same layer.
pub(crate) fn stays_vanilla(spec: &UnitSpec, why: &str) -> Layout {
    Layout { remarks: vec![format!("stays vanilla: {why}")], ..Layout::plain(DenseUnit::signature(spec)) }
}

/// What to say of a replacement that costs more than the convolution it replaces, if it does. `per_pixel` is the
/// replacement's cost for an output of 1 x 1.
pub(crate) fn above_vanilla(spec: &UnitSpec, per_pixel: Cost) -> Option<String> {
    let vanilla = DenseUnit::cost(spec, (1, 1)).macs;
    (per_pixel.macs > vanilla).then(|| {
        let percent = 100.0 * per_pixel.macs as f64 / vanilla as f64;
        format!("costs more than vanilla: {percent:.0} % of its MACs")
    })
}
