//! Kernels over blocks of 16 images, one image a lane.
//!
//! A *plane* is one channel of a block: a [`Line`] of 16 values a pixel, row by row. Whatever is done to an image is done to
//! 16 in one vector, whatever the channels, the size, the stride and the kernel: no vector is ever partly used, no value is
//! moved across lanes, a tap that meets padding is left out instead of multiplied by zero, and a channel is a contiguous
//! piece of memory that can be read from and written to wherever it lies.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "innermost loops are unsafe throughout: their `# Safety` says of what, and the safe code that calls them why it holds"
)]

pub(crate) mod conv;
mod conv_weights;
pub(crate) mod crossed_gate;
pub(crate) mod depthwise;
pub(crate) mod gate;
pub(crate) mod geometry;
pub(crate) mod group_norm;
pub(crate) mod norm;
pub(crate) mod pool;
#[cfg(test)]
mod tests;
pub(crate) mod weight;
pub(crate) mod weight_channels;
pub(crate) mod winograd;

/// Images in a block.
pub(crate) const LANES: usize = 16;

/// The values of one pixel of one channel in the images of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

impl Line {
    pub(crate) const ZERO: Line = Line([0.0; LANES]);

    /// `f(lane)` for every lane. In a [`Task`](crate::kernels::simd::Task) the compiler makes vectors of it.
    #[inline(always)]
    fn each(f: impl Fn(usize) -> f32) -> Line {
        let mut line = Line::ZERO;
        for lane in 0..LANES {
            line.0[lane] = f(lane);
        }
        line
    }

    #[cfg(test)]
    fn splat(value: f32) -> Self {
        Line([value; LANES])
    }
}

/// Lines that [`to_lines`] and [`to_rows`] transpose at a time: they stay in the first-level cache while each image's values
/// are read or written.
const TURNED: usize = 64;

/// Rows of images, `values` apart, to lines: `lines[v][image] = rows[image][v]`, 0 for images that are not there.
pub(crate) fn to_lines(rows: &[f32], values: usize, lines: &mut [Line]) {
    for (at, lines) in (0..).step_by(TURNED).zip(lines.chunks_mut(TURNED)) {
        lines.fill(Line::ZERO);
        for (image, row) in rows.chunks(values).take(LANES).enumerate() {
            for (line, &value) in lines.iter_mut().zip(&row[at..]) {
                line.0[image] = value;
            }
        }
    }
}

/// The inverse of [`to_lines`]. What of the rows there are no lines for is left as it is.
pub(crate) fn to_rows(lines: &[Line], values: usize, rows: &mut [f32]) {
    for (at, lines) in (0..).step_by(TURNED).zip(lines.chunks(TURNED)) {
        for (image, row) in rows.chunks_mut(values).take(LANES).enumerate() {
            for (value, line) in row[at..].iter_mut().zip(lines) {
                *value = line.0[image];
            }
        }
    }
}
