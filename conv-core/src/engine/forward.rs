//! Steps of the forward pass.

use super::memory::Memory;
use super::plan::{Channel, Conv, Finish, Layer, Pool, Step};
use super::state::{Block, Chain};
use super::{Context, plan_value};
use crate::kernels::lanes::conv::{Convolve, Output};
use crate::kernels::lanes::norm::{Apply, Measure};
use crate::kernels::lanes::{Line, pool};

impl Context<'_> {
    pub(super) fn step(&self, step: Step, block: &mut Block, chain: &mut Chain) {
        let (Step::Conv(index)
        | Step::Measure(index)
        | Step::Apply(index)
        | Step::Pool(index)
        | Step::Sums(index)
        | Step::ApplyGradient(index)
        | Step::DataGradient(index)
        | Step::WeightGradient(index)
        | Step::PoolGradient(index)) = step;
        match (step, &self.program.layers[index]) {
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
    pub(super) fn values<'b>(&self, block: &'b Block, channels: &[Channel]) -> Vec<&'b [Line]> {
        block.planes(self.program, self.slots, channels, plan_value)
    }

    /// All planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<Channel> {
        (0..self.program.buffers[buffer].planes).map(|plane| Channel::Plane { buffer, plane }).collect()
    }

    fn conv(&self, index: usize, conv: &Conv, block: &mut Block) {
        block.write(self.program, self.slots, &self.all(conv.y), Memory::Value, |block, planes| {
            let from = self.values(block, &conv.x);
            let mut to: Vec<Output> = planes.into_iter().flatten().map(|plane| Output::plain(plane, false)).collect();
            if let Some(bias) = conv.bias {
                to.iter_mut().zip(&self.parameters[bias]).for_each(|(to, &bias)| to.bias = bias);
            }
            let weights = &self.weights[index].forward;
            self.path.run(Convolve { geometry: &conv.forward, weights, from: &from, to: &mut to });
        });
    }

    fn measure(&self, index: usize, finish: &Finish, block: &mut Block) {
        let images = block.images;
        let measure = |plane: &[Line]| self.path.run(Measure { plane, images });
        block.moments[index] = self.values(block, &finish.x).into_iter().map(measure).collect();
    }

    fn apply(&self, index: usize, finish: &Finish, block: &mut Block) {
        block.write(self.program, self.slots, &self.all(finish.y), Memory::Value, |block, planes| {
            let x = self.values(block, &finish.x);
            let residual = finish.residual.as_deref().map(|channels| self.values(block, channels));
            let norm = &self.norms[index];
            for (c, y) in planes.into_iter().flatten().enumerate() {
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
        block.write(self.program, self.slots, &self.all(layer.y), Memory::Value, |block, planes| {
            for (x, y) in self.values(block, &layer.x).into_iter().zip(planes.into_iter().flatten()) {
                match layer.max {
                    true => pool::max(&layer.windows, x, y),
                    false => pool::average(&layer.windows, x, y),
                }
            }
        });
    }
}
