//! VGG-16 as papers use it on CIFAR: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
//! Recognition" (arXiv 1409.1556), configuration D with batch norm and a small head.
//!
//! Convolutions have no biases, as a batch norm follows each. Behind the fifth pooling stands a global average (which does
//! nothing to the single pixel that a 32 x 32 image leaves), then one of the two heads that the literature mixes:
//! `linear`, 512 -> classes, or `mlp`, 512 -> 512 (batch norm, ReLU) -> classes. For 10 classes that makes 14,724,042 or
//! 14,987,722 parameters.

use std::collections::BTreeMap;

use baselines::pruning::Coupling;
use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use conv_core::{ConvSpec, Network, Role, UnitSpec};

use super::info::BackboneInfo;
use super::{Assignment, Backbone, Builder, Layer, LayerKind, Width};
use crate::config::Head;
use crate::data::Geometry;

/// The one there is.
pub(super) const BACKBONES: &[BackboneInfo] = &[BackboneInfo {
    name: "vgg16",
    title: "VGG-16",
    about: "13 convolutions, CIFAR form; head linear (14.72M parameters) or mlp (14.99M); input of 32 x 32 and up",
    heads: &[Head::Linear, Head::Mlp],
    dataset: "cifar10",
    make: |config, geometry, width| Ok(Box::new(vgg16(config.head, geometry, width)?)),
}];

/// Channels of every stage's convolutions; a 2 x 2 max pooling ends each stage.
const STAGES: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// Features of the mlp head's hidden layer.
const HIDDEN: usize = 512;

#[derive(Clone)]
struct Vgg {
    /// The convolutions, then `hidden` (mlp head only) and `classifier`.
    layers: Vec<Layer>,
    /// Stage of every convolution, counted from 1.
    stages: Vec<usize>,
}

/// VGG-16 for images of at least 32 x 32 pixels.
///
/// # Errors
/// Smaller images: nothing would be left of them after five poolings.
fn vgg16(head: Head, geometry: &Geometry, width: Width) -> Result<Vgg> {
    let (mut channels, mut h, mut w) = geometry.shape;
    if h.min(w) < 32 {
        bail!("five poolings halve the image: it must be at least 32 x 32 pixels; the ResNets take any size");
    }
    let (mut layers, mut stages) = (Vec::new(), Vec::new());
    for (stage, widths) in STAGES.iter().enumerate() {
        for &nominal in *widths {
            let out = width.of(nominal);
            let role = if layers.is_empty() { Role::Stem } else { Role::Spatial };
            let unit = UnitSpec::conv_bn_relu(ConvSpec::same(channels, out, 3, 1), role);
            let name = format!("features.{}", layers.len());
            layers.push(Layer { name, kind: LayerKind::Unit(unit), input: (h, w), output: (h, w) });
            stages.push(stage + 1);
            channels = out;
        }
        (h, w) = (h / 2, w / 2);
    }
    let mut linear = |name: &str, inputs, outputs, norm| {
        let kind = LayerKind::Linear { inputs, outputs, norm };
        layers.push(Layer { name: name.to_owned(), kind, input: (1, 1), output: (1, 1) });
        outputs
    };
    if head == Head::Mlp {
        channels = linear("hidden", channels, width.of(HIDDEN), true);
    }
    linear("classifier", channels, geometry.classes, false);
    Ok(Vgg { layers, stages })
}

impl Backbone for Vgg {
    fn name(&self) -> &str {
        "vgg16"
    }

    fn layers(&self) -> Vec<Layer> {
        self.layers.clone()
    }

    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Network> {
        let (convolutions, head) = self.layers.split_at(self.stages.len());
        Network::build(super::unit_spec(&self.layers[0])?.conv.in_channels, |graph, images| {
            let mut network = Builder::new(methods, graph, vb);
            let mut x = images;
            for (index, layer) in convolutions.iter().enumerate() {
                x = network.unit(layer, x, None)?;
                if self.stages.get(index + 1) != Some(&self.stages[index]) {
                    x = network.net.max_pool(x, 2, 2, 0)?;
                }
            }
            x = network.net.global_avg_pool(x)?;
            for layer in head {
                x = network.linear(layer, x)?;
            }
            Ok(x)
        })
    }

    /// Every convolution; each is read by the next layer alone.
    fn prunable(&self, _residual: bool) -> Vec<Coupling> {
        (self.stages.iter().zip(self.layers.windows(2)).enumerate())
            .map(|(index, (&stage, pair))| {
                Coupling::plain(&pair[0].name, &[&pair[1].name], super::outputs(&pair[0]), index + 1, stage)
            })
            .collect()
    }

    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>> {
        let layers = super::with_widths(&self.layers, &self.prunable(true), widths)?;
        Ok(Box::new(Self { layers, stages: self.stages.clone() }))
    }
}
