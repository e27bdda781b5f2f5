//! What tests of costs share.

use conv_core::{ConvSpec, Cost, Method, Role, UnitSpec, describe};

/// With batch norm and ReLU.
pub fn unit(conv: ConvSpec) -> UnitSpec {
    UnitSpec::conv_bn_relu(conv, Role::Spatial)
}

/// For an input of that size.
pub fn cost(method: &dyn Method, unit: &UnitSpec, input: (usize, usize)) -> Cost {
    describe(method, unit, input).unwrap().cost
}

/// `(in, out, side)` of VGG-16's convolutions on CIFAR.
pub const VGG16: [(usize, usize, usize); 13] = [
    (3, 64, 32),
    (64, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    (512, 512, 4),
    (512, 512, 4),
    (512, 512, 2),
    (512, 512, 2),
    (512, 512, 2),
];
