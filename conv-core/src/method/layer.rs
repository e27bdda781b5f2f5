//! A unit of a method for itself.

use candle_core::{ModuleT, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::Method;
use crate::{Depth, Graph, Network, Scope, UnitSpec};

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
    /// Options out of range, a specification that the method cannot serve or declines, or at which its recursion has no depth
    /// (it would silently stay a plain convolution); those of `vb`.
    pub fn new(method: &dyn Method, unit: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        if let Some(why) = method.declines(unit) {
            bail!("{} does not replace {}: {why}", method.name(), unit.conv);
        }
        let write = |graph: &mut Graph, x| {
            let mut net = Scope::build(graph, vb);
            let y = net.make("", method, unit, x, None)?;
            match net.stated_depth() {
                Some(Depth { requested: 1.., effective: 0 }) => {
                    bail!("{} does not replace {}: no depth fits its channels", method.name(), unit.conv)
                }
                _ => Ok(y),
            }
        };
        Network::build(unit.conv.in_channels, write).map(Self)
    }
}

impl ModuleT for Layer {
    /// `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_t(x, train)
    }
}
