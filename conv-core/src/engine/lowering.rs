//! Writes a graph's operations down as layers over buffers.

use std::collections::HashSet;

use candle_core::{Result, Tensor, bail};

use super::choice::{self, OffEngine};
use super::fuse::fuse;
use super::layers::{
    Buffer, Channel, Conv, ConvId, DataGradient, Destination, Finish, FinishId, LayerId, Layers, Norm, Pool, PoolId,
};
use super::program::{Mode, Program};
use super::schedule::{self, Backward};
use crate::graph::{Graph, Op, Value};
use crate::kernels::batch16::geometry::Geometry;
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

/// What came of it, unless it was refused.
pub(crate) type Lowered<T> = std::result::Result<T, Refusal>;

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
) -> Lowered<(Layers, Program)> {
    let mut lowering = Lowering::new(mode, winograd);
    for (index, op) in graph.ops().iter().enumerate() {
        let plane = lowering.lower(op, graph.channels(Value::from_index(index)), image)?;
        lowering.values.push(plane);
    }
    lowering.program(output)
}

/// A value: where its channels lie, and their size.
#[derive(Clone)]
struct Map {
    channels: Vec<Channel>,
    size: (usize, usize),
}

/// The graph so far.
struct Lowering {
    mode: Mode,
    winograd: bool,
    layers: Layers,
    order: Vec<LayerId>,
    buffers: Vec<Buffer>,
    parameters: Vec<Tensor>,
    /// By value of the graph.
    values: Vec<Map>,
    macs: u64,
    activations: u64,
}

impl Lowering {
    fn new(mode: Mode, winograd: bool) -> Self {
        Self {
            mode,
            winograd,
            layers: Layers::default(),
            order: Vec::new(),
            buffers: Vec::new(),
            parameters: Vec::new(),
            values: Vec::new(),
            macs: 0,
            activations: 0,
        }
    }

    /// The value of an operation with so many channels.
    fn lower(&mut self, op: &Op, channels: usize, (image_channels, h, w): (usize, usize, usize)) -> Lowered<Map> {
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
                self.pool(Windows::new(x.size, *kernel, *stride, *padding, false)?, true, x)
            }
            Op::AvgPool { x, kernel, stride, ceil_mode } => {
                let x = self.value(*x);
                self.pool(Windows::new(x.size, *kernel, *stride, 0, *ceil_mode)?, false, x)
            }
            Op::GlobalAvgPool { x } => {
                let x = self.value(*x);
                // One window, cut to the image by its edges.
                let side = x.size.0.max(x.size.1);
                let windows = Windows { input: x.size, output: (1, 1), kernel: side, stride: side, padding: 0 };
                self.pool(windows, false, x)
            }
            Op::Slice { x, channels } => {
                let x = &self.values[x.index()];
                Map { channels: x.channels[channels.clone()].to_vec(), size: x.size }
            }
            Op::Concat { parts } => self.concat(parts)?,
            Op::Shuffle { x, groups } => {
                let Map { channels: x, size } = &self.values[x.index()];
                let rows = x.len() / groups;
                Map { channels: (0..x.len()).map(|at| x[at % groups * rows + at / groups]).collect(), size: *size }
            }
            Op::Pad { x, before, after } => {
                let Map { channels: x, size } = &self.values[x.index()];
                let zeros = |count: &usize| vec![Channel::Zero; *count];
                Map { channels: [zeros(before), x.clone(), zeros(after)].concat(), size: *size }
            }
            Op::Custom { .. } => return Err(OffEngine::Custom.into()),
        })
    }

    fn value(&self, value: Value) -> Map {
        self.values[value.index()].clone()
    }

    fn buffer(&mut self, planes: usize, size: (usize, usize)) -> usize {
        self.buffers.push(Buffer::new(planes, size));
        self.buffers.len() - 1
    }

    /// The value that a whole buffer is.
    fn whole(&self, buffer: usize) -> Map {
        Map { channels: self.buffers[buffer].channels(buffer), size: self.buffers[buffer].size }
    }

    fn parameter(&mut self, tensor: &Tensor) -> usize {
        match self.parameters.iter().position(|known| known.id() == tensor.id()) {
            Some(index) => index,
            None => {
                self.parameters.push(tensor.clone());
                self.parameters.len() - 1
            }
        }
    }

    fn norm(&mut self, layer: &BatchNorm2d) -> Norm {
        let (weight, bias) = (self.parameter(&layer.weight), self.parameter(&layer.bias));
        Norm { layer: layer.clone(), weight, bias }
    }

    fn conv(&mut self, x: Map, conv: &Conv2d) -> Result<Map> {
        let spec = conv.spec();
        let dims = [1, spec.in_channels, x.size.0, x.size.1];
        let shape = ConvShape::new(&dims, &spec.weight_shape(), spec.stride, spec.padding, spec.groups)?;
        Ok(self.convolution(shape, &conv.weight, conv.bias.as_ref(), x))
    }

    /// A linear layer is a 1 x 1 convolution of maps of one pixel.
    fn linear(&mut self, x: Map, linear: &Linear) -> Lowered<Map> {
        if x.size != (1, 1) {
            return Err(OffEngine::LinearOfMaps.into());
        }
        let (inputs, outputs) = linear.features();
        let shape = ConvShape::new(&[1, inputs, 1, 1], &[outputs, inputs, 1, 1], 1, 0, 1)?;
        Ok(self.convolution(shape, &linear.weight, Some(&linear.bias), x))
    }

    fn convolution(&mut self, shape: ConvShape, weight: &Tensor, bias: Option<&Tensor>, x: Map) -> Map {
        let (weight, bias) = (self.parameter(weight), bias.map(|bias| self.parameter(bias)));
        self.macs += (shape.y_len() * shape.w_len() / shape.out_channels) as u64;
        self.activations += shape.y_len() as u64;
        let y = self.buffer(shape.out_channels, shape.output);
        // Buffer 0 are the images.
        let first = if self.mode.images() { 0 } else { 1 };
        let wanted = x.channels.iter().any(|channel| channel.buffer().is_some_and(|buffer| buffer >= first));
        let data_gradient = (wanted && self.mode.trains()).then(|| DataGradient {
            kernel: choice::data_gradient(&shape, self.winograd),
            geometry: Geometry::backward(&shape),
            adds: Vec::new(),
        });
        self.order.push(LayerId::Conv(ConvId(self.layers.convs.len())));
        self.layers.convs.push(Conv {
            forward: choice::forward(&shape, self.winograd),
            forward_geometry: Geometry::forward(&shape),
            data_gradient,
            weight_gradient: choice::weight_gradient(&shape),
            shape,
            weight,
            bias,
            x: x.channels,
            y,
            to: Destination { channels: self.buffers[y].channels(y), residual: Vec::new(), relu: false },
            fused: None,
        });
        self.whole(y)
    }

    fn finish(
        &mut self,
        x: Map,
        norm: Option<Norm>,
        bias: Option<usize>,
        residual: Option<Vec<Channel>>,
        relu: bool,
    ) -> Map {
        let y = self.buffer(x.channels.len(), x.size);
        self.order.push(LayerId::Finish(FinishId(self.layers.finishes.len())));
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

    fn pool(&mut self, windows: Windows, max: bool, x: Map) -> Map {
        let y = self.buffer(x.channels.len(), windows.output);
        self.order.push(LayerId::Pool(PoolId(self.layers.pools.len())));
        self.layers.pools.push(Pool { windows, max, x: x.channels, y, adds: Vec::new() });
        self.whole(y)
    }

    fn concat(&self, parts: &[Value]) -> Result<Map> {
        let parts = parts.iter().map(|part| &self.values[part.index()]);
        let mut sizes = parts.clone().map(|part| part.size);
        let Some(size) = sizes.next() else { bail!("graph: nothing is concatenated") };
        match sizes.find(|&other| other != size) {
            Some(other) => Err(different(size, other, "concatenated")),
            None => Ok(Map { channels: parts.flat_map(|part| part.channels.iter().copied()).collect(), size }),
        }
    }

    /// All operations are there: the order of their steps, and what is fused.
    fn program(mut self, output: Value) -> Lowered<(Layers, Program)> {
        let Map { channels: output, size } = self.value(output);
        let tables = self.order.iter().flat_map(|&layer| self.layers.reads(layer));
        if !tables.chain([&*output]).all(names_each_once) {
            return Err(OffEngine::RepeatedChannel.into());
        }
        if self.mode == Mode::Infer {
            fuse(&mut self.layers, &self.order, &output);
        }
        let forward = schedule::forward(&self.layers, &self.order, self.mode);
        let Backward { phases: backward, unread, mut image_gradients } = if self.mode.trains() {
            schedule::backward(&mut self.layers, &self.order, &self.buffers, &output)
        } else {
            Backward::default()
        };
        if !self.mode.images() {
            image_gradients = Vec::new();
        }
        let Self { layers, order, buffers, parameters, macs, activations, .. } = self;
        if buffers.is_empty() {
            return Err(OffEngine::Inputs.into());
        }
        let program = Program {
            order,
            buffers,
            parameters,
            output,
            size,
            forward,
            backward,
            unread,
            image_gradients,
            macs,
            activations,
        };
        Ok((layers, program))
    }
}

/// Whether no channel is there twice: a gradient goes to each plane once.
fn names_each_once(channels: &[Channel]) -> bool {
    let mut seen = HashSet::new();
    channels.iter().all(|channel| *channel == Channel::Zero || seen.insert(*channel))
}

fn different(one: (usize, usize), other: (usize, usize), what: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("graph: values of {one:?} and {other:?} pixels are {what}")).bt()
}
