//! ResNet-20/32/44/56/110 for CIFAR: He et al. (arXiv 1512.03385), section 4.2. A 3 x 3 stem, three stages of n basic blocks
//! (6 n + 2 layers) with 16, 32 and 64 channels, the later two halving the image, and option A shortcuts.

use candle_core::Result;
use conv_core::ConvSpec;

use super::info::{BackboneInfo, Make};
use super::resnet::{BlockConv, ResNet, Widening};
use super::{Backbone, Width};
use crate::config::{BackboneConfig, Head};
use crate::data::Geometry;

/// One for each depth.
pub(super) const BACKBONES: &[BackboneInfo] = &[
    info(
        "resnet20",
        "ResNet-20",
        "3 stages of 3 basic blocks (16, 32, 64 channels), option A shortcuts; 0.27M parameters",
        |config, geometry, width| build(config, 3, geometry, width),
    ),
    info(
        "resnet32",
        "ResNet-32",
        "3 stages of 5 basic blocks (16, 32, 64 channels), option A shortcuts; 0.46M parameters",
        |config, geometry, width| build(config, 5, geometry, width),
    ),
    info(
        "resnet44",
        "ResNet-44",
        "3 stages of 7 basic blocks (16, 32, 64 channels), option A shortcuts; 0.66M parameters",
        |config, geometry, width| build(config, 7, geometry, width),
    ),
    info(
        "resnet56",
        "ResNet-56",
        "3 stages of 9 basic blocks (16, 32, 64 channels), option A shortcuts; 0.85M parameters",
        |config, geometry, width| build(config, 9, geometry, width),
    ),
    info(
        "resnet110",
        "ResNet-110",
        "3 stages of 18 basic blocks (16, 32, 64 channels), option A shortcuts; 1.73M parameters",
        |config, geometry, width| build(config, 18, geometry, width),
    ),
];

const fn info(name: &'static str, title: &'static str, about: &'static str, make: Make) -> BackboneInfo {
    BackboneInfo { name, title, about, heads: &[Head::Linear], dataset: "cifar10", make }
}

fn build(config: &BackboneConfig, blocks: usize, geometry: &Geometry, width: Width) -> Result<Box<dyn Backbone>> {
    let stem = ConvSpec::same(geometry.shape.0, width.of(16), 3, 1);
    let mut network = ResNet::new(&config.name, geometry, stem, false)?;
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let conv = |stride| BlockConv { out_channels: width.of(channels), kernel: 3, stride };
            network.push_block((stage + 1, index), &[conv(stride), conv(1)], Widening::Pad)?;
        }
    }
    Ok(Box::new(network.finish(geometry.classes)?))
}
