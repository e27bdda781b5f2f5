//! The plug: how a network is given its convolutions.

use std::fmt::Debug;

use candle_core::{Error, Result, Tensor};
use candle_nn::VarBuilder;

use crate::{Cost, Graph, UnitSpec, Value};

/// A way to make a convolution. A network asks for units and never knows which method it got.
pub trait ConvMethod: Debug + Send + Sync {
    /// The name an experiment calls it by.
    fn name(&self) -> &str;

    /// Raised whenever `build` makes something else of the same options, so that results never mix.
    fn version(&self) -> u32 {
        1
    }

    /// Factor on the network's nominal channel counts (only `thin` differs from 1).
    fn width(&self) -> f64 {
        1.0
    }

    /// Makes the unit, taking its parameters from `vb` (trained, loaded or freshly initialised: any `VarBuilder`).
    ///
    /// # Errors
    /// A specification that the method cannot serve; the message says what it would accept.
    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>>;

    /// The closed-form cost of that unit for an output of `(height, width)`, per image, without building it.
    ///
    /// # Errors
    /// As [`ConvMethod::build`].
    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost>;

    /// What `build` would make, in words: two methods with equal layouts everywhere make the same network.
    ///
    /// # Errors
    /// As [`ConvMethod::build`].
    fn layout(&self, spec: &UnitSpec) -> Result<Layout>;
}

/// A convolution with its normalisation, activation and residual addition.
pub trait ConvUnit: Send + Sync {
    /// Writes down what the unit computes: `x: [n, in_channels, h, w]`, `residual` as the output,
    /// `[n, out_channels, h', w']`. This is the unit's only definition: whatever runs it runs these operations.
    ///
    /// # Errors
    /// Channels that do not fit.
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value>;

    /// Runs the unit alone, operation by operation on candle's autograd. `train` normalises with batch statistics and updates
    /// the running ones.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward_t(&self, x: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let mut graph = Graph::new();
        let input = graph.input(x.dim(1)?);
        let added = residual.map(|residual| Ok::<_, Error>(graph.input(residual.dim(1)?))).transpose()?;
        let output = self.emit(&mut graph, input, added)?;
        let inputs: Vec<&Tensor> = std::iter::once(x).chain(residual).collect();
        graph.run(&inputs, output, train)
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

/// What a method makes of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Canonical description of everything that shapes the unit's function; equal signatures, equal layers.
    pub signature: String,
    /// For methods that recurse.
    pub depth: Option<Depth>,
    /// What a reader of the report should know: fallbacks, switches that could not apply, costs above vanilla.
    pub remarks: Vec<String>,
}

impl Layout {
    /// A layout without recursion or remarks.
    pub fn plain(signature: impl Into<String>) -> Self {
        Self { signature: signature.into(), depth: None, remarks: Vec::new() }
    }
}
