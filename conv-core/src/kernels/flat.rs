//! Convolution of a single image where a group has few outputs: the vector's lanes are pixels.
//!
//! The planes a band of rows needs are laid out with their padding, so that in one long row of positions a tap is a constant
//! offset. Stride 1 only; the positions of the padding are computed for nothing.

use std::ops::Range;

use super::conv::Shape;
use super::scratch;
use super::simd::{Path, Simd, Task};
use super::single::Output;

/// Rows of a register tile.
const ROWS: usize = 4;

/// Weights of all groups as tiles read them, each output's times its `scale`: `[group][block of rows][channel][tap][row]`.
pub(crate) fn pack(w: &[f32], scale: &[f32], groups: usize, channels: usize, taps: usize) -> Vec<f32> {
    let outputs = scale.len() / groups;
    let mut packed = Vec::with_capacity(w.len());
    for group in 0..groups {
        for first in (0..outputs).step_by(ROWS) {
            for position in 0..channels * taps {
                for o in group * outputs + first..group * outputs + outputs.min(first + ROWS) {
                    packed.push(w[o * channels * taps + position] * scale[o]);
                }
            }
        }
    }
    packed
}

/// Rows `rows` of a group's outputs, of which `to` holds just these.
pub(crate) fn convolve(
    path: Path,
    s: &Shape,
    weights: &[f32],
    from: &[&[f32]],
    rows: Range<usize>,
    to: &mut [Output<'_>],
) {
    let (height, width) = s.input;
    assert!(s.stride == 1 && from.iter().all(|plane| plane.len() == height * width), "flat: source planes");
    assert!(to.iter().all(|to| to.plane.len() == rows.len() * s.output.1), "flat: destination planes");
    assert!(weights.len() == to.len() * from.len() * s.kernel * s.kernel, "flat: weights");
    let pitch = width + 2 * s.padding;
    let sums_len = (rows.len() * pitch).next_multiple_of(TILE);
    // Every tap of every position, those of the last tile included.
    let plane_len = (sums_len + (s.kernel - 1) * pitch + s.kernel).next_multiple_of(16);
    scratch::with(|scratch| {
        let planes = scratch.a.take(from.len() * plane_len);
        planes.fill(0.0);
        for (plane, from) in planes.chunks_exact_mut(plane_len).zip(from) {
            for (line, row) in plane.chunks_exact_mut(pitch).zip(rows.start..rows.end + s.kernel - 1) {
                if let Some(row) = row.checked_sub(s.padding).filter(|&row| row < height) {
                    line[s.padding..s.padding + width].copy_from_slice(&from[row * width..(row + 1) * width]);
                }
            }
        }
        let sums = scratch.b.take(ROWS * sums_len);
        let depth = from.len() * s.kernel * s.kernel;
        for (block, to) in to.chunks_mut(ROWS).enumerate() {
            let weights = &weights[block * ROWS * depth..][..to.len() * depth];
            path.run(Rows { planes, plane_len, pitch, kernel: s.kernel, weights, sums, sums_len, rows: to.len() });
            for (to, sums) in to.iter_mut().zip(sums.chunks_exact(sums_len)) {
                finish(to, sums, pitch, s.output.1);
            }
        }
    });
}

/// Copies the meaningful positions out, with what follows the convolution.
fn finish(to: &mut Output<'_>, sums: &[f32], pitch: usize, width: usize) {
    let floor = if to.relu { 0.0 } else { f32::NEG_INFINITY };
    for (row, (y, sums)) in to.plane.chunks_exact_mut(width).zip(sums.chunks(pitch)).enumerate() {
        match to.residual.map(|residual| &residual[row * width..]) {
            None => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum + to.bias).max(floor)),
            Some(r) => y.iter_mut().zip(sums).zip(r).for_each(|((y, sum), r)| *y = (sum + to.bias + r).max(floor)),
        }
    }
}

/// Positions per step.
const TILE: usize = 32;

struct Rows<'a> {
    planes: &'a [f32],
    plane_len: usize,
    pitch: usize,
    kernel: usize,
    weights: &'a [f32],
    sums: &'a mut [f32],
    sums_len: usize,
    rows: usize,
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let channels = self.planes.len() / self.plane_len;
        assert_eq!(self.weights.len(), self.rows * channels * self.kernel * self.kernel);
        let reach = (self.kernel - 1) * self.pitch + self.kernel - 1;
        assert!(self.rows * self.sums_len <= self.sums.len() && self.sums_len.is_multiple_of(TILE));
        assert!(self.sums_len + reach <= self.plane_len);
        for start in (0..self.sums_len).step_by(TILE) {
            // SAFETY: `start + TILE + reach` values lie inside each plane and `start + TILE` inside each row of sums, as
            // asserted; so is the weights' length.
            unsafe {
                match (self.rows, S::LANES) {
                    (4, 16) => self.tile::<S, 4, 2>(start),
                    (3, 16) => self.tile::<S, 3, 2>(start),
                    (2, 16) => self.tile::<S, 2, 2>(start),
                    (_, 16) => self.tile::<S, 1, 2>(start),
                    (4, _) => self.tile::<S, 4, 2>(start),
                    (3, _) => self.tile::<S, 3, 2>(start),
                    (2, _) => self.tile::<S, 2, 4>(start),
                    _ => self.tile::<S, 1, 4>(start),
                }
            }
        }
    }
}

impl Rows<'_> {
    /// [`TILE`] positions of `R` rows, `P` vectors at a time.
    ///
    /// # Safety
    /// As stated where it is called.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(&mut self, start: usize) {
        for start in (start..start + TILE).step_by(P * S::LANES) {
            // SAFETY: handed on.
            unsafe {
                let mut sums = [[S::splat(0.0); P]; R];
                let mut weights = self.weights.as_ptr();
                for plane in self.planes.chunks_exact(self.plane_len) {
                    for row in 0..self.kernel {
                        for column in 0..self.kernel {
                            let x = plane.as_ptr().add(start + row * self.pitch + column);
                            let mut values = [S::splat(0.0); P];
                            for (p, value) in values.iter_mut().enumerate() {
                                *value = S::load(x.add(p * S::LANES));
                            }
                            for (r, sums) in sums.iter_mut().enumerate() {
                                let weight = S::splat(*weights.add(r));
                                for (sum, &value) in sums.iter_mut().zip(&values) {
                                    *sum = S::mul_add(weight, value, *sum);
                                }
                            }
                            weights = weights.add(R);
                        }
                    }
                }
                for (r, row) in sums.iter().enumerate() {
                    for (p, &sum) in row.iter().enumerate() {
                        S::store(self.sums.as_mut_ptr().add(r * self.sums_len + start + p * S::LANES), sum);
                    }
                }
            }
        }
    }
}
