//! A convolution with its weights in the order in which its kernels read them.

use super::choice::BatchKernel;
use super::layers::{Conv, InputGradient};
use super::norm::FinishLayer;
use crate::kernels::Isa;
use crate::kernels::batch16::conv::{self, Output};
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::batch16::{Line, winograd};
use crate::kernels::shape::ConvShape;

/// Weights of one direction of a convolution.
enum Weights {
    Direct { weights: conv::Weights, gathered: bool },
    Winograd(winograd::Weights),
}

impl Weights {
    /// None yet, for `rows` destination and `channels` source channels a group.
    fn new(isa: Isa, kernel: BatchKernel, s: &ConvShape, rows: usize, channels: usize) -> Self {
        let direct = |gathered| {
            let weights = conv::Weights::new(isa, s.groups, rows, channels, s.kernel * s.kernel);
            Self::Direct { weights, gathered }
        };
        match kernel {
            BatchKernel::Winograd => Self::Winograd(winograd::Weights::new(isa, rows, channels)),
            BatchKernel::Gathered => direct(true),
            BatchKernel::Direct => direct(false),
        }
    }

    fn memory(&mut self) -> &mut Vec<f32> {
        match self {
            Self::Direct { weights, .. } => weights.memory(),
            Self::Winograd(weights) => weights.memory(),
        }
    }

    fn convolve(&self, isa: Isa, geometry: &Geometry, s: &ConvShape, from: &[&[Line]], to: &mut [Output<'_>]) {
        match self {
            Self::Direct { weights, gathered } => conv::convolve(isa, geometry, weights, *gathered, from, to),
            Self::Winograd(weights) => winograd::convolve(isa, s.input, weights, from, to),
        }
    }
}

/// The directions in which a convolution is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// A convolution as the batch engine holds it. Only one direction's weights are there at a time: transformed ones take much
/// memory.
pub(crate) struct ConvLayer {
    pub(super) plan: Conv,
    forward: Weights,
    /// None where nothing before wants a gradient.
    input_gradient: Option<Weights>,
    /// Added to each output.
    pub(super) biases: Vec<f32>,
}

impl AsRef<Conv> for ConvLayer {
    fn as_ref(&self) -> &Conv {
        &self.plan
    }
}

impl ConvLayer {
    /// Without weights; [`ConvLayer::pack`] fills them in.
    pub(super) fn new(isa: Isa, plan: Conv) -> Self {
        let s = &plan.shape;
        let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
        let backward = |gradient: &InputGradient| Weights::new(isa, gradient.kernel, s, inputs, outputs);
        Self {
            forward: Weights::new(isa, plan.forward, s, outputs, inputs),
            input_gradient: plan.input_gradient.as_ref().map(backward),
            biases: vec![0.0; s.out_channels],
            plan,
        }
    }

    /// From `w[o][c / groups][tap]`, with the norm of a fused finish; `parameters`: see [`super::parameters`].
    pub(super) fn pack(&mut self, direction: Direction, w: &[f32], finishes: &[FinishLayer], parameters: &[Vec<f32>]) {
        let s = &self.plan.shape;
        let (inputs, outputs, taps) = (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel * s.kernel);
        let of = |group: usize, output: usize, input: usize| &w[((group * outputs + output) * inputs + input) * taps..];
        if let Some(backward) = &mut self.input_gradient {
            let (now, before) = match direction {
                Direction::Forward => (&mut self.forward, backward),
                Direction::Backward => (backward, &mut self.forward),
            };
            if now.memory().is_empty() {
                std::mem::swap(now.memory(), before.memory());
            }
        }
        match direction {
            Direction::Forward => {
                let (scale, biases) = scale_and_bias(&self.plan, finishes, parameters);
                self.biases = biases;
                match &mut self.forward {
                    Weights::Direct { weights, .. } => {
                        weights.pack(of, |group, output| scale[group * outputs + output]);
                    }
                    Weights::Winograd(weights) => weights.pack(|o, i| of(0, o, i), |o| scale[o], false),
                }
            }
            Direction::Backward => match &mut self.input_gradient {
                Some(Weights::Direct { weights, .. }) => {
                    weights.pack(|group, input, output| of(group, output, input), |_, _| 1.0);
                }
                Some(Weights::Winograd(weights)) => {
                    weights.pack(|input, output| of(0, output, input), |_| 1.0, true);
                }
                None => {}
            },
        }
    }

    /// Packed weights that are there.
    #[cfg(test)]
    pub(super) fn packed(&mut self) -> usize {
        let backward = self.input_gradient.as_mut().map_or(0, |weights| weights.memory().len());
        self.forward.memory().len() + backward
    }

    pub(super) fn forward(&self, isa: Isa, from: &[&[Line]], to: &mut [Output<'_>]) {
        self.forward.convolve(isa, &self.plan.forward_geometry, &self.plan.shape, from, to);
    }

    /// Of use where something before wants a gradient.
    pub(super) fn input_gradient(&self, isa: Isa, from: &[&[Line]], to: &mut [Output<'_>]) {
        if let (Some(weights), Some(plan)) = (&self.input_gradient, &self.plan.input_gradient) {
            weights.convolve(isa, &plan.geometry, &self.plan.shape, from, to);
        }
    }
}

/// What each output is multiplied with and what is added: the convolution's bias, and the norm of a fused finish.
pub(super) fn scale_and_bias(conv: &Conv, finishes: &[FinishLayer], parameters: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
    let outputs = conv.shape.out_channels;
    let mut bias = conv.bias.map_or_else(|| vec![0.0; outputs], |bias| parameters[bias].clone());
    let mut scale = vec![1.0; outputs];
    if let Some((finish, channels)) = &conv.fused {
        let finish = &finishes[finish.0];
        for ((scale, bias), &c) in scale.iter_mut().zip(&mut bias).zip(channels) {
            *scale = finish.scale[c];
            *bias = finish.shift[c] + finish.scale[c] * *bias;
        }
    }
    (scale, bias)
}
