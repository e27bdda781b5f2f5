//! Pooling of a block's planes.

use super::{LANES, Line};
use crate::kernels::pool::Windows;

pub(crate) fn max(w: &Windows, x: &[Line], y: &mut [Line]) {
    w.each(|window, rows, columns| {
        let mut best = [f32::NEG_INFINITY; LANES];
        for at in w.indices(rows, columns) {
            for (best, &value) in best.iter_mut().zip(&x[at].0) {
                // As PyTorch: what is not a number wins.
                *best = if value > *best || value.is_nan() { value } else { *best };
            }
        }
        y[window] = Line(best);
    });
}

/// The first of equal values gets the gradient. `dx` is added to.
pub(crate) fn max_backward(w: &Windows, x: &[Line], y: &[Line], dy: &[Line], dx: &mut [Line]) {
    w.each(|window, rows, columns| {
        let (y, mut left) = (&y[window].0, dy[window].0);
        for at in w.indices(rows, columns) {
            let (x, dx) = (&x[at].0, &mut dx[at].0);
            for i in 0..LANES {
                let hit = x[i] == y[i];
                dx[i] += if hit { left[i] } else { 0.0 };
                left[i] = if hit { 0.0 } else { left[i] };
            }
        }
    });
}

pub(crate) fn average(w: &Windows, x: &[Line], y: &mut [Line]) {
    w.each(|window, rows, columns| {
        let scale = 1.0 / (rows.len() * columns.len()) as f32;
        let mut sum = [0f32; LANES];
        for at in w.indices(rows, columns) {
            sum.iter_mut().zip(&x[at].0).for_each(|(sum, value)| *sum += value);
        }
        y[window] = Line(sum.map(|sum| sum * scale));
    });
}

/// `dx` is added to.
pub(crate) fn average_backward(w: &Windows, dy: &[Line], dx: &mut [Line]) {
    w.each(|window, rows, columns| {
        let scale = 1.0 / (rows.len() * columns.len()) as f32;
        for at in w.indices(rows, columns) {
            dx[at].0.iter_mut().zip(&dy[window].0).for_each(|(dx, dy)| *dx += dy * scale);
        }
    });
}
