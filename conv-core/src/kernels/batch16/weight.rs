//! The weights' gradient of a block's convolution.

use super::{LANES, Line};
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::taps::Axis;
use crate::kernels::tiles::{even_blocks, tiles};

/// `dw[o][c][tap] += sum over images and pixels of dy[o] x[c]`, weights in PyTorch's order.
pub(crate) struct WeightGradient<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) isa: Isa,
    pub(crate) planes: &'a Planes<'a>,
    pub(crate) dw: &'a mut [f32],
}

/// Planes of a block: all groups' channels in order.
pub(crate) struct Planes<'a, L = Line> {
    pub(crate) x: Vec<&'a [L]>,
    pub(crate) dy: Vec<&'a [L]>,
}

/// Pixels of a plane that are worked on at a time, in whole rows: so a tile's planes stay in the first-level cache until all
/// taps have read them.
const BAND: usize = 32;

/// Where a tap meets no padding along one dimension: outputs `from..to`, the input of output `o` is `o stride + shift`.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shift: isize,
}

impl Reach {
    /// By tap.
    pub(super) fn of_taps(axis: Axis) -> Vec<Self> {
        let reach = |tap| {
            let outputs = axis.outputs(tap);
            Self { from: outputs.start, to: outputs.end, shift: axis.inputs(tap).start }
        };
        (0..axis.kernel).map(reach).collect()
    }
}

impl Task for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let s = self.shape;
        let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
        let Planes { x, dy } = self.planes;
        assert_eq!((x.len(), dy.len()), (s.in_channels, s.out_channels), "weight gradient: channels");
        assert!(x.iter().all(|plane| plane.len() == s.input.0 * s.input.1), "weight gradient: input planes");
        assert!(dy.iter().all(|plane| plane.len() == s.output.0 * s.output.1), "weight gradient: output planes");
        assert_eq!(self.dw.len(), s.w_len(), "weight gradient: weights");
        let (rows, columns) = s.axes();
        let (rows, columns) = (Reach::of_taps(rows), Reach::of_taps(columns));
        let row_blocks = even_blocks(self.isa, outputs);
        let band = (BAND / s.output.1.max(1)).max(1);
        let mut taps = Vec::with_capacity(s.kernel * s.kernel);
        for top in (0..s.output.0).step_by(band) {
            let bottom = (top + band).min(s.output.0);
            taps.clear();
            for (k, row) in rows.iter().enumerate() {
                let row = Reach { from: row.from.max(top), to: row.to.min(bottom), ..*row };
                for (l, &column) in columns.iter().enumerate() {
                    if row.from < row.to && column.from < column.to {
                        taps.push((k * s.kernel + l, row, column));
                    }
                }
            }
            for (group, dw) in self.dw.chunks_exact_mut(outputs * inputs * s.kernel * s.kernel).enumerate() {
                for &(first, count) in &row_blocks {
                    let x = &x[group * inputs..][..inputs];
                    let dy = &dy[group * outputs + first..][..count];
                    let mut tiles = Tiles { s, inputs, taps: &taps, x, dy, dw, first };
                    // SAFETY: the planes' lengths are asserted above, and `Reach` holds only outputs inside the output
                    // whose inputs lie inside the input. The processor has the instructions.
                    unsafe { tiles.rows::<S>(simd, count) };
                }
            }
        }
    }
}

struct Tiles<'a> {
    s: &'a ConvShape,
    inputs: usize,
    /// Those that meet the band, with the outputs that meet them.
    taps: &'a [(usize, Reach, Reach)],
    /// The group's inputs, and the tile's outputs.
    x: &'a [&'a [Line]],
    dy: &'a [&'a [Line]],
    dw: &'a mut [f32],
    /// Place of the tile's first output in `dw`.
    first: usize,
}

impl Tiles<'_> {
    /// # Safety
    /// `dy` has `count` planes and `x` as many as there are inputs; the outputs that `taps` names lie inside the planes of
    /// `dy`, their inputs inside those of `x`.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&mut self, simd: S, count: usize) {
        tiles!(count; S; self.columns(simd);
            wide [1 => 8, 2 => 8, 3 => 6, 4 => 5, 5 => 4, 6 => 4, 7 => 3, 8 => 3],
            narrow [1 => 8, 2 => 4, 3 => 3, 4 => 3, 5 => 2, 6 => 2]
        );
    }

    /// # Safety
    /// As [`Self::rows`], for `R` planes.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize, const C: usize>(&mut self, simd: S) {
        let mut channel = 0;
        // A single channel at the end would keep the multipliers waiting for its loads: four are two and two, and not three
        // and one.
        while self.inputs - channel >= C && (C != 3 || self.inputs - channel != 4) {
            self.tile::<S, R, C>(simd, channel);
            channel += C;
        }
        while self.inputs - channel >= 2 {
            self.tile::<S, R, 2>(simd, channel);
            channel += 2;
        }
        while channel < self.inputs {
            self.tile::<S, R, 1>(simd, channel);
            channel += 1;
        }
    }

    /// # Safety
    /// As [`Self::rows`], for `R` planes; `channel + C` inputs.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(&mut self, simd: S, channel: usize) {
        // All taps, while the tile's planes are in the first-level cache.
        for &(tap, row, column) in self.taps {
            self.tap::<S, R, C>(simd, channel, tap, row, column);
        }
    }

    /// One tap of a tile.
    ///
    /// # Safety
    /// As [`Self::tile`].
    #[inline(always)]
    unsafe fn tap<S: Simd, const R: usize, const C: usize>(
        &mut self,
        simd: S,
        channel: usize,
        tap: usize,
        row: Reach,
        column: Reach,
    ) {
        let (s, taps) = (self.s, self.s.kernel * self.s.kernel);
        let mut totals = [[simd.splat(0.0); C]; R];
        for lane in (0..S::WIDTH).map(|part| part * S::LANES) {
            let mut sums = [[simd.splat(0.0); C]; R];
            let mut dy = [std::ptr::null::<f32>(); R];
            for (r, plane) in dy.iter_mut().enumerate() {
                *plane = self.dy.get_unchecked(r).as_ptr().cast::<f32>().add(lane);
            }
            let mut x = [std::ptr::null::<f32>(); C];
            for (c, plane) in x.iter_mut().enumerate() {
                *plane = self.x.get_unchecked(channel + c).as_ptr().cast::<f32>().add(lane);
            }
            for oy in row.from..row.to {
                let iy = ((oy * s.stride) as isize + row.shift) as usize;
                let mut input = iy * s.input.1 + ((column.from * s.stride) as isize + column.shift) as usize;
                for output in oy * s.output.1 + column.from..oy * s.output.1 + column.to {
                    let mut values = [simd.splat(0.0); C];
                    for (value, plane) in values.iter_mut().zip(&x) {
                        *value = simd.load(plane.add(input * LANES));
                    }
                    for (row, plane) in sums.iter_mut().zip(&dy) {
                        let dy = simd.load(plane.add(output * LANES));
                        for (sum, &value) in row.iter_mut().zip(&values) {
                            *sum = simd.mul_add(dy, value, *sum);
                        }
                    }
                    input += s.stride;
                }
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals.iter_mut().zip(sums).for_each(|(total, &sum)| *total = simd.add(*total, sum));
            }
        }
        let mut sums = [[0f32; C]; R];
        simd.sums(totals.as_flattened(), sums.as_flattened_mut());
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                self.dw[((self.first + r) * self.inputs + channel + c) * taps + tap] += sum;
            }
        }
    }
}
