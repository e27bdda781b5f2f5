//! The weights' gradient over all blocks where maps are small and channels many: the lanes are input channels.
//!
//! With images as lanes every weight ends in a sum over lanes, which on a 2 x 2 map costs more than the products before it.
//! Here the inputs are first transposed, so that a line holds 16 channels, and the outputs' gradients are broadcast: there is
//! no sum over lanes at all, and one transposed input serves every output and tap.

use std::ops::Range;

use super::weight::Reach;
use super::{LANES, Line};
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Simd, Task};
use crate::kernels::tiles::tiles;

/// Inputs of all blocks, 16 channels a line: `[channel / 16][block][pixel][image]`, zero where there is no channel.
pub(crate) struct Turned {
    lines: Vec<Line>,
    blocks: usize,
    pixels: usize,
}

impl Turned {
    /// From the planes of each block.
    pub(crate) fn new(blocks: &[Vec<&[Line]>], pixels: usize) -> Self {
        use rayon::prelude::*;

        let channels = blocks.first().map_or(0, Vec::len);
        let per_block = pixels * LANES;
        let mut lines = vec![Line::ZERO; channels.div_ceil(LANES) * blocks.len() * per_block];
        lines.par_chunks_mut((blocks.len() * per_block).max(1)).enumerate().for_each(|(group, lines)| {
            for (planes, lines) in blocks.iter().zip(lines.chunks_exact_mut(per_block)) {
                let planes = &planes[group * LANES..channels.min((group + 1) * LANES)];
                for (pixel, lines) in lines.chunks_exact_mut(LANES).enumerate() {
                    for (channel, plane) in planes.iter().enumerate() {
                        let from = &plane[pixel].0;
                        lines.iter_mut().zip(from).for_each(|(line, value)| line.0[channel] = *value);
                    }
                }
            }
        });
        Self { lines, blocks: blocks.len(), pixels }
    }

    fn groups(&self) -> usize {
        self.lines.len() / (self.blocks * self.pixels * LANES).max(1)
    }
}

/// `dw[o][c][tap] += sum over blocks, images and pixels of dy[o] x[c]` for some outputs, no more than a register tile's.
pub(crate) struct ByChannels<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) x: &'a Turned,
    /// The planes of each block's outputs, all of them.
    pub(crate) dy: &'a [Vec<&'a [Line]>],
    pub(crate) outputs: Range<usize>,
    pub(crate) dw: &'a mut [f32],
}

impl Task for ByChannels<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        let count = self.outputs.len();
        let pixels = s.output.0 * s.output.1;
        assert!(s.groups == 1 && self.x.pixels == s.input.0 * s.input.1, "weight gradient: inputs");
        assert!(self.x.groups() == s.in_channels.div_ceil(LANES), "weight gradient: channels");
        assert!(self.dy.len() == self.x.blocks && self.outputs.end <= s.out_channels, "weight gradient: outputs");
        assert!(
            self.dy
                .iter()
                .all(|planes| planes.len() == s.out_channels && planes.iter().all(|plane| plane.len() == pixels)),
            "weight gradient: output planes"
        );
        assert_eq!(self.dw.len(), count * s.in_channels * s.kernel * s.kernel, "weight gradient: weights");
        let (rows, columns) = s.axes();
        let (rows, columns) = (Reach::of_taps(rows), Reach::of_taps(columns));
        // Two vectors of channels: a line of the narrow paths, two lines of the widest.
        let step = 2usize.div_ceil(S::WIDTH);
        for group in (0..self.x.groups()).step_by(step) {
            for (k, &row) in rows.iter().enumerate() {
                for (l, &column) in columns.iter().enumerate() {
                    let tap = k * s.kernel + l;
                    let vectors = step.min(self.x.groups() - group) * S::WIDTH;
                    // SAFETY: `Reach` holds only outputs inside the output whose inputs lie inside the input; all planes'
                    // lengths and the number of groups are asserted above. Inside `Task::execute`.
                    unsafe {
                        if S::WIDTH == 1 && vectors == 1 {
                            tiles!(count; self.tile(simd, group, tap, row, column);
                                [1 => 1, 2 => 1, 3 => 1, 4 => 1, 5 => 1, 6 => 1, 7 => 1, 8 => 1]
                            );
                        } else {
                            tiles!(count; S; self.tile(simd, group, tap, row, column);
                                wide [1 => 2, 2 => 2, 3 => 2, 4 => 2, 5 => 2, 6 => 2, 7 => 2, 8 => 2],
                                narrow [1 => 2, 2 => 2, 3 => 2, 4 => 2, 5 => 2, 6 => 2]
                            );
                        }
                    }
                }
            }
        }
    }
}

impl ByChannels<'_> {
    /// One tap of `R` outputs and `H` vectors of channels from those of `group` on.
    ///
    /// # Safety
    /// There are `R` outputs, and `H` vectors from `group` on; the outputs in `row` and `column` lie inside the planes of `dy`,
    /// their inputs inside the turned ones.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const H: usize>(
        &mut self,
        simd: S,
        group: usize,
        tap: usize,
        row: Reach,
        column: Reach,
    ) {
        let s = self.shape;
        let (per_block, taps) = (self.x.pixels * LANES, s.kernel * s.kernel);
        // Vector `h` lies in this group, or in the next, this far on.
        let apart = match S::WIDTH {
            1 => self.x.blocks * per_block * LANES,
            _ => S::LANES,
        };
        let mut values = [[0f32; LANES]; 2];
        let mut sums = [[simd.splat(0.0); H]; R];
        for (block, planes) in self.dy.iter().enumerate() {
            let x = self.x.lines.as_ptr().add((group * self.x.blocks + block) * per_block).cast::<f32>();
            let mut dy = [std::ptr::null::<f32>(); R];
            for (r, plane) in dy.iter_mut().enumerate() {
                *plane = planes.get_unchecked(self.outputs.start + r).as_ptr().cast();
            }
            for oy in row.from..row.to {
                let iy = ((oy * s.stride) as isize + row.shift) as usize;
                for ox in column.from..column.to {
                    let ix = ((ox * s.stride) as isize + column.shift) as usize;
                    let mut x = x.add((iy * s.input.1 + ix) * LANES * LANES);
                    let first = (oy * s.output.1 + ox) * LANES;
                    for image in first..first + LANES {
                        let mut vectors = [simd.splat(0.0); H];
                        for (h, vector) in vectors.iter_mut().enumerate() {
                            *vector = simd.load(x.add(h * apart));
                        }
                        for (sums, plane) in sums.iter_mut().zip(&dy) {
                            let dy = simd.splat(*plane.add(image));
                            for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                                *sum = simd.mul_add(dy, vector, *sum);
                            }
                        }
                        x = x.add(LANES);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (h, sum) in sums.into_iter().enumerate() {
                simd.store(values.as_mut_ptr().cast::<f32>().add(h * S::LANES), sum);
            }
            let first = group * LANES;
            let channels = (H * S::LANES).min(s.in_channels - first);
            for (c, value) in values.as_flattened()[..channels].iter().enumerate() {
                self.dw[(r * s.in_channels + first + c) * taps + tap] += value;
            }
        }
    }
}
