//! How a method's units are made of trained vanilla ones.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::UnitSpec;

/// Makes units of trained vanilla ones, as near to them as the method can come; see [`Method::approximates`](super::Method::approximates).
pub trait Approximates {
    /// Every tensor of the unit, in f32, from those of the trained vanilla one, running statistics among them, each by its name
    /// inside of the unit (`weight`, not `layer1.0.conv1.weight`). Asked for units alone that the method does not decline.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape than the unit's or is not finite.
    fn unit(&self, unit: &UnitSpec, vanilla: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>>;
}
