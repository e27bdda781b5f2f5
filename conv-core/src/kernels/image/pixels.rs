//! Convolution with pixels as lanes: a vector of neighbouring pixels meets one weight. For large maps, few channels, and
//! depthwise convolutions.

use super::{Convolution, LANES, Shared, Spans, Target, part, tasks};
use crate::kernels::batch16::conv::multiply_add;
use crate::kernels::epilogue;
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::tiles::{even_blocks, tiles};

/// A packed convolution of stride 1.
pub(crate) struct Pixels {
    /// `[group][block][channel][tap][row]`
    weights: Vec<f32>,
    blocks: Vec<Block>,
    sources: Vec<usize>,
    /// Where each tap reads, from the output's place in the source.
    taps: Vec<isize>,
    targets: Vec<Target>,
    /// Inputs of a group.
    inputs: usize,
    /// Lines of an output plane.
    lines: usize,
    /// What becomes of a line's positions, see [`super::PlaneLayout::mask`].
    mask: Vec<f32>,
    /// How often blocks and lines are cut into tasks.
    cuts: (usize, usize),
}

/// Outputs that are worked on together.
#[derive(Clone, Copy)]
struct Block {
    /// First of its group's inputs.
    input: usize,
    first: usize,
    rows: usize,
    /// Where its weights begin.
    weights: usize,
}

impl Pixels {
    /// With the taps where `taps` says. Sources are first pixels, and lie as the outputs do.
    pub(crate) fn new(isa: Isa, c: &Convolution<'_>, taps: Vec<isize>) -> Self {
        c.check();
        let (inputs, outputs, kernel) = c.group();
        assert_eq!(taps.len(), kernel, "single image: taps");
        let (mut weights, mut blocks) = (Vec::with_capacity(c.weights.len()), Vec::new());
        for group in 0..c.shape.groups {
            for (first, rows) in even_blocks(isa, outputs) {
                let first = group * outputs + first;
                blocks.push(Block { input: group * inputs, first, rows, weights: weights.len() });
                for position in 0..inputs * kernel {
                    weights
                        .extend((first..first + rows).map(|o| c.weights[o * inputs * kernel + position] * c.scale[o]));
                }
            }
        }
        let macs = c.weights.len() * c.to.lines * LANES;
        // Vectors of 16 are done with it before another thread has fetched its part.
        let (tasks, lines) = (tasks(if isa.is_wide() { macs / 5 * 2 } else { macs }), c.to.lines);
        // Large maps are cut by lines, so that a thread keeps to its part of them from layer to layer.
        let cuts = match (lines >= 4 * tasks, blocks.len() >= tasks) {
            (true, _) => (1, tasks),
            (_, true) => (tasks, 1),
            _ => (blocks.len(), tasks.div_ceil(blocks.len()).min(lines.div_ceil(2))),
        };
        let (sources, targets, mask) = (c.sources.to_vec(), c.targets.to_vec(), c.to.mask());
        let all = Self { weights, blocks, sources, taps, targets, inputs, lines: c.to.lines, mask, cuts };
        let (reads, writes) = all.spans();
        assert!(reads.end().max(writes.end()) <= c.arena, "single image: a place outside of the arena");
        all
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        let span = self.lines * LANES;
        let (low, high) = self.taps.iter().fold((0, 0), |(low, high), &tap| (low.min(tap), high.max(tap)));
        for &source in &self.sources {
            let start = source.checked_add_signed(low).unwrap_or(usize::MAX);
            assert!(start <= source, "single image: a tap before the arena");
            reads.push(start..source + span + high as usize);
        }
        for target in &self.targets {
            writes.push(target.place..target.place + span);
            target.residual.into_iter().for_each(|residual| reads.push(residual..residual + span));
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        self.cuts.0 * self.cuts.1
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// `memory` is an arena as long as the one it was made for; nobody writes what [`Self::spans`] says it reads, or
    /// touches what it writes, but its own other tasks.
    pub(crate) unsafe fn convolve(&self, isa: Isa, memory: Shared, task: usize) {
        let blocks = &self.blocks[part(self.blocks.len(), self.cuts.0, task / self.cuts.1)];
        let lines = part(self.lines, self.cuts.1, task % self.cuts.1);
        isa.execute(ConvolveLines { of: self, memory, blocks, lines });
    }
}

/// Some blocks over some lines, which are a task.
struct ConvolveLines<'a> {
    of: &'a Pixels,
    memory: Shared,
    blocks: &'a [Block],
    lines: std::ops::Range<usize>,
}

impl Task for ConvolveLines<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        for block in self.blocks {
            // SAFETY: `Pixels::new` asserted that all sources (from their first tap to their last) and targets lie in the
            // arena, which the caller of `Pixels::convolve` promises to be this one; `weights` is as long as blocks say.
            unsafe {
                tiles!(block.rows; S; self.columns(simd, block);
                    wide [1 => 8, 2 => 4, 3 => 4, 4 => 4, 5 => 4, 6 => 4, 7 => 3, 8 => 3],
                    narrow [1 => 8, 2 => 5, 3 => 4, 4 => 2, 5 => 2, 6 => 2]
                );
            }
        }
    }
}

impl ConvolveLines<'_> {
    /// All lines of a block of `R` rows, at most `P` vectors at a time.
    ///
    /// # Safety
    /// The block has `R` rows. All places that the lines reach from sources and targets lie in the arena, where nobody writes
    /// what is read or touches what is written.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize, const P: usize>(&self, simd: S, block: &Block) {
        let (mut at, end) = (self.lines.start * LANES, self.lines.end * LANES);
        while at + P * S::LANES <= end {
            self.tile::<S, R, P>(simd, block, at);
            at += P * S::LANES;
        }
        while at + 2 * S::LANES <= end && P > 2 {
            self.tile::<S, R, 2>(simd, block, at);
            at += 2 * S::LANES;
        }
        while at < end {
            self.tile::<S, R, 1>(simd, block, at);
            at += S::LANES;
        }
    }

    /// One register tile: `P` vectors of `R` rows.
    ///
    /// # Safety
    /// As [`Self::columns`], for the `P` vectors from `start` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(&self, simd: S, block: &Block, start: usize) {
        let Pixels { weights, sources, taps, targets, inputs, mask, .. } = self.of;
        let mut sums = [[simd.splat(0.0); P]; R];
        let mut weights = weights.as_ptr().add(block.weights);
        for &source in sources.get_unchecked(block.input..block.input + inputs) {
            let source = self.memory.at(source + start);
            for &tap in taps {
                let source = source.offset(tap);
                multiply_add::<S, R, P>(simd, |p| source.add(p * S::LANES), weights, &mut sums);
                weights = weights.add(R);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let target = targets.get_unchecked(block.first + r);
            let bias = simd.splat(target.bias);
            for (p, sum) in sums.into_iter().enumerate() {
                let at = start + p * S::LANES;
                let residual = target.residual.map(|residual| self.memory.at(residual + at).cast_const());
                let value = epilogue::apply(simd, simd.add(sum, bias), None, residual, target.relu);
                let mask = simd.load(mask.as_ptr().add(at));
                simd.store(self.memory.at(target.place + at), simd.mask(mask, value));
            }
        }
    }
}
