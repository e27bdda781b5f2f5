use candle_core::{D, DType, Result, Tensor};

use crate::meter;

/// `x w^T + bias`: `x: [n, i]`, `weight: [o, i]`, `bias: [o]` -> `[n, o]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    meter::record((x.elem_count() * weight.dim(0)?) as u64, y.elem_count() as u64);
    Ok(y)
}

/// Mean softmax cross-entropy with label smoothing (PyTorch's): `logits: [n, k]`, `labels: [n]` of u32 -> scalar.
///
/// # Errors
/// Shapes that do not fit, or a label of k or more.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let picked = log_p.gather(&labels.unsqueeze(1)?.to_dtype(DType::U32)?, 1)?.mean_all()?;
    (picked * (smoothing - 1.0))? - (log_p.mean_all()? * smoothing)?
}
