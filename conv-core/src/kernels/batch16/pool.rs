//! Pooling of a block's planes, and upsampling. Forward over lines as they are stored: a maximum is one of its values, a mean is
//! made in f32 and rounded once. Gradients are sums of several windows and are made in f32.

use super::{LANES, Line};
use crate::kernels::stored::Stored;
use crate::kernels::windows::Windows;

pub(crate) fn max<L: Stored>(w: &Windows, x: &[L], y: &mut [L]) {
    w.each(|window, rows, columns| {
        let mut best = [f32::NEG_INFINITY; LANES];
        for at in w.indices(rows, columns) {
            for (best, value) in best.iter_mut().zip(x[at].wide().0) {
                // As PyTorch: what is not a number wins.
                *best = if value > *best || value.is_nan() { value } else { *best };
            }
        }
        y[window] = L::of(Line(best));
    });
}

/// The first of equal values gets the gradient, and the first NaN where there is one. `dx` is added to.
pub(crate) fn max_backward(w: &Windows, x: &[Line], y: &[Line], dy: &[Line], dx: &mut [Line]) {
    w.each(|window, rows, columns| {
        let (y, mut left) = (&y[window].0, dy[window].0);
        for at in w.indices(rows, columns) {
            let (x, dx) = (&x[at].0, &mut dx[at].0);
            for i in 0..LANES {
                // A window with a NaN has that as its output.
                let hit = x[i] == y[i] || x[i].is_nan();
                dx[i] += if hit { left[i] } else { 0.0 };
                left[i] = if hit { 0.0 } else { left[i] };
            }
        }
    });
}

pub(crate) fn average<L: Stored>(w: &Windows, x: &[L], y: &mut [L]) {
    w.each(|window, rows, columns| {
        let scale = 1.0 / (rows.len() * columns.len()) as f32;
        let mut sum = [0f32; LANES];
        for at in w.indices(rows, columns) {
            sum.iter_mut().zip(x[at].wide().0).for_each(|(sum, value)| *sum += value);
        }
        y[window] = L::of(Line(sum.map(|sum| sum * scale)));
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

/// Nearest upsampling, the way back of a pooling: every pixel of its window of `y` is the pixel of `x`.
pub(crate) fn repeat<L: Stored>(w: &Windows, x: &[L], y: &mut [L]) {
    w.each(|window, rows, columns| w.indices(rows, columns).for_each(|at| y[at] = x[window]));
}

/// `dx` is added to.
pub(crate) fn repeat_backward(w: &Windows, dy: &[Line], dx: &mut [Line]) {
    w.each(|window, rows, columns| {
        let mut sum = [0f32; LANES];
        for at in w.indices(rows, columns) {
            sum.iter_mut().zip(&dy[at].0).for_each(|(sum, dy)| *sum += dy);
        }
        dx[window].0.iter_mut().zip(sum).for_each(|(dx, sum)| *dx += sum);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::flat::pool;
    use crate::kernels::reference::{NOT_FINITE, Special};

    fn lane(plane: &[Line], image: usize) -> Vec<f32> {
        plane.iter().map(|line| line.0[image]).collect()
    }

    /// Noise; with something that is not finite in every pixel of some image, in none, some or all of a window, or of the
    /// plane.
    fn planes(pixels: usize, seed: u64) -> Vec<Line> {
        let mut noise = crate::normal_stream(seed, "pool", pixels * LANES).into_iter().map(|value| value as f32);
        let line = |at: usize| {
            let mut line = Line(std::array::from_fn(|_| noise.next().unwrap_or_default()));
            for (image, kind) in NOT_FINITE.into_iter().enumerate() {
                line.0[image] = kind;
                // Ever rarer, and several in a window.
                let rare = [2 + image, 5 + image];
                rare.iter()
                    .enumerate()
                    .filter(|(_, rare)| at.is_multiple_of(**rare))
                    .for_each(|(i, _)| line.0[3 + 3 * i + image] = kind);
                if at % 3 == image {
                    line.0[9] = kind;
                }
            }
            line
        };
        (0..pixels).map(line).collect()
    }

    /// Against the poolings of single planes, which are plain loops.
    #[test]
    fn every_lane_is_pooled_as_a_plane_of_its_own() {
        for (size, kernel, stride, padding, ceil) in [
            ((8, 6), 2, 2, 0, false),
            ((9, 7), 3, 2, 1, false),
            ((6, 5), 3, 1, 1, false),
            ((7, 7), 2, 2, 0, true),
            ((4, 5), 1, 2, 0, false),
        ] {
            let windows = Windows::new(size, kernel, stride, padding, ceil).unwrap();
            let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
            let (x, dy) = (planes(pixels, 1), planes(results, 2));
            let (mut highest, mut mean) = (vec![Line::ZERO; results], vec![Line::ZERO; results]);
            max(&windows, &x, &mut highest);
            average(&windows, &x, &mut mean);
            let (mut dx_max, mut dx_mean) = (vec![Line::ZERO; pixels], vec![Line::ZERO; pixels]);
            max_backward(&windows, &x, &highest, &dy, &mut dx_max);
            average_backward(&windows, &dy, &mut dx_mean);
            // The gradient of one image meets the values of another: all kinds of both.
            let turned: Vec<Line> =
                dy.iter().map(|line| Line(std::array::from_fn(|i| line.0[(i + 7) % LANES]))).collect();
            let mut dx_turned = vec![Line::ZERO; pixels];
            max_backward(&windows, &x, &highest, &turned, &mut dx_turned);
            for image in 0..LANES {
                let what =
                    |pass: &'static str| move || format!("{pass}, image {image} of {size:?}, {kernel}, {stride}");
                let (x, dy) = (lane(&x, image), lane(&dy, image));
                Special::Same.assert(what("max"), &lane(&highest, image), &pool::max_forward(&windows, &x));
                Special::Same.assert(what("mean"), &lane(&mean, image), &pool::average_forward(&windows, &x));
                let want = pool::max_backward(&windows, &x, &dy);
                Special::Same.assert(what("max backward"), &lane(&dx_max, image), &want);
                let want = pool::max_backward(&windows, &x, &lane(&turned, image));
                Special::Same.assert(what("max backward, turned"), &lane(&dx_turned, image), &want);
                let want = pool::average_backward(&windows, &dy);
                Special::Same.assert(what("mean backward"), &lane(&dx_mean, image), &want);
            }
        }
    }

    /// Whole windows, and windows that the edge cuts.
    #[test]
    fn upsampling_repeats_a_pixel_and_its_gradient_is_the_sum() {
        for (size, kernel) in [((8, 6), 2), ((7, 9), 2), ((7, 8), 3), ((1, 1), 1), ((5, 4), 4)] {
            let windows = Windows::new(size, kernel, kernel, 0, true).unwrap();
            let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
            let (small, large) = (planes(results, 1), planes(pixels, 2));
            let mut repeated = vec![Line::splat(f32::NAN); pixels];
            repeat(&windows, &small, &mut repeated);
            let mut sums = vec![Line::splat(1.0); results];
            repeat_backward(&windows, &large, &mut sums);
            for image in 0..LANES {
                let what = |pass: &'static str| move || format!("{pass}, image {image} of {size:?} by {kernel}");
                let (small, large) = (lane(&small, image), lane(&large, image));
                let column = |at: usize| at % size.1 / kernel;
                let window = |at: usize| at / size.1 / kernel * windows.output.1 + column(at);
                let want: Vec<f32> = (0..pixels).map(|at| small[window(at)]).collect();
                Special::Same.assert(what("repeated"), &lane(&repeated, image), &want);
                let mut want = vec![1.0; results];
                (0..pixels).for_each(|at| want[window(at)] += large[at]);
                Special::Same.assert(what("gradient"), &lane(&sums, image), &want);
            }
        }
    }
}
