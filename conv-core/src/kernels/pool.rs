//! Pooling, channel shuffle and ReLU: passes over memory, plane by plane.

use candle_core::{Result, bail};
use rayon::prelude::*;

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

    /// Whether every window lies inside the map.
    pub(crate) fn whole(&self) -> bool {
        let inside = |input: usize, output: usize| (output - 1) * self.stride + self.kernel <= input;
        self.padding == 0 && inside(self.input.0, self.output.0) && inside(self.input.1, self.output.1)
    }

    /// Existing pixels of window `o` along a side of `size`.
    fn span(&self, o: usize, size: usize) -> std::ops::Range<usize> {
        let start = o * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel).saturating_sub(self.padding).min(size)
    }

    /// Calls `visit(output index, rows, columns)` for every window.
    #[inline]
    pub(crate) fn each(&self, mut visit: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>)) {
        for y in 0..self.output.0 {
            let rows = self.span(y, self.input.0);
            for x in 0..self.output.1 {
                visit(y * self.output.1 + x, rows.clone(), self.span(x, self.input.1));
            }
        }
    }

    /// Where the pixels of a window lie in a plane, row by row.
    pub(crate) fn indices(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) -> impl Iterator<Item = usize> + Clone + use<> {
        let width = self.input.1;
        rows.flat_map(move |row| row * width + columns.start..row * width + columns.end)
    }

    fn pixels(&self) -> usize {
        self.input.0 * self.input.1
    }

    fn results(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Value and index of the first largest pixel of a window (the first NaN, where there is one).
    fn winner(&self, plane: &[f32], rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> (f32, usize) {
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

    /// Planes per task: enough that sharing them out is worth it.
    fn planes(&self) -> usize {
        (16 * 1024 / self.pixels().max(1)).max(1)
    }

    /// Runs `work(input plane, output plane)` for every plane, writing the second.
    fn map(&self, x: &[f32], work: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
        let (pixels, results, planes) = (self.pixels(), self.results(), self.planes());
        let mut y = vec![0f32; x.len() / pixels.max(1) * results];
        y.par_chunks_mut(planes * results).zip(x.par_chunks(planes * pixels)).for_each(|(y, x)| {
            y.chunks_exact_mut(results).zip(x.chunks_exact(pixels)).for_each(|(y, x)| work(x, y));
        });
        y
    }
}

pub(crate) fn max_forward(windows: &Windows, x: &[f32]) -> Vec<f32> {
    windows.map(x, |x, y| windows.each(|o, rows, columns| y[o] = windows.winner(x, rows, columns).0))
}

pub(crate) fn max_backward(windows: &Windows, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (pixels, results, planes) = (windows.pixels(), windows.results(), windows.planes());
    let mut dx = vec![0f32; x.len()];
    let chunks = dx.par_chunks_mut(planes * pixels).zip(x.par_chunks(planes * pixels));
    chunks.zip(dy.par_chunks(planes * results)).for_each(|((dx, x), dy)| {
        let planes = dx.chunks_exact_mut(pixels).zip(x.chunks_exact(pixels)).zip(dy.chunks_exact(results));
        for ((dx, x), dy) in planes {
            windows.each(|o, rows, columns| dx[windows.winner(x, rows, columns).1] += dy[o]);
        }
    });
    dx
}

pub(crate) fn average_forward(windows: &Windows, x: &[f32]) -> Vec<f32> {
    windows.map(x, |x, y| {
        windows.each(|o, rows, columns| {
            let count = (rows.len() * columns.len()) as f32;
            let sum: f32 = rows.map(|row| x[row * windows.input.1..][columns.clone()].iter().sum::<f32>()).sum();
            y[o] = sum / count;
        });
    })
}

pub(crate) fn average_backward(windows: &Windows, dy: &[f32]) -> Vec<f32> {
    let (pixels, results, planes) = (windows.pixels(), windows.results(), windows.planes());
    let mut dx = vec![0f32; dy.len() / results.max(1) * pixels];
    dx.par_chunks_mut(planes * pixels).zip(dy.par_chunks(planes * results)).for_each(|(dx, dy)| {
        for (dx, dy) in dx.chunks_exact_mut(pixels).zip(dy.chunks_exact(results)) {
            windows.each(|o, rows, columns| {
                let share = dy[o] / (rows.len() * columns.len()) as f32;
                for row in rows {
                    dx[row * windows.input.1..][columns.clone()].iter_mut().for_each(|dx| *dx += share);
                }
            });
        }
    });
    dx
}

/// `y[:, j groups + i] = x[:, i c / groups + j]`, planes of `pixels`.
pub(crate) fn shuffle(x: &[f32], channels: usize, pixels: usize, groups: usize) -> Vec<f32> {
    let image = channels * pixels;
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(image.max(1)).zip(x.par_chunks(image.max(1))).for_each(|(y, x)| {
        for (to, y) in y.chunks_exact_mut(pixels).enumerate() {
            let from = to % groups * (channels / groups) + to / groups;
            y.copy_from_slice(&x[from * pixels..][..pixels]);
        }
    });
    y
}

const RUN: usize = 16 * 1024;

pub(crate) fn relu(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(RUN).zip(x.par_chunks(RUN)).for_each(|(y, x)| {
        // Written so that NaN stays NaN.
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x < 0.0 { 0.0 } else { x });
    });
    y
}

/// `dy`, but 0 where the output was not positive. Where it was NaN the gradient passes, as in PyTorch.
pub(crate) fn relu_backward(y: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = vec![0f32; dy.len()];
    dx.par_chunks_mut(RUN).zip(y.par_chunks(RUN).zip(dy.par_chunks(RUN))).for_each(|(dx, (y, dy))| {
        dx.iter_mut().zip(y.iter().zip(dy)).for_each(|(dx, (&y, &dy))| *dx = if y <= 0.0 { 0.0 } else { dy });
    });
    dx
}
