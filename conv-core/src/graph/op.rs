//! The operations of a graph.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::Value;
use crate::kernels::map::Map;
use crate::layers::{BatchNorm2d, Conv2d, GroupNorm, Linear};

/// A function of candle tensors, for what no other operation of a graph says: inputs and whether it trains, to output.
pub type CandleFn = dyn Fn(&[Tensor], bool) -> Result<Tensor> + Send + Sync;

/// How a value comes to be: what a reader of a graph (an engine, an exporter) has to know of it. `x` is what is read; every
/// convolution, norm and linear layer gives its parameters.
#[derive(Clone)]
#[expect(missing_docs, reason = "fields are called as by the methods of `Graph` that take them")]
pub enum Op {
    /// Given from outside.
    Input,
    /// `conv(x)`, with the convolution's bias.
    Conv { x: Value, conv: Conv2d },
    /// `x` with `bias: [c]` added to every pixel.
    Bias { x: Value, bias: Tensor },
    /// `relu?(norm?(x) + residual?)`.
    Finish { x: Value, norm: Option<BatchNorm2d>, residual: Option<Value>, relu: bool },
    /// These channels of `x`.
    Slice { x: Value, channels: Range<usize> },
    /// One after the other, along the channels.
    Concat { parts: Vec<Value> },
    /// As [`crate::ops::channel_shuffle`].
    Shuffle { x: Value, groups: usize },
    /// Channels of zeros around.
    Pad { x: Value, before: usize, after: usize },
    /// As [`crate::ops::max_pool2d`].
    MaxPool { x: Value, kernel: usize, stride: usize, padding: usize },
    /// As [`crate::ops::avg_pool2d`]; with a kernel of 1, every `stride`-th pixel.
    AvgPool { x: Value, kernel: usize, stride: usize, ceil_mode: bool },
    /// The mean over all pixels: `[n, channels]`.
    GlobalAvgPool { x: Value },
    /// `linear(x)` of `[n, channels]`.
    Linear { x: Value, linear: Linear },
    /// `x` times a value of its size, or of one pixel.
    Product { x: Value, by: Value },
    /// A function of each value.
    Map { x: Value, map: Map },
    /// As [`crate::ops::crossed_gate`].
    CrossedGate { x: Value, gate: Value, threshold: f32 },
    /// As [`crate::ops::softmax_between`]: between so many parts of the channels.
    Softmax { x: Value, parts: usize },
    /// `norm(x)`.
    GroupNorm { x: Value, norm: GroupNorm },
    /// Every pixel `factor` times along rows and columns, cut to the size of `like`.
    Upsample { x: Value, factor: usize, like: Option<Value> },
    /// A function that nobody can look into.
    Custom { inputs: Vec<Value>, parameters: Vec<Tensor>, function: Arc<CandleFn> },
}

impl Op {
    /// The values it reads.
    pub fn reads(&self) -> Vec<Value> {
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
