//! The layers of a network as the engine sees them, and where their planes lie.
//!
//! A channel of a value is a [`Channel`]: a plane of a buffer, wherever that lies. Slices, concatenations and shuffles are
//! therefore no work: they only say where to read. Convolutions, finishes (norm, residual, ReLU) and plain layers (poolings,
//! products, ...) fill buffers.

use std::collections::HashSet;
use std::ops::{Index, IndexMut};

use super::choice::{BatchKernel, WeightKernel};
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::map::{Crossing, Map};
use crate::kernels::shape::ConvShape;
use crate::kernels::windows::Windows;
use crate::layers::BatchNorm2d;

/// Where a channel of a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    /// A channel of zeros, which lies nowhere.
    Zero,
    /// A plane of a buffer.
    Plane { buffer: usize, plane: usize },
}

impl Channel {
    pub(super) fn buffer(self) -> Option<usize> {
        match self {
            Self::Zero => None,
            Self::Plane { buffer, .. } => Some(buffer),
        }
    }
}

/// Whether no channel is there twice: a gradient goes to each plane once.
pub(super) fn names_each_once(channels: &[Channel]) -> bool {
    let mut seen = HashSet::new();
    channels.iter().all(|channel| *channel == Channel::Zero || seen.insert(*channel))
}

/// Planes of one size that are allocated together. Buffer 0 holds the images; every other one is filled by one layer.
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

    /// The lines of all its planes.
    pub(super) fn lines(&self) -> usize {
        self.planes * self.stride
    }

    /// The channels of all its planes; `buffer` is its own index.
    pub(super) fn channels(&self, buffer: usize) -> Vec<Channel> {
        (0..self.planes).map(|plane| Channel::Plane { buffer, plane }).collect()
    }
}

/// Names a convolution or linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConvId(pub(super) usize);

/// Names a finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FinishId(pub(super) usize);

/// Names a plain layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PlainId(pub(super) usize);

/// Names a layer of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LayerId {
    Conv(ConvId),
    Finish(FinishId),
    Plain(PlainId),
}

/// A convolution or linear layer.
pub(crate) struct Conv {
    pub(super) shape: ConvShape,
    /// Indices of the parameters.
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) x: Vec<Channel>,
    /// The buffer of its own outputs, and of their gradients.
    pub(super) y: usize,
    pub(super) to: Destination,
    /// The finish that is done while the outputs are still in registers, and the channel of it that each output is.
    pub(super) fused: Option<(FinishId, Vec<usize>)>,
    pub(super) forward: BatchKernel,
    pub(super) forward_geometry: Geometry,
    /// None where nothing before it wants a gradient.
    pub(super) input_gradient: Option<InputGradient>,
    pub(super) weight_gradient: WeightKernel,
}

/// How a convolution's outputs' gradient becomes its inputs'.
pub(super) struct InputGradient {
    pub(super) kernel: BatchKernel,
    pub(super) geometry: Geometry,
    /// By input channel: whether its gradient adds to what is there.
    pub(super) adds: Vec<bool>,
}

/// Where a convolution's outputs go: into its own buffer, or, finished on the way, into that of the finish.
pub(super) struct Destination {
    pub(super) channels: Vec<Channel>,
    /// What is added, by output; empty where nothing is.
    pub(super) residual: Vec<Channel>,
    pub(super) relu: bool,
}

/// `y = relu?(norm?(x) + bias? + residual?)`.
pub(super) struct Finish {
    pub(super) norm: Option<Norm>,
    /// Index of the parameter that is added instead of a norm's shift.
    pub(super) bias: Option<usize>,
    pub(super) relu: bool,
    pub(super) x: Vec<Channel>,
    /// As many channels as `x`, where there is a residual.
    pub(super) residual: Option<Vec<Channel>>,
    pub(super) y: usize,
    /// The channels that no convolution finishes on its way ([`Conv::fused`]), in order.
    pub(super) left: Vec<usize>,
    /// By channel of `x` and of the residual: whether the gradient adds to what is there.
    pub(super) adds: Vec<bool>,
    pub(super) residual_adds: Vec<bool>,
}

impl Finish {
    /// Whether the gradient looks at the output to know where the ReLU was open. Without a residual the input tells as well,
    /// which is read anyway.
    pub(super) fn masked_by_output(&self) -> bool {
        self.relu && (self.residual.is_some() || self.norm.is_none())
    }

    /// Whether it does nothing but add: then the gradient of what it adds is that of the sum.
    pub(super) fn is_sum(&self) -> bool {
        self.norm.is_none() && self.bias.is_none() && !self.relu
    }
}

/// A finish's norm: the layer, and the indices of its parameters.
pub(super) struct Norm {
    pub(super) layer: BatchNorm2d,
    pub(super) weight: usize,
    pub(super) bias: usize,
}

/// A layer that every image goes through by itself, in one step forward and one back.
pub(super) struct Plain {
    pub(super) op: PlainOp,
    pub(super) x: Vec<Channel>,
    pub(super) y: usize,
    /// By channel of `x`: whether the gradient adds to what is there.
    pub(super) adds: Vec<bool>,
}

/// What a plain layer does.
pub(super) enum PlainOp {
    /// The largest value of each window.
    MaxPool(Windows),
    /// Its mean.
    MeanPool(Windows),
    /// Nearest upsampling: the windows are those of a pooling of `y` to `x`.
    Repeat(Windows),
    /// A function of each value.
    Map(Map),
    /// `x` times another value, which has its size or one pixel; where `x` has several times as many channels as the output, the
    /// sum of as many products, one behind the other.
    Product {
        by: Vec<Channel>,
        /// Whether it has one pixel, which meets every one of `x`.
        pixel: bool,
        /// As those of `x`.
        adds: Vec<bool>,
    },
    /// Of half as many channels as `x` has, behind which their gates come.
    CrossedGate(Crossing),
    /// Between so many parts of the channels.
    Softmax {
        parts: usize,
    },
    GroupNorm(GroupNorm),
}

/// A group norm: how it normalises, and the indices of its parameters.
pub(super) struct GroupNorm {
    pub(super) groups: usize,
    pub(super) shares: bool,
    pub(super) eps: f64,
    pub(super) weight: usize,
    pub(super) bias: usize,
}

impl Plain {
    /// What it reads beside `x`, and whether the gradient adds to what is there.
    pub(super) fn by(&self) -> (&[Channel], &[bool]) {
        match &self.op {
            PlainOp::Product { by, adds, .. } => (by, adds),
            _ => (&[], &[]),
        }
    }

    /// Whether its gradient looks at `x` and at `y`.
    pub(super) fn keeps(&self) -> (bool, bool) {
        match self.op {
            PlainOp::MaxPool(_) => (true, true),
            PlainOp::MeanPool(_) | PlainOp::Repeat(_) => (false, false),
            PlainOp::Product { .. } | PlainOp::CrossedGate(_) | PlainOp::GroupNorm(_) => (true, false),
            PlainOp::Map(_) | PlainOp::Softmax { .. } => (false, true),
        }
    }
}

/// All layers, by kind: their plans, as lowering made them ([`Conv`], [`Finish`]), or what an engine holds for each of them,
/// the plan included. An id indexes the list of its own kind alone.
pub(super) struct Layers<C = Conv, F = Finish> {
    pub(super) convs: Vec<C>,
    pub(super) finishes: Vec<F>,
    pub(super) plains: Vec<Plain>,
}

impl<C, F> Default for Layers<C, F> {
    fn default() -> Self {
        Self { convs: Vec::new(), finishes: Vec::new(), plains: Vec::new() }
    }
}

/// A layer is found by its name, whose kind says in which list.
macro_rules! found_by_name {
    ($($id:ident: $list:ident of $layer:ident,)*) => {$(
        impl<C, F> Index<$id> for Layers<C, F> {
            type Output = $layer;

            fn index(&self, id: $id) -> &$layer {
                &self.$list[id.0]
            }
        }

        impl<C, F> IndexMut<$id> for Layers<C, F> {
            fn index_mut(&mut self, id: $id) -> &mut $layer {
                &mut self.$list[id.0]
            }
        }
    )*};
}

found_by_name! {
    ConvId: convs of C,
    FinishId: finishes of F,
    PlainId: plains of Plain,
}

impl Layers {
    /// What a layer reads: its `x`, then its residual or what it multiplies with.
    pub(super) fn reads(&self, layer: LayerId) -> Vec<&[Channel]> {
        match layer {
            LayerId::Conv(id) => vec![&self[id].x],
            LayerId::Finish(id) => std::iter::once(&*self[id].x).chain(self[id].residual.as_deref()).collect(),
            LayerId::Plain(id) => match &self[id].op {
                PlainOp::Product { by, .. } => vec![&self[id].x, by],
                _ => vec![&self[id].x],
            },
        }
    }

    /// The buffer that a layer fills.
    pub(super) fn y(&self, layer: LayerId) -> usize {
        match layer {
            LayerId::Conv(id) => self[id].y,
            LayerId::Finish(id) => self[id].y,
            LayerId::Plain(id) => self[id].y,
        }
    }
}
