//! The units that every method is asked for.

use conv_core::{Activation, ConvSpec, Role, UnitSpec};

/// A unit to be checked.
pub(super) struct Case {
    pub spec: UnitSpec,
    /// Whether a residual is added.
    pub residual: bool,
    /// Whether networks ask for such units: these may not be refused.
    pub ordinary: bool,
    /// Whether its numbers are held against double precision: every second, so that each finish and each shape is among them.
    pub precise: bool,
}

/// Every one of them.
pub(super) fn cases() -> Vec<Case> {
    let relu = Some(Activation::Relu);
    // norm, activation, bias, residual
    let finishes = [
        (true, relu, false, false),
        (true, relu, false, true),
        (true, None, false, false),
        (true, None, true, true),
        (false, None, true, false),
        (false, relu, true, true),
        (false, None, false, false),
    ];
    let mut cases = Vec::new();
    for (inputs, outputs) in [(3, 13), (5, 1), (7, 29), (16, 16), (16, 32), (29, 7)] {
        for kernel in [1, 3, 5] {
            for stride in [1, 2] {
                let role = match (inputs, kernel, stride) {
                    (3, ..) => Role::Stem,
                    (_, 1, 1) => Role::Pointwise,
                    (_, 1, _) => Role::Shortcut,
                    _ => Role::Spatial,
                };
                for (place, (norm, activation, bias, residual)) in finishes.into_iter().enumerate() {
                    let conv = ConvSpec { bias, ..ConvSpec::same(inputs, outputs, kernel, stride) };
                    let spec = UnitSpec { conv, role, norm, activation };
                    let precise = (place + kernel / 2 + stride).is_multiple_of(2);
                    cases.push(Case { spec, residual, ordinary: true, precise });
                }
            }
        }
    }
    // As MobileNetV2 asks for: a ReLU that is clipped.
    for (conv, residual) in [(ConvSpec::same(16, 16, 1, 1), false), (ConvSpec::same(7, 29, 3, 2), true)] {
        let spec = UnitSpec { conv, role: Role::Pointwise, norm: true, activation: Some(Activation::Relu6) };
        cases.push(Case { spec, residual, ordinary: true, precise: true });
    }
    // Nothing a network of today asks for, but what a method must serve or refuse, rather than get wrong.
    let odd = [
        ConvSpec::same(16, 16, 3, 1).grouped(4),
        ConvSpec::same(16, 16, 3, 2).grouped(16),
        ConvSpec { padding: 0, ..ConvSpec::same(16, 16, 3, 1) },
        ConvSpec { padding: 2, ..ConvSpec::same(16, 16, 3, 1) },
        ConvSpec { padding: 0, ..ConvSpec::same(16, 32, 2, 2) },
        ConvSpec::same(0, 16, 3, 1),
        ConvSpec::same(16, 16, 3, 0),
        ConvSpec::same(16, 16, 3, 1).grouped(0),
        ConvSpec::same(16, 16, 3, 1).grouped(3),
    ];
    let odd = odd.map(|conv| UnitSpec::conv_bn_relu(conv, Role::Spatial));
    cases.extend(odd.map(|spec| Case { spec, residual: false, ordinary: false, precise: true }));
    cases
}
