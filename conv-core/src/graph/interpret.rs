//! Interprets a graph operation by operation on candle tensors, which carry the gradients: on any device and in any precision.

use candle_core::{Module, Result, Tensor, bail};

use super::{Graph, Op, Value};
use crate::kernels::map::Map;
use crate::ops;

impl Graph {
    /// The value of `output` for these inputs, in the order in which [`Graph::input`] made them.
    ///
    /// # Errors
    /// Shapes that do not fit; inputs in another number, or with other channels, than the graph's; a custom function that
    /// gives other channels than it was said to; an output that is not the graph's.
    pub fn interpret(&self, inputs: &[&Tensor], output: Value, train: bool) -> Result<Tensor> {
        let expected = self.ops.iter().filter(|op| matches!(op, Op::Input)).count();
        if inputs.len() != expected {
            bail!("graph: it has {expected} inputs and was given {}", inputs.len());
        }
        if output.0 >= self.ops.len() {
            bail!("graph: no such output");
        }
        let last_read = self.last_reads(output);
        let mut given = 0;
        let mut values: Vec<Option<Tensor>> = Vec::with_capacity(self.ops.len());
        for (index, op) in self.ops.iter().enumerate() {
            let value = match op {
                Op::Input => {
                    given += 1;
                    inputs[given - 1].clone()
                }
                op => execute(op, &values, train)?,
            };
            // Inputs and custom functions come from outside, and may not be what they were said to be.
            if value.dim(1)? != self.channels[index] {
                bail!("graph: {} channels were announced, {:?} came", self.channels[index], value.dims());
            }
            values.push(Some(value));
            // A value that no later operation reads is dropped, to free its memory.
            for read in op.reads() {
                if last_read[read.0] == index {
                    values[read.0] = None;
                }
            }
        }
        match values.swap_remove(output.0) {
            Some(value) => Ok(value),
            None => bail!("graph: the output was dropped too early"),
        }
    }

    /// For each value the operation that reads it last; `usize::MAX` for `output` and for what no operation reads.
    fn last_reads(&self, output: Value) -> Vec<usize> {
        let mut last = vec![usize::MAX; self.ops.len()];
        for (index, op) in self.ops.iter().enumerate() {
            for read in op.reads() {
                last[read.0] = index;
            }
        }
        last[output.0] = usize::MAX;
        last
    }
}

fn execute(op: &Op, values: &[Option<Tensor>], train: bool) -> Result<Tensor> {
    let value = |value: &Value| match &values[value.0] {
        Some(tensor) => Ok(tensor),
        None => bail!("graph: a value was dropped too early"),
    };
    match op {
        Op::Input => bail!("graph: an input is given, not computed"),
        Op::Conv { x, conv } => conv.forward(value(x)?),
        Op::Bias { x, bias } if value(x)?.rank() == 2 => value(x)?.broadcast_add(bias),
        Op::Bias { x, bias } => value(x)?.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        Op::Finish { x, norm, residual, relu } => {
            let (x, residual) = (value(x)?, residual.as_ref().map(value).transpose()?);
            match (norm, x.dims()) {
                // Features are images of one pixel.
                (Some(norm), &[n, c]) => {
                    let image = |x: &Tensor| x.reshape((n, c, 1, 1));
                    let residual = residual.map(image).transpose()?;
                    norm.forward_t(&image(x)?, residual.as_ref(), *relu, train)?.reshape((n, c))
                }
                (Some(norm), _) => norm.forward_t(x, residual, *relu, train),
                (None, _) => {
                    let y = match residual {
                        Some(residual) => (x + residual)?,
                        None => x.clone(),
                    };
                    if *relu { ops::relu(&y) } else { Ok(y) }
                }
            }
        }
        Op::Slice { x, channels } => value(x)?.narrow(1, channels.start, channels.len()),
        Op::Concat { parts } => Tensor::cat(&parts.iter().map(value).collect::<Result<Vec<_>>>()?, 1),
        Op::Shuffle { x, groups } => ops::channel_shuffle(value(x)?, *groups),
        Op::Pad { x, before, after } => value(x)?.pad_with_zeros(1, *before, *after),
        Op::MaxPool { x, kernel, stride, padding } => ops::max_pool2d(value(x)?, *kernel, *stride, *padding),
        Op::AvgPool { x, kernel, stride, ceil_mode } => ops::avg_pool2d(value(x)?, *kernel, *stride, *ceil_mode),
        Op::GlobalAvgPool { x } => ops::global_avg_pool(value(x)?),
        Op::Linear { x, linear } => linear.forward(value(x)?),
        Op::Product { x, by } => ops::product(value(x)?, value(by)?),
        Op::Map { x, map: Map::Sigmoid } => ops::sigmoid(value(x)?),
        Op::Map { x, map: Map::Relu6 } => ops::relu6(value(x)?),
        Op::CrossedGate { x, gate, threshold } => ops::crossed_gate(value(x)?, value(gate)?, f64::from(*threshold)),
        Op::Softmax { x, parts } => ops::softmax_between(value(x)?, *parts),
        Op::GroupNorm { x, norm } => norm.forward(value(x)?),
        Op::Upsample { x, factor, like } => {
            let size = like.as_ref().map(|like| value(like)?.dims4().map(|(_, _, h, w)| (h, w))).transpose()?;
            ops::upsample(value(x)?, *factor, size)
        }
        Op::Custom { inputs, function, .. } => {
            let inputs = inputs.iter().map(|input| value(input).cloned()).collect::<Result<Vec<_>>>()?;
            function(&inputs, train)
        }
    }
}
