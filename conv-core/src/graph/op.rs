//! The operations of a graph.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::Value;
use crate::kernels::map::Map;
use crate::layers::{BatchNorm2d, Conv2d, GroupNorm, Linear};

/// A function of candle tensors, for what no other operation of a graph says: inputs and whether it trains, to output.
pub type CandleFn = dyn Fn(&[Tensor], bool) -> Result<Tensor> + Send + Sync;

/// How a value comes to be.
#[derive(Clone)]
pub(crate) enum Op {
    Input,
    Conv {
        x: Value,
        conv: Conv2d,
    },
    Bias {
        x: Value,
        bias: Tensor,
    },
    Finish {
        x: Value,
        norm: Option<BatchNorm2d>,
        residual: Option<Value>,
        relu: bool,
    },
    Slice {
        x: Value,
        channels: Range<usize>,
    },
    Concat {
        parts: Vec<Value>,
    },
    Shuffle {
        x: Value,
        groups: usize,
    },
    /// Channels of zeros around.
    Pad {
        x: Value,
        before: usize,
        after: usize,
    },
    MaxPool {
        x: Value,
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    AvgPool {
        x: Value,
        kernel: usize,
        stride: usize,
        ceil_mode: bool,
    },
    GlobalAvgPool {
        x: Value,
    },
    Linear {
        x: Value,
        linear: Linear,
    },
    /// `x` times a value of its size, or of one pixel.
    Product {
        x: Value,
        by: Value,
    },
    /// A function of each value.
    Map {
        x: Value,
        map: Map,
    },
    /// As [`crate::ops::crossed_gate`].
    CrossedGate {
        x: Value,
        gate: Value,
        threshold: f32,
    },
    /// Between so many parts of the channels.
    Softmax {
        x: Value,
        parts: usize,
    },
    GroupNorm {
        x: Value,
        norm: GroupNorm,
    },
    /// Every pixel `factor` times along rows and columns, cut to the size of `like`.
    Upsample {
        x: Value,
        factor: usize,
        like: Option<Value>,
    },
    Custom {
        inputs: Vec<Value>,
        parameters: Vec<Tensor>,
        function: Arc<CandleFn>,
    },
}

impl Op {
    /// The values it reads.
    pub(crate) fn reads(&self) -> Vec<Value> {
        match self {
            Op::Input => Vec::new(),
            Op::Finish { x, residual, .. } => std::iter::once(*x).chain(*residual).collect(),
            Op::Upsample { x, like, .. } => std::iter::once(*x).chain(*like).collect(),
            Op::Product { x, by } | Op::CrossedGate { x, gate: by, .. } => vec![*x, *by],
            Op::Concat { parts: inputs } | Op::Custom { inputs, .. } => inputs.clone(),
            Op::Conv { x, .. }
            | Op::Bias { x, .. }
            | Op::Slice { x, .. }
            | Op::Shuffle { x, .. }
            | Op::Pad { x, .. }
            | Op::MaxPool { x, .. }
            | Op::AvgPool { x, .. }
            | Op::GlobalAvgPool { x }
            | Op::Map { x, .. }
            | Op::Softmax { x, .. }
            | Op::GroupNorm { x, .. }
            | Op::Linear { x, .. } => vec![*x],
        }
    }
}
