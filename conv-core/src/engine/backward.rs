//! Steps of the backward pass.

use rayon::prelude::*;

use super::Context;
use super::memory::Memory;
use super::plan::{Channel, Conv, Finish, Layer, Pool};
use super::state::{Block, Chain, Slab};
use crate::kernels::lanes::conv::{Output, row_blocks};
use crate::kernels::lanes::depthwise::DepthwiseGradient;
use crate::kernels::lanes::norm::{GradientSums, InputGradient, Mask};
use crate::kernels::lanes::weight::{Planes, WeightGradient};
use crate::kernels::lanes::weight_channels::{ByChannels, Turned};
use crate::kernels::lanes::{Line, pool};

impl Finish {
    /// Whether the gradient looks at the output to know where the ReLU was open. Without a residual the input tells as well,
    /// which is read anyway.
    pub(super) fn masked_by_output(&self) -> bool {
        self.relu && (self.residual.is_some() || self.norm.is_none())
    }
}

impl Context<'_> {
    fn gradients<'b>(&self, slab: &'b Slab, channels: &[Channel]) -> Vec<&'b [Line]> {
        slab.planes(self.program, self.slots, channels, Memory::Gradient)
    }

    /// For each channel how its ReLU is undone.
    fn masks<'b>(&self, index: usize, finish: &Finish, slab: &'b Slab, x: &[&'b [Line]]) -> Vec<Mask<'b>> {
        let norm = &self.norms[index];
        // Looked at only where it is kept.
        let y = if finish.masked_by_output() { self.values(slab, &self.all(finish.y)) } else { Vec::new() };
        let mask = |c: usize| match finish.relu {
            false => Mask::Open,
            true if finish.masked_by_output() => Mask::Output(y[c]),
            true => Mask::Affine { x: x[c], scale: norm.scale[c], shift: norm.shift[c] },
        };
        (0..finish.x.len()).map(mask).collect()
    }

    /// Zeros for the gradients of outputs that nothing reads.
    pub(super) fn blank(&self, index: usize, layer: &Layer, block: &mut Block) {
        let buffer = layer.y();
        let unread = self.program.adds[index].unread.iter().map(|&plane| Channel::Plane { buffer, plane });
        let unread: Vec<Channel> = unread.collect();
        block.slab.write(self.program, self.slots, &unread, Memory::Gradient, |_, planes| {
            planes.into_iter().flatten().for_each(|plane| plane.fill(Line::ZERO));
        });
    }

    pub(super) fn sums(&self, index: usize, finish: &Finish, block: &mut Block, chain: &mut Chain) {
        let residual = finish.residual.clone().unwrap_or_default();
        let adds = &self.program.adds[index].residual;
        let sums: Vec<(f64, f64)> =
            block.slab.write(self.program, self.slots, &residual, Memory::Gradient, |slab, planes| {
                let all = self.all(finish.y);
                let (x, dy) = (self.values(slab, &finish.x), self.gradients(slab, &all));
                let masks = self.masks(index, finish, slab, &x);
                let mut planes = planes.into_iter();
                let of_channel = |c: usize| {
                    let residual = planes.next().flatten().map(|plane| (plane, adds[c]));
                    let x = finish.norm.is_some().then(|| (x[c], self.norms[index].mean[c]));
                    match (&x, &residual, finish.bias) {
                        (None, None, None) => (0.0, 0.0),
                        _ => self.path.run(GradientSums { dy: dy[c], mask: masks[c], x, residual }),
                    }
                };
                (0..finish.x.len()).map(of_channel).collect()
            });
        if let Some(bias) = finish.bias {
            chain.gradients[bias].iter_mut().zip(&sums).for_each(|(db, (sum, _))| *db += *sum as f32);
        }
        block.sums[index] = sums;
    }

    pub(super) fn apply_gradient(&self, index: usize, finish: &Finish, block: &mut Block) {
        let images = block.images;
        block.slab.write(self.program, self.slots, &finish.x, Memory::Gradient, |slab, planes| {
            let all = self.all(finish.y);
            let (x, dy) = (self.values(slab, &finish.x), self.gradients(slab, &all));
            let masks = self.masks(index, finish, slab, &x);
            let norm = &self.norms[index];
            for (c, dx) in planes.into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                let (mean, scale, slope, shift) = (norm.mean[c], norm.scale[c], norm.slope[c], norm.offset[c]);
                let (dy, mask, add) = (dy[c], masks[c], self.program.adds[index].x[c]);
                self.path.run(InputGradient { dy, mask, x: x[c], mean, scale, slope, shift, images, dx, add });
            }
        });
    }

    pub(super) fn data_gradient(&self, index: usize, conv: &Conv, block: &mut Block) {
        let Some(packed) = &self.weights[index] else { return };
        block.slab.write(self.program, self.slots, &conv.x, Memory::Gradient, |slab, planes| {
            let dy = self.gradients(slab, &self.all(conv.y));
            // Channels of zeros have no gradient to keep; a convolution of all channels at once has to put it somewhere.
            let mut nowhere: Vec<Vec<Line>> =
                planes.iter().filter(|plane| plane.is_none()).map(|_| vec![Line::ZERO; conv.backward.to]).collect();
            let mut nowhere = nowhere.iter_mut();
            let mut to = Vec::with_capacity(planes.len());
            for (plane, &add) in planes.into_iter().zip(&self.program.adds[index].x) {
                if let Some(plane) = plane.or_else(|| nowhere.next().map(Vec::as_mut_slice)) {
                    to.push(Output::plain(plane, add));
                }
            }
            packed.backward(self.path, conv, &dy, &mut to);
        });
    }

    fn planes<'b>(&self, conv: &Conv, slab: &'b Slab) -> Planes<'b> {
        Planes { x: self.values(slab, &conv.x), dy: self.gradients(slab, &self.all(conv.y)) }
    }

    pub(super) fn weight_gradient(&self, conv: &Conv, block: &Block, chain: &mut Chain) {
        let planes = self.planes(conv, &block.slab);
        let dw = &mut chain.gradients[conv.weight];
        let s = &conv.shape;
        if s.groups == s.in_channels && s.groups > 1 {
            self.path.run(DepthwiseGradient { geometry: &conv.forward, x: &planes.x, dy: &planes.dy, dw });
        } else {
            self.path.run(WeightGradient { shape: s, path: self.path, planes: &planes, dw });
        }
        if let Some(bias) = conv.bias {
            self.bias_gradient(&planes, &mut chain.gradients[bias]);
        }
    }

    fn bias_gradient(&self, planes: &Planes<'_>, db: &mut [f32]) {
        for (dy, db) in planes.dy.iter().zip(db) {
            let (sum, _) = self.path.run(GradientSums { dy, mask: Mask::Open, x: None, residual: None });
            *db += sum as f32;
        }
    }

    /// The weights' gradient from all blocks, a tile's outputs a task; `dw` and `db` are added to.
    pub(super) fn weight_gradient_across(
        &self,
        conv: &Conv,
        blocks: &[Block],
        dw: &mut [f32],
        db: Option<&mut Vec<f32>>,
    ) {
        let s = &conv.shape;
        let planes: Vec<Planes<'_>> = blocks.iter().map(|block| self.planes(conv, &block.slab)).collect();
        if let Some(db) = db {
            planes.iter().for_each(|planes| self.bias_gradient(planes, db));
        }
        let (x, dy): (Vec<_>, Vec<_>) = planes.into_iter().map(|planes| (planes.x, planes.dy)).unzip();
        let turned = Turned::new(&x, s.input.0 * s.input.1);
        let per_output = s.w_len() / s.out_channels;
        let mut tasks = Vec::new();
        let mut rest = dw;
        for (first, count) in row_blocks(self.path, s.out_channels) {
            let (dw, tail) = rest.split_at_mut(count * per_output);
            tasks.push((first..first + count, dw));
            rest = tail;
        }
        tasks.into_par_iter().for_each(|(outputs, dw)| {
            self.path.run(ByChannels { shape: s, x: &turned, dy: &dy, outputs, dw });
        });
    }

    pub(super) fn pool_gradient(&self, index: usize, layer: &Pool, block: &mut Block) {
        block.slab.write(self.program, self.slots, &layer.x, Memory::Gradient, |slab, planes| {
            let all = self.all(layer.y);
            let dy = self.gradients(slab, &all);
            let (x, y) = match layer.max {
                true => (self.values(slab, &layer.x), self.values(slab, &all)),
                false => (Vec::new(), Vec::new()),
            };
            for (c, dx) in planes.into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                if !self.program.adds[index].x[c] {
                    dx.fill(Line::ZERO);
                }
                match layer.max {
                    true => pool::max_backward(&layer.windows, x[c], y[c], dy[c], dx),
                    false => pool::average_backward(&layer.windows, dy[c], dx),
                }
            }
        });
    }
}
