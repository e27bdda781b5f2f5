//! Steps of the backward pass.

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::block::{Block, Chain, Slab};
use super::choice::WeightKernel;
use super::context::Context;
use super::layers::Conv;
use super::memory::Content;
use super::norm::FinishLayer;
use super::packed::ConvLayer;
use crate::kernels::batch16::Line;
use crate::kernels::batch16::conv::Output;
use crate::kernels::batch16::depthwise::DepthwiseGradient;
use crate::kernels::batch16::norm::{GradientSums, InputGradient, Mask};
use crate::kernels::batch16::weight::{Planes, WeightGradient};
use crate::kernels::batch16::weight_channels::{ByChannels, Turned};
use crate::kernels::tiles::even_blocks;

impl Context<'_> {
    /// Zeros for the gradients of outputs that nothing reads.
    pub(super) fn clear(&self, buffer: usize, block: &mut Block) {
        block.slab.write(self.layout, &self.program.backward.unread[buffer], Content::Gradient, |_, planes| {
            planes.into_iter().flatten().for_each(|plane| plane.fill(Line::ZERO));
        });
    }

    /// For each channel how its ReLU is undone.
    fn masks<'b>(&self, finish: &FinishLayer, slab: &'b Slab, x: &[&'b [Line]]) -> Vec<Mask<'b>> {
        let plan = &finish.plan;
        // Looked at only where it is kept.
        let y = if plan.masked_by_output() { self.values(slab, &self.program.all(plan.y)) } else { Vec::new() };
        let mask = |c: usize| {
            if !plan.relu {
                Mask::Open
            } else if plan.masked_by_output() {
                Mask::Output(y[c])
            } else {
                Mask::Affine { x: x[c], scale: finish.scale[c], shift: finish.shift[c] }
            }
        };
        (0..plan.x.len()).map(mask).collect()
    }

    /// The residual's gradient, and by channel what the norm's gradient needs; a bias's gradient is added to the chain's.
    pub(super) fn sums(&self, finish: &FinishLayer, block: &mut Block, chain: &mut Chain) -> Vec<(f64, f64)> {
        let plan = &finish.plan;
        let residual = plan.residual.as_deref().unwrap_or_default();
        let sums: Vec<(f64, f64)> = block.slab.write(self.layout, residual, Content::Gradient, |slab, planes| {
            let (x, dy) = (self.values(slab, &plan.x), self.gradients(slab, &self.program.all(plan.y)));
            let masks = self.masks(finish, slab, &x);
            let mut planes = planes.into_iter();
            let of_channel = |c: usize| {
                let residual = planes.next().flatten().map(|plane| (plane, plan.residual_adds[c]));
                let x = plan.norm.is_some().then(|| (x[c], finish.mean[c]));
                match (&x, &residual, plan.bias) {
                    (None, None, None) => (0.0, 0.0),
                    _ => self.isa.execute(GradientSums { dy: dy[c], mask: masks[c], x, residual }),
                }
            };
            (0..plan.x.len()).map(of_channel).collect()
        });
        if let Some(bias) = plan.bias {
            chain.gradients[bias].iter_mut().zip(&sums).for_each(|(db, (sum, _))| *db += *sum as f32);
        }
        sums
    }

    pub(super) fn finish_input_gradient(&self, finish: &FinishLayer, block: &mut Block) {
        let (plan, images) = (&finish.plan, block.images);
        block.slab.write(self.layout, &plan.x, Content::Gradient, |slab, planes| {
            let (x, dy) = (self.values(slab, &plan.x), self.gradients(slab, &self.program.all(plan.y)));
            let masks = self.masks(finish, slab, &x);
            for (c, dx) in planes.into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                let (mean, scale) = (finish.mean[c], finish.scale[c]);
                let (slope, shift) = (finish.slope[c], finish.offset[c]);
                let (dy, mask, add) = (dy[c], masks[c], plan.adds[c]);
                self.isa.execute(InputGradient { dy, mask, x: x[c], mean, scale, slope, shift, images, dx, add });
            }
        });
    }

    /// # Errors
    /// A convolution before which nothing wants a gradient.
    pub(super) fn conv_input_gradient(&self, conv: &ConvLayer, block: &mut Block) -> Result<()> {
        let plan = &conv.plan;
        let Some(gradient) = &plan.input_gradient else { bail!("engine: a input gradient that nothing asks for") };
        block.slab.write(self.layout, &plan.x, Content::Gradient, |slab, planes| {
            let dy = self.gradients(slab, &self.program.all(plan.y));
            // Channels of zeros have no gradient to keep; a convolution of all channels at once has to put it somewhere.
            let mut nowhere: Vec<Vec<Line>> =
                planes.iter().filter(|plane| plane.is_none()).map(|_| vec![Line::ZERO; gradient.geometry.to]).collect();
            let mut nowhere = nowhere.iter_mut();
            let mut to = Vec::with_capacity(planes.len());
            for (plane, &add) in planes.into_iter().zip(&gradient.adds) {
                if let Some(plane) = plane.or_else(|| nowhere.next().map(Vec::as_mut_slice)) {
                    to.push(Output::plain(plane, add));
                }
            }
            conv.input_gradient(self.isa, &dy, &mut to)
        })
    }

    fn planes<'b>(&self, conv: &Conv, slab: &'b Slab) -> Planes<'b> {
        Planes { x: self.values(slab, &conv.x), dy: self.gradients(slab, &self.program.all(conv.y)) }
    }

    /// # Errors
    /// A convolution whose weights' gradient is made of all blocks at once.
    pub(super) fn weight_gradient(&self, conv: &Conv, block: &Block, chain: &mut Chain) -> Result<()> {
        let planes = self.planes(conv, &block.slab);
        let (shape, dw) = (&conv.shape, &mut chain.gradients[conv.weight]);
        match conv.weight_gradient {
            WeightKernel::Depthwise => {
                let geometry = &conv.forward_geometry;
                self.isa.execute(DepthwiseGradient { geometry, x: &planes.x, dy: &planes.dy, dw });
            }
            WeightKernel::EachBlock => {
                self.isa.execute(WeightGradient { shape, isa: self.isa, planes: &planes, dw });
            }
            WeightKernel::AllBlocks => bail!("engine: a weight gradient of one block, where it is made of all"),
        }
        if let Some(bias) = conv.bias {
            self.bias_gradient(&planes, &mut chain.gradients[bias]);
        }
        Ok(())
    }

    fn bias_gradient(&self, planes: &Planes<'_>, db: &mut [f32]) {
        for (dy, db) in planes.dy.iter().zip(db) {
            let (sum, _) = self.isa.execute(GradientSums { dy, mask: Mask::Open, x: None, residual: None });
            *db += sum as f32;
        }
    }

    /// The weights' gradient from all blocks, a tile's outputs a task; `dw` and `db` are added to.
    pub(super) fn weight_gradient_of_all(&self, conv: &Conv, blocks: &[Block], dw: &mut [f32], db: Option<&mut [f32]>) {
        let s = &conv.shape;
        let planes: Vec<Planes<'_>> = blocks.iter().map(|block| self.planes(conv, &block.slab)).collect();
        if let Some(db) = db {
            planes.iter().for_each(|planes| self.bias_gradient(planes, &mut *db));
        }
        let (x, dy): (Vec<_>, Vec<_>) = planes.into_iter().map(|planes| (planes.x, planes.dy)).unzip();
        let turned = Turned::new(&x, s.input.0 * s.input.1);
        let per_output = s.w_len() / s.out_channels;
        let mut tasks = Vec::new();
        let mut rest = dw;
        for (first, count) in even_blocks(self.isa, s.out_channels) {
            let (dw, tail) = rest.split_at_mut(count * per_output);
            tasks.push((first..first + count, dw));
            rest = tail;
        }
        tasks.into_par_iter().for_each(|(outputs, dw)| {
            self.isa.execute(ByChannels { shape: s, x: &turned, dy: &dy, outputs, dw });
        });
    }
}
