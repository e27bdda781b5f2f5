//! What a network computes, written down before it is computed.
//!
//! A method does not run convolutions itself: it says which there are, over which channels, and what follows them
//! ([`Graph::conv`], [`Graph::finish`], [`Graph::slice`], ...). Whoever runs the graph can then see across the borders of
//! layers, where a compact convolution loses its time: which channels have to be copied at all, which passes over memory
//! are one pass, what is read again by whom. [`Network`](crate::Network) runs it.

mod gate;
mod interpret;
mod op;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::layers::{BatchNorm2d, Conv2d, Linear};

pub use crate::kernels::map::Map;
pub use op::{CandleFn, Op};

/// A value of a graph: `[n, channels, h, w]`, after [`Graph::global_avg_pool`] `[n, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(usize);

impl Value {
    /// Its place among the graph's operations.
    pub fn index(self) -> usize {
        self.0
    }

    pub(crate) const fn from_index(index: usize) -> Self {
        Self(index)
    }
}

/// Operations in an order in which they can be executed. Channel counts are checked as it is written, sizes when it is run.
#[derive(Clone, Default)]
pub struct Graph {
    ops: Vec<Op>,
    channels: Vec<usize>,
    units: Vec<(String, Range<usize>)>,
}

impl Graph {
    /// No operations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Channels of `x`.
    pub fn channels(&self, x: Value) -> usize {
        self.channels[x.0]
    }

    /// Every operation; each makes the value of its place ([`Value::index`]), of values before it.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The units that were written with [`Scope::make`](crate::Scope::make): each one's name, and the places of its operations.
    pub fn units(&self) -> &[(String, Range<usize>)] {
        &self.units
    }

    /// Says that all operations from `start` on are those of a unit.
    pub(crate) fn end_unit(&mut self, name: String, start: usize) {
        self.units.push((name, start..self.ops.len()));
    }

    /// Whether it is `[n, channels]` and no image.
    pub fn is_flat(&self, x: Value) -> bool {
        match &self.ops[x.0] {
            Op::GlobalAvgPool { .. } | Op::Linear { .. } => true,
            Op::Finish { x, .. }
            | Op::Bias { x, .. }
            | Op::Slice { x, .. }
            | Op::Shuffle { x, .. }
            | Op::Pad { x, .. }
            | Op::Product { x, .. }
            | Op::Map { x, .. }
            | Op::CrossedGate { x, .. }
            | Op::Softmax { x, .. }
            | Op::GroupNorm { x, .. } => self.is_flat(*x),
            Op::Concat { parts } => self.is_flat(parts[0]),
            Op::Input
            | Op::Conv { .. }
            | Op::MaxPool { .. }
            | Op::AvgPool { .. }
            | Op::Upsample { .. }
            | Op::Custom { .. } => false,
        }
    }

    /// The trained parameters it reads, each once, in order of use.
    pub fn parameters(&self) -> Vec<Tensor> {
        let mut parameters: Vec<Tensor> = Vec::new();
        for op in &self.ops {
            let read = match op {
                Op::Conv { conv, .. } => std::iter::once(&conv.weight).chain(&conv.bias).cloned().collect(),
                Op::Bias { bias, .. } => vec![bias.clone()],
                Op::Finish { norm: Some(norm), .. } => vec![norm.weight.clone(), norm.bias.clone()],
                Op::GroupNorm { norm, .. } => vec![norm.weight.clone(), norm.bias.clone()],
                Op::Linear { linear, .. } => vec![linear.weight.clone(), linear.bias.clone()],
                Op::Custom { parameters, .. } => parameters.clone(),
                _ => Vec::new(),
            };
            for parameter in read {
                if !parameters.iter().any(|known| known.id() == parameter.id()) {
                    parameters.push(parameter);
                }
            }
        }
        parameters
    }

    fn push(&mut self, op: Op, channels: usize) -> Value {
        self.ops.push(op);
        self.channels.push(channels);
        Value(self.ops.len() - 1)
    }

    /// What is given from outside. The first input of a network are its images.
    pub fn input(&mut self, channels: usize) -> Value {
        self.push(Op::Input, channels)
    }

    /// `conv(x)`, with the convolution's bias.
    ///
    /// # Errors
    /// Channels that are not those the convolution reads.
    pub fn conv(&mut self, conv: &Conv2d, x: Value) -> Result<Value> {
        let spec = conv.spec();
        if self.channels(x) != spec.in_channels {
            bail!("graph: a convolution of {} channels was given {}", spec.in_channels, self.channels(x));
        }
        Ok(self.push(Op::Conv { x, conv: conv.clone() }, spec.out_channels))
    }

    /// `x: [n, c, h, w]` with `bias: [c]` added to every pixel; for a bias that does not directly follow its convolution.
    ///
    /// # Errors
    /// A bias that is not one number for each channel.
    pub fn bias(&mut self, x: Value, bias: &Tensor) -> Result<Value> {
        let channels = self.channels(x);
        if bias.dims() != [channels] {
            bail!("graph: {channels} channels meet a bias of {:?}", bias.dims());
        }
        Ok(self.push(Op::Bias { x, bias: bias.clone() }, channels))
    }

    /// `relu?(norm?(x) + residual?)`.
    ///
    /// # Errors
    /// Channels that differ.
    pub fn finish(
        &mut self,
        x: Value,
        norm: Option<&BatchNorm2d>,
        residual: Option<Value>,
        relu: bool,
    ) -> Result<Value> {
        let channels = self.channels(x);
        let (normed, added) = (norm.map(BatchNorm2d::channels), residual.map(|residual| self.channels(residual)));
        if normed.unwrap_or(channels) != channels || added.unwrap_or(channels) != channels {
            bail!("graph: {channels} channels meet a norm of {normed:?} and a residual of {added:?}");
        }
        if norm.is_none() && residual.is_none() && !relu {
            return Ok(x);
        }
        Ok(self.push(Op::Finish { x, norm: norm.cloned(), residual, relu }, channels))
    }

    /// These channels of `x`.
    ///
    /// # Errors
    /// A range that is empty or not inside.
    pub fn slice(&mut self, x: Value, channels: Range<usize>) -> Result<Value> {
        let (count, all) = (channels.len(), self.channels(x));
        if channels.is_empty() || channels.end > all {
            bail!("graph: channels {channels:?} of {all}");
        }
        Ok(if count == all { x } else { self.push(Op::Slice { x, channels }, count) })
    }

    /// One after the other, along the channels.
    ///
    /// # Errors
    /// No parts.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        match parts {
            [] => bail!("graph: nothing to concatenate"),
            [only] => Ok(*only),
            _ => {
                let channels = parts.iter().map(|&part| self.channels(part)).sum();
                Ok(self.push(Op::Concat { parts: parts.to_vec() }, channels))
            }
        }
    }

    /// As [`crate::ops::channel_shuffle`].
    ///
    /// # Errors
    /// Groups that do not divide the channels.
    pub fn shuffle(&mut self, x: Value, groups: usize) -> Result<Value> {
        let channels = self.channels(x);
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("channel shuffle: {groups} groups do not divide {channels} channels");
        }
        Ok(if groups == 1 { x } else { self.push(Op::Shuffle { x, groups }, channels) })
    }

    /// So many channels of zeros before and after.
    pub fn pad_channels(&mut self, x: Value, before: usize, after: usize) -> Value {
        let channels = self.channels(x) + before + after;
        if before + after == 0 { x } else { self.push(Op::Pad { x, before, after }, channels) }
    }

    /// As [`crate::ops::max_pool2d`].
    pub fn max_pool(&mut self, x: Value, kernel: usize, stride: usize, padding: usize) -> Value {
        self.push(Op::MaxPool { x, kernel, stride, padding }, self.channels(x))
    }

    /// As [`crate::ops::avg_pool2d`]; with a kernel of 1, every `stride`-th pixel.
    pub fn avg_pool(&mut self, x: Value, kernel: usize, stride: usize, ceil_mode: bool) -> Value {
        if (kernel, stride) == (1, 1) {
            return x;
        }
        self.push(Op::AvgPool { x, kernel, stride, ceil_mode }, self.channels(x))
    }

    /// As [`crate::ops::global_avg_pool`].
    pub fn global_avg_pool(&mut self, x: Value) -> Value {
        self.push(Op::GlobalAvgPool { x }, self.channels(x))
    }

    /// `linear(x)` of `[n, channels]`.
    ///
    /// # Errors
    /// Channels that are not the layer's inputs.
    pub fn linear(&mut self, linear: &Linear, x: Value) -> Result<Value> {
        let (inputs, outputs) = linear.features();
        if self.channels(x) != inputs {
            bail!("graph: a linear layer of {inputs} features was given {}", self.channels(x));
        }
        Ok(self.push(Op::Linear { x, linear: linear.clone() }, outputs))
    }

    /// Any function of candle tensors, with `channels` channels of output. A network that has one runs on candle's
    /// autograd as a whole, at its speed: for trying an idea out. `parameters` are those that the function trains.
    pub fn custom(
        &mut self,
        inputs: &[Value],
        parameters: &[Tensor],
        channels: usize,
        function: Arc<CandleFn>,
    ) -> Value {
        self.push(Op::Custom { inputs: inputs.to_vec(), parameters: parameters.to_vec(), function }, channels)
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph of {} operations", self.ops.len())
    }
}
