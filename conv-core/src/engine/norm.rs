//! A finish with what it multiplies with and adds: constants in inference, batch statistics in training.

use candle_core::{Device, Result, Tensor, bail};

use super::block::{Block, BlockNorm};
use super::layers::{Finish, FinishId, Norm};
use super::program::Mode;
use crate::kernels::moments::{Moments, inv_std, scale_and_shift};
use crate::ops::with_values;

/// A finish as an engine holds it: the plan, then numbers for each channel.
pub(crate) struct FinishLayer {
    pub(super) plan: Finish,
    /// `y = relu?(scale x + shift + residual?)`
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    /// Statistics of the last batch, in training.
    pub(super) mean: Vec<f32>,
    inv_std: Vec<f64>,
    count: f64,
    /// Gradient of the input: `scale g + slope (x - mean) + offset`.
    pub(super) slope: Vec<f32>,
    pub(super) offset: Vec<f32>,
    /// Of the norm's weight and bias, after a backward pass.
    pub(super) gradients: Option<(Vec<f32>, Vec<f32>)>,
}

impl AsRef<Finish> for FinishLayer {
    fn as_ref(&self) -> &Finish {
        &self.plan
    }
}

impl FinishLayer {
    /// One that changes nothing until [`FinishLayer::load`] sets its scale and shift.
    pub(super) fn new(plan: Finish) -> Self {
        let channels = plan.x.len();
        let zeros = || vec![0.0; channels];
        Self {
            scale: vec![1.0; channels],
            shift: zeros(),
            mean: zeros(),
            inv_std: vec![0.0; channels],
            count: 0.0,
            slope: zeros(),
            offset: zeros(),
            gradients: None,
            plan,
        }
    }

    /// Its bias; and the running statistics, where they are what normalises. `parameters`: see [`super::parameters`].
    pub(super) fn load(&mut self, parameters: &[Vec<f32>], mode: Mode) -> Result<()> {
        if let Some(bias) = self.plan.bias {
            self.shift.clone_from(&parameters[bias]);
        }
        let (Some(norm), Mode::Infer) = (&self.plan.norm, mode) else { return Ok(()) };
        let statistic = |tensor: &Tensor| with_values(tensor, |values| Ok(values.to_vec()));
        let mean = statistic(norm.layer.running_mean.as_tensor())?;
        let variance = statistic(norm.layer.running_var.as_tensor())?;
        for c in 0..self.scale.len() {
            let inv_std = inv_std(f64::from(variance[c]), norm.layer.eps);
            let (weight, bias) = (parameters[norm.weight][c], parameters[norm.bias][c]);
            (self.scale[c], self.shift[c]) = scale_and_shift(weight, bias, f64::from(mean[c]), inv_std);
        }
        Ok(())
    }

    /// Batch statistics from all blocks, in their order. With `follow` the running statistics move towards them. `id` is this
    /// finish's name, under which blocks keep its moments.
    ///
    /// # Errors
    /// A finish without a norm; running statistics that cannot be set.
    pub(super) fn reduce_moments<L>(
        &mut self,
        id: FinishId,
        blocks: &[Block<L>],
        parameters: &[Vec<f32>],
        follow: bool,
    ) -> Result<()> {
        let Some(norm) = &self.plan.norm else { return without_norm() };
        let Norm { layer, weight, bias } = norm;
        let channels = self.scale.len();
        let (mut means, mut variances) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        let affine = parameters[*weight].iter().zip(&parameters[*bias]);
        for (c, (&weight, &bias)) in affine.enumerate() {
            let all = all_blocks(id, blocks).fold(Moments::default(), |all, block| all.merge(block.moments[c]));
            self.inv_std[c] = inv_std(all.variance(), layer.eps);
            self.mean[c] = all.mean as f32;
            self.count = all.count;
            (self.scale[c], self.shift[c]) = scale_and_shift(weight, bias, all.mean, self.inv_std[c]);
            means.push(all.mean as f32);
            // PyTorch keeps the unbiased variance.
            variances.push((all.squares / (all.count - 1.0).max(1.0)) as f32);
        }
        if follow {
            layer.follow(&Tensor::new(means, &Device::Cpu)?, &Tensor::new(variances, &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// The norm's gradients from all blocks, in their order. `id` is this finish's name, under which blocks keep its sums.
    ///
    /// # Errors
    /// A finish without a norm.
    pub(super) fn reduce_sums<L>(&mut self, id: FinishId, blocks: &[Block<L>]) -> Result<()> {
        if self.plan.norm.is_none() {
            return without_norm();
        }
        let channels = self.scale.len();
        let (mut weight, mut bias) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for c in 0..channels {
            let (sum, product) = all_blocks(id, blocks).fold((0.0, 0.0), |(sum, product), block| {
                let (first, second) = block.sums[c];
                (sum + first, product + second)
            });
            weight.push((product * self.inv_std[c]) as f32);
            bias.push(sum as f32);
            let scale = f64::from(self.scale[c]);
            let slope = -scale * self.inv_std[c] * self.inv_std[c] * product / self.count;
            self.slope[c] = slope as f32;
            self.offset[c] = (-scale * sum / self.count) as f32;
        }
        self.gradients = Some((weight, bias));
        Ok(())
    }
}

/// What the blocks contribute to a norm, in their order.
fn all_blocks<L>(id: FinishId, blocks: &[Block<L>]) -> impl Iterator<Item = &BlockNorm> {
    blocks.iter().map(move |block| &block.norms[id.0])
}

fn without_norm() -> Result<()> {
    bail!("engine: statistics of a finish that has no norm")
}
