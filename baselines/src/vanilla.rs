//! The convolution itself, dense: what everything is compared with.

use candle_core::Result;
use candle_nn::VarBuilder;
use conv_core::layers::DenseUnit;
use conv_core::{ConvMethod, ConvUnit, Cost, Layout, UnitSpec};
use serde::{Deserialize, Serialize};

/// No options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vanilla {}

impl ConvMethod for Vanilla {
    fn name(&self) -> &str {
        "vanilla"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        Ok(Box::new(DenseUnit::new(spec, vb)?))
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        Ok(DenseUnit::cost(spec, out))
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        Ok(Layout::plain(DenseUnit::signature(spec)))
    }
}
