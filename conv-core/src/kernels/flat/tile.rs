//! Register tiles of convolutions on flat planes, their innermost loops.
//!
//! Both work on *flat planes* (see `lower.rs`): a channel of a block of images as one long row, in which a kernel tap is a
//! constant offset, so that vector lanes run over output positions and nothing is gathered.

use crate::kernels::simd::{Simd, Task};
use crate::kernels::tiles::tiles;

/// Positions per step over a plane, on every instruction set. Planes are readable this far past their last position.
pub(super) const TILE: usize = 96;

/// `out[o][p] (+)= sum over c, t of weights[o, c, t] x[c][p + offsets[t]]` for all rows `o` and positions `p` in
/// `0..positions`.
pub(super) struct MultiplyAdd<'a> {
    /// `channels` channels, `channel_pitch` apart.
    pub(super) x: &'a [f32],
    pub(super) channel_pitch: usize,
    pub(super) channels: usize,
    /// One per tap, within a channel.
    pub(super) offsets: &'a [usize],
    /// For each row block: `[channel][tap][row of the block]`.
    pub(super) weights: &'a [f32],
    pub(super) blocks: &'a [(usize, usize)],
    /// Rows `out_pitch` apart; `positions` rounded up to [`TILE`] are written in each.
    pub(super) out: &'a mut [f32],
    pub(super) out_pitch: usize,
    pub(super) positions: usize,
    /// Whether `out` holds a sum to be added to.
    pub(super) accumulate: bool,
}

impl Task for MultiplyAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let rows = self.blocks.last().map_or(0, |&(start, rows)| start + rows);
        if rows == 0 || self.channels == 0 || self.offsets.is_empty() || self.positions == 0 {
            return;
        }
        let padded = self.positions.next_multiple_of(TILE);
        let reach = self.offsets.iter().max().copied().unwrap_or(0);
        assert!((self.channels - 1) * self.channel_pitch + reach + padded <= self.x.len(), "input planes too short");
        assert!(padded <= self.out_pitch && rows * self.out_pitch <= self.out.len(), "output planes too short");
        let depth = self.channels * self.offsets.len();
        assert!(rows * depth <= self.weights.len(), "weights too short");
        for start in (0..self.positions).step_by(TILE) {
            for &(row, rows) in self.blocks {
                // SAFETY: a tile reads `x` up to (channels - 1) channel_pitch + reach + start + TILE <= its length, `weights`
                // from row depth, rows depth of them, and writes `rows` rows of `out` at start..start + TILE; all three bounds
                // are asserted above, and blocks lie below `rows`.
                unsafe {
                    let x = self.x.as_ptr().add(start);
                    let weights = self.weights.as_ptr().add(row * depth);
                    let out = self.out.as_mut_ptr().add(row * self.out_pitch + start);
                    tiles!(rows; S; self.columns(simd, x, weights, out);
                        wide [1 => 6, 2 => 6, 4 => 6, 8 => 3], narrow [1 => 6, 2 => 6, 4 => 3]
                    );
                }
            }
        }
    }
}

impl MultiplyAdd<'_> {
    /// One tile of `M` rows and [`TILE`] positions, in register tiles of `M x (N LANES)`.
    ///
    /// # Safety
    /// At `x`, every channel's and tap's [`TILE`] positions can be read; at `weights`, `M` for each of them; at `out`, `M` rows of
    /// [`TILE`] positions can be written. `N LANES` divides [`TILE`].
    #[inline(always)]
    unsafe fn columns<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        x: *const f32,
        weights: *const f32,
        out: *mut f32,
    ) {
        const { assert!(TILE.is_multiple_of(N * S::LANES)) };
        for column in (0..TILE).step_by(N * S::LANES) {
            // SAFETY: the column lies inside the tile that the caller vouches for.
            unsafe { self.register_tile::<S, M, N>(simd, x.add(column), weights, out.add(column)) };
        }
    }

    /// # Safety
    /// As [`Self::columns`], for `N LANES` positions.
    #[inline(always)]
    unsafe fn register_tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        x: *const f32,
        mut weights: *const f32,
        out: *mut f32,
    ) {
        // SAFETY: no pointer below leaves what the caller promises.
        unsafe {
            let mut sums = [[simd.splat(0.0); N]; M];
            if self.accumulate {
                for (m, row) in sums.iter_mut().enumerate() {
                    for (n, sum) in row.iter_mut().enumerate() {
                        *sum = simd.load(out.add(m * self.out_pitch + n * S::LANES));
                    }
                }
            }
            for channel in 0..self.channels {
                let plane = x.add(channel * self.channel_pitch);
                for &offset in self.offsets {
                    let tap = plane.add(offset);
                    let mut values = [simd.splat(0.0); N];
                    for (n, value) in values.iter_mut().enumerate() {
                        *value = simd.load(tap.add(n * S::LANES));
                    }
                    for (m, row) in sums.iter_mut().enumerate() {
                        let weight = simd.splat(*weights.add(m));
                        for (sum, &value) in row.iter_mut().zip(&values) {
                            *sum = simd.mul_add(weight, value, *sum);
                        }
                    }
                    weights = weights.add(M);
                }
            }
            for (m, row) in sums.iter().enumerate() {
                for (n, &sum) in row.iter().enumerate() {
                    simd.store(out.add(m * self.out_pitch + n * S::LANES), sum);
                }
            }
        }
    }
}

/// `sums[o][e] += sum over p in 0..positions of dy[o][p] x[entries[e] + p]`: the weight gradient.
pub(super) struct Correlate<'a> {
    /// Rows `dy_pitch` apart, zero from `positions` to the next multiple of the lanes.
    pub(super) dy: &'a [f32],
    pub(super) dy_pitch: usize,
    pub(super) x: &'a [f32],
    /// Start in `x` of every (channel, tap).
    pub(super) entries: &'a [usize],
    pub(super) blocks: &'a [(usize, usize)],
    pub(super) positions: usize,
    /// `[row][entry]`
    pub(super) sums: &'a mut [f32],
}

impl Task for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(mut self, simd: S) {
        let rows = self.blocks.last().map_or(0, |&(start, rows)| start + rows);
        let padded = self.positions.next_multiple_of(S::LANES);
        let reach = self.entries.iter().max().copied().unwrap_or(0);
        assert!(padded <= self.dy_pitch && rows * self.dy_pitch <= self.dy.len(), "gradient planes too short");
        assert!(reach + padded <= self.x.len(), "input planes too short");
        assert!(rows * self.entries.len() <= self.sums.len(), "sums too short");
        for i in 0..self.blocks.len() {
            let (row, rows) = self.blocks[i];
            // SAFETY: the three asserts bound every read and write of a tile: rows below `rows`, entries in the list, positions
            // below `padded`.
            unsafe {
                tiles!(rows; S; self.entries_in(simd, row);
                    wide [1 => 9, 2 => 9, 4 => 6, 8 => 2], narrow [1 => 9, 2 => 3, 4 => 3]
                );
            }
        }
    }
}

impl Correlate<'_> {
    /// All entries for `M` rows, `N` at a time, the rest in threes and singly.
    ///
    /// # Safety
    /// `M` rows of gradients from `row` on, and as many rows of sums.
    #[inline(always)]
    unsafe fn entries_in<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, row: usize) {
        let mut entry = 0;
        // SAFETY: each call covers entries below the list's length.
        unsafe {
            while self.entries.len() - entry >= N {
                self.register_tile::<S, M, N>(simd, row, entry);
                entry += N;
            }
            while self.entries.len() - entry >= 3 {
                self.register_tile::<S, M, 3>(simd, row, entry);
                entry += 3;
            }
            while entry < self.entries.len() {
                self.register_tile::<S, M, 1>(simd, row, entry);
                entry += 1;
            }
        }
    }

    /// # Safety
    /// As [`Self::entries_in`].
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "indexed loops unroll whole, so that the sums stay in registers")]
    unsafe fn register_tile<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, row: usize, entry: usize) {
        let (pitch, positions, width) = (self.dy_pitch, self.positions, self.entries.len());
        // SAFETY: the asserts of `Self::execute` bound all reads and writes of the rows and entries that the caller promises.
        unsafe {
            let dy = self.dy.as_ptr().add(row * pitch);
            let mut starts = [self.x.as_ptr(); N];
            for (n, start) in starts.iter_mut().enumerate() {
                *start = start.add(*self.entries.get_unchecked(entry + n));
            }
            let mut sums = [[simd.splat(0.0); N]; M];
            let mut p = 0;
            while p < positions {
                let mut values = [simd.splat(0.0); N];
                for n in 0..N {
                    values[n] = simd.load(starts[n].add(p));
                }
                for m in 0..M {
                    let gradient = simd.load(dy.add(m * pitch + p));
                    for n in 0..N {
                        sums[m][n] = simd.mul_add(gradient, values[n], sums[m][n]);
                    }
                }
                p += S::LANES;
            }
            let total = self.sums.as_mut_ptr().add(row * width + entry);
            for m in 0..M {
                for n in 0..N {
                    *total.add(m * width + n) += simd.sum(sums[m][n]);
                }
            }
        }
    }
}
