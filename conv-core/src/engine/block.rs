//! What belongs to a block of 16 images: its memory, and what it contributes to norms and gradients.

use std::time::Duration;

use super::layers::{Buffer, Channel, Finish};
use super::memory::{Content, Slots};
use crate::kernels::batch16::Line;
use crate::kernels::moments::Moments;

/// Where everything lies in every block's memory.
#[derive(Clone, Copy)]
pub(super) struct BlockLayout<'a> {
    pub(super) buffers: &'a [Buffer],
    pub(super) slots: &'a Slots,
}

/// The memory of one block of images.
pub(super) struct Slab<L = Line> {
    /// By slot. While a step writes to a slot, the slot is taken out of here, so that everything else can be read.
    slots: Vec<Vec<L>>,
    /// As long as the longest plane.
    zeros: Vec<L>,
}

/// `L` is a line of 16 images, whose default are zeros.
impl<L: Copy + Default> Slab<L> {
    pub(super) fn new(layout: BlockLayout<'_>) -> Self {
        let longest = layout.buffers.iter().map(|buffer| buffer.pixels).max().unwrap_or(0);
        let slots = layout.slots.lens.iter().map(|&len| vec![L::default(); len]).collect();
        Self { slots, zeros: vec![L::default(); longest] }
    }

    /// What it holds.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.slots.iter().map(Vec::len).sum::<usize>() + self.zeros.len()
    }

    /// The planes of these channels, of values or of gradients as `content` says.
    pub(super) fn planes(
        &self,
        layout: BlockLayout<'_>,
        channels: &[Channel],
        content: impl Fn(usize) -> Content,
    ) -> Vec<&[L]> {
        let pixels = channels.iter().find_map(|channel| channel.buffer()).map(|buffer| layout.buffers[buffer].pixels);
        let pixels = pixels.unwrap_or(self.zeros.len());
        let plane = |channel: &Channel| match *channel {
            Channel::Zero => &self.zeros[..pixels],
            Channel::Plane { buffer, plane } => {
                let slot = layout.slots.slot(content(buffer));
                &self.slots[slot][plane * layout.buffers[buffer].stride..][..pixels]
            }
        };
        channels.iter().map(plane).collect()
    }

    /// Calls `work` with the planes of these channels to be written (none for zeros) and with everything else to be read.
    pub(super) fn write<R>(
        &mut self,
        layout: BlockLayout<'_>,
        channels: &[Channel],
        content: impl Fn(usize) -> Content,
        work: impl FnOnce(&Self, Vec<Option<&mut [L]>>) -> R,
    ) -> R {
        // Each buffer's slot is taken out once; then planes are dealt out of it.
        let mut taken: Vec<(usize, usize, Vec<L>)> = Vec::new();
        for buffer in channels.iter().filter_map(|channel| channel.buffer()) {
            if !taken.iter().any(|&(known, ..)| known == buffer) {
                let slot = layout.slots.slot(content(buffer));
                taken.push((buffer, slot, std::mem::take(&mut self.slots[slot])));
            }
        }
        let result = {
            let mut dealt: Vec<(usize, Vec<Option<&mut [L]>>)> = (taken.iter_mut())
                .map(|(buffer, _, lines)| {
                    let Buffer { pixels, stride, .. } = layout.buffers[*buffer];
                    (*buffer, lines.chunks_exact_mut(stride.max(1)).map(|plane| Some(&mut plane[..pixels])).collect())
                })
                .collect();
            let planes = channels.iter().map(|channel| match *channel {
                Channel::Zero => None,
                Channel::Plane { buffer, plane } => {
                    dealt.iter_mut().find(|(known, _)| *known == buffer).and_then(|(_, planes)| planes[plane].take())
                }
            });
            let planes = planes.collect();
            work(self, planes)
        };
        for (_, slot, lines) in taken {
            self.slots[slot] = lines;
        }
        result
    }

    /// Calls `work` with the channel, `x`, the residual where there is one, and `y` of whatever no convolution finished on its way.
    pub(super) fn finish(
        &mut self,
        layout: BlockLayout<'_>,
        plan: &Finish,
        mut work: impl FnMut(usize, &[L], Option<&[L]>, &mut [L]),
    ) {
        let of = |channels: &[Channel]| plan.left.iter().map(|&c| channels[c]).collect::<Vec<_>>();
        let (x, residual) = (of(&plan.x), plan.residual.as_deref().map(of));
        let to = plan.left.iter().map(|&plane| Channel::Plane { buffer: plan.y, plane }).collect::<Vec<_>>();
        self.write(layout, &to, Content::Value, |slab, planes| {
            let x = slab.planes(layout, &x, Content::Value);
            let added = residual.as_deref().map(|channels| slab.planes(layout, channels, Content::Value));
            for (at, (y, &c)) in planes.into_iter().flatten().zip(&plan.left).enumerate() {
                let residual = match (&residual, &added) {
                    (Some(channels), Some(planes)) if channels[at] != Channel::Zero => Some(planes[at]),
                    _ => None,
                };
                work(c, x[at], residual, y);
            }
        });
    }
}

/// The memory of 16 images, and what they contribute to norms.
pub(crate) struct Block<L = Line> {
    pub(super) slab: Slab<L>,
    /// By finish.
    pub(super) norms: Vec<BlockNorm>,
    /// Images that are there; the other lanes hold zeros at first and are never counted.
    pub(super) images: usize,
}

/// What a block contributes to a norm, by channel.
#[derive(Default)]
pub(super) struct BlockNorm {
    pub(super) moments: Vec<Moments>,
    /// Sums of the gradient, and of the gradient times the distance from the mean.
    pub(super) sums: Vec<(f64, f64)>,
}

impl<L: Copy + Default> Block<L> {
    /// For a network of so many finishes.
    pub(super) fn new(layout: BlockLayout<'_>, finishes: usize) -> Self {
        Self { slab: Slab::new(layout), norms: (0..finishes).map(|_| BlockNorm::default()).collect(), images: 0 }
    }
}

/// What consecutive blocks add their gradients to, one block after the other.
#[derive(Default)]
pub(super) struct Chain {
    /// Gradients, by parameter.
    pub(super) gradients: Vec<Vec<f32>>,
    /// How long each step of the phase took, where that is asked for.
    pub(super) times: Vec<Duration>,
}

impl Chain {
    /// Zeros, as many as each parameter has.
    pub(super) fn clear(&mut self, lens: &[usize]) {
        self.gradients.resize_with(lens.len(), Vec::new);
        for (gradient, &len) in self.gradients.iter_mut().zip(lens) {
            gradient.clear();
            gradient.resize(len, 0.0);
        }
    }
}
