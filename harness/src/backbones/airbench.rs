//! The network of fast CIFAR-10 trainings: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498), section 3.
//! A stem and three stages of two 3 x 3 convolutions, without shortcuts; a 2 x 2 max pooling stands behind the first of each stage.
//!
//! Three things differ from the paper's: its stem is a 2 x 2 convolution that whitens patches and is not trained, here it is a 3 x 3 one
//! that is trained as all others; its activations are GELUs, here ReLUs; and it ends in a max pooling, here in a global average, so
//! that images may have any size.

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
    name: "airbench94",
    title: "airbench94",
    about: "stem and 3 stages of 2 convolutions (64, 256, 256 channels), no shortcuts; 1.97M parameters; 8 x 8 and up",
    heads: &[Head::Linear],
    dataset: "cifar10",
    make: |_, geometry, width| Ok(Box::new(Airbench { layers: layers(geometry, width)? })),
}];

/// Channels of the stem, and of the convolutions of each stage.
const STEM: usize = 24;
const STAGES: [usize; 3] = [64, 256, 256];

#[derive(Clone)]
struct Airbench {
    /// `conv1`, the stages' convolutions, `fc`.
    layers: Vec<Layer>,
}

/// # Errors
/// Images of which three poolings leave nothing.
fn layers(geometry: &Geometry, width: Width) -> Result<Vec<Layer>> {
    let (channels, mut h, mut w) = geometry.shape;
    if h.min(w) < 8 {
        bail!("three poolings halve the image: it must be at least 8 x 8 pixels; the ResNets take any size");
    }
    let conv = |name: String, from, to, role, size| {
        let unit = UnitSpec::conv_bn_relu(ConvSpec::same(from, to, 3, 1), role);
        Layer { name, kind: LayerKind::Unit(unit), input: size, output: size }
    };
    let mut channels_before = width.of(STEM);
    let mut layers = vec![conv("conv1".to_owned(), channels, channels_before, Role::Stem, (h, w))];
    for (stage, nominal) in STAGES.into_iter().enumerate() {
        let out = width.of(nominal);
        for number in 1..=2 {
            let name = format!("layer{}.conv{number}", stage + 1);
            layers.push(conv(name, channels_before, out, Role::Spatial, (h, w)));
            channels_before = out;
            if number == 1 {
                (h, w) = (h / 2, w / 2);
            }
        }
    }
    let kind = LayerKind::Linear { inputs: channels_before, outputs: geometry.classes, norm: false };
    layers.push(Layer { name: "fc".to_owned(), kind, input: (1, 1), output: (1, 1) });
    Ok(layers)
}

impl Backbone for Airbench {
    fn name(&self) -> &str {
        "airbench94"
    }

    fn layers(&self) -> Vec<Layer> {
        self.layers.clone()
    }

    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Network> {
        Network::build(super::unit_spec(&self.layers[0])?.conv.in_channels, |graph, images| {
            let mut network = Builder::new(methods, graph, vb);
            let mut x = images;
            for pair in self.layers.windows(2) {
                x = network.unit(&pair[0], x, None)?;
                // What follows on half the size; the classifier follows on an average.
                if matches!(pair[1].kind, LayerKind::Unit(_)) && pair[1].input != pair[0].output {
                    x = network.net.max_pool(x, 2, 2, 0)?;
                }
            }
            x = network.net.global_avg_pool(x)?;
            self.layers.last().map_or(Ok(x), |fc| network.linear(fc, x))
        })
    }

    /// Every convolution; each is read by the next layer alone.
    fn prunable(&self, _residual: bool) -> Vec<Coupling> {
        let couplings = self.layers.windows(2).enumerate().map(|(index, pair)| {
            // The stem counts to the first stage.
            let stage = index.div_ceil(2).max(1);
            Coupling::plain(&pair[0].name, &[&pair[1].name], super::outputs(&pair[0]), index + 1, stage)
        });
        couplings.collect()
    }

    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Self { layers: super::with_widths(&self.layers, &self.prunable(true), widths)? }))
    }
}
