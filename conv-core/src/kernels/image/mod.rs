//! Kernels for a single image, whose pixels or channels have to fill the vectors that otherwise 16 images do.
//!
//! A plane is a map with its zero padding around it, so that a tap is a constant offset at every pixel and a kernel need
//! not know where the map ends: see [`PlaneLayout`]. All planes lie in one [`Arena`], and a kernel is a list of where in it to
//! read and write, worked out and checked when the network is packed. Executing it allocates nothing and looks nothing up.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "innermost loops are unsafe throughout: their `# Safety` says of what, and the safe code that calls them why it holds"
)]

mod arena;
mod channels;
mod gate;
mod passes;
mod pixels;
mod repeat;
mod spread;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use arena::{Arena, PlaneLayout, Shared, Spans};
pub(crate) use channels::Channels;
pub(crate) use gate::{Gate, GateOp, Job};
pub(crate) use passes::{Apply, Pool};
pub(crate) use pixels::Pixels;
pub(crate) use repeat::Repeat;
pub(crate) use spread::Spread;
pub(crate) use step::ImageStep;

use crate::kernels::shape::ConvShape;

/// Values that are worked on together: a vector of the widest instruction set, two of the others.
pub(crate) use super::batch16::LANES;

/// Where an output channel goes, as places of its first pixel: `relu?(sum + bias + residual?)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) place: usize,
    pub(crate) bias: f32,
    pub(crate) residual: Option<usize>,
    pub(crate) relu: bool,
}

/// A convolution to be packed.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    pub(crate) shape: &'a ConvShape,
    /// `w[o][c / groups][tap]`
    pub(crate) weights: &'a [f32],
    /// What each output's weights are multiplied with.
    pub(crate) scale: &'a [f32],
    /// The place of each input channel's first pixel.
    pub(crate) sources: &'a [usize],
    pub(crate) targets: &'a [Target],
    /// Of the outputs.
    pub(crate) to: &'a PlaneLayout,
    /// Values in the arena.
    pub(crate) arena: usize,
}

impl Convolution<'_> {
    /// The shape's inputs and outputs of a group, and taps.
    fn group(&self) -> (usize, usize, usize) {
        let s = self.shape;
        (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel * s.kernel)
    }

    /// # Panics
    /// Where a list does not have as many entries as the shape says.
    fn check(&self) {
        let s = self.shape;
        assert!(self.weights.len() == s.w_len() && self.scale.len() == s.out_channels, "single image: weights");
        assert!(self.sources.len() == s.in_channels && self.targets.len() == s.out_channels, "single image: channels");
        assert!(self.to.size == s.output, "single image: the outputs' layout");
    }
}

/// Into how many tasks so many multiply-accumulates are cut: of some microseconds, or of one where there are few, as a step that is
/// shared out costs waiting, and fetching what other threads wrote. A function of the work alone, not of the threads.
pub(crate) fn tasks(macs: usize) -> usize {
    match macs >> 19 {
        0 => 1,
        1 => 2,
        2..4 => 4,
        _ => 8,
    }
}

/// What copying a value costs, in multiply-accumulates.
const COPY: usize = 32;

/// `0..count` in `parts` parts of nearly equal length.
fn part(count: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    count * index / parts..count * (index + 1) / parts
}
