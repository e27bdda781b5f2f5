//! The plug: how a network is given its convolutions.

use std::fmt::Debug;

use candle_core::{ModuleT, Result, Tensor, bail};
use candle_nn::VarBuilder;

use crate::options::Described;
use crate::written::{INPUT, RESIDUAL, Written};
use crate::{Cost, Graph, Network, OffEngine, Scope, UnitSpec, Value};

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

/// How deep a recursion was asked for and how deep the layer allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// As configured (for an adaptive rule: what the rule gave).
    pub requested: usize,
    /// As built.
    pub effective: usize,
}

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
    let (plain, output) = count(method, unit, input, None)?;
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
        Some(own) => own.clone(),
        None => {
            let text = plain.text(output);
            let (added, end) = count(method, unit, input, Some(RESIDUAL))?;
            match added.adds_to(end, &plain, output) {
                true => text,
                false => format!("{text} | with a residual: {}", added.text(end)),
            }
        }
    };
    let vanilla = plain.signature.is_none() && plain.is(unit);
    Ok(Description { cost: plain.cost(), signature, vanilla, depth: plain.depth, remarks })
}

/// What `unit` costs as `method` makes it, for an input of `(height, width)` and one image: [`describe`] without words.
///
/// # Errors
/// As [`describe`].
pub fn cost(method: &dyn Method, unit: &UnitSpec, input: (usize, usize)) -> Result<Cost> {
    Ok(count(method, unit, input, None)?.0.cost())
}

fn count(
    method: &dyn Method,
    unit: &UnitSpec,
    input: (usize, usize),
    residual: Option<Value>,
) -> Result<(Written, Value)> {
    unit.conv.validate()?;
    let output = unit.conv.output_size(input)?;
    let mut written = Written::new((unit.conv.in_channels, input), (unit.conv.out_channels, output));
    let end = Scope::count(&mut written).make("", method, unit, INPUT, residual)?;
    Ok((written, end))
}

/// What to say of a replacement that costs more than the convolution it replaces, if it does.
fn above_vanilla(unit: &UnitSpec, input: (usize, usize), cost: Cost) -> Result<Option<String>> {
    let vanilla = unit.cost(input)?.macs;
    let percent = 100.0 * cost.macs as f64 / vanilla as f64;
    Ok((cost.macs > vanilla).then(|| format!("costs more than vanilla: {percent:.0} % of its MACs")))
}

/// Builds the unit and runs it alone, operation by operation on candle's autograd: `x: [n, in_channels, h, w]`, `residual` as
/// the output, `[n, out_channels, h', w']`. `train` normalises with batch statistics and updates the running ones.
///
/// # Errors
/// Those of [`Scope::make`]; shapes that do not fit.
pub fn forward_unit(
    method: &dyn Method,
    unit: &UnitSpec,
    vb: VarBuilder<'_>,
    x: &Tensor,
    residual: Option<&Tensor>,
    train: bool,
) -> Result<Tensor> {
    let mut graph = Graph::new();
    let input = graph.input(x.dim(1)?);
    let added = residual.map(|residual| residual.dim(1)).transpose()?.map(|channels| graph.input(channels));
    let output = Scope::build(&mut graph, vb).make("", method, unit, input, added)?;
    let inputs: Vec<&Tensor> = std::iter::once(x).chain(residual).collect();
    graph.interpret(&inputs, output, train)
}

/// A unit of a method as a layer of its own, for use without the rest.
///
/// On the CPU, in f32 and for batches of 8 images or more, it is a single operation of candle's autograd.
pub struct Layer(Network);

impl Layer {
    /// In place of the unit's convolution and what follows it, with parameters from `vb`.
    ///
    /// # Errors
    /// Options out of range, a specification that the method cannot serve or declines (it would silently stay a plain
    /// convolution); those of `vb`.
    pub fn new(method: &dyn Method, unit: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        if let Some(why) = method.declines(unit) {
            bail!("{} does not replace {}: {why}", method.name(), unit.conv);
        }
        let write = |graph: &mut Graph, x| Scope::build(graph, vb).make("", method, unit, x, None);
        Network::build(unit.conv.in_channels, write).map(Self)
    }
}

impl ModuleT for Layer {
    /// `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_t(x, train)
    }
}
