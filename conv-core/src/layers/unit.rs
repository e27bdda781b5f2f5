//! The unit around a single convolution.

use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

use super::{BatchNorm2d, Conv2d};
use crate::{Activation, ConvSpec, ConvUnit, Cost, UnitSpec, ops};

/// Convolution, batch norm, residual addition and activation as the specification asks. Parameters: those of [`Conv2d`],
/// and `bn.*` for the norm.
pub struct DenseUnit {
    conv: Conv2d,
    finish: Finish,
}

impl DenseUnit {
    /// Builds the unit from `vb`.
    ///
    /// # Errors
    /// An impossible specification; those of `vb`.
    pub fn new(spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self { conv: Conv2d::new(spec.conv, vb.clone())?, finish: Finish::new(spec, vb)? })
    }

    /// Closed-form cost for an output of `(height, width)`.
    pub fn cost(spec: &UnitSpec, out: (usize, usize)) -> Cost {
        let conv = &spec.conv;
        Cost { params: conv.params() + spec.norm_params(), macs: conv.macs(out), activations: conv.activations(out) }
    }

    /// Canonical description, for [`crate::Layout`].
    pub fn signature(spec: &UnitSpec) -> String {
        let ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, bias } = spec.conv;
        format!(
            "conv {in_channels}->{out_channels} k{kernel} s{stride} p{padding} g{groups} bias={bias} {}",
            Finish::signature(spec)
        )
    }
}

impl ConvUnit for DenseUnit {
    fn forward_t(&self, x: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        self.finish.forward_t(&self.conv.forward(x)?, residual, train)
    }
}

/// What follows a convolution in every unit, whichever method made it: `activation(norm(y) + residual)`.
pub struct Finish {
    norm: Option<BatchNorm2d>,
    relu: bool,
}

impl Finish {
    /// Takes `bn.*` from `vb` if the unit has a norm.
    ///
    /// # Errors
    /// Those of `vb`.
    pub fn new(spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        let norm = match spec.norm {
            true => Some(BatchNorm2d::new(spec.conv.out_channels, vb.pp("bn"))?),
            false => None,
        };
        Ok(Self { norm, relu: spec.activation == Some(Activation::Relu) })
    }

    /// `y` and `residual`: `[n, out_channels, h', w']`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_t(&self, y: &Tensor, residual: Option<&Tensor>, train: bool) -> Result<Tensor> {
        if let Some(norm) = &self.norm {
            return norm.forward_t(y, residual, self.relu, train);
        }
        let y = match residual {
            Some(residual) => (y + residual)?,
            None => y.clone(),
        };
        if self.relu { ops::relu(&y) } else { Ok(y) }
    }

    /// Canonical description.
    pub fn signature(spec: &UnitSpec) -> String {
        format!("norm={} act={:?}", spec.norm, spec.activation)
    }
}
