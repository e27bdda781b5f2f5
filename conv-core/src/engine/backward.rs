//! Steps of the backward pass.

use candle_core::{Result, bail};

use super::block::{Block, Chain, Slab};
use super::choice::WeightKernel;
use super::context::Context;
use super::format::Format;
use super::layers::Conv;
use super::memory::Content;
use super::norm::FinishLayer;
use crate::kernels::batch16::norm::{GradientSums, InputGradient, Mask};
use crate::kernels::batch16::weight::Planes;

impl<F: Format> Context<'_, F> {
    /// Zeros for the gradients of outputs that nothing reads.
    pub(super) fn clear(&self, buffer: usize, block: &mut Block<F::Line>) {
        block.slab.write(self.layout, &self.program.backward.unread[buffer], Content::Gradient, |_, planes| {
            planes.into_iter().flatten().for_each(|plane| plane.fill(F::Line::default()));
        });
    }

    /// For each channel how its ReLU is undone.
    fn masks<'b>(&self, finish: &FinishLayer, slab: &'b Slab<F::Line>, x: &[&'b [F::Line]]) -> Vec<Mask<'b, F::Line>> {
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
    pub(super) fn sums(&self, finish: &FinishLayer, block: &mut Block<F::Line>, chain: &mut Chain) -> Vec<(f64, f64)> {
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
                    _ => self.format.isa().execute(GradientSums { dy: dy[c], mask: masks[c], x, residual }),
                }
            };
            (0..plan.x.len()).map(of_channel).collect()
        });
        if let Some(bias) = plan.bias {
            chain.gradients[bias].iter_mut().zip(&sums).for_each(|(db, (sum, _))| *db += *sum as f32);
        }
        sums
    }

    pub(super) fn finish_input_gradient(&self, finish: &FinishLayer, block: &mut Block<F::Line>) {
        let (plan, images, isa) = (&finish.plan, block.images, self.format.isa());
        block.slab.write(self.layout, &plan.x, Content::Gradient, |slab, planes| {
            let (x, dy) = (self.values(slab, &plan.x), self.gradients(slab, &self.program.all(plan.y)));
            let masks = self.masks(finish, slab, &x);
            for (c, dx) in planes.into_iter().enumerate() {
                let Some(dx) = dx else { continue };
                let (mean, scale) = (finish.mean[c], finish.scale[c]);
                let (slope, shift) = (finish.slope[c], finish.offset[c]);
                let (dy, mask, add) = (dy[c], masks[c], plan.adds[c]);
                isa.execute(InputGradient { dy, mask, x: x[c], mean, scale, slope, shift, images, dx, add });
            }
        });
    }

    /// # Errors
    /// A convolution before which nothing wants a gradient.
    pub(super) fn conv_input_gradient(&self, conv: &F::Conv, block: &mut Block<F::Line>) -> Result<()> {
        let plan = conv.as_ref();
        let Some(gradient) = &plan.input_gradient else { bail!("engine: a input gradient that nothing asks for") };
        block.slab.write(self.layout, &plan.x, Content::Gradient, |slab, planes| {
            let dy = self.gradients(slab, &self.program.all(plan.y));
            // Channels of zeros have no gradient to keep; a convolution of all channels at once has to put it somewhere.
            let missing = planes.iter().filter(|plane| plane.is_none());
            let mut nowhere: Vec<Vec<F::Line>> =
                missing.map(|_| vec![F::Line::default(); gradient.geometry.to]).collect();
            let mut nowhere = nowhere.iter_mut();
            let mut to = Vec::with_capacity(planes.len());
            for (plane, &add) in planes.into_iter().zip(&gradient.adds) {
                if let Some(plane) = plane.or_else(|| nowhere.next().map(Vec::as_mut_slice)) {
                    to.push((plane, add));
                }
            }
            self.format.input_gradient(conv, &dy, to);
        });
        Ok(())
    }

    fn planes<'b>(&self, conv: &Conv, slab: &'b Slab<F::Line>) -> Planes<'b, F::Line> {
        Planes { x: self.values(slab, &conv.x), dy: self.gradients(slab, &self.program.all(conv.y)) }
    }

    /// # Errors
    /// A convolution whose weights' gradient is made of all blocks at once.
    pub(super) fn weight_gradient(&self, conv: &Conv, block: &Block<F::Line>, chain: &mut Chain) -> Result<()> {
        let planes = self.planes(conv, &block.slab);
        if conv.weight_gradient == WeightKernel::AllBlocks {
            bail!("engine: a weight gradient of one block, where it is made of all");
        }
        self.format.weight_gradient(conv, &planes, &mut chain.gradients[conv.weight]);
        if let Some(bias) = conv.bias {
            self.bias_gradient(&planes, &mut chain.gradients[bias]);
        }
        Ok(())
    }

    fn bias_gradient(&self, planes: &Planes<'_, F::Line>, db: &mut [f32]) {
        for (dy, db) in planes.dy.iter().zip(db) {
            let (sum, _) = self.format.isa().execute(GradientSums { dy, mask: Mask::Open, x: None, residual: None });
            *db += sum as f32;
        }
    }

    /// The weights' gradient from all blocks; `dw` and `db` are added to.
    pub(super) fn weight_gradient_of_all(
        &self,
        conv: &Conv,
        blocks: &[Block<F::Line>],
        dw: &mut [f32],
        db: Option<&mut [f32]>,
    ) {
        let planes: Vec<Planes<'_, F::Line>> = blocks.iter().map(|block| self.planes(conv, &block.slab)).collect();
        if let Some(db) = db {
            planes.iter().for_each(|planes| self.bias_gradient(planes, &mut *db));
        }
        self.format.weight_gradient_of_all(conv, planes, dw);
    }
}
