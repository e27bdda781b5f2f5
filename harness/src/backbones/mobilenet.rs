//! MobileNetV1 (Howard et al., arXiv 1704.04861, table 1) and MobileNetV2 (Sandler et al., arXiv 1801.04381, table 2), each in two forms:
//! ImageNet's, and one for CIFAR's small images, which has a name of its own. The name decides, never the size of the images.
//!
//! - The CIFAR forms are the same blocks with the strides of pytorch-cifar (github.com/kuangliu/pytorch-cifar): the stem keeps the
//!   size, and so does V2's stage of 24 channels. That repository's V2 also widens its first block by a 1 x 1 convolution and
//!   projects shortcuts that change channels; the paper has neither, nor does this one.
//! - Activations are the papers': ReLU in V1, ReLU6 in V2, none behind V2's projections (linear bottlenecks).
//! - Widths that are scaled are rounded to the nearest, as those of every backbone here; `backbone.divisor = 8` rounds to multiples of 8.
//! - There is no dropout before the classifier.
//!
//! Depthwise layers are grouped, and so stay vanilla whatever the method; what a method replaces are the 1 x 1 convolutions.

use std::collections::BTreeMap;
use std::ops::Range;

use baselines::pruning::Coupling;
use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use conv_core::{Activation, ConvSpec, Network, Role, UnitSpec};

use super::info::{BackboneInfo, Make};
use super::{Assignment, Backbone, Builder, Layer, LayerKind, Width};
use crate::config::{BackboneConfig, Head};
use crate::data::Geometry;

/// Both versions, in both forms.
pub(super) const BACKBONES: &[BackboneInfo] = &[
    info(
        "mobilenet_v1",
        "MobileNetV1",
        "ImageNet form: 13 depthwise and 1 x 1 convolutions, ReLU; 4.23M parameters",
        "imagenet",
        |config, geometry, width| v1(config, geometry, width, 2),
    ),
    info(
        "mobilenet_v1_cifar",
        "MobileNetV1 (CIFAR form)",
        "the same for small images: the stem keeps their size (strides of pytorch-cifar); 3.22M parameters",
        "cifar10",
        |config, geometry, width| v1(config, geometry, width, 1),
    ),
    info(
        "mobilenet_v2",
        "MobileNetV2",
        "ImageNet form: 17 inverted residual blocks with linear bottlenecks, ReLU6; 3.50M parameters",
        "imagenet",
        |config, geometry, width| v2(config, geometry, width, [2, 2]),
    ),
    info(
        "mobilenet_v2_cifar",
        "MobileNetV2 (CIFAR form)",
        "the same for small images: stem and stage 2 keep their size (strides of pytorch-cifar); 2.24M parameters",
        "cifar10",
        |config, geometry, width| v2(config, geometry, width, [1, 1]),
    ),
];

const fn info(
    name: &'static str,
    title: &'static str,
    about: &'static str,
    dataset: &'static str,
    make: Make,
) -> BackboneInfo {
    BackboneInfo { name, title, about, heads: &[Head::Linear], dataset, make }
}

/// Channels of the stem, in both versions.
const STEM: usize = 32;
/// V1's stages: channels, blocks, stride of the first.
const V1: [(usize, usize, usize); 5] = [(64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)];
/// V2's stages: expansion, channels, blocks, stride of the first (that of the second stage depends on the form).
const V2: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Channels behind V2's last block.
const V2_LAST: usize = 1280;

fn v1(config: &BackboneConfig, geometry: &Geometry, width: Width, stem: usize) -> Result<Box<dyn Backbone>> {
    let relu = Activation::Relu;
    let mut network = MobileNet::new(&config.name, geometry, width.of(STEM), stem, relu)?;
    for (stage, (nominal, blocks, first)) in V1.into_iter().enumerate() {
        for index in 0..blocks {
            let stride = if index == 0 { first } else { 1 };
            let mut block = network.block(format!("layer{}.{index}", stage + 1));
            block.depthwise(stride, relu)?;
            block.pointwise("pointwise", width.of(nominal), Some(relu))?;
            block.end(false);
        }
    }
    network.finish(geometry.classes)
}

/// `strides` are those of the stem and of the second stage.
fn v2(config: &BackboneConfig, geometry: &Geometry, width: Width, strides: [usize; 2]) -> Result<Box<dyn Backbone>> {
    let relu6 = Activation::Relu6;
    let [stem, second] = strides;
    let mut network = MobileNet::new(&config.name, geometry, width.of(STEM), stem, relu6)?;
    for (stage, (expansion, nominal, blocks, first)) in V2.into_iter().enumerate() {
        let first = if stage == 1 { second } else { first };
        for index in 0..blocks {
            let stride = if index == 0 { first } else { 1 };
            let (inputs, outputs) = (network.channels, width.of(nominal));
            let mut block = network.block(format!("layer{}.{index}", stage + 1));
            if expansion != 1 {
                block.pointwise("expand", expansion * inputs, Some(relu6))?;
            }
            block.depthwise(stride, relu6)?;
            block.pointwise("project", outputs, None)?;
            block.end(stride == 1 && inputs == outputs);
        }
    }
    let mut last = network.block("last".to_owned());
    last.pointwise("", width.of(V2_LAST), Some(relu6))?;
    last.end(false);
    network.finish(geometry.classes)
}

/// A MobileNet's architecture.
#[derive(Clone)]
struct MobileNet {
    name: String,
    /// In execution order: the stem, every block's convolutions, `fc`.
    layers: Vec<Layer>,
    blocks: Vec<Block>,
    /// Of what there is so far.
    channels: usize,
}

/// Convolutions in a row, as indices into the layers.
#[derive(Clone)]
struct Block {
    convs: Range<usize>,
    /// Whether its input is added to what its last convolution makes.
    residual: bool,
}

/// A block that is being written.
struct OpenBlock<'n> {
    network: &'n mut MobileNet,
    name: String,
    start: usize,
}

impl MobileNet {
    fn new(name: &str, geometry: &Geometry, channels: usize, stride: usize, activation: Activation) -> Result<Self> {
        let (images, h, w) = geometry.shape;
        let mut network = Self { name: name.to_owned(), layers: Vec::new(), blocks: Vec::new(), channels: images };
        let stem = ConvSpec::same(images, channels, 3, stride);
        network.push("conv1".to_owned(), (h, w), stem, Role::Stem, Some(activation))?;
        Ok(network)
    }

    fn push(
        &mut self,
        name: String,
        input: (usize, usize),
        conv: ConvSpec,
        role: Role,
        activation: Option<Activation>,
    ) -> Result<()> {
        let kind = LayerKind::Unit(UnitSpec { conv, role, norm: true, activation });
        self.layers.push(Layer { name, kind, input, output: conv.output_size(input)? });
        self.channels = conv.out_channels;
        Ok(())
    }

    fn block(&mut self, name: String) -> OpenBlock<'_> {
        let start = self.layers.len();
        OpenBlock { network: self, name, start }
    }

    /// Appends the classifier.
    fn finish(mut self, classes: usize) -> Result<Box<dyn Backbone>> {
        let kind = LayerKind::Linear { inputs: self.channels, outputs: classes, norm: false };
        self.layers.push(Layer { name: "fc".to_owned(), kind, input: (1, 1), output: (1, 1) });
        Ok(Box::new(self))
    }
}

impl OpenBlock<'_> {
    fn push(&mut self, name: &str, conv: ConvSpec, role: Role, activation: Option<Activation>) -> Result<()> {
        let Some(before) = self.network.layers.last() else { bail!("{}: a block before the stem", self.network.name) };
        let (input, block) = (before.output, &self.name);
        let name = if name.is_empty() { block.clone() } else { format!("{block}.{name}") };
        self.network.push(name, input, conv, role, activation)
    }

    /// 3 x 3, each channel by itself.
    fn depthwise(&mut self, stride: usize, activation: Activation) -> Result<()> {
        let channels = self.network.channels;
        let conv = ConvSpec::same(channels, channels, 3, stride).grouped(channels);
        self.push("depthwise", conv, Role::Spatial, Some(activation))
    }

    fn pointwise(&mut self, name: &str, outputs: usize, activation: Option<Activation>) -> Result<()> {
        self.push(name, ConvSpec::same(self.network.channels, outputs, 1, 1), Role::Pointwise, activation)
    }

    fn end(self, residual: bool) {
        let convs = self.start..self.network.layers.len();
        self.network.blocks.push(Block { convs, residual });
    }
}

impl Backbone for MobileNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn layers(&self) -> Vec<Layer> {
        self.layers.clone()
    }

    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Network> {
        let [stem, .., classifier] = &self.layers[..] else { bail!("{}: no classifier", self.name) };
        Network::build(super::unit_spec(stem)?.conv.in_channels, |graph, images| {
            let mut network = Builder::new(methods, graph, vb);
            let mut x = network.unit(stem, images, None)?;
            for Block { convs, residual } in &self.blocks {
                let input = x;
                for index in convs.clone() {
                    let added = (*residual && index + 1 == convs.end).then_some(input);
                    x = network.unit(&self.layers[index], x, added)?;
                }
            }
            let features = network.net.global_avg_pool(x)?;
            network.linear(classifier, features)
        })
    }

    /// None: behind every convolution but the last stands a depthwise one, whose own filters would have to go with those that it reads.
    fn prunable(&self, _residual: bool) -> Vec<Coupling> {
        Vec::new()
    }

    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>> {
        if let Some(name) = widths.keys().next() {
            bail!(
                "the filters of `{name}` cannot be removed: a depthwise convolution reads them, and would lose its own with them"
            );
        }
        Ok(Box::new(self.clone()))
    }
}
