//! Group normalisation.

use candle_core::{Module, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use crate::ops;

/// Group normalisation over `[n, c, h, w]` or `[n, c]` with PyTorch's defaults (eps 1e-5) and parameter names: every image by
/// its own mean and variance over each group of channels, in training as in inference.
#[derive(Clone)]
pub struct GroupNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) groups: usize,
    pub(crate) shares: bool,
    pub(crate) eps: f64,
}

impl GroupNorm {
    /// Takes `weight` and `bias`, each `[channels]`, from `vb`. With `shares` each channel of the result is multiplied by its
    /// share of the weights, `weight / sum(weight)`, as the gates of SCConv (CVPR 2023) are.
    ///
    /// # Errors
    /// Groups that do not divide the channels; those of `vb`.
    pub fn new(groups: usize, channels: usize, shares: bool, vb: VarBuilder<'_>) -> Result<Self> {
        check_groups(groups, channels)?;
        let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
        Ok(Self { weight: get("weight", 1.0)?, bias: get("bias", 0.0)?, groups, shares, eps: 1e-5 })
    }

    /// Channels it normalises.
    pub fn channels(&self) -> usize {
        self.weight.elem_count()
    }

    /// Groups of channels.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Weight and bias as they were trained, `[channels]` each.
    pub fn parameters(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    /// Whether each channel is multiplied by its share of the weights.
    pub fn has_shares(&self) -> bool {
        self.shares
    }
}

/// # Errors
/// Groups that do not divide the channels.
pub(crate) fn check_groups(groups: usize, channels: usize) -> Result<()> {
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        bail!("group norm: {groups} groups do not divide {channels} channels");
    }
    Ok(())
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = if self.shares {
            let shares = self.weight.broadcast_div(&self.weight.sum_all()?)?;
            ((&self.weight * &shares)?, (&self.bias * shares)?)
        } else {
            (self.weight.clone(), self.bias.clone())
        };
        ops::group_norm(x, self.groups, &weight, &bias, self.eps)
    }
}
