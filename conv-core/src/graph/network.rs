//! A graph with one input and one output, and the ways to run it.

use candle_core::{Result, Tensor};

use super::{Graph, Value};

/// A network with parameters: `[n, c, h, w]` to `[n, classes]` logits.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Graph,
    output: Value,
}

impl Network {
    /// The network that ends in `output`.
    pub fn new(graph: Graph, output: Value) -> Self {
        Self { graph, output }
    }

    /// The output as a candle tensor that carries gradients to the parameters and to `x`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.graph.run(&[x], self.output, train)
    }
}
