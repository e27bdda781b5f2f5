//! Lowers a graph: turns its operations into layers over buffers, and then into a program.

use candle_core::{Result, Tensor, bail};

use super::choice::{self, OffEngine};
use super::fuse::fuse;
use super::layers::{
    Buffer, Channel, Conv, ConvId, Destination, Finish, FinishId, GroupNorm, InputGradient, LayerId, Layers, Norm,
    Plain, PlainId, PlainOp, names_each_once,
};
use super::program::{Mode, Pass, Phase, Program, Step};
use super::schedule;
use super::sums::sum_products;
use crate::graph::{Graph, Op, Value};
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::map::Crossing;
use crate::kernels::shape::ConvShape;
use crate::kernels::windows::Windows;
use crate::layers::{BatchNorm2d, Conv2d, Linear};

/// Why there is no program for a graph.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It can only run operation by operation.
    OffEngine(OffEngine),
    /// It cannot run at all.
    Failed(candle_core::Error),
}

impl From<OffEngine> for Refusal {
    fn from(why: OffEngine) -> Self {
        Self::OffEngine(why)
    }
}

impl From<candle_core::Error> for Refusal {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error)
    }
}

/// What lowering gives, or why it was refused.
pub(crate) type LoweringResult<T> = std::result::Result<T, Refusal>;

/// What came of it, or why it can only run operation by operation.
///
/// # Errors
/// Why it cannot run at all.
pub(crate) fn or_off_engine<T>(lowered: LoweringResult<T>) -> Result<std::result::Result<T, OffEngine>> {
    match lowered {
        Ok(made) => Ok(Ok(made)),
        Err(Refusal::OffEngine(why)) => Ok(Err(why)),
        Err(Refusal::Failed(error)) => Err(error),
    }
}

/// The layers and the program of `output`, for images of `[channels, h, w]`.
///
/// # Errors
/// What the graph has that these layers do not know; shapes that do not fit.
pub(super) fn lower(
    graph: &Graph,
    output: Value,
    image: (usize, usize, usize),
    mode: Mode,
    winograd: bool,
) -> LoweringResult<(Layers, Program)> {
    let (layers, program, values) = Default::default();
    let mut lowering = Lowering { mode, winograd, layers, program, values };
    for (index, op) in graph.ops().iter().enumerate() {
        let plane = lowering.lower(op, graph.channels(Value::from_index(index)), image)?;
        lowering.values.push(plane);
    }
    lowering.finished(output)
}

/// A value: where its channels lie, and their size.
#[derive(Clone)]
struct LoweredValue {
    channels: Vec<Channel>,
    size: (usize, usize),
}

/// The graph so far.
struct Lowering {
    mode: Mode,
    winograd: bool,
    layers: Layers,
    /// Its steps come last.
    program: Program,
    /// By value of the graph.
    values: Vec<LoweredValue>,
}

impl Lowering {
    /// The value of an operation with so many channels.
    fn lower(
        &mut self,
        op: &Op,
        channels: usize,
        (image_channels, h, w): (usize, usize, usize),
    ) -> LoweringResult<LoweredValue> {
        Ok(match op {
            Op::Input if self.values.is_empty() && channels == image_channels => {
                let buffer = self.buffer(channels, (h, w));
                self.whole(buffer)
            }
            Op::Input => return Err(OffEngine::Inputs.into()),
            Op::Conv { x, conv } => self.conv(self.value(*x), conv)?,
            Op::Linear { x, linear } => self.linear(self.value(*x), linear)?,
            Op::Bias { x, bias } => {
                let bias = self.parameter(bias);
                self.finish(self.value(*x), None, Some(bias), None, false)
            }
            Op::Finish { x, norm, residual, relu } => {
                let (x, residual) = (self.value(*x), residual.map(|residual| self.value(residual)));
                if let Some(other) = residual.as_ref().filter(|other| other.size != x.size) {
                    return Err(different(x.size, other.size, "added").into());
                }
                let norm = norm.as_ref().map(|norm| self.norm(norm));
                self.finish(x, norm, None, residual.map(|residual| residual.channels), *relu)
            }
            Op::MaxPool { x, kernel, stride, padding } => {
                let x = self.value(*x);
                let windows = Windows::new(x.size, *kernel, *stride, *padding, false)?;
                self.plain(PlainOp::MaxPool(windows), windows.output, x.channels)
            }
            Op::AvgPool { x, kernel, stride, ceil_mode } => {
                let x = self.value(*x);
                let windows = Windows::new(x.size, *kernel, *stride, 0, *ceil_mode)?;
                self.plain(PlainOp::MeanPool(windows), windows.output, x.channels)
            }
            Op::GlobalAvgPool { x } => {
                let x = self.value(*x);
                // One window, cut to the image by its edges.
                let side = x.size.0.max(x.size.1);
                let windows = Windows { input: x.size, output: (1, 1), kernel: side, stride: side, padding: 0 };
                self.plain(PlainOp::MeanPool(windows), windows.output, x.channels)
            }
            Op::Upsample { x, factor, like } => {
                let x = self.value(*x);
                let size = like.map(|like| self.values[like.index()].size);
                let windows = Windows::repeating(x.size, *factor, size)?;
                self.plain(PlainOp::Repeat(windows), windows.input, x.channels)
            }
            Op::Map { x, map } => {
                let x = self.value(*x);
                self.plain(PlainOp::Map(*map), x.size, x.channels)
            }
            Op::Product { x, by } => {
                let (x, by) = (self.value(*x), self.value(*by));
                if by.size != x.size && by.size != (1, 1) {
                    return Err(different(x.size, by.size, "multiplied").into());
                }
                let op = PlainOp::Product { by: by.channels, pixel: by.size == (1, 1), adds: Vec::new() };
                self.plain(op, x.size, x.channels)
            }
            Op::CrossedGate { x, gate, threshold } => {
                let (x, gate) = (self.value(*x), self.value(*gate));
                if gate.size != x.size {
                    return Err(different(x.size, gate.size, "gated").into());
                }
                let crossing = Crossing { threshold: *threshold };
                self.plain(PlainOp::CrossedGate(crossing), x.size, [x.channels, gate.channels].concat())
            }
            Op::Softmax { x, parts } => {
                let x = self.value(*x);
                self.plain(PlainOp::Softmax { parts: *parts }, x.size, x.channels)
            }
            Op::GroupNorm { x, norm } => {
                let (weight, bias) = (self.parameter(&norm.weight), self.parameter(&norm.bias));
                let (groups, shares, eps) = (norm.groups, norm.shares, norm.eps);
                let x = self.value(*x);
                self.plain(PlainOp::GroupNorm(GroupNorm { groups, shares, eps, weight, bias }), x.size, x.channels)
            }
            Op::Slice { x, channels } => {
                let x = &self.values[x.index()];
                LoweredValue { channels: x.channels[channels.clone()].to_vec(), size: x.size }
            }
            Op::Concat { parts } => self.concat(parts)?,
            Op::Shuffle { x, groups } => {
                let LoweredValue { channels: x, size } = &self.values[x.index()];
                let rows = x.len() / groups;
                LoweredValue {
                    channels: (0..x.len()).map(|at| x[at % groups * rows + at / groups]).collect(),
                    size: *size,
                }
            }
            Op::Pad { x, before, after } => {
                let LoweredValue { channels: x, size } = &self.values[x.index()];
                let zeros = |count: &usize| vec![Channel::Zero; *count];
                LoweredValue { channels: [zeros(before), x.clone(), zeros(after)].concat(), size: *size }
            }
            Op::Custom { .. } => return Err(OffEngine::Custom.into()),
        })
    }

    fn value(&self, value: Value) -> LoweredValue {
        self.values[value.index()].clone()
    }

    fn buffer(&mut self, planes: usize, size: (usize, usize)) -> usize {
        self.program.buffers.push(Buffer::new(planes, size));
        self.program.buffers.len() - 1
    }

    /// The value that a whole buffer is.
    fn whole(&self, buffer: usize) -> LoweredValue {
        LoweredValue {
            channels: self.program.buffers[buffer].channels(buffer),
            size: self.program.buffers[buffer].size,
        }
    }

    fn parameter(&mut self, tensor: &Tensor) -> usize {
        match self.program.parameters.iter().position(|known| known.id() == tensor.id()) {
            Some(index) => index,
            None => {
                self.program.parameters.push(tensor.clone());
                self.program.parameters.len() - 1
            }
        }
    }

    fn norm(&mut self, layer: &BatchNorm2d) -> Norm {
        let (weight, bias) = (self.parameter(&layer.weight), self.parameter(&layer.bias));
        Norm { layer: layer.clone(), weight, bias }
    }

    fn conv(&mut self, x: LoweredValue, conv: &Conv2d) -> Result<LoweredValue> {
        let spec = conv.spec();
        let dims = [1, spec.in_channels, x.size.0, x.size.1];
        let shape = ConvShape::new(&dims, &spec.weight_shape(), spec.stride, spec.padding, spec.groups)?;
        Ok(self.convolution(shape, &conv.weight, conv.bias.as_ref(), x))
    }

    /// A linear layer is a 1 x 1 convolution of maps of one pixel.
    fn linear(&mut self, x: LoweredValue, linear: &Linear) -> LoweringResult<LoweredValue> {
        if x.size != (1, 1) {
            return Err(OffEngine::LinearOfMaps.into());
        }
        let (inputs, outputs) = linear.features();
        let shape = ConvShape::new(&[1, inputs, 1, 1], &[outputs, inputs, 1, 1], 1, 0, 1)?;
        Ok(self.convolution(shape, &linear.weight, Some(&linear.bias), x))
    }

    fn convolution(
        &mut self,
        shape: ConvShape,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: LoweredValue,
    ) -> LoweredValue {
        let (weight, bias) = (self.parameter(weight), bias.map(|bias| self.parameter(bias)));
        let y = self.buffer(shape.out_channels, shape.output);
        // Buffer 0 are the images.
        let first = if self.mode.images() { 0 } else { 1 };
        let wanted = x.channels.iter().any(|channel| channel.buffer().is_some_and(|buffer| buffer >= first));
        let input_gradient = (wanted && self.mode.trains()).then(|| InputGradient {
            kernel: choice::input_gradient(&shape, self.winograd),
            geometry: Geometry::backward(&shape),
            adds: Vec::new(),
        });
        self.program.order.push(LayerId::Conv(ConvId(self.layers.convs.len())));
        self.layers.convs.push(Conv {
            forward: choice::forward(&shape, self.winograd),
            forward_geometry: Geometry::forward(&shape),
            input_gradient,
            weight_gradient: choice::weight_gradient(&shape),
            shape,
            weight,
            bias,
            x: x.channels,
            y,
            to: Destination { channels: self.program.buffers[y].channels(y), residual: Vec::new(), relu: false },
            fused: None,
        });
        self.whole(y)
    }

    fn finish(
        &mut self,
        x: LoweredValue,
        norm: Option<Norm>,
        bias: Option<usize>,
        residual: Option<Vec<Channel>>,
        relu: bool,
    ) -> LoweredValue {
        let y = self.buffer(x.channels.len(), x.size);
        self.program.order.push(LayerId::Finish(FinishId(self.layers.finishes.len())));
        self.layers.finishes.push(Finish {
            norm,
            bias,
            relu,
            left: (0..x.channels.len()).collect(),
            x: x.channels,
            residual,
            y,
            adds: Vec::new(),
            residual_adds: Vec::new(),
        });
        self.whole(y)
    }

    fn plain(&mut self, op: PlainOp, size: (usize, usize), x: Vec<Channel>) -> LoweredValue {
        let channels = if let PlainOp::CrossedGate(_) = op { x.len() / 2 } else { x.len() };
        let y = self.buffer(channels, size);
        self.program.order.push(LayerId::Plain(PlainId(self.layers.plains.len())));
        self.layers.plains.push(Plain { op, x, y, adds: Vec::new() });
        self.whole(y)
    }

    fn concat(&self, parts: &[Value]) -> Result<LoweredValue> {
        let parts = parts.iter().map(|part| &self.values[part.index()]);
        let mut sizes = parts.clone().map(|part| part.size);
        let Some(size) = sizes.next() else { bail!("graph: nothing is concatenated") };
        match sizes.find(|&other| other != size) {
            Some(other) => Err(different(size, other, "concatenated")),
            None => Ok(LoweredValue { channels: parts.flat_map(|part| part.channels.iter().copied()).collect(), size }),
        }
    }

    /// All operations are there: the steps of the program, and what is fused.
    fn finished(self, output: Value) -> LoweringResult<(Layers, Program)> {
        let LoweredValue { channels: output, size } = self.value(output);
        let Self { mode, mut layers, mut program, .. } = self;
        let tables = program.order.iter().flat_map(|&layer| layers.reads(layer));
        if !tables.chain([&*output]).all(names_each_once) {
            return Err(OffEngine::RepeatedChannel.into());
        }
        if program.buffers.is_empty() {
            return Err(OffEngine::Inputs.into());
        }
        sum_products(&mut layers, &mut program.order, &program.buffers, &output);
        if mode == Mode::Infer {
            fuse(&mut layers, &program.order, &output);
        }
        program.forward = schedule::forward(&layers, &program.order, mode);
        (program.macs, program.activations) = executed(&layers, &program.forward);
        if mode.trains() {
            program.backward = schedule::backward(&mut layers, &program.order, &program.buffers, &output);
        }
        if !mode.images() {
            program.backward.image_gradients.clear();
        }
        Ok((layers, Program { output, size, ..program }))
    }
}

/// Multiply-accumulates and activations of these steps for an image: of what is executed, not of what was written down.
fn executed(layers: &Layers, forward: &[Phase]) -> (u64, u64) {
    let steps = forward.iter().flat_map(|phase| &phase.steps);
    steps.fold((0, 0), |(macs, activations), step| match *step {
        Step::Conv(id, Pass::Forward) => {
            let shape = &layers[id].shape;
            (macs + shape.macs(), activations + shape.y_len() as u64)
        }
        _ => (macs, activations),
    })
}

fn different(one: (usize, usize), other: (usize, usize), what: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("graph: values of {one:?} and {other:?} pixels are {what}")).bt()
}
