//! From a graph to steps over planes: which memory holds what, and in which order blocks of images are worked on.
//!
//! A channel of a value is a [`Channel`]: a plane of a buffer, wherever that lies. Slices, concatenations and shuffles are
//! therefore no work: they only say where to read. Convolutions, finishes (norm, residual, ReLU) and poolings fill buffers.
//!
//! Steps form [`Phase`]s. Within a phase every block of images goes through all steps by itself; a phase ends where batch
//! norm needs sums over all blocks. Without training there is a single phase.

use candle_core::{Result, Tensor};

use super::lowering::Lowering;
use crate::graph::{Graph, Value};
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
    pub(super) size: (usize, usize),
    /// Pixels of a plane.
    pub(super) pixels: usize,
    /// Lines from one plane to the next.
    pub(super) stride: usize,
}

impl Buffer {
    pub(super) fn new(planes: usize, size: (usize, usize)) -> Self {
        let pixels = size.0 * size.1;
        // Planes of a round size would all begin in the same few sets of the caches: a convolution that reads a pixel of
        // every channel would then find none of them again.
        let stride = if pixels.is_multiple_of(32) { pixels + 5 } else { pixels };
        Self { planes, size, pixels, stride }
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
    /// Zeros for the gradients of outputs that nothing reads.
    Blank(usize),
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
    /// Of the layer it belongs to.
    pub(super) fn index(self) -> usize {
        let (Step::Blank(index)
        | Step::Conv(index)
        | Step::Measure(index)
        | Step::Apply(index)
        | Step::Pool(index)
        | Step::Sums(index)
        | Step::ApplyGradient(index)
        | Step::DataGradient(index)
        | Step::WeightGradient(index)
        | Step::PoolGradient(index)) = self;
        index
    }

    /// The layer it belongs to.
    pub(super) fn layer(self, program: &Program) -> &Layer {
        &program.layers[self.index()]
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

impl Layer {
    /// The buffer it fills.
    pub(super) fn y(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.y,
            Self::Finish(finish) => finish.y,
            Self::Pool(pool) => pool.y,
        }
    }
}

/// A network for images of one size.
pub(super) struct Program {
    pub(super) layers: Vec<Layer>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) parameters: Vec<Tensor>,
    pub(super) input: Buffer,
    /// The channels of the output, and their size.
    pub(super) output: Vec<Channel>,
    pub(super) size: (usize, usize),
    pub(super) forward: Vec<Phase>,
    pub(super) backward: Vec<Phase>,
    /// For each layer that passes gradients on: whether the gradient of its `x` (and residual) adds to what is there.
    pub(super) adds: Vec<Adds>,
    /// By channel of the images whether it has a gradient that is wanted.
    pub(super) image_gradients: Vec<bool>,
    /// Multiply-accumulates and activations of an image, as [`crate::meter`] counts them.
    pub(super) macs: u64,
    pub(super) activations: u64,
}

/// By channel of the layer's `x` and of its residual.
#[derive(Clone, Debug, Default)]
pub(super) struct Adds {
    pub(super) x: Vec<bool>,
    pub(super) residual: Vec<bool>,
    /// Planes of the layer's output that nothing reads.
    pub(super) unread: Vec<usize>,
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
    /// `images`: whether their gradient is wanted as well as that of the parameters.
    Train {
        images: bool,
    },
    Infer,
}

impl Mode {
    /// Whether the images' gradient is wanted.
    pub(crate) fn images(self) -> bool {
        self == Self::Train { images: true }
    }

    pub(super) fn trains(self) -> bool {
        self != Self::Infer
    }
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
        let mut lowering = Lowering::new(mode);
        for (index, op) in graph.ops().iter().enumerate() {
            if !lowering.push(op, graph.channels(Value::from_index(index)), image)? {
                return Ok(None);
            }
        }
        Ok(lowering.finish(output))
    }
}
