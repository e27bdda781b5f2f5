//! Single precision: f32 in memory as well, convolved by the kernels of `batch16`.

use rayon::prelude::*;

use super::choice::{BatchKernel, WeightKernel};
use super::format::{Format, Target};
use super::layers::Conv;
use super::norm::FinishLayer;
use super::packed::{ConvLayer, Direction};
use super::program::Pass;
use super::survey::WINOGRAD;
use crate::kernels::Isa;
use crate::kernels::batch16::conv::Output;
use crate::kernels::batch16::depthwise::DepthwiseGradient;
use crate::kernels::batch16::weight::{Planes, WeightGradient};
use crate::kernels::batch16::weight_channels::{ByChannels, Turned};
use crate::kernels::batch16::{Line, winograd};
use crate::kernels::tiles::even_blocks;

/// f32, on these instructions.
#[derive(Clone, Copy)]
pub(crate) struct Single(pub(crate) Isa);

impl Format for Single {
    type Line = Line;
    type Conv = ConvLayer;

    fn isa(self) -> Isa {
        self.0
    }

    fn kernel(conv: &Conv, pass: Pass) -> &'static str {
        let of_batch = |kernel: BatchKernel| match kernel {
            BatchKernel::Winograd => WINOGRAD,
            BatchKernel::Gathered => "gathered",
            BatchKernel::Direct => "direct",
        };
        match pass {
            Pass::Forward => of_batch(conv.forward),
            Pass::InputGradient => conv.input_gradient.as_ref().map_or("none", |gradient| of_batch(gradient.kernel)),
            Pass::WeightGradient => match conv.weight_gradient {
                WeightKernel::Depthwise => "depthwise",
                WeightKernel::EachBlock => "each block",
                WeightKernel::AllBlocks => "all blocks",
            },
        }
    }

    fn packed_bytes(conv: &Conv) -> usize {
        let of = |kernel| match kernel {
            BatchKernel::Winograd => winograd::packed(conv.shape.out_channels, conv.shape.in_channels),
            BatchKernel::Gathered | BatchKernel::Direct => conv.shape.w_len(),
        };
        let most = of(conv.forward).max(conv.input_gradient.as_ref().map_or(0, |gradient| of(gradient.kernel)));
        most * size_of::<f32>()
    }

    fn conv(self, plan: Conv) -> ConvLayer {
        ConvLayer::new(self.0, plan)
    }

    fn pack(conv: &mut ConvLayer, direction: Direction, w: &[f32], finishes: &[FinishLayer], parameters: &[Vec<f32>]) {
        conv.pack(direction, w, finishes, parameters);
    }

    fn convolve(self, conv: &ConvLayer, from: &[&[Line]], to: Vec<Target<'_, Line>>) {
        let relu = conv.plan.to.relu;
        let outputs = to.into_iter().zip(&conv.biases);
        let mut outputs: Vec<Output<'_>> =
            outputs.map(|((plane, residual), &bias)| Output { plane, add: false, bias, residual, relu }).collect();
        conv.forward(self.0, from, &mut outputs);
    }

    fn input_gradient(self, conv: &ConvLayer, dy: &[&[Line]], to: Vec<(&mut [Line], bool)>) {
        let mut to: Vec<Output<'_>> = to.into_iter().map(|(plane, add)| Output::plain(plane, add)).collect();
        conv.input_gradient(self.0, dy, &mut to);
    }

    fn weight_gradient(self, conv: &Conv, planes: &Planes<'_, Line>, dw: &mut [f32]) {
        if conv.weight_gradient == WeightKernel::Depthwise {
            let geometry = &conv.forward_geometry;
            self.0.execute(DepthwiseGradient { geometry, x: &planes.x, dy: &planes.dy, dw });
        } else {
            self.0.execute(WeightGradient { shape: &conv.shape, isa: self.0, planes, dw });
        }
    }

    /// A register tile's outputs a task.
    fn weight_gradient_of_all(self, conv: &Conv, blocks: Vec<Planes<'_, Line>>, dw: &mut [f32]) {
        let s = &conv.shape;
        let (x, dy): (Vec<_>, Vec<_>) = blocks.into_iter().map(|planes| (planes.x, planes.dy)).unzip();
        let turned = Turned::new(&x, s.input.0 * s.input.1);
        let per_output = s.w_len() / s.out_channels;
        let mut tasks = Vec::new();
        let mut rest = dw;
        for (first, count) in even_blocks(self.0, s.out_channels) {
            let (dw, tail) = rest.split_at_mut(count * per_output);
            tasks.push((first..first + count, dw));
            rest = tail;
        }
        tasks.into_par_iter().for_each(|(outputs, dw)| {
            self.0.execute(ByChannels { shape: s, x: &turned, dy: &dy, outputs, dw });
        });
    }

    fn widened<'a>(planes: Vec<&'a [Line]>, _: &'a mut Vec<Line>) -> Vec<&'a [Line]> {
        planes
    }

    fn writing(planes: Vec<Option<&mut [Line]>>, work: impl FnOnce(Vec<Option<&mut [Line]>>)) {
        work(planes);
    }
}
