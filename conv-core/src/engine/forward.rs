//! Steps of the forward pass.

use super::block::Block;
use super::context::Context;
use super::layers::Channel;
use super::memory::Content;
use super::norm::FinishLayer;
use super::packed::ConvLayer;
use crate::kernels::batch16::Line;
use crate::kernels::batch16::conv::Output;
use crate::kernels::batch16::norm::{Apply, Measure};
use crate::kernels::moments::Moments;

impl Context<'_> {
    pub(super) fn convolve(&self, conv: &ConvLayer, block: &mut Block) {
        let to = &conv.plan.to;
        block.slab.write(self.layout, &to.channels, Content::Value, |slab, planes| {
            let from = self.values(slab, &conv.plan.x);
            let residual = self.values(slab, &to.residual);
            let is_there = |o: usize| to.residual.get(o).is_some_and(|channel| *channel != Channel::Zero);
            let mut outputs: Vec<Output<'_>> = (planes.into_iter().flatten().zip(&conv.biases).enumerate())
                .map(|(o, (plane, &bias))| Output {
                    plane,
                    add: false,
                    bias,
                    residual: is_there(o).then(|| residual[o]),
                    relu: to.relu,
                })
                .collect();
            conv.forward(self.isa, &from, &mut outputs);
        });
    }

    pub(super) fn moments(&self, finish: &FinishLayer, block: &Block) -> Vec<Moments> {
        let images = block.images;
        let measure = |plane: &[Line]| self.isa.execute(Measure { plane, images });
        self.values(&block.slab, &finish.plan.x).into_iter().map(measure).collect()
    }

    pub(super) fn apply(&self, finish: &FinishLayer, block: &mut Block) {
        block.slab.finish(self.layout, &finish.plan, |c, x, residual, y| {
            let (scale, shift, relu) = (finish.scale[c], finish.shift[c], finish.plan.relu);
            self.isa.execute(Apply { x, scale, shift, residual, relu, y });
        });
    }
}
