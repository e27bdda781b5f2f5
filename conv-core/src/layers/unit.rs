//! The unit around a single convolution.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::{BatchNorm2d, Conv2d};
use crate::{Activation, ConvSpec, ConvUnit, Cost, Graph, UnitSpec, Value};

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
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = graph.conv(&self.conv, x)?;
        self.finish.emit(graph, y, residual)
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
    /// Channels that do not fit.
    pub fn emit(&self, graph: &mut Graph, y: Value, residual: Option<Value>) -> Result<Value> {
        graph.finish(y, self.norm.as_ref(), residual, self.relu)
    }

    /// Canonical description.
    pub fn signature(spec: &UnitSpec) -> String {
        format!("norm={} act={:?}", spec.norm, spec.activation)
    }
}
