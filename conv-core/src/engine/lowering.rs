//! Writes a graph's operations down as layers over buffers.

use candle_core::{Result, Tensor};

use super::fuse::fuse;
use super::phases::{backward_phases, forward_phases};
use super::plan::{Buffer, Channel, Conv, Finish, Layer, Mode, Norm, Pool, Program};
use crate::graph::{Op, Value};
use crate::kernels::conv::Shape;
use crate::kernels::lanes::geometry::Geometry;
use crate::kernels::pool::Windows;

/// The graph so far.
pub(super) struct Lowering {
    mode: Mode,
    layers: Vec<Layer>,
    buffers: Vec<Buffer>,
    parameters: Vec<Tensor>,
    /// By value: its channels, and its size.
    values: Vec<(Vec<Channel>, (usize, usize))>,
    macs: u64,
    activations: u64,
}

impl Lowering {
    pub(super) fn new(mode: Mode) -> Self {
        let (layers, buffers, parameters, values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { mode, layers, buffers, parameters, values, macs: 0, activations: 0 }
    }

    fn buffer(&mut self, planes: usize, size: (usize, usize)) -> usize {
        self.buffers.push(Buffer::new(planes, size));
        self.buffers.len() - 1
    }

    /// The channels of a whole buffer are the value.
    fn fill(&mut self, buffer: usize, size: (usize, usize)) {
        let planes = (0..self.buffers[buffer].planes).map(|plane| Channel::Plane { buffer, plane });
        self.values.push((planes.collect(), size));
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

    /// Adds an operation; false if there is no step for it.
    pub(super) fn push(
        &mut self,
        op: &Op,
        channels: usize,
        (image_channels, h, w): (usize, usize, usize),
    ) -> Result<bool> {
        let value = |value: &Value| &self.values[value.index()];
        match op {
            Op::Input => {
                // One input, the images.
                if !self.values.is_empty() || channels != image_channels {
                    return Ok(false);
                }
                let buffer = self.buffer(channels, (h, w));
                self.fill(buffer, (h, w));
            }
            Op::Conv { x, conv } => {
                let ((x, size), spec) = (value(x).clone(), conv.spec());
                let dims = [1, spec.in_channels, size.0, size.1];
                let shape = Shape::new(&dims, &spec.weight_shape(), spec.stride, spec.padding, spec.groups)?;
                self.convolution(shape, &conv.weight, conv.bias.as_ref(), x);
            }
            Op::Linear { x, linear } => {
                let (x, size) = value(x).clone();
                let (inputs, outputs) = linear.features();
                if size != (1, 1) {
                    return Ok(false);
                }
                let shape = Shape::new(&[1, inputs, 1, 1], &[outputs, inputs, 1, 1], 1, 0, 1)?;
                self.convolution(shape, &linear.weight, Some(&linear.bias), x);
            }
            Op::Finish { x, norm, residual, relu } => {
                let (x, size) = value(x).clone();
                let residual = match residual.as_ref().map(value) {
                    Some((_, other)) if *other != size => candle_core::bail!("graph: {size:?} and {other:?} are added"),
                    other => other.map(|(channels, _)| channels.clone()),
                };
                let norm = norm.as_ref().map(|layer| Norm {
                    layer: layer.clone(),
                    weight: self.parameter(&layer.weight),
                    bias: self.parameter(&layer.bias),
                });
                let y = self.buffer(channels, size);
                self.layers.push(Layer::Finish(Finish {
                    norm,
                    bias: None,
                    relu: *relu,
                    done: vec![false; channels],
                    x,
                    residual,
                    y,
                }));
                self.fill(y, size);
            }
            Op::Slice { x, channels } => {
                let (x, size) = value(x);
                let sliced = (x[channels.clone()].to_vec(), *size);
                self.values.push(sliced);
            }
            Op::Concat { parts } => {
                let size = value(&parts[0]).1;
                if parts.iter().any(|part| value(part).1 != size) {
                    candle_core::bail!("graph: values of different sizes are concatenated");
                }
                let joined = parts.iter().flat_map(|part| value(part).0.iter().copied()).collect();
                self.values.push((joined, size));
            }
            Op::Shuffle { x, groups } => {
                let (x, size) = value(x);
                let rows = x.len() / groups;
                let shuffled = (0..x.len()).map(|at| x[at % groups * rows + at / groups]).collect();
                let size = *size;
                self.values.push((shuffled, size));
            }
            Op::Pad { x, before, after } => {
                let (x, size) = value(x);
                let zeros = |count: &usize| vec![Channel::Zero; *count];
                let padded = ([zeros(before), x.clone(), zeros(after)].concat(), *size);
                self.values.push(padded);
            }
            Op::MaxPool { x, kernel, stride, padding } => {
                let (x, size) = value(x).clone();
                self.pool(Windows::new(size, *kernel, *stride, *padding, false)?, true, x);
            }
            Op::AvgPool { x, kernel, stride, ceil_mode } => {
                let (x, size) = value(x).clone();
                self.pool(Windows::new(size, *kernel, *stride, 0, *ceil_mode)?, false, x);
            }
            Op::GlobalAvgPool { x } => {
                let (x, size) = value(x).clone();
                // One window, cut to the image by its edges.
                let side = size.0.max(size.1);
                let windows = Windows { input: size, output: (1, 1), kernel: side, stride: side, padding: 0 };
                self.pool(windows, false, x);
            }
            Op::Bias { x, bias } => {
                let (x, size) = value(x).clone();
                let bias = Some(self.parameter(bias));
                let y = self.buffer(channels, size);
                self.layers.push(Layer::Finish(Finish {
                    norm: None,
                    bias,
                    relu: false,
                    done: vec![false; channels],
                    x,
                    residual: None,
                    y,
                }));
                self.fill(y, size);
            }
            Op::Custom { .. } => return Ok(false),
        }
        Ok(true)
    }

    fn convolution(&mut self, shape: Shape, weight: &Tensor, bias: Option<&Tensor>, x: Vec<Channel>) {
        let (weight, bias) = (self.parameter(weight), bias.map(|bias| self.parameter(bias)));
        self.macs += (shape.y_len() * shape.w_len() / shape.out_channels) as u64;
        self.activations += shape.y_len() as u64;
        let y = self.buffer(shape.out_channels, shape.output);
        let (forward, backward) = (Geometry::forward(&shape), Geometry::backward(&shape));
        // Buffer 0 are the images.
        let first = if self.mode.images() { 0 } else { 1 };
        let data_gradient =
            x.iter().any(|channel| matches!(channel, Channel::Plane { buffer, .. } if *buffer >= first));
        let pixels = shape.output.0 * shape.output.1;
        let across = shape.groups == 1 && (shape.w_len() > 1 << 18 || pixels < 64);
        self.layers.push(Layer::Conv(Conv {
            shape,
            weight,
            bias,
            x,
            y,
            fused: None,
            forward,
            backward,
            data_gradient,
            across,
        }));
        self.fill(y, shape.output);
    }

    fn pool(&mut self, windows: Windows, max: bool, x: Vec<Channel>) {
        let y = self.buffer(x.len(), windows.output);
        self.layers.push(Layer::Pool(Pool { windows, max, x, y }));
        self.fill(y, windows.output);
    }

    pub(super) fn finish(mut self, output: Value) -> Option<Program> {
        let mode = self.mode;
        let (output, size) = self.values.swap_remove(output.index());
        let whole = |channels: &[Channel]| {
            let mut seen = std::collections::HashSet::new();
            channels.iter().all(|channel| *channel == Channel::Zero || seen.insert(*channel))
        };
        let tables = self.layers.iter().flat_map(|layer| match layer {
            Layer::Conv(conv) => vec![&conv.x],
            Layer::Finish(finish) => std::iter::once(&finish.x).chain(&finish.residual).collect(),
            Layer::Pool(pool) => vec![&pool.x],
        });
        // A gradient goes to each plane once.
        if !whole(&output) || !tables.into_iter().all(|table| whole(table)) {
            return None;
        }
        if mode == Mode::Infer {
            fuse(&mut self.layers, self.buffers.len(), &output);
        }
        let forward = forward_phases(&self.layers, mode);
        let (backward, adds, image_gradients) = match mode {
            Mode::Train { .. } => backward_phases(&self.layers, &self.buffers, &output),
            Mode::Infer => (Vec::new(), Vec::new(), Vec::new()),
        };
        let image_gradients = if mode.images() { image_gradients } else { Vec::new() };
        let (macs, activations, input) = (self.macs, self.activations, *self.buffers.first()?);
        let Self { layers, buffers, parameters, .. } = self;
        Some(Program {
            layers,
            buffers,
            parameters,
            input,
            output,
            size,
            forward,
            backward,
            adds,
            image_gradients,
            macs,
            activations,
        })
    }
}
