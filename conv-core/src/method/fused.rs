//! What a trained unit becomes, where that is something else than what was trained.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{Result, Tensor};

use super::Method;
use crate::UnitSpec;

/// How a method's trained units become those that infer; see [`Method::fused`].
pub struct Fused {
    /// What is fused into what, in words: a report says so under its tables.
    pub what: &'static str,
    /// Makes the units that infer, of the same [`UnitSpec`]s. It declines what the method that was trained declines.
    pub method: Box<dyn Method>,
    /// What [`Fused::unit`] gives for units that are not declined.
    pub parameters: FuseFn,
}

/// Parameters of a fused unit from those of the trained one, running statistics among them, each by its name inside of the unit.
pub type FuseFn = fn(&UnitSpec, &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>>;

impl Fused {
    /// Every tensor of the unit that infers, in f32, from those of the trained one, by their names inside of the unit
    /// (`wide.weight`, not `layer1.0.conv1.wide.weight`). Those of a declined unit are kept: it is vanilla before and after.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape than the unit's.
    pub fn unit(&self, unit: &UnitSpec, trained: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        match self.method.declines(unit) {
            Some(_) => Ok(trained.clone()),
            None => (self.parameters)(unit, trained),
        }
    }
}

impl fmt::Debug for Fused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fused by {:?}", self.method)
    }
}
