//! The windows of a pooling, as every family of kernels reads them.

use std::ops::Range;

use candle_core::{Result, bail};

/// Windows of a pooling over one plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) input: (usize, usize),
    pub(crate) output: (usize, usize),
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Windows {
    /// Windows over planes of `(height, width)`; `ceil_mode` keeps those that the edge cuts.
    ///
    /// # Errors
    /// A window larger than the padded input (unless `ceil_mode`), padding above half the kernel, a zero.
    pub(crate) fn new(
        (height, width): (usize, usize),
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
    ) -> Result<Self> {
        if kernel == 0 || stride == 0 || 2 * padding > kernel {
            bail!(
                "pooling: kernel {kernel} and stride {stride} must be at least 1, padding {padding} at most half the kernel"
            );
        }
        let side = |size: usize| {
            let padded = size + 2 * padding;
            match padded.checked_sub(kernel) {
                Some(room) if !ceil_mode => Ok(room / stride + 1),
                // With ceil mode a window must still start inside the input.
                room if ceil_mode && size > 0 => {
                    let count = room.map_or(1, |room| room.div_ceil(stride) + 1);
                    Ok(if (count - 1) * stride >= size + padding { count - 1 } else { count })
                }
                _ => bail!("pooling: a {kernel} x {kernel} window does not fit a {height} x {width} input"),
            }
        };
        Ok(Windows { input: (height, width), output: (side(height)?, side(width)?), kernel, stride, padding })
    }

    /// The windows of an upsampling, which are those of the pooling back: every one of so many pixels (`output`) `factor` times
    /// along rows and columns, cut to the size of the larger map where that is given (`input`).
    ///
    /// # Errors
    /// A factor of 0, or one that does not lead to that size.
    pub(crate) fn repeating(output: (usize, usize), factor: usize, size: Option<(usize, usize)>) -> Result<Self> {
        let side = |small: usize| small.checked_mul(factor).filter(|&large| large > 0);
        let (Some(height), Some(width)) = (side(output.0), side(output.1)) else {
            bail!("upsampling: {output:?} pixels cannot be there {factor} times");
        };
        let input = size.unwrap_or((height, width));
        let leads_to = |large: usize, small: usize| large.div_ceil(factor) == small;
        if !leads_to(input.0, output.0) || !leads_to(input.1, output.1) {
            bail!("upsampling: {output:?} pixels {factor} times are not {input:?}, nor with a last row or column cut");
        }
        Ok(Windows { input, output, kernel: factor, stride: factor, padding: 0 })
    }

    /// Whether every window lies inside the map.
    pub(crate) fn whole(&self) -> bool {
        let inside = |input: usize, output: usize| (output - 1) * self.stride + self.kernel <= input;
        self.padding == 0 && inside(self.input.0, self.output.0) && inside(self.input.1, self.output.1)
    }

    /// Existing pixels of window `o` along a side of `size`.
    #[inline(always)]
    fn span(&self, o: usize, size: usize) -> Range<usize> {
        let start = o * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel).saturating_sub(self.padding).min(size)
    }

    /// Whether every pixel lies in one window.
    pub(crate) fn partition(&self) -> bool {
        let covered = |input: usize, output: usize| output == input.div_ceil(self.kernel);
        self.padding == 0
            && self.stride == self.kernel
            && covered(self.input.0, self.output.0)
            && covered(self.input.1, self.output.1)
    }

    /// Calls `visit(output index, rows, columns)` for every window.
    #[inline(always)]
    pub(crate) fn each(&self, mut visit: impl FnMut(usize, Range<usize>, Range<usize>)) {
        for y in 0..self.output.0 {
            let rows = self.span(y, self.input.0);
            for x in 0..self.output.1 {
                visit(y * self.output.1 + x, rows.clone(), self.span(x, self.input.1));
            }
        }
    }

    /// Calls `visit` with where each pixel of a window lies in a plane, row by row.
    #[inline(always)]
    pub(crate) fn visit(&self, rows: Range<usize>, columns: Range<usize>, mut visit: impl FnMut(usize)) {
        for row in rows {
            for at in row * self.input.1 + columns.start..row * self.input.1 + columns.end {
                visit(at);
            }
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.input.0 * self.input.1
    }

    pub(super) fn results(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Value and index of the first largest pixel of a window (the first NaN, where there is one).
    pub(super) fn winner(&self, plane: &[f32], rows: Range<usize>, columns: Range<usize>) -> (f32, usize) {
        let start = rows.start * self.input.1 + columns.start;
        let mut best = (plane[start], start);
        for row in rows {
            let start = row * self.input.1 + columns.start;
            for (i, &value) in plane[start..start + columns.len()].iter().enumerate() {
                if value > best.0 || value.is_nan() && !best.0.is_nan() {
                    best = (value, start + i);
                }
            }
        }
        best
    }
}
