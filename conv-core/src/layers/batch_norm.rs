//! Batch normalisation with running statistics.

use candle_core::{Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::ops;

/// Batch normalisation over `[n, c, h, w]` with PyTorch's defaults (eps 1e-5, momentum 0.1) and parameter names.
#[derive(Clone)]
pub struct BatchNorm2d {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) running_mean: Var,
    pub(crate) running_var: Var,
    pub(crate) eps: f64,
    pub(crate) momentum: f64,
}

impl BatchNorm2d {
    /// Takes `weight`, `bias`, `running_mean` and `running_var`, each `[channels]`, from `vb`.
    ///
    /// # Errors
    /// Those of `vb`.
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: Var::from_tensor(&get("running_mean", 0.0)?)?,
            running_var: Var::from_tensor(&get("running_var", 1.0)?)?,
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// Channels it normalises.
    pub fn channels(&self) -> usize {
        self.weight.elem_count()
    }

    /// Weight, bias, running mean and running variance, `[channels]` each.
    pub fn parameters(&self) -> [&Tensor; 4] {
        [&self.weight, &self.bias, self.running_mean.as_tensor(), self.running_var.as_tensor()]
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// `relu?(norm(x) + residual?)`; all tensors `[n, c, h, w]`. With `train`, batch statistics normalise and the running
    /// ones move towards them by the momentum.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_t(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool, train: bool) -> Result<Tensor> {
        if !train {
            let (scale, shift) = self.affine()?;
            return ops::channel_affine(x, &scale, &shift, residual, relu);
        }
        let (y, batch) = ops::batch_norm_train(x, &self.weight, &self.bias, self.eps, residual, relu)?;
        self.follow(&batch.mean, &batch.variance)?;
        Ok(y)
    }

    /// The scale and shift, `[c]` each, that it is by running statistics.
    fn affine(&self) -> Result<(Tensor, Tensor)> {
        let scale = (&self.weight / (self.running_var.as_tensor() + self.eps)?.sqrt()?)?;
        let shift = (&self.bias - (&scale * self.running_mean.as_tensor())?)?;
        Ok((scale, shift))
    }

    /// The weight `[c, ..]` and bias `[c]` of a convolution that does what one with this `weight` and `bias` does with this norm,
    /// by running statistics, behind it.
    ///
    /// # Errors
    /// Channels or types that differ.
    pub fn fold(&self, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Tensor)> {
        let (scale, shift) = self.affine()?;
        let mut per_channel = vec![1; weight.rank()];
        per_channel[0] = self.channels();
        let weight = weight.broadcast_mul(&scale.reshape(per_channel)?)?;
        Ok((weight, ((bias * scale)? + shift)?))
    }

    /// Moves the running statistics towards a batch's, `[c]` each.
    pub(crate) fn follow(&self, mean: &Tensor, variance: &Tensor) -> Result<()> {
        for (running, now) in [(&self.running_mean, mean), (&self.running_var, variance)] {
            let kept = (running.as_tensor().detach() * (1.0 - self.momentum))?;
            running.set(&(kept + (now * self.momentum)?)?)?;
        }
        Ok(())
    }
}
