//! The plug: how a network is given its convolutions.

mod approximates;
mod describe;
mod fused;
mod layer;

use std::fmt::Debug;

use candle_core::{Error, Result, bail};

use crate::options::Described;
use crate::{Scope, UnitSpec, Value};

pub use approximates::Approximates;
pub use describe::{Description, cost, describe};
pub use fused::{FuseFn, Fused};
pub use layer::{Layer, forward_unit};

/// A way to make a convolution. A network asks for units and never knows which method it got.
///
/// [`Method::write`] is the only definition of what a unit is. Building it ([`Scope::make`]), its cost, signature and remarks
/// ([`describe`]) and the bare layer ([`Layer`]) follow from it.
pub trait Method: Checked + Debug + Send + Sync {
    /// Raised whenever `write` makes something else of the same options, so that results never mix.
    fn version(&self) -> u32 {
        1
    }

    /// Factor on the network's nominal channel counts, in (0, 1]; for methods that narrow the network as a whole.
    fn width(&self) -> f64 {
        1.0
    }

    /// Why this unit is left as it is, if it is: a network keeps a vanilla convolution there and says so in a remark; as a bare
    /// layer it is refused.
    fn declines(&self, _unit: &UnitSpec) -> Option<&'static str> {
        None
    }

    /// Writes the unit into `net`: `x: [n, in_channels, h, w]` to `[n, out_channels, h', w']`, where h' and w' are those of the
    /// convolution that it replaces. `residual` has the output's shape; it is added before the unit's last ReLU. Parameters get
    /// names of the method's choice ([`Scope`] puts the layer's before them).
    ///
    /// Channel counts that follow from options may overflow or fall below 0: saturating arithmetic keeps such numbers as large,
    /// or as small, as they are, and the convolution made of them is refused.
    ///
    /// # Errors
    /// A unit that the method cannot serve; the message says what it would accept.
    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value>;

    /// What trained units become for inference, for methods that train more than they run: the same function by running
    /// statistics, at another cost. None: they infer as they were trained.
    fn fused(&self) -> Option<Fused> {
        None
    }

    /// What makes its units of trained vanilla ones, for methods that begin with these: a network is trained with vanilla
    /// convolutions in their places first. None: its units begin with fresh values.
    fn approximates(&self) -> Option<&dyn Approximates> {
        None
    }
}

/// Options with a name and a range, whatever their type. [`options!`](crate::options!) writes it.
pub trait Checked {
    /// As an experiment calls it.
    fn name(&self) -> &'static str;

    /// Checks every option.
    ///
    /// # Errors
    /// The first that is out of its range, with what would be accepted.
    fn check(&self) -> Result<()>;
}

impl<T: Described> Checked for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn check(&self) -> Result<()> {
        self.check_options()
    }
}

impl Scope<'_> {
    /// The unit as `method` makes it, or as it is where the method declines; `name` stands before its parameters' names. A ReLU6 is
    /// a ReLU that is clipped here, behind all that the method wrote: what there is inside of it is the method's own.
    ///
    /// # Errors
    /// Options out of range, a specification that the method cannot serve; other channels or another size than the
    /// specification's, a name that is used twice (sizes and names are known where nothing is built).
    pub fn make(
        &mut self,
        name: &str,
        method: &dyn Method,
        unit: &UnitSpec,
        x: Value,
        residual: Option<Value>,
    ) -> Result<Value> {
        method.check()?;
        unit.conv.validate()?;
        let start = self.built();
        let y = match method.declines(unit) {
            Some(_) => self.unit(name, unit, x, residual)?,
            None => self.within(name, |net| method.write(unit, net, x, residual))?,
        };
        let y = if unit.is_clipped() { self.relu6(y)? } else { y };
        if self.channels(y) != unit.conv.out_channels {
            bail!("{}: {} channels instead of {}", method.name(), self.channels(y), unit.conv.out_channels);
        }
        if let Some(written) = self.written() {
            let (made, asked) = (written.size(y), unit.conv.output_size(written.size(x))?);
            if made != asked {
                bail!("{}: an output of {made:?} pixels instead of {asked:?}", method.name());
            }
            written.check_names().map_err(|error| Error::Msg(format!("{}: {error}", method.name())))?;
        }
        self.end_unit(name, start);
        Ok(y)
    }
}
