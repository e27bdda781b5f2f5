//! A program: what an engine does with its layers, as steps in an order, over buffers.
//!
//! Steps form [`Phase`]s. Within a phase every block of images goes through all steps by itself; a phase ends with a
//! [`Reduction`], where something is made of all blocks together. In inference there is a single phase.

use candle_core::Tensor;

use super::layers::{Buffer, Channel, ConvId, FinishId, LayerId, PlainId};

/// What one block of images does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Zeros for the gradients of those planes of a buffer that nothing reads.
    Clear {
        buffer: usize,
    },
    Conv(ConvId, Pass),
    Finish(FinishId, FinishStep),
    Plain(PlainId, PlainStep),
}

impl Step {
    /// The layer whose step it is, and in which pass; none for clearing gradients, which belongs to no layer.
    pub(super) fn pass(self) -> Option<(LayerId, Pass)> {
        Some(match self {
            Self::Clear { .. } => return None,
            Self::Conv(id, pass) => (LayerId::Conv(id), pass),
            Self::Finish(id, step) => (
                LayerId::Finish(id),
                match step {
                    FinishStep::Moments | FinishStep::Apply => Pass::Forward,
                    FinishStep::Sums | FinishStep::InputGradient => Pass::InputGradient,
                },
            ),
            Self::Plain(id, step) => (
                LayerId::Plain(id),
                match step {
                    PlainStep::Forward => Pass::Forward,
                    PlainStep::InputGradient => Pass::InputGradient,
                },
            ),
        })
    }
}

/// What a finish does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishStep {
    /// Moments of what the norm is about to normalise.
    Moments,
    Apply,
    /// Sums that the norm's gradient needs; the residual's gradient.
    Sums,
    InputGradient,
}

/// What a plain layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainStep {
    Forward,
    InputGradient,
}

/// What ends a phase: something that is made of all blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduction {
    /// Batch statistics of this finish's norm, from its blocks' moments.
    Moments(FinishId),
    /// Gradients of this finish's norm, from its blocks' sums.
    Sums(FinishId),
    /// This convolution's weight gradient, from its blocks' planes.
    Weights(ConvId),
    Nothing,
}

impl Reduction {
    /// The layer whose reduction it is, and in which pass.
    pub(super) fn pass(self) -> Option<(LayerId, Pass)> {
        match self {
            Self::Moments(id) => Some((LayerId::Finish(id), Pass::Forward)),
            Self::Sums(id) => Some((LayerId::Finish(id), Pass::InputGradient)),
            Self::Weights(id) => Some((LayerId::Conv(id), Pass::WeightGradient)),
            Self::Nothing => None,
        }
    }
}

/// The work of a layer in a pass over the network: going forward there is one, going backward there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Outputs from inputs.
    Forward,
    /// The inputs' gradient from the outputs'.
    InputGradient,
    /// The weights' gradient.
    WeightGradient,
}

impl Pass {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// Steps that every block goes through by itself, and what is made of all blocks after them.
pub(super) struct Phase {
    pub(super) steps: Vec<Step>,
    pub(super) reduction: Reduction,
}

/// The backward pass.
#[derive(Default)]
pub(super) struct Backward {
    pub(super) phases: Vec<Phase>,
    /// By buffer: the planes that nothing reads, of which the gradient is zero.
    pub(super) unread: Vec<Vec<Channel>>,
    /// By buffer and plane: the channel whose gradient is this one's, too, and where it lies. Another one for what a sum alone
    /// reads.
    pub(super) shared: Vec<Vec<Channel>>,
    /// By channel of the images, where their gradient is wanted: whether anything reads it, so that it has one.
    pub(super) image_gradients: Vec<bool>,
}

/// A network for images of one size, beside its layers.
#[derive(Default)]
pub(super) struct Program {
    /// The layers in the order in which the graph has them.
    pub(super) order: Vec<LayerId>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) parameters: Vec<Tensor>,
    /// The channels of the output, and their size.
    pub(super) output: Vec<Channel>,
    pub(super) size: (usize, usize),
    pub(super) forward: Vec<Phase>,
    /// Without phases in inference.
    pub(super) backward: Backward,
    /// Multiply-accumulates and activations of an image, over the steps of [`Program::forward`].
    pub(super) macs: u64,
    pub(super) activations: u64,
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

    pub(crate) fn trains(self) -> bool {
        self != Self::Infer
    }
}

impl Program {
    /// The images' buffer.
    pub(super) fn input(&self) -> Buffer {
        self.buffers[0]
    }

    /// Where the gradient of a channel lies.
    pub(super) fn gradient(&self, channel: Channel) -> Channel {
        match channel {
            Channel::Zero => channel,
            // Inference has no gradients, and no places for them.
            Channel::Plane { buffer, plane } => self.backward.shared.get(buffer).map_or(channel, |of| of[plane]),
        }
    }

    /// All planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<Channel> {
        self.buffers[buffer].channels(buffer)
    }
}
