//! bfloat16: values and their gradients are stored in it, and convolutions multiply it.
//!
//! Weights are rounded when they are packed, and stay f32 where they are kept and learned. Sums, norms with their statistics,
//! biases, residuals and means are f32 until what comes of them is stored. A gradient that several layers add to is rounded after
//! each of them. Layers without a kernel of their own go over f32 copies of their planes.

use super::choice::{self, HalfKernel, WeightKernel};
use super::format::{Format, Target};
use super::layers::Conv;
use super::norm::FinishLayer;
use super::packed::{Direction, scale_and_bias};
use super::program::Pass;
use crate::kernels::Isa;
use crate::kernels::batch16::Line;
use crate::kernels::batch16::weight::Planes;
use crate::kernels::bf16::conv::{self, Output};
use crate::kernels::bf16::{HalfLine, HalfPath, depthwise, weight};
use crate::kernels::shape::ConvShape;
use crate::kernels::stored::Stored;

/// bfloat16, by these instructions.
#[derive(Clone, Copy)]
pub(crate) struct Half(pub(crate) HalfPath);

/// A convolution with its weights as its kernels read them.
pub(crate) struct HalfConv {
    plan: Conv,
    forward: Weights,
    /// None where nothing before wants a gradient.
    input_gradient: Option<Weights>,
    /// Each output is `scale sum + bias`.
    scale: Vec<f32>,
    bias: Vec<f32>,
}

/// Weights of one direction, where they are packed for it.
enum Weights {
    Product(conv::Weights),
    /// By output and tap.
    Depthwise(Vec<f32>),
}

impl Weights {
    fn forward(shape: ConvShape) -> Self {
        Self::new(choice::half(&shape), || conv::Weights::forward(shape))
    }

    fn backward(shape: ConvShape) -> Self {
        Self::new(choice::half_input_gradient(&shape), || conv::Weights::backward(shape))
    }

    fn new(kernel: HalfKernel, product: impl FnOnce() -> conv::Weights) -> Self {
        match kernel {
            HalfKernel::Product => Self::Product(product()),
            HalfKernel::Depthwise => Self::Depthwise(Vec::new()),
        }
    }

    /// Bytes that they take once they are packed, of a convolution of this shape.
    fn bytes(&self, shape: &ConvShape) -> usize {
        match self {
            Self::Product(weights) => weights.bytes(),
            Self::Depthwise(_) => shape.w_len() * size_of::<f32>(),
        }
    }

    fn pack(&mut self, w: &[f32]) {
        match self {
            Self::Product(weights) => weights.pack(w),
            Self::Depthwise(weights) => {
                weights.clear();
                weights.extend_from_slice(w);
            }
        }
    }

    /// Takes the memory of the other direction's, which are empty then.
    fn take_memory(&mut self, other: &mut Self) {
        match (self, other) {
            (Self::Product(weights), Self::Product(other)) => weights.take_memory(other),
            (Self::Depthwise(weights), Self::Depthwise(other)) if weights.is_empty() => std::mem::swap(weights, other),
            (_, Self::Product(other)) => other.clear(),
            (_, Self::Depthwise(other)) => *other = Vec::new(),
        }
    }
}

impl HalfConv {
    /// Bytes of packed weights that are there.
    #[cfg(test)]
    pub(super) fn packed(&mut self) -> usize {
        let there = |weights: &Weights| match weights {
            Weights::Product(weights) => weights.packed(),
            Weights::Depthwise(weights) => size_of_val(weights.as_slice()),
        };
        there(&self.forward) + self.input_gradient.as_ref().map_or(0, there)
    }
}

impl AsRef<Conv> for HalfConv {
    fn as_ref(&self) -> &Conv {
        &self.plan
    }
}

impl Format for Half {
    type Line = HalfLine;
    type Conv = HalfConv;

    fn isa(self) -> Isa {
        self.0.isa()
    }

    fn kernel(conv: &Conv, pass: Pass) -> &'static str {
        let name = |kernel| if kernel == HalfKernel::Depthwise { "depthwise" } else { "bf16 product" };
        match pass {
            Pass::Forward => name(choice::half(&conv.shape)),
            Pass::InputGradient => name(choice::half_input_gradient(&conv.shape)),
            Pass::WeightGradient => match conv.weight_gradient {
                WeightKernel::Depthwise => "depthwise",
                WeightKernel::EachBlock => "bf16 each block",
                WeightKernel::AllBlocks => "bf16 all blocks",
            },
        }
    }

    fn packed_bytes(conv: &Conv) -> usize {
        let backward = conv.input_gradient.is_some().then(|| Weights::backward(conv.shape));
        let directions = [Some(Weights::forward(conv.shape)), backward];
        directions.iter().flatten().map(|weights| weights.bytes(&conv.shape)).max().unwrap_or(0)
    }

    fn conv(self, plan: Conv) -> HalfConv {
        HalfConv {
            forward: Weights::forward(plan.shape),
            input_gradient: plan.input_gradient.is_some().then(|| Weights::backward(plan.shape)),
            scale: Vec::new(),
            bias: Vec::new(),
            plan,
        }
    }

    fn pack(conv: &mut HalfConv, direction: Direction, w: &[f32], finishes: &[FinishLayer], parameters: &[Vec<f32>]) {
        match (direction, &mut conv.input_gradient) {
            (Direction::Forward, backward) => {
                backward.iter_mut().for_each(|backward| conv.forward.take_memory(backward));
                (conv.scale, conv.bias) = scale_and_bias(&conv.plan, finishes, parameters);
                conv.forward.pack(w);
            }
            (Direction::Backward, Some(backward)) => {
                backward.take_memory(&mut conv.forward);
                backward.pack(w);
            }
            (Direction::Backward, None) => {}
        }
    }

    fn convolve(self, conv: &HalfConv, from: &[&[HalfLine]], to: Vec<Target<'_, HalfLine>>) {
        let relu = conv.plan.to.relu;
        let outputs = to.into_iter().zip(conv.scale.iter().zip(&conv.bias));
        let output = |((plane, residual), (&scale, &bias))| Output { plane, add: false, scale, bias, residual, relu };
        let mut outputs: Vec<Output<'_>> = outputs.map(output).collect();
        match &conv.forward {
            Weights::Product(weights) => conv::convolve(self.0, weights, from, &mut outputs),
            Weights::Depthwise(weights) => {
                depthwise::convolve(self.isa(), &conv.plan.forward_geometry, from, weights, &mut outputs);
            }
        }
    }

    fn input_gradient(self, conv: &HalfConv, dy: &[&[HalfLine]], to: Vec<(&mut [HalfLine], bool)>) {
        let mut to: Vec<Output<'_>> = to.into_iter().map(|(plane, add)| Output::plain(plane, add)).collect();
        match (&conv.input_gradient, &conv.plan.input_gradient) {
            (Some(Weights::Product(weights)), _) => conv::convolve(self.0, weights, dy, &mut to),
            (Some(Weights::Depthwise(weights)), Some(plan)) => {
                depthwise::convolve(self.isa(), &plan.geometry, dy, weights, &mut to);
            }
            _ => {}
        }
    }

    fn weight_gradient(self, conv: &Conv, planes: &Planes<'_, HalfLine>, dw: &mut [f32]) {
        if conv.weight_gradient == WeightKernel::Depthwise {
            depthwise::weight_gradient(self.isa(), &conv.forward_geometry, planes, dw);
        } else {
            weight::of_block(self.0, &conv.shape, planes, dw);
        }
    }

    fn weight_gradient_of_all(self, conv: &Conv, blocks: Vec<Planes<'_, HalfLine>>, dw: &mut [f32]) {
        weight::of_all(self.0, &conv.shape, &blocks, dw);
    }

    fn widened<'a>(planes: Vec<&'a [HalfLine]>, memory: &'a mut Vec<Line>) -> Vec<&'a [Line]> {
        memory.clear();
        memory.extend(planes.iter().flat_map(|plane| plane.iter().map(|half| half.wide())));
        let mut rest = memory.as_slice();
        let plane = |plane: &[HalfLine]| {
            let (wide, tail) = rest.split_at(plane.len());
            rest = tail;
            wide
        };
        planes.into_iter().map(plane).collect()
    }

    fn writing(mut planes: Vec<Option<&mut [HalfLine]>>, work: impl FnOnce(Vec<Option<&mut [Line]>>)) {
        let widen = |plane: &Option<&mut [HalfLine]>| {
            plane.as_ref().map(|plane| plane.iter().map(|half| half.wide()).collect::<Vec<Line>>())
        };
        let mut wide: Vec<Option<Vec<Line>>> = planes.iter().map(widen).collect();
        work(wide.iter_mut().map(Option::as_deref_mut).collect());
        for (plane, wide) in planes.iter_mut().flatten().zip(wide.iter().flatten()) {
            plane.iter_mut().zip(wide).for_each(|(half, wide)| *half = HalfLine::of(*wide));
        }
    }
}
