//! A convolution's weights in the order in which its register tiles read them.

use crate::kernels::simd::Isa;
use crate::kernels::tiles::uneven_blocks;

/// Weights in the order in which tiles read them: `[group][row block][channel][tap][row]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    pub(super) values: Vec<f32>,
    /// Register tiles, `(first, rows)`.
    pub(super) blocks: Vec<(usize, usize)>,
    pub(super) groups: usize,
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) taps: usize,
}

impl Weights {
    /// For `groups` groups of `rows` destination and `channels` source channels. None are there before [`Weights::pack`].
    pub(crate) fn new(isa: Isa, groups: usize, rows: usize, channels: usize, taps: usize) -> Self {
        Self { values: Vec::new(), blocks: uneven_blocks(isa, rows), groups, rows, channels, taps }
    }

    /// How many pixels are convolved at a time. They share one pass over each row block's weights, and all row blocks read their
    /// sources: so they are as many as the second-level cache holds with all their channels.
    pub(super) fn together(&self) -> usize {
        (CACHE / self.channels.max(1)).clamp(8, PIXELS)
    }

    /// The memory that holds them, which the caller may take away and give back.
    pub(crate) fn memory(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Fills it: `at(group, row, channel)` gives the `taps` weights, all of a row's times `scale(group, row)`.
    pub(crate) fn pack<'a>(
        &mut self,
        at: impl Fn(usize, usize, usize) -> &'a [f32],
        scale: impl Fn(usize, usize) -> f32,
    ) {
        let (channels, taps) = (self.channels, self.taps);
        self.values.resize(self.groups * self.rows * channels * taps, 0.0);
        let mut rest = self.values.as_mut_slice();
        for group in 0..self.groups {
            for &(first, rows) in &self.blocks {
                let (block, tail) = rest.split_at_mut(rows * channels * taps);
                rest = tail;
                // A channel's weights of all rows are a few lines, which stay near until they are full.
                for (channel, to) in block.chunks_exact_mut((taps * rows).max(1)).enumerate() {
                    for row in 0..rows {
                        let (from, scale) = (at(group, first + row, channel), scale(group, first + row));
                        let to = to[row..].iter_mut().step_by(rows);
                        to.zip(&from[..taps]).for_each(|(to, from)| *to = scale * *from);
                    }
                }
            }
        }
    }
}

/// Destination pixels per pass, at most.
const PIXELS: usize = 24;

/// Lines of sources that the second-level cache is to hold beside everything else it has to hold.
const CACHE: usize = 4096;
