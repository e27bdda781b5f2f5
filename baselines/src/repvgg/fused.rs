//! RepVGG's block after training: one kernel.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use conv_core::layers::BatchNorm2d;
use conv_core::{Checked, ConvSpec, Method, Scope, UnitSpec, Value};

use super::{RepVgg, has_identity};

/// What a trained block becomes: its `k x k` convolution with a bias in place of every norm.
#[derive(Debug)]
pub(super) struct OneKernel;

impl Checked for OneKernel {
    fn name(&self) -> &'static str {
        "repvgg (fused)"
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Method for OneKernel {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        RepVgg {}.declines(unit)
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let conv = ConvSpec { bias: true, ..unit.conv };
        net.unit("", &UnitSpec { conv, norm: false, ..*unit }, x, residual)
    }
}

/// `weight: [C_out, C_in, k, k]` and `bias: [C_out]`, summed over the branches in double precision: each a kernel as wide as the
/// widest, scaled and shifted as its norm does by running statistics.
///
/// # Errors
/// A tensor that is missing, or has another shape than the unit's.
pub(super) fn fuse(unit: &UnitSpec, trained: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let ConvSpec { in_channels, out_channels, padding, bias, .. } = unit.conv;
    let vb = VarBuilder::from_tensors(trained.clone().into_iter().collect(), DType::F64, &Device::Cpu);
    let widened = |kernel: Tensor| kernel.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding);
    let none = Tensor::zeros(out_channels, DType::F64, &Device::Cpu)?;
    let wide_bias = if bias { vb.get(out_channels, "wide.bias")? } else { none.clone() };
    let narrow = vb.get((out_channels, in_channels, 1, 1), "narrow.weight")?;
    let mut branches = vec![
        ("wide", vb.get(&unit.conv.weight_shape(), "wide.weight")?, wide_bias),
        ("narrow", widened(narrow)?, none.clone()),
    ];
    if has_identity(unit) {
        let identity = Tensor::eye(out_channels, DType::F64, &Device::Cpu)?;
        branches.push(("identity", widened(identity.reshape((out_channels, in_channels, 1, 1))?)?, none.clone()));
    }
    let (mut weight, mut shift) = (Tensor::zeros(&unit.conv.weight_shape(), DType::F64, &Device::Cpu)?, none);
    for (name, mut kernel, mut bias) in branches {
        if unit.norm {
            (kernel, bias) = BatchNorm2d::new(out_channels, vb.pp(name).pp("bn"))?.fold(&kernel, &bias)?;
        }
        (weight, shift) = ((weight + kernel)?, (shift + bias)?);
    }
    let fused = [("weight", weight), ("bias", shift)];
    fused.into_iter().map(|(name, values)| Ok((name.to_owned(), values.to_dtype(DType::F32)?))).collect()
}
