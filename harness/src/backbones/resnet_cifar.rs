//! ResNet-20/32/44/56/110 for CIFAR: He et al. (arXiv 1512.03385), section 4.2. A 3 x 3 stem, three stages of n basic blocks
//! (6 n + 2 layers) with 16, 32 and 64 channels, the later two halving the image, and option A shortcuts.

use candle_core::Result;
use conv_core::ConvSpec;

use super::resnet::{BlockConv, ResNet, Widening};
use super::scaled;
use crate::data::Geometry;

/// The network of this name, if it is one of these.
pub(super) fn by_name(name: &str, geometry: &Geometry, width: f64) -> Option<Result<ResNet>> {
    let blocks = match name {
        "resnet20" => 3,
        "resnet32" => 5,
        "resnet44" => 7,
        "resnet56" => 9,
        "resnet110" => 18,
        _ => return None,
    };
    Some(build(name, blocks, geometry, width))
}

fn build(name: &str, blocks: usize, geometry: &Geometry, width: f64) -> Result<ResNet> {
    let stem = ConvSpec::same(geometry.shape.0, scaled(16, width), 3, 1);
    let mut network = ResNet::new(name, geometry, stem, false)?;
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let conv = |stride| BlockConv { out_channels: scaled(channels, width), kernel: 3, stride };
            network.push_block((stage + 1, index), &[conv(stride), conv(1)], Widening::Pad)?;
        }
    }
    network.finish(geometry.classes)
}
