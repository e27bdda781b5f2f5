//! From a graph to steps over planes: which memory holds what, and in which order blocks of images are worked on.
//!
//! A channel of a value is a [`Channel`]: a plane of a buffer, wherever that lies. Slices, concatenations and shuffles are
//! therefore no work: they only say where to read. Convolutions, finishes (norm, residual, ReLU) and poolings fill buffers.
//!
//! Steps form [`Phase`]s. Within a phase every block of images goes through all steps by itself; a phase ends where batch
//! norm needs sums over all blocks. Without training there is a single phase.

use candle_core::{Result, Tensor};

use super::fuse;
use crate::graph::{Graph, Op, Value};
use crate::kernels::conv::Shape;
use crate::kernels::lanes::geometry::Geometry;
use crate::kernels::pool::Windows;
use crate::layers::BatchNorm2d;

/// Where a channel of a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    Zero,
    Plane { buffer: usize, plane: usize },
}

/// Planes of one size that are allocated together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) planes: usize,
    /// Pixels of a plane.
    pub(super) pixels: usize,
    /// Lines from one plane to the next.
    pub(super) stride: usize,
}

impl Buffer {
    fn new(planes: usize, pixels: usize) -> Self {
        // Planes of a round size would all begin in the same few sets of the caches: a convolution that reads a pixel of
        // every channel would then find none of them again.
        let stride = if pixels.is_multiple_of(32) { pixels + 5 } else { pixels };
        Self { planes, pixels, stride }
    }

    pub(super) fn lines(&self) -> usize {
        self.planes * self.stride
    }
}

/// A convolution or linear layer.
pub(super) struct Conv {
    pub(super) shape: Shape,
    /// Indices of the parameters.
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) x: Vec<Channel>,
    pub(super) y: usize,
    /// The finish that is done while the outputs are still in registers, and the channel of it that each output is.
    pub(super) fused: Option<(usize, Vec<usize>)>,
    pub(super) forward: Geometry,
    pub(super) backward: Geometry,
    /// Whether anything before it wants a gradient.
    pub(super) data_gradient: bool,
    /// Whether the weights' gradient is made of all blocks at once. Each block for itself finds its planes in the cache, but
    /// ends with a sum over lanes for every weight, and needs a gradient of its own: too dear where the weights are many.
    pub(super) across: bool,
}

/// `y = relu?(norm?(x) + bias? + residual?)`.
pub(super) struct Finish {
    pub(super) norm: Option<Norm>,
    /// Added instead of a norm's shift.
    pub(super) bias: Option<usize>,
    pub(super) relu: bool,
    pub(super) x: Vec<Channel>,
    pub(super) residual: Option<Vec<Channel>>,
    pub(super) y: usize,
    /// By channel: whether a convolution does it on its way ([`Conv::fused`]).
    pub(super) done: Vec<bool>,
}

impl Finish {
    /// The channels of `x` that no convolution has done on its way.
    pub(super) fn left(&self) -> Vec<Channel> {
        self.x.iter().zip(&self.done).filter(|(_, done)| !**done).map(|(channel, _)| *channel).collect()
    }
}

pub(super) struct Norm {
    pub(super) layer: BatchNorm2d,
    pub(super) weight: usize,
    pub(super) bias: usize,
}

pub(super) struct Pool {
    pub(super) windows: Windows,
    pub(super) max: bool,
    pub(super) x: Vec<Channel>,
    pub(super) y: usize,
}

/// What one block of images does; the index is into the program's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Conv(usize),
    /// Moments of what a norm is about to normalise.
    Measure(usize),
    Apply(usize),
    Pool(usize),
    /// Sums that a norm's gradient needs; the residual's gradient.
    Sums(usize),
    ApplyGradient(usize),
    DataGradient(usize),
    WeightGradient(usize),
    PoolGradient(usize),
}

impl Step {
    /// The layer it belongs to.
    pub(super) fn layer(self, program: &Program) -> &Layer {
        let (Step::Conv(index)
        | Step::Measure(index)
        | Step::Apply(index)
        | Step::Pool(index)
        | Step::Sums(index)
        | Step::ApplyGradient(index)
        | Step::DataGradient(index)
        | Step::WeightGradient(index)
        | Step::PoolGradient(index)) = self;
        &program.layers[index]
    }
}

/// What ends a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Batch statistics of this finish, from its blocks' moments.
    Moments(usize),
    /// Gradients of this finish's norm, from its blocks' sums.
    Sums(usize),
    /// This convolution's weight gradient.
    Weights(usize),
    Nothing,
}

pub(super) struct Phase {
    pub(super) steps: Vec<Step>,
    pub(super) sync: Sync,
}

/// A layer of the program: what a [`Step`] points at.
pub(super) enum Layer {
    Conv(Conv),
    Finish(Finish),
    Pool(Pool),
}

/// A network for images of one size.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) parameters: Vec<Tensor>,
    pub(super) input: Buffer,
    pub(super) output: Vec<Channel>,
    pub(super) forward: Vec<Phase>,
    pub(super) backward: Vec<Phase>,
    /// For each layer that passes gradients on: whether the gradient of its `x` (and residual) adds to what is there.
    pub(super) adds: Vec<Adds>,
    /// Multiply-accumulates and activations of an image, as [`crate::meter`] counts them.
    pub(super) macs: u64,
    pub(super) activations: u64,
}

/// By channel of the layer's `x` and of its residual.
#[derive(Clone, Debug, Default)]
pub(super) struct Adds {
    pub(super) x: Vec<bool>,
    pub(super) residual: Vec<bool>,
}

/// Where a convolution's outputs go.
pub(super) struct Destination {
    pub(super) channels: Vec<Channel>,
    /// What is added, by output; empty where nothing is.
    pub(super) residual: Vec<Channel>,
    pub(super) relu: bool,
}

/// Whether a network is to be trained or only used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Train,
    Infer,
}

impl Program {
    /// All planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<Channel> {
        (0..self.buffers[buffer].planes).map(|plane| Channel::Plane { buffer, plane }).collect()
    }

    pub(super) fn destination(&self, conv: &Conv) -> Destination {
        let fused = conv.fused.as_ref().map(|(finish, channels)| (&self.layers[*finish], channels));
        match fused {
            Some((Layer::Finish(finish), channels)) => Destination {
                channels: channels.iter().map(|&plane| Channel::Plane { buffer: finish.y, plane }).collect(),
                residual: channels.iter().filter_map(|&c| Some(finish.residual.as_ref()?[c])).collect(),
                relu: finish.relu,
            },
            _ => Destination { channels: self.all(conv.y), residual: Vec::new(), relu: false },
        }
    }

    /// The program of `output` for images of `[channels, h, w]`; none where the graph has what these steps do not know.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn new(graph: &Graph, output: Value, image: (usize, usize, usize), mode: Mode) -> Result<Option<Self>> {
        let mut lowering = Lowering::default();
        for (index, op) in graph.ops().iter().enumerate() {
            if !lowering.push(op, graph.channels(Value::from_index(index)), image)? {
                return Ok(None);
            }
        }
        Ok(lowering.finish(output, mode))
    }
}

/// The graph so far.
#[derive(Default)]
struct Lowering {
    layers: Vec<Layer>,
    buffers: Vec<Buffer>,
    parameters: Vec<Tensor>,
    /// By value: its channels, and its size.
    values: Vec<(Vec<Channel>, (usize, usize))>,
    macs: u64,
    activations: u64,
}

impl Lowering {
    fn buffer(&mut self, planes: usize, size: (usize, usize)) -> usize {
        self.buffers.push(Buffer::new(planes, size.0 * size.1));
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
    fn push(&mut self, op: &Op, channels: usize, (image_channels, h, w): (usize, usize, usize)) -> Result<bool> {
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
        let data_gradient = x.iter().any(|channel| matches!(channel, Channel::Plane { buffer, .. } if *buffer > 0));
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

    fn finish(mut self, output: Value, mode: Mode) -> Option<Program> {
        let (output, size) = self.values.swap_remove(output.index());
        // Logits are one pixel a class, each a plane of its own.
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
        if size != (1, 1) || !whole(&output) || !tables.into_iter().all(|table| whole(table)) {
            return None;
        }
        if mode == Mode::Infer {
            fuse::fuse(&mut self.layers, self.buffers.len(), &output);
        }
        let forward = forward_phases(&self.layers, mode);
        let (backward, adds) = match mode {
            Mode::Train => backward_phases(&self.layers, &self.buffers, &output)?,
            Mode::Infer => (Vec::new(), Vec::new()),
        };
        let (macs, activations, input) = (self.macs, self.activations, *self.buffers.first()?);
        let Self { layers, buffers, parameters, .. } = self;
        Some(Program { layers, buffers, parameters, input, output, forward, backward, adds, macs, activations })
    }
}

fn forward_phases(layers: &[Layer], mode: Mode) -> Vec<Phase> {
    let (mut phases, mut steps) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        match layer {
            Layer::Conv(_) => steps.push(Step::Conv(index)),
            Layer::Pool(_) => steps.push(Step::Pool(index)),
            Layer::Finish(finish) => {
                if finish.norm.is_some() && mode == Mode::Train {
                    steps.push(Step::Measure(index));
                    phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Moments(index) });
                }
                if finish.done.contains(&false) {
                    steps.push(Step::Apply(index));
                }
            }
        }
    }
    phases.push(Phase { steps, sync: Sync::Nothing });
    phases
}

/// The layers in reverse, with where each gradient is stored first and added later. None if a gradient is wanted of a plane
/// that nothing reads.
fn backward_phases(layers: &[Layer], buffers: &[Buffer], output: &[Channel]) -> Option<(Vec<Phase>, Vec<Adds>)> {
    let mut written: Vec<Vec<bool>> = buffers.iter().map(|buffer| vec![false; buffer.planes]).collect();
    let mut write = |channels: &[Channel]| -> Vec<bool> {
        let visit = |channel: &Channel| match *channel {
            Channel::Zero => false,
            Channel::Plane { buffer, plane } => std::mem::replace(&mut written[buffer][plane], true),
        };
        channels.iter().map(visit).collect()
    };
    write(output);
    let mut adds = vec![Adds::default(); layers.len()];
    let (mut phases, mut steps) = (Vec::new(), Vec::new());
    let mut complete = Vec::new();
    for (index, layer) in layers.iter().enumerate().rev() {
        match layer {
            Layer::Conv(conv) => {
                complete.push(conv.y);
                match conv.across {
                    true => {
                        phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Weights(index) });
                    }
                    false => steps.push(Step::WeightGradient(index)),
                }
                if conv.data_gradient {
                    adds[index].x = write(&conv.x);
                    steps.push(Step::DataGradient(index));
                }
            }
            Layer::Pool(pool) => {
                complete.push(pool.y);
                adds[index].x = write(&pool.x);
                steps.push(Step::PoolGradient(index));
            }
            Layer::Finish(finish) => {
                complete.push(finish.y);
                adds[index].residual = finish.residual.as_deref().map(&mut write).unwrap_or_default();
                steps.push(Step::Sums(index));
                if finish.norm.is_some() {
                    phases.push(Phase { steps: std::mem::take(&mut steps), sync: Sync::Sums(index) });
                }
                adds[index].x = write(&finish.x);
                steps.push(Step::ApplyGradient(index));
            }
        }
    }
    phases.push(Phase { steps, sync: Sync::Nothing });
    // Planes that nobody read, a convolution whose channels were cut for instance, have no gradient to pass on.
    let all = complete.iter().all(|&buffer| written[buffer].iter().all(|&written| written));
    all.then_some((phases, adds))
}
