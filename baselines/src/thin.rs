//! Vanilla convolutions in a narrower network: the control that most papers leave out.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use conv_core::{ConvMethod, ConvUnit, Cost, Layout, UnitSpec};
use serde::{Deserialize, Serialize};

use crate::Vanilla;

/// MobileNet's width multiplier (arXiv 1704.04861, section 3.3) on an otherwise vanilla network.
///
/// The backbone scales its channel counts by [`ConvMethod::width`]; each unit, at its already reduced width, is then
/// vanilla's in everything, cost and layout included. MACs and parameters fall roughly with the square of the width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thin {
    /// Factor on the network's channel counts, in (0, 1]; default 0.5.
    pub width: f64,
}

impl Default for Thin {
    fn default() -> Self {
        Self { width: 0.5 }
    }
}

impl Thin {
    /// Checks the options.
    ///
    /// # Errors
    /// A width outside (0, 1].
    pub fn validate(&self) -> Result<()> {
        if self.width > 0.0 && self.width <= 1.0 {
            return Ok(());
        }
        bail!("thin: width = {} is out of range; accepted: above 0, up to 1", self.width)
    }
}

impl ConvMethod for Thin {
    fn name(&self) -> &str {
        "thin"
    }

    fn width(&self) -> f64 {
        self.width
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        self.validate()?;
        Vanilla {}.build(spec, vb)
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        self.validate()?;
        Vanilla {}.cost(spec, out)
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        self.validate()?;
        Vanilla {}.layout(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_above_zero_and_at_most_one() {
        for good in [1e-3, 0.5, 1.0] {
            Thin { width: good }.validate().unwrap();
        }
        for bad in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            let error = Thin { width: bad }.validate().unwrap_err().to_string();
            assert!(error.contains("above 0, up to 1"), "{error}");
        }
    }

    #[test]
    fn options_read_as_written_and_refuse_others() {
        assert_eq!(serde_json::from_str::<Thin>("{}").unwrap(), Thin { width: 0.5 });
        assert_eq!(serde_json::from_str::<Thin>(r#"{"width": 1}"#).unwrap().width(), 1.0);
        assert!(serde_json::from_str::<Thin>(r#"{"widht": 0.5}"#).is_err());
    }
}
