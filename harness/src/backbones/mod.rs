//! Networks, generic over the method that makes their convolutions.
//!
//! A backbone is a list of [`Layer`]s with their exact shapes, and a way to chain them. Costs, building and pruning all
//! read that one list, so that none of them can disagree with another.

mod airbench;
mod info;
mod mobilenet;
mod registry;
mod resnet;
mod resnet_cifar;
mod resnet_imagenet;
mod vgg;
mod width;

use std::collections::BTreeMap;

use baselines::pruning::{Coupling, Place};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use conv_core::layers::Linear;
use conv_core::{Cost, Graph, Method, Network, Scope, UnitSpec, Value, cost};

pub use info::BackboneInfo;
pub use registry::{all, by_name, find};
use width::Width;

/// One layer of a network, in execution order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Parameter prefix, e.g. `layer1.0.conv1`; what `[[layer]] match` sees.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// `(height, width)` of its input.
    pub input: (usize, usize),
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
    fn method(&self, name: &str, spec: &UnitSpec) -> &dyn Method;
}

/// The same method everywhere, the stem included.
impl<M: Method> Assignment for M {
    fn method(&self, _name: &str, _spec: &UnitSpec) -> &dyn Method {
        self
    }
}

/// A network's architecture, with its widths settled but no parameters yet.
pub trait Backbone: Send + Sync {
    /// As experiments call it.
    fn name(&self) -> &str;

    /// Every layer in execution order, at its actual width.
    fn layers(&self) -> Vec<Layer>;

    /// The network, `[n, c, h, w]` to `[n, classes]` logits, its parameters taken from `vb` under the layers' names.
    ///
    /// # Errors
    /// What a method refuses; those of `vb`.
    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Network>;

    /// The filters that can be removed, with the layers that read them; `residual`: also those that residual additions tie
    /// together.
    fn prunable(&self, residual: bool) -> Vec<Coupling>;

    /// The same architecture with other numbers of filters for the named couplings.
    ///
    /// # Errors
    /// A name that is not prunable, or a width of 0.
    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>>;
}

/// Closed-form cost of one layer.
///
/// # Errors
/// What the method refuses.
pub fn layer_cost(layer: &Layer, methods: &dyn Assignment) -> Result<Cost> {
    match &layer.kind {
        LayerKind::Unit(spec) => cost(methods.method(&layer.name, spec), spec, layer.input),
        LayerKind::Linear { inputs, outputs, norm } => {
            let mut cost = Linear::cost(*inputs, *outputs);
            if *norm {
                cost.params += 2 * *outputs as u64;
            }
            Ok(cost)
        }
    }
}

/// Closed-form cost of one layer of the vanilla network.
///
/// # Errors
/// An impossible convolution.
pub fn vanilla_cost(layer: &Layer) -> Result<Cost> {
    match &layer.kind {
        LayerKind::Unit(spec) => spec.cost(layer.input),
        LayerKind::Linear { .. } => layer_cost(layer, &baselines::Vanilla {}),
    }
}

/// The filters of every convolution.
pub fn filters(backbone: &dyn Backbone) -> BTreeMap<String, usize> {
    let filters = |layer: Layer| match layer.kind {
        LayerKind::Unit(spec) => Some((layer.name, spec.conv.out_channels)),
        LayerKind::Linear { .. } => None,
    };
    backbone.layers().into_iter().filter_map(filters).collect()
}

/// Closed-form cost of the whole network, per image.
///
/// # Errors
/// What a method refuses.
pub fn network_cost(backbone: &dyn Backbone, methods: &dyn Assignment) -> Result<Cost> {
    backbone.layers().iter().map(|layer| layer_cost(layer, methods)).sum()
}

/// The parameters of the network that infers, from those of the one that was trained: every unit of a method that fuses, fused,
/// and all others as they are.
///
/// # Errors
/// A tensor that is missing, or is not of its unit's shape.
pub fn fuse(
    backbone: &dyn Backbone,
    methods: &dyn Assignment,
    mut trained: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    for Layer { name, kind, .. } in backbone.layers() {
        let LayerKind::Unit(spec) = &kind else { continue };
        let Some(fused) = methods.method(&name, spec).fused() else { continue };
        let prefix = format!("{name}.");
        let unit = fused.unit(spec, &taken(&mut trained, &prefix))?;
        trained.extend(unit.into_iter().map(|(own, tensor)| (format!("{prefix}{own}"), tensor)));
    }
    Ok(trained)
}

/// The parameters of a network whose `methods` make their units of trained vanilla ones, from those of the network that was
/// trained: such units approximated, and all others as they are.
///
/// # Errors
/// A tensor that is missing, is not of its unit's shape or not finite.
pub fn approximate(
    backbone: &dyn Backbone,
    methods: &dyn Assignment,
    mut trained: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    for Layer { name, kind, .. } in backbone.layers() {
        let LayerKind::Unit(spec) = &kind else { continue };
        let method = methods.method(&name, spec);
        let Some(approximates) = method.approximates().filter(|_| method.declines(spec).is_none()) else { continue };
        let prefix = format!("{name}.");
        let unit = approximates.unit(spec, &taken(&mut trained, &prefix))?;
        trained.extend(unit.into_iter().map(|(own, tensor)| (format!("{prefix}{own}"), tensor)));
    }
    Ok(trained)
}

/// Takes out what begins with `prefix`, and names it without.
fn taken(trained: &mut BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let names: Vec<String> = trained.keys().filter(|known| known.starts_with(prefix)).cloned().collect();
    let own = names.iter().filter_map(|known| Some((known[prefix.len()..].to_owned(), trained.remove(known)?)));
    own.collect()
}

/// A network while it is written down: where the layers' units and parameters go.
struct Builder<'a> {
    methods: &'a dyn Assignment,
    net: Scope<'a>,
}

impl<'a> Builder<'a> {
    fn new(methods: &'a dyn Assignment, graph: &'a mut Graph, vb: VarBuilder<'a>) -> Self {
        Self { methods, net: Scope::build(graph, vb) }
    }

    /// A convolution with what follows it, whichever method makes it.
    fn unit(&mut self, layer: &Layer, x: Value, residual: Option<Value>) -> Result<Value> {
        let spec = unit_spec(layer)?;
        self.net.make(&layer.name, self.methods.method(&layer.name, spec), spec, x, residual)
    }

    /// A linear layer on `x: [n, features]`, with batch norm and ReLU where the layer has them.
    fn linear(&mut self, layer: &Layer, x: Value) -> Result<Value> {
        let LayerKind::Linear { outputs, norm, .. } = layer.kind else {
            bail!("`{}` is a convolution, not a linear layer", layer.name)
        };
        let y = self.net.linear(&layer.name, outputs, x)?;
        if norm { self.net.norm(&format!("{}.bn", layer.name), true, y) } else { Ok(y) }
    }
}

fn unit_spec(layer: &Layer) -> Result<&UnitSpec> {
    match &layer.kind {
        LayerKind::Unit(spec) => Ok(spec),
        LayerKind::Linear { .. } => bail!("`{}` is a linear layer, not a convolution", layer.name),
    }
}

/// The outputs of a layer.
fn outputs(layer: &Layer) -> usize {
    match layer.kind {
        LayerKind::Unit(spec) => spec.conv.out_channels,
        LayerKind::Linear { outputs, .. } => outputs,
    }
}

/// `layers` with the couplings' producers at other output widths, and their consumers reading as many.
fn with_widths(layers: &[Layer], couplings: &[Coupling], widths: &BTreeMap<String, usize>) -> Result<Vec<Layer>> {
    let mut layers = layers.to_vec();
    for (name, &width) in widths {
        let Some(coupling) = couplings.iter().find(|coupling| coupling.name() == name) else {
            let prunable: Vec<&str> = couplings.iter().map(Coupling::name).collect();
            bail!("the filters of `{name}` cannot be removed; those of {} can", prunable.join(", "));
        };
        if width == 0 {
            bail!("`{name}`: a width of 0 would cut the network in two; at least 1 filter must stay");
        }
        // A layer may have other couplings' filters too.
        let change = |channels: &mut usize| *channels = *channels + width - coupling.filters();
        for layer in &mut layers {
            let at = |places: &[Place]| places.iter().any(|place| place.layer == layer.name);
            let (produces, reads) = (at(&coupling.producers), at(&coupling.consumers));
            match &mut layer.kind {
                LayerKind::Unit(spec) => {
                    if produces {
                        change(&mut spec.conv.out_channels);
                    }
                    if reads {
                        change(&mut spec.conv.in_channels);
                    }
                }
                LayerKind::Linear { inputs, .. } if reads => change(inputs),
                LayerKind::Linear { .. } => {}
            }
        }
    }
    Ok(layers)
}
