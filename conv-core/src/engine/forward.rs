//! Steps of the forward pass.

use super::Context;
use super::memory::Memory;
use super::plan::{Channel, Conv, Destination, Finish, Layer, Pool, Step};
use super::state::{Block, Chain, Slab};
use crate::kernels::lanes::conv::Output;
use crate::kernels::lanes::norm::{Apply, Measure};
use crate::kernels::lanes::{Line, pool};

impl Context<'_> {
    pub(super) fn step(&self, step: Step, block: &mut Block, chain: &mut Chain) {
        let index = step.index();
        match (step, &self.program.layers[index]) {
            (Step::Blank(_), layer) => self.blank(index, layer, block),
            (Step::Conv(_), Layer::Conv(conv)) => self.conv(index, conv, block),
            (Step::DataGradient(_), Layer::Conv(conv)) => self.data_gradient(index, conv, block),
            (_, Layer::Conv(conv)) => self.weight_gradient(conv, block, chain),
            (Step::Measure(_), Layer::Finish(finish)) => self.measure(index, finish, block),
            (Step::Apply(_), Layer::Finish(finish)) => self.apply(index, finish, block),
            (Step::Sums(_), Layer::Finish(finish)) => self.sums(index, finish, block, chain),
            (_, Layer::Finish(finish)) => self.apply_gradient(index, finish, block),
            (Step::Pool(_), Layer::Pool(pool)) => self.pool(pool, block),
            (_, Layer::Pool(pool)) => self.pool_gradient(index, pool, block),
        }
    }

    /// The values of these channels.
    pub(super) fn values<'b>(&self, slab: &'b Slab, channels: &[Channel]) -> Vec<&'b [Line]> {
        slab.planes(self.program, self.slots, channels, Memory::Value)
    }

    /// All planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<Channel> {
        self.program.all(buffer)
    }

    fn conv(&self, index: usize, conv: &Conv, block: &mut Block) {
        let Some(packed) = &self.weights[index] else { return };
        let Destination { channels, residual, relu } = self.program.destination(conv);
        block.slab.write(self.program, self.slots, &channels, Memory::Value, |slab, planes| {
            let from = self.values(slab, &conv.x);
            let added = self.values(slab, &residual);
            let there = |o: usize| residual.get(o).is_some_and(|channel| *channel != Channel::Zero);
            let mut to: Vec<Output<'_>> = (planes.into_iter().flatten().zip(&packed.biases).enumerate())
                .map(|(o, (plane, &bias))| Output {
                    plane,
                    add: false,
                    bias,
                    residual: there(o).then(|| added[o]),
                    relu,
                })
                .collect();
            packed.forward(self.path, conv, &from, &mut to);
        });
    }

    fn measure(&self, index: usize, finish: &Finish, block: &mut Block) {
        let images = block.images;
        let measure = |plane: &[Line]| self.path.run(Measure { plane, images });
        block.moments[index] = self.values(&block.slab, &finish.x).into_iter().map(measure).collect();
    }

    fn apply(&self, index: usize, finish: &Finish, block: &mut Block) {
        block.slab.write(self.program, self.slots, &self.all(finish.y), Memory::Value, |slab, planes| {
            let x = self.values(slab, &finish.x);
            let residual = finish.residual.as_deref().map(|channels| self.values(slab, channels));
            let norm = &self.norms[index];
            for (c, y) in planes.into_iter().flatten().enumerate().filter(|(c, _)| !finish.done[*c]) {
                let residual = match (&finish.residual, &residual) {
                    (Some(channels), Some(planes)) if channels[c] != Channel::Zero => Some(planes[c]),
                    _ => None,
                };
                let (scale, shift, relu) = (norm.scale[c], norm.shift[c], finish.relu);
                self.path.run(Apply { x: x[c], scale, shift, residual, relu, y });
            }
        });
    }

    fn pool(&self, layer: &Pool, block: &mut Block) {
        block.slab.write(self.program, self.slots, &self.all(layer.y), Memory::Value, |slab, planes| {
            for (x, y) in self.values(slab, &layer.x).into_iter().zip(planes.into_iter().flatten()) {
                match layer.max {
                    true => pool::max(&layer.windows, x, y),
                    false => pool::average(&layer.windows, x, y),
                }
            }
        });
    }
}
