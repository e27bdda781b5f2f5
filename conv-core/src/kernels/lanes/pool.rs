//! Pooling of a block's planes.

use super::{LANES, Line};
use crate::kernels::pool::Windows;

/// The source pixels of every window, row by row.
fn windows(w: &Windows) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone> + '_ {
    let span = move |o: usize, size: usize| {
        let start = (o * w.stride) as isize - w.padding as isize;
        (start.max(0) as usize, (start + w.kernel as isize).clamp(0, size as isize) as usize)
    };
    (0..w.output.0 * w.output.1).map(move |at| {
        let (rows, columns) = (span(at / w.output.1, w.input.0), span(at % w.output.1, w.input.1));
        (rows.0..rows.1).flat_map(move |y| (columns.0..columns.1).map(move |x| y * w.input.1 + x))
    })
}

pub(crate) fn max(w: &Windows, x: &[Line], y: &mut [Line]) {
    for (y, window) in y.iter_mut().zip(windows(w)) {
        let mut best = [f32::NEG_INFINITY; LANES];
        for at in window {
            for (best, &value) in best.iter_mut().zip(&x[at].0) {
                // As PyTorch: what is not a number wins.
                *best = if value > *best || value.is_nan() { value } else { *best };
            }
        }
        *y = Line(best);
    }
}

/// The first of equal values gets the gradient. `dx` is added to.
pub(crate) fn max_backward(w: &Windows, x: &[Line], y: &[Line], dy: &[Line], dx: &mut [Line]) {
    for ((y, dy), window) in y.iter().zip(dy).zip(windows(w)) {
        let mut left = dy.0;
        for at in window {
            let (x, dx) = (&x[at].0, &mut dx[at].0);
            for i in 0..LANES {
                let hit = x[i] == y.0[i];
                dx[i] += if hit { left[i] } else { 0.0 };
                left[i] = if hit { 0.0 } else { left[i] };
            }
        }
    }
}

pub(crate) fn average(w: &Windows, x: &[Line], y: &mut [Line]) {
    for (y, window) in y.iter_mut().zip(windows(w)) {
        let scale = 1.0 / window.clone().count() as f32;
        let mut sum = [0f32; LANES];
        for at in window {
            sum.iter_mut().zip(&x[at].0).for_each(|(sum, value)| *sum += value);
        }
        *y = Line(sum.map(|sum| sum * scale));
    }
}

/// `dx` is added to.
pub(crate) fn average_backward(w: &Windows, dy: &[Line], dx: &mut [Line]) {
    for (dy, window) in dy.iter().zip(windows(w)) {
        let scale = 1.0 / window.clone().count() as f32;
        for at in window {
            dx[at].0.iter_mut().zip(&dy.0).for_each(|(dx, dy)| *dx += dy * scale);
        }
    }
}
