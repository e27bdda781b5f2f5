//! A network's operations as nodes.

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use conv_core::graph::{Map, Op};
use conv_core::layers::{BatchNorm2d, Conv2d, GroupNorm, Linear};
use conv_core::{ConvSpec, Value};

use super::super::Exported;
use super::graph::{Attribute, OnnxGraph};
use crate::weights::values;

/// Writes every operation; `images` is what the first one gives. The name of the output.
pub(super) fn write(exported: &Exported<'_>, onnx: &mut OnnxGraph, images: String) -> Result<String> {
    let graph = exported.network.graph();
    let mut writer = Writer { exported, onnx, names: Vec::new() };
    for (index, op) in graph.ops().iter().enumerate() {
        writer.onnx.enter(exported.unit(index));
        let name = match op {
            Op::Input if index == 0 => images.clone(),
            op => writer.op(op).with_context(|| format!("exporting `{}`", exported.unit(index)))?,
        };
        writer.names.push(name);
    }
    writer.names.get(exported.network.output().index()).cloned().context("a network without an output")
}

struct Writer<'w, 'n> {
    exported: &'w Exported<'n>,
    onnx: &'w mut OnnxGraph,
    /// Of every value so far.
    names: Vec<String>,
}

impl Writer<'_, '_> {
    fn op(&mut self, op: &Op) -> Result<String> {
        Ok(match op {
            Op::Input => bail!("a second input"),
            Op::Custom { .. } => bail!("a custom operation"),
            Op::Conv { x, conv } => self.conv(*x, conv)?,
            Op::Bias { x, bias } => {
                let bias = self.by_channel(*x, bias, self.exported.name(bias)?)?;
                self.node("Add", *x, &[&bias], &[])
            }
            Op::Finish { x, norm, residual, relu } => self.finish(*x, norm.as_ref(), *residual, *relu)?,
            Op::Slice { x, channels } => {
                let x = self.names[x.index()].clone();
                self.slice(&x, channels.start, channels.end)
            }
            Op::Concat { parts } => {
                let parts: Vec<&str> = parts.iter().map(|part| &*self.names[part.index()]).collect();
                self.onnx.node("Concat", &parts, &[Attribute::Int("axis", 1)])
            }
            Op::Shuffle { x, groups } => self.parted(*x, *groups, |onnx, parted| {
                // Members of each part, a whole plane at a time, come to stand beside each other.
                onnx.node("Transpose", &[parted], &[Attribute::Ints("perm", &[0, 2, 1, 3])])
            }),
            Op::Softmax { x, parts } => {
                self.parted(*x, *parts, |onnx, parted| onnx.node("Softmax", &[parted], &[Attribute::Int("axis", 1)]))
            }
            Op::Pad { x, before, after } => {
                let pads = match self.is_flat(*x) {
                    true => vec![0, *before as i64, 0, *after as i64],
                    false => vec![0, *before as i64, 0, 0, 0, *after as i64, 0, 0],
                };
                let pads = self.onnx.ints(&pads);
                self.node("Pad", *x, &[&pads], &[])
            }
            Op::MaxPool { x, kernel, stride, padding } => self.pool("MaxPool", *x, (*kernel, *stride, *padding), &[]),
            Op::AvgPool { x, kernel, stride, ceil_mode } => {
                let ceil = Attribute::Int("ceil_mode", i64::from(*ceil_mode));
                self.pool("AveragePool", *x, (*kernel, *stride, 0), &[ceil])
            }
            Op::GlobalAvgPool { x } => {
                let pooled = self.node("GlobalAveragePool", *x, &[], &[]);
                self.onnx.node("Flatten", &[&pooled], &[Attribute::Int("axis", 1)])
            }
            Op::Linear { x, linear } => self.linear(*x, linear)?,
            Op::Product { x, by } => self.product(*x, *by),
            Op::Map { x, map: Map::Sigmoid } => self.node("Sigmoid", *x, &[], &[]),
            Op::Map { x, map: Map::Relu6 } => {
                let (low, high) = (self.onnx.float(0.0), self.onnx.float(6.0));
                self.node("Clip", *x, &[&low, &high], &[])
            }
            Op::CrossedGate { x, gate, threshold } => self.crossed_gate(*x, *gate, *threshold),
            Op::GroupNorm { x, norm } => self.group_norm(*x, norm)?,
            Op::Upsample { x, factor, like } => self.upsample(*x, *factor, *like),
        })
    }

    fn is_flat(&self, x: Value) -> bool {
        self.exported.network.graph().is_flat(x)
    }

    /// A node that reads `x` and constants.
    fn node(&mut self, kind: &str, x: Value, others: &[&str], attributes: &[Attribute<'_>]) -> String {
        let x = self.names[x.index()].clone();
        let inputs: Vec<&str> = std::iter::once(&*x).chain(others.iter().copied()).collect();
        self.onnx.node(kind, &inputs, attributes)
    }

    fn parameter(&mut self, tensor: &Tensor) -> Result<String> {
        let name = self.exported.name(tensor)?;
        Ok(self.onnx.floats(name, tensor.dims(), &values(tensor)?))
    }

    /// One value for each channel of `x`, so that it meets every pixel.
    fn by_channel(&mut self, x: Value, tensor: &Tensor, name: &str) -> Result<String> {
        let channels = tensor.elem_count();
        let dims: &[usize] = if self.is_flat(x) { &[channels] } else { &[channels, 1, 1] };
        Ok(self.onnx.floats(name, dims, &values(tensor)?))
    }

    fn conv(&mut self, x: Value, conv: &Conv2d) -> Result<String> {
        let ConvSpec { kernel, stride, padding, groups, .. } = *conv.spec();
        let [kernel, stride, padding, groups] = [kernel, stride, padding, groups].map(|number| number as i64);
        let mut parameters = vec![self.parameter(conv.weight())?];
        if let Some(bias) = conv.bias() {
            parameters.push(self.parameter(bias)?);
        }
        let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
        let attributes = [
            Attribute::Ints("kernel_shape", &[kernel; 2]),
            Attribute::Ints("strides", &[stride; 2]),
            Attribute::Ints("pads", &[padding; 4]),
            Attribute::Int("group", groups),
        ];
        Ok(self.node("Conv", x, &parameters, &attributes))
    }

    fn finish(&mut self, x: Value, norm: Option<&BatchNorm2d>, residual: Option<Value>, relu: bool) -> Result<String> {
        let mut y = self.names[x.index()].clone();
        if let Some(norm) = norm {
            let [weight, bias, mean, variance] = norm.parameters();
            let [weight, bias] = [self.parameter(weight)?, self.parameter(bias)?];
            let [mean, variance] = [self.parameter(mean)?, self.parameter(variance)?];
            let eps = Attribute::Float("epsilon", norm.eps() as f32);
            y = self.onnx.node("BatchNormalization", &[&y, &weight, &bias, &mean, &variance], &[eps]);
        }
        if let Some(residual) = residual {
            y = self.onnx.node("Add", &[&y, &self.names[residual.index()]], &[]);
        }
        Ok(if relu { self.onnx.node("Relu", &[&y], &[]) } else { y })
    }

    /// Channels `start..end`.
    fn slice(&mut self, x: &str, start: usize, end: usize) -> String {
        let [starts, ends, axes] = [start, end, 1].map(|number| self.onnx.ints(&[number as i64]));
        self.onnx.node("Slice", &[x, &starts, &ends, &axes], &[])
    }

    /// What `work` makes of `x` as `[n, parts, channels of a part, pixels]`, shaped as `x` again.
    fn parted(&mut self, x: Value, parts: usize, work: impl FnOnce(&mut OnnxGraph, &str) -> String) -> String {
        let of_a_part = self.exported.network.graph().channels(x) / parts;
        let shape = self.node("Shape", x, &[], &[]);
        let apart = self.onnx.ints(&[0, parts as i64, of_a_part as i64, -1]);
        let parted = self.node("Reshape", x, &[&apart], &[]);
        let worked = work(self.onnx, &parted);
        self.onnx.node("Reshape", &[&worked, &shape], &[])
    }

    fn pool(
        &mut self,
        kind: &str,
        x: Value,
        (kernel, stride, padding): (usize, usize, usize),
        more: &[Attribute<'_>],
    ) -> String {
        let [kernel, stride, padding] = [kernel, stride, padding].map(|number| number as i64);
        let windows = [
            Attribute::Ints("kernel_shape", &[kernel; 2]),
            Attribute::Ints("strides", &[stride; 2]),
            Attribute::Ints("pads", &[padding; 4]),
        ];
        self.node(kind, x, &[], &[&windows, more].concat())
    }

    fn linear(&mut self, x: Value, linear: &Linear) -> Result<String> {
        let (weight, bias) = (self.parameter(linear.weight())?, self.parameter(linear.bias())?);
        Ok(self.node("Gemm", x, &[&weight, &bias], &[Attribute::Int("transB", 1)]))
    }

    fn product(&mut self, x: Value, by: Value) -> String {
        let mut factor = self.names[by.index()].clone();
        if self.is_flat(by) && !self.is_flat(x) {
            let pixels = self.onnx.ints(&[2, 3]);
            factor = self.onnx.node("Unsqueeze", &[&factor, &pixels], &[]);
        }
        self.node("Mul", x, &[&factor], &[])
    }

    fn crossed_gate(&mut self, x: Value, gate: Value, threshold: f32) -> String {
        let channels = self.exported.network.graph().channels(x);
        let share = self.node("Sigmoid", gate, &[], &[]);
        let [threshold, one, zero] = [threshold, 1.0, 0.0].map(|number| self.onnx.float(number));
        let informative = self.onnx.node("Greater", &[&share, &threshold], &[]);
        let own = self.onnx.node("Where", &[&informative, &one, &share], &[]);
        let own = self.node("Mul", x, &[&own], &[]);
        let other = self.onnx.node("Where", &[&informative, &zero, &share], &[]);
        let other = self.node("Mul", x, &[&other], &[]);
        let (first, second) = (self.slice(&other, 0, channels / 2), self.slice(&other, channels / 2, channels));
        let crossed = self.onnx.node("Concat", &[&second, &first], &[Attribute::Int("axis", 1)]);
        self.onnx.node("Add", &[&own, &crossed], &[])
    }

    /// By way of instance norm, whose instances are the groups: the operator set has no group norm yet.
    fn group_norm(&mut self, x: Value, norm: &GroupNorm) -> Result<String> {
        let [weight, bias] = norm.parameters();
        let (mut by, mut plus) = (weight.clone(), bias.clone());
        let (mut by_name, mut plus_name) =
            (self.exported.name(weight)?.to_owned(), self.exported.name(bias)?.to_owned());
        if norm.has_shares() {
            let shares = weight.broadcast_div(&weight.sum_all()?)?;
            (by, plus) = ((weight * &shares)?, (bias * shares)?);
            by_name += " by shares";
            plus_name += " by shares";
        }
        let groups = norm.groups();
        let [ones, zeros] =
            [1.0, 0.0].map(|value| self.onnx.floats(&format!("{groups} x {value}"), &[groups], &vec![value; groups]));
        let eps = Attribute::Float("epsilon", norm.eps() as f32);
        let normal =
            self.parted(x, groups, |onnx, parted| onnx.node("InstanceNormalization", &[parted, &ones, &zeros], &[eps]));
        let (by, plus) = (self.by_channel(x, &by, &by_name)?, self.by_channel(x, &plus, &plus_name)?);
        let scaled = self.onnx.node("Mul", &[&normal, &by], &[]);
        Ok(self.onnx.node("Add", &[&scaled, &plus], &[]))
    }

    fn upsample(&mut self, x: Value, factor: usize, like: Option<Value>) -> String {
        let mut y = self.names[x.index()].clone();
        if factor != 1 {
            let scale = factor as f32;
            let scales = self.onnx.floats(&format!("scales[{factor}]"), &[4], &[1.0, 1.0, scale, scale]);
            let nearest = [
                Attribute::Text("mode", "nearest"),
                Attribute::Text("coordinate_transformation_mode", "asymmetric"),
                Attribute::Text("nearest_mode", "floor"),
            ];
            // Between them: a region of interest, which nearest upsampling has none of.
            y = self.onnx.node("Resize", &[&y, "", &scales], &nearest);
        }
        let Some(like) = like else { return y };
        let size = self.node("Shape", like, &[], &[Attribute::Int("start", 2), Attribute::Int("end", 4)]);
        let (starts, axes) = (self.onnx.ints(&[0, 0]), self.onnx.ints(&[2, 3]));
        self.onnx.node("Slice", &[&y, &starts, &size, &axes], &[])
    }
}
