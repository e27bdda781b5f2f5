//! A convolution's weights as its kernels read them, and the choice between the kernels.

use super::plan::{Conv, Mode};
use super::state::NormState;
use crate::kernels::Path;
use crate::kernels::conv::Shape;
use crate::kernels::lanes::conv::{self, Output};
use crate::kernels::lanes::geometry::Geometry;
use crate::kernels::lanes::{Line, winograd};

/// Weights of one direction of a convolution.
enum Kernel {
    Direct(conv::Weights),
    Winograd(winograd::Weights),
}

impl Kernel {
    /// For `rows` destination and `channels` source channels a group.
    fn new(path: Path, s: &Shape, rows: usize, channels: usize, winograd: bool) -> Self {
        match winograd && gains(s) {
            true => Self::Winograd(winograd::Weights::new(path, rows, channels)),
            false => Self::Direct(conv::Weights::new(path, s.groups, rows, channels, s.kernel * s.kernel)),
        }
    }

    fn memory(&mut self) -> &mut Vec<f32> {
        match self {
            Self::Direct(weights) => weights.memory(),
            Self::Winograd(weights) => weights.memory(),
        }
    }

    fn run(&self, path: Path, geometry: &Geometry, s: &Shape, from: &[&[Line]], to: &mut [Output<'_>]) {
        match self {
            Self::Direct(weights) => conv::convolve(path, geometry, weights, from, to),
            Self::Winograd(weights) => winograd::convolve(path, s.input, weights, from, to),
        }
    }
}

/// Whether Winograd's form is the faster one: its transforms cost as much for few channels as for many, and on 2 x 2 maps the
/// padding leaves the direct sum as little to do.
fn gains(s: &Shape) -> bool {
    (s.kernel, s.stride, s.padding, s.groups) == (3, 1, 1, 1)
        && s.in_channels.min(s.out_channels) >= 16
        && s.input.0.min(s.input.1) >= 3
}

/// The directions in which a convolution is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// A convolution's kernels. Only one direction's weights are there at a time: transformed ones take much memory.
pub(super) struct PackedConv {
    forward: Kernel,
    /// None where nothing before wants a gradient.
    backward: Option<Kernel>,
    /// Added to each output.
    pub(super) biases: Vec<f32>,
}

impl PackedConv {
    /// Without weights; [`PackedConv::pack`] fills them in. `winograd`: where it gains.
    pub(super) fn new(path: Path, conv: &Conv, mode: Mode, winograd: bool) -> Self {
        let s = &conv.shape;
        let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
        let wanted = mode.trains() && conv.data_gradient;
        Self {
            forward: Kernel::new(path, s, outputs, inputs, winograd),
            backward: wanted.then(|| Kernel::new(path, s, inputs, outputs, winograd)),
            biases: vec![0.0; s.out_channels],
        }
    }

    /// From `w[o][c / groups][tap]`, with the norm of a fused finish; `parameters`: see [`super::parameters`].
    pub(super) fn pack(
        &mut self,
        direction: Direction,
        conv: &Conv,
        w: &[f32],
        norms: &[NormState],
        parameters: &[Vec<f32>],
    ) {
        let s = &conv.shape;
        let (inputs, outputs, taps) = (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel * s.kernel);
        let of = |group: usize, output: usize, input: usize| &w[((group * outputs + output) * inputs + input) * taps..];
        if let Some(backward) = &mut self.backward {
            let (now, before) = match direction {
                Direction::Forward => (&mut self.forward, backward),
                Direction::Backward => (backward, &mut self.forward),
            };
            if now.memory().is_empty() {
                std::mem::swap(now.memory(), before.memory());
            }
        }
        match (direction, &mut self.forward, &mut self.backward) {
            (Direction::Forward, forward, _) => {
                let (scale, biases) = scale_and_bias(conv, norms, parameters);
                self.biases = biases;
                match forward {
                    Kernel::Direct(weights) => weights.pack(of, |group, output| scale[group * outputs + output]),
                    Kernel::Winograd(weights) => weights.pack(|o, i| of(0, o, i), |o| scale[o], false),
                }
            }
            (_, _, Some(Kernel::Direct(weights))) => {
                weights.pack(|group, input, output| of(group, output, input), |_, _| 1.0);
            }
            (_, _, Some(Kernel::Winograd(weights))) => {
                weights.pack(|input, output| of(0, output, input), |_| 1.0, true);
            }
            (_, _, None) => {}
        }
    }

    pub(super) fn forward(&self, path: Path, conv: &Conv, from: &[&[Line]], to: &mut [Output<'_>]) {
        self.forward.run(path, &conv.forward, &conv.shape, from, to);
    }

    pub(super) fn backward(&self, path: Path, conv: &Conv, from: &[&[Line]], to: &mut [Output<'_>]) {
        if let Some(kernel) = &self.backward {
            kernel.run(path, &conv.backward, &conv.shape, from, to);
        }
    }
}

/// What each output is multiplied with and what is added: the convolution's bias, and the norm of a fused finish.
pub(super) fn scale_and_bias(conv: &Conv, norms: &[NormState], parameters: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
    let outputs = conv.shape.out_channels;
    let mut bias = conv.bias.map_or_else(|| vec![0.0; outputs], |bias| parameters[bias].clone());
    let mut scale = vec![1.0; outputs];
    if let Some((finish, channels)) = &conv.fused {
        let norm = &norms[*finish];
        for ((scale, bias), &c) in scale.iter_mut().zip(&mut bias).zip(channels) {
            *scale = norm.scale[c];
            *bias = norm.shift[c] + norm.scale[c] * *bias;
        }
    }
    (scale, bias)
}
