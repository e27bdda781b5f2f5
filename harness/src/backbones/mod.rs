//! Networks, generic over the method that makes their convolutions.

use std::collections::BTreeMap;

use baselines::pruning::Coupling;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use conv_core::{ConvMethod, Cost, UnitSpec};

/// One layer of a network, in execution order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Parameter prefix, e.g. `layer1.0.conv1`; what `[[layer]] match` sees.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// `(height, width)` of its output.
    pub output: (usize, usize),
}

/// A convolution (which a method makes) or a linear layer (which stays as it is).
#[derive(Clone, Debug, PartialEq)]
pub enum LayerKind {
    /// A convolution with what follows it.
    Unit(UnitSpec),
    /// A fully connected layer; `norm`: followed by batch norm and ReLU (VGG's mlp head).
    Linear {
        /// Features in.
        inputs: usize,
        /// Features out.
        outputs: usize,
        /// Batch norm over the features and ReLU after it.
        norm: bool,
    },
}

/// Decides which method makes a layer.
pub trait Assignment {
    /// The method for this convolution.
    fn method(&self, name: &str, spec: &UnitSpec) -> &dyn ConvMethod;
}

/// A network's architecture, with its widths settled but no parameters yet.
pub trait Backbone: Send + Sync {
    /// As experiments call it.
    fn name(&self) -> &str;

    /// Every layer in execution order, at its actual width.
    fn layers(&self) -> Vec<Layer>;

    /// The network, its parameters taken from `vb` under the layers' names.
    ///
    /// # Errors
    /// What a method refuses; those of `vb`.
    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Box<dyn Network>>;

    /// The convolutions whose filters can be removed, with the layers that read them.
    fn prunable(&self) -> Vec<Coupling>;

    /// The same architecture with other output widths for the named convolutions.
    ///
    /// # Errors
    /// A name that is not prunable, or a width of 0.
    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>>;
}

/// A network with parameters.
pub trait Network: Send + Sync {
    /// `[n, c, h, w] -> [n, classes]` logits.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor>;
}

/// Closed-form cost of one layer.
///
/// # Errors
/// What the method refuses.
pub fn layer_cost(layer: &Layer, methods: &dyn Assignment) -> Result<Cost> {
    match &layer.kind {
        LayerKind::Unit(spec) => methods.method(&layer.name, spec).cost(spec, layer.output),
        LayerKind::Linear { inputs, outputs, norm } => {
            let mut cost = conv_core::layers::Linear::cost(*inputs, *outputs);
            if *norm {
                cost.params += 2 * *outputs as u64;
            }
            Ok(cost)
        }
    }
}

/// Closed-form cost of the whole network, per image.
///
/// # Errors
/// What a method refuses.
pub fn network_cost(backbone: &dyn Backbone, methods: &dyn Assignment) -> Result<Cost> {
    backbone.layers().iter().map(|layer| layer_cost(layer, methods)).sum()
}
