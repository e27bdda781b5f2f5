//! ResNet-18/34/50 for ImageNet: He et al. (arXiv 1512.03385), table 1, in the form "v1.5" that frameworks settled on: a
//! bottleneck's stride is on its 3 x 3 convolution. Projections (option B) where a block changes shape.

use candle_core::Result;
use conv_core::ConvSpec;

use super::resnet::{BlockConv, ResNet, Widening};
use super::scaled;
use crate::data::Geometry;

/// A bottleneck's output has this many times its inner channels.
const EXPANSION: usize = 4;

/// The network of this name, if it is one of these.
pub(super) fn by_name(name: &str, geometry: &Geometry, width: f64) -> Option<Result<ResNet>> {
    let (blocks, bottleneck) = match name {
        "resnet18" => ([2, 2, 2, 2], false),
        "resnet34" => ([3, 4, 6, 3], false),
        "resnet50" => ([3, 4, 6, 3], true),
        _ => return None,
    };
    Some(build(name, blocks, bottleneck, geometry, width))
}

fn build(name: &str, blocks: [usize; 4], bottleneck: bool, geometry: &Geometry, width: f64) -> Result<ResNet> {
    let stem = ConvSpec::same(geometry.shape.0, scaled(64, width), 7, 2);
    let mut network = ResNet::new(name, geometry, stem, true)?;
    for (stage, (blocks, channels)) in blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let conv = |channels, kernel, stride| BlockConv { out_channels: scaled(channels, width), kernel, stride };
            let basic = [conv(channels, 3, stride), conv(channels, 3, 1)];
            let deep = [conv(channels, 1, 1), conv(channels, 3, stride), conv(EXPANSION * channels, 1, 1)];
            let convs = if bottleneck { &deep[..] } else { &basic[..] };
            network.push_block((stage + 1, index), convs, Widening::Project)?;
        }
    }
    network.finish(geometry.classes)
}
