//! Plans of layers for the tests of what orders, fuses and places them.

use std::ops::Range;

use super::choice;
use super::layers::{
    Buffer, Channel, Conv, ConvId, Destination, Finish, FinishId, InputGradient, LayerId, Layers, Norm,
};
use crate::ParamStore;
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::shape::ConvShape;
use crate::layers::BatchNorm2d;

/// Pixels of every map's side.
const SIDE: usize = 4;

/// These planes of a buffer.
pub(super) fn planes(buffer: usize, planes: Range<usize>) -> Vec<Channel> {
    planes.map(|plane| Channel::Plane { buffer, plane }).collect()
}

/// A 3 x 3 convolution from planes of buffer `x` to the `outputs` planes of buffer `y`.
pub(super) fn conv(inputs: Range<usize>, x: usize, y: usize, outputs: usize, train: bool) -> Conv {
    let shape = ConvShape::new(&[1, inputs.len(), SIDE, SIDE], &[outputs, inputs.len(), 3, 3], 1, 1, 1).unwrap();
    Conv {
        shape,
        weight: 0,
        bias: None,
        x: planes(x, inputs),
        y,
        to: Destination { channels: planes(y, 0..outputs), residual: Vec::new(), relu: false },
        fused: None,
        forward: choice::forward(&shape, true),
        forward_geometry: Geometry::forward(&shape),
        input_gradient: (train && x > 0).then(|| InputGradient {
            kernel: choice::input_gradient(&shape, true),
            geometry: Geometry::backward(&shape),
            adds: Vec::new(),
        }),
        weight_gradient: choice::weight_gradient(&shape),
    }
}

/// A norm of `x` into buffer `y`.
pub(super) fn finish(x: Vec<Channel>, y: usize, residual: Option<Vec<Channel>>, relu: bool) -> Finish {
    let store = ParamStore::new(0, &candle_core::Device::Cpu);
    let layer = BatchNorm2d::new(x.len(), store.builder()).unwrap();
    Finish {
        norm: Some(Norm { layer, weight: 1, bias: 2 }),
        bias: None,
        relu,
        left: (0..x.len()).collect(),
        x,
        residual,
        y,
        adds: Vec::new(),
        residual_adds: Vec::new(),
    }
}

/// These layers in an order of `c` for the next convolution and `f` for the next finish, over buffers of so many planes.
pub(super) fn plan(
    buffers: &[usize],
    convs: Vec<Conv>,
    finishes: Vec<Finish>,
    order: &str,
) -> (Layers, Vec<LayerId>, Vec<Buffer>) {
    let (mut conv, mut finish) = (0.., 0..);
    let order = order.chars().map(|kind| match kind {
        'c' => LayerId::Conv(ConvId(conv.next().unwrap())),
        _ => LayerId::Finish(FinishId(finish.next().unwrap())),
    });
    let order = order.collect();
    let buffers = buffers.iter().map(|&planes| Buffer::new(planes, (SIDE, SIDE))).collect();
    (Layers { convs, finishes, plains: Vec::new() }, order, buffers)
}
