//! What a method makes of a unit, without building it.

use candle_core::Result;

use super::Method;
use crate::written::{INPUT, RESIDUAL, Written};
use crate::{Cost, Depth, OffEngine, Scope, UnitSpec, Value};

/// What a method makes of one unit, without building it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The price of it, for one image.
    pub cost: Cost,
    /// All that shapes the unit's function, as text: equal signatures, equal layers. Vanilla's where the unit is vanilla's.
    pub signature: String,
    /// Whether it is the vanilla unit.
    pub vanilla: bool,
    /// For methods that recurse.
    pub depth: Option<Depth>,
    /// What a reader of the report should know: units left vanilla, switches that could not apply, costs above vanilla.
    pub remarks: Vec<String>,
}

/// What `method` makes of `unit` for an input of `(height, width)`.
///
/// # Errors
/// Those of [`Scope::make`].
pub fn describe(method: &dyn Method, unit: &UnitSpec, input: (usize, usize)) -> Result<Description> {
    let Counted { written: plain, output, depth } = count(method, unit, input, None)?;
    let mut remarks = match (method.declines(unit), &plain.remarks) {
        (Some(why), _) => vec![format!("stays vanilla: {why}")],
        (None, Some(own)) => own.clone(),
        (None, None) => above_vanilla(unit, input, plain.cost())?.into_iter().collect(),
    };
    if plain.is_custom() {
        remarks.push(format!(
            "{}: the whole network trains and infers operation by operation, not on the engine; its images/s do not compare",
            OffEngine::Custom
        ));
    }
    let signature = match &plain.signature {
        // Of a method that writes its own, which does not know how its ReLU is clipped.
        Some(own) if unit.is_clipped() => format!("{own} | relu6"),
        Some(own) => own.clone(),
        None => {
            let text = plain.text(output);
            let Counted { written: added, output: end, .. } = count(method, unit, input, Some(RESIDUAL))?;
            match added.adds_to(end, &plain, output) {
                true => text,
                false => format!("{text} | with a residual: {}", added.text(end)),
            }
        }
    };
    let vanilla = plain.signature.is_none() && plain.is(unit);
    Ok(Description { cost: plain.cost(), signature, vanilla, depth, remarks })
}

/// What `unit` costs as `method` makes it, for an input of `(height, width)` and one image: [`describe`] without words.
///
/// # Errors
/// As [`describe`].
pub fn cost(method: &dyn Method, unit: &UnitSpec, input: (usize, usize)) -> Result<Cost> {
    Ok(count(method, unit, input, None)?.written.cost())
}

/// A unit that was written down without being built.
struct Counted {
    written: Written,
    output: Value,
    depth: Option<Depth>,
}

fn count(method: &dyn Method, unit: &UnitSpec, input: (usize, usize), residual: Option<Value>) -> Result<Counted> {
    unit.conv.validate()?;
    let size = unit.conv.output_size(input)?;
    let mut written = Written::new((unit.conv.in_channels, input), (unit.conv.out_channels, size));
    let (output, depth) = {
        let mut net = Scope::count(&mut written);
        (net.make("", method, unit, INPUT, residual)?, net.stated_depth())
    };
    Ok(Counted { written, output, depth })
}

/// What to say of a replacement that costs more than the convolution it replaces, if it does.
fn above_vanilla(unit: &UnitSpec, input: (usize, usize), cost: Cost) -> Result<Option<String>> {
    let vanilla = unit.cost(input)?.macs;
    let percent = 100.0 * cost.macs as f64 / vanilla as f64;
    Ok((cost.macs > vanilla).then(|| format!("costs more than vanilla: {percent:.0} % of its MACs")))
}
