//! Steps of the forward pass.

use super::block::Block;
use super::context::Context;
use super::format::{Format, Target};
use super::layers::Channel;
use super::memory::Content;
use super::norm::FinishLayer;
use crate::kernels::batch16::norm::{Apply, Measure};
use crate::kernels::moments::Moments;

impl<F: Format> Context<'_, F> {
    pub(super) fn convolve(&self, conv: &F::Conv, block: &mut Block<F::Line>) {
        let plan = conv.as_ref();
        let to = &plan.to;
        block.slab.write(self.layout, &to.channels, Content::Value, |slab, planes| {
            let from = self.values(slab, &plan.x);
            let residual = self.values(slab, &to.residual);
            let is_there = |o: usize| to.residual.get(o).is_some_and(|channel| *channel != Channel::Zero);
            let targets = planes.into_iter().flatten().enumerate();
            let targets: Vec<Target<'_, F::Line>> =
                targets.map(|(o, plane)| (plane, is_there(o).then(|| residual[o]))).collect();
            self.format.convolve(conv, &from, targets);
        });
    }

    pub(super) fn moments(&self, finish: &FinishLayer, block: &Block<F::Line>) -> Vec<Moments> {
        let images = block.images;
        let measure = |plane: &[F::Line]| self.format.isa().execute(Measure { plane, images });
        self.values(&block.slab, &finish.plan.x).into_iter().map(measure).collect()
    }

    pub(super) fn apply(&self, finish: &FinishLayer, block: &mut Block<F::Line>) {
        block.slab.finish(self.layout, &finish.plan, |c, x, residual, y| {
            let (scale, shift, relu) = (finish.scale[c], finish.shift[c], finish.plan.relu);
            self.format.isa().execute(Apply { x, scale, shift, residual, relu, y });
        });
    }
}
