//! ResNet-18/34/50 for ImageNet: He et al. (arXiv 1512.03385), table 1, in the form "v1.5" that frameworks settled on: a
//! bottleneck's stride is on its 3 x 3 convolution. Projections (option B) where a block changes shape.

use candle_core::Result;
use conv_core::ConvSpec;

use super::info::{BackboneInfo, Make};
use super::resnet::{BlockConv, ResNet, Widening};
use super::{Backbone, Width};
use crate::config::{BackboneConfig, Head};
use crate::data::Geometry;

/// A bottleneck's output has this many times its inner channels.
const EXPANSION: usize = 4;

/// One for each depth.
pub(super) const BACKBONES: &[BackboneInfo] = &[
    info(
        "resnet18",
        "ResNet-18",
        "ImageNet form: 7 x 7 stem, max pooling, 4 stages of basic blocks; 11.69M parameters",
        |config, geometry, width| build(config, [2, 2, 2, 2], false, geometry, width),
    ),
    info(
        "resnet34",
        "ResNet-34",
        "ImageNet form: 7 x 7 stem, max pooling, 4 stages of basic blocks; 21.80M parameters",
        |config, geometry, width| build(config, [3, 4, 6, 3], false, geometry, width),
    ),
    info(
        "resnet50",
        "ResNet-50",
        "ImageNet form (v1.5): 7 x 7 stem, max pooling, 4 stages of bottlenecks; 25.56M parameters",
        |config, geometry, width| build(config, [3, 4, 6, 3], true, geometry, width),
    ),
];

const fn info(name: &'static str, title: &'static str, about: &'static str, make: Make) -> BackboneInfo {
    BackboneInfo { name, title, about, heads: &[Head::Linear], dataset: "imagenet", make }
}

fn build(
    config: &BackboneConfig,
    blocks: [usize; 4],
    bottleneck: bool,
    geometry: &Geometry,
    width: Width,
) -> Result<Box<dyn Backbone>> {
    let stem = ConvSpec::same(geometry.shape.0, width.of(64), 7, 2);
    let mut network = ResNet::new(&config.name, geometry, stem, true)?;
    for (stage, (blocks, channels)) in blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let conv = |channels, kernel, stride| BlockConv { out_channels: width.of(channels), kernel, stride };
            let basic = [conv(channels, 3, stride), conv(channels, 3, 1)];
            let deep = [conv(channels, 1, 1), conv(channels, 3, stride), conv(EXPANSION * channels, 1, 1)];
            let convs = if bottleneck { &deep[..] } else { &basic[..] };
            network.push_block((stage + 1, index), convs, Widening::Project)?;
        }
    }
    Ok(Box::new(network.finish(geometry.classes)?))
}
