//! Pooling of a block's planes in bf16: a maximum is one of its values, a mean is made in f32 and rounded once.

use super::{HalfLine, LANES, rounded};
use crate::kernels::batch16::Line;
use crate::kernels::windows::Windows;

pub(crate) fn max(w: &Windows, x: &[HalfLine], y: &mut [HalfLine]) {
    w.each(|window, rows, columns| {
        let mut best = Line([f32::NEG_INFINITY; LANES]);
        for at in w.indices(rows, columns) {
            for (best, value) in best.0.iter_mut().zip(x[at].wide().0) {
                // As PyTorch: what is not a number wins.
                *best = if value > *best || value.is_nan() { value } else { *best };
            }
        }
        y[window] = HalfLine::of(best);
    });
}

pub(crate) fn average(w: &Windows, x: &[HalfLine], y: &mut [HalfLine]) {
    w.each(|window, rows, columns| {
        let scale = 1.0 / (rows.len() * columns.len()) as f32;
        let mut sum = [0f32; LANES];
        for at in w.indices(rows, columns) {
            sum.iter_mut().zip(x[at].wide().0).for_each(|(sum, value)| *sum += value);
        }
        y[window] = HalfLine(sum.map(|sum| rounded(sum * scale)));
    });
}

/// Nearest upsampling: every pixel of its window of `y` is the pixel of `x`.
pub(crate) fn repeat(w: &Windows, x: &[HalfLine], y: &mut [HalfLine]) {
    w.each(|window, rows, columns| w.indices(rows, columns).for_each(|at| y[at] = x[window]));
}
