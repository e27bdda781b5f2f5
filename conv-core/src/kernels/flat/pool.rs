//! Pooling, channel shuffle and ReLU: passes over memory, plane by plane.

use rayon::prelude::*;

use crate::kernels::windows::Windows;

/// Planes per task: enough that sharing them out is worth it.
fn planes_per_task(windows: &Windows) -> usize {
    (16 * 1024 / windows.pixels().max(1)).max(1)
}

/// Runs `work(input plane, output plane)` for every plane, writing the second.
fn map_planes(windows: &Windows, x: &[f32], work: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let (pixels, results, planes) = (windows.pixels(), windows.results(), planes_per_task(windows));
    let mut y = vec![0f32; x.len() / pixels.max(1) * results];
    y.par_chunks_mut(planes * results).zip(x.par_chunks(planes * pixels)).for_each(|(y, x)| {
        y.chunks_exact_mut(results).zip(x.chunks_exact(pixels)).for_each(|(y, x)| work(x, y));
    });
    y
}

pub(crate) fn max_forward(windows: &Windows, x: &[f32]) -> Vec<f32> {
    map_planes(windows, x, |x, y| windows.each(|o, rows, columns| y[o] = windows.winner(x, rows, columns).0))
}

pub(crate) fn max_backward(windows: &Windows, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (pixels, results, planes) = (windows.pixels(), windows.results(), planes_per_task(windows));
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
    map_planes(windows, x, |x, y| {
        windows.each(|o, rows, columns| {
            let count = (rows.len() * columns.len()) as f32;
            let sum: f32 = rows.map(|row| x[row * windows.input.1..][columns.clone()].iter().sum::<f32>()).sum();
            y[o] = sum / count;
        });
    })
}

pub(crate) fn average_backward(windows: &Windows, dy: &[f32]) -> Vec<f32> {
    let (pixels, results, planes) = (windows.pixels(), windows.results(), planes_per_task(windows));
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
