//! Group normalisation of a block: every image by its own statistics, over a group of planes.

use super::{LANES, Line};
use crate::kernels::simd::{Simd, Task};

/// Mean and inverse standard deviation of a group in every image.
#[derive(Clone, Copy)]
struct Statistics {
    mean: Line,
    inv_std: Line,
}

/// The sum over a plane of `f(pixel, lane)`, as four sums, that none waits for the one before.
#[inline(always)]
fn sum(pixels: usize, f: impl Fn(usize, usize) -> f32) -> Line {
    let mut sums = [Line::ZERO; 4];
    let whole = pixels / 4 * 4;
    for at in (0..whole).step_by(4) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = Line::each(|lane| sum.0[lane] + f(at + i, lane));
        }
    }
    for (at, sum) in (whole..pixels).zip(&mut sums) {
        *sum = Line::each(|lane| sum.0[lane] + f(at, lane));
    }
    let [s, t, u, v] = sums;
    Line::each(|lane| (s.0[lane] + t.0[lane]) + (u.0[lane] + v.0[lane]))
}

#[inline(always)]
fn add(total: &mut [f64; LANES], line: Line, factor: f32) {
    total.iter_mut().zip(line.0).for_each(|(total, value)| *total += f64::from(factor) * f64::from(value));
}

impl Statistics {
    /// First the mean, then distances from it: squares of large means would swallow the variance.
    #[inline(always)]
    fn new(x: &[&[Line]], eps: f64) -> Self {
        let count = x.iter().map(|plane| plane.len()).sum::<usize>() as f64;
        let mut mean = [0f64; LANES];
        for plane in x {
            // From a value of the plane, for the same reason.
            let Some(&origin) = plane.first() else { continue };
            add(&mut mean, sum(plane.len(), |at, lane| plane[at].0[lane] - origin.0[lane]), 1.0);
            add(&mut mean, origin, plane.len() as f32);
        }
        let mean = Line::each(|lane| (mean[lane] / count) as f32);
        let mut squares = [0f64; LANES];
        for plane in x {
            let distances = sum(plane.len(), |at, lane| {
                let distance = plane[at].0[lane] - mean.0[lane];
                distance * distance
            });
            add(&mut squares, distances, 1.0);
        }
        Self { mean, inv_std: Line::each(|lane| (1.0 / (squares[lane] / count + eps).sqrt()) as f32) }
    }

    #[inline(always)]
    fn normal(&self, x: &Line, lane: usize) -> f32 {
        (x.0[lane] - self.mean.0[lane]) * self.inv_std.0[lane]
    }
}

/// `y = scale (x - mean) / sqrt(variance + eps) + shift` of one group.
pub(crate) struct GroupNorm<'a> {
    pub(crate) x: &'a [&'a [Line]],
    /// By channel of the group.
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) eps: f64,
    pub(crate) y: Vec<&'a mut [Line]>,
}

impl Task for GroupNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { x, scale, shift, eps, y } = self;
        let statistics = Statistics::new(x, eps);
        for ((x, y), (&scale, &shift)) in x.iter().zip(y).zip(scale.iter().zip(shift)) {
            for (x, y) in x.iter().zip(y) {
                *y = Line::each(|lane| statistics.normal(x, lane) * scale + shift);
            }
        }
    }
}

/// The gradient of one group: that of `x`, for those planes that want it, and by channel those of scale and shift, summed
/// over the images. The statistics are made once more, which costs less than to keep them would in memory.
pub(crate) struct GroupNormGradient<'a> {
    pub(crate) x: &'a [&'a [Line]],
    pub(crate) dy: &'a [&'a [Line]],
    /// By channel of the group.
    pub(crate) scale: &'a [f32],
    pub(crate) eps: f64,
    /// Each with whether it adds to what is there.
    pub(crate) dx: Vec<(Option<&'a mut [Line]>, bool)>,
}

impl Task for GroupNormGradient<'_> {
    type Output = Vec<(f64, f64)>;

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) -> Vec<(f64, f64)> {
        let Self { x, dy, scale, eps, dx } = self;
        let statistics = Statistics::new(x, eps);
        let count = x.iter().map(|plane| plane.len()).sum::<usize>() as f64;
        let (mut sums, mut products) = ([0f64; LANES], [0f64; LANES]);
        let mut parameters = Vec::with_capacity(scale.len());
        for ((x, dy), &scale) in x.iter().zip(dy).zip(scale) {
            let shift = sum(dy.len(), |at, lane| dy[at].0[lane]);
            let product = sum(dy.len(), |at, lane| dy[at].0[lane] * statistics.normal(&x[at], lane));
            add(&mut sums, shift, scale);
            add(&mut products, product, scale);
            let total = |line: Line| line.0.iter().map(|&lane| f64::from(lane)).sum::<f64>();
            parameters.push((total(product), total(shift)));
        }
        let (sums, products) =
            (Line::each(|lane| (sums[lane] / count) as f32), Line::each(|lane| (products[lane] / count) as f32));
        for (((x, dy), &scale), (dx, adds)) in x.iter().zip(dy).zip(scale).zip(dx) {
            for ((x, dy), dx) in x.iter().zip(*dy).zip(dx.into_iter().flatten()) {
                *dx = Line::each(|lane| {
                    let g = dy.0[lane] * scale - sums.0[lane] - statistics.normal(x, lane) * products.0[lane];
                    g * statistics.inv_std.0[lane] + if adds { dx.0[lane] } else { 0.0 }
                });
            }
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::{self, Special};
    use crate::kernels::simd::Isa;

    /// Planes of noise around a mean that is large.
    fn planes(count: usize, pixels: usize, seed: u64) -> Vec<Vec<Line>> {
        let noise = crate::normal_stream(seed, "norm", count * pixels * LANES);
        let mut noise = noise.into_iter().map(|value| (value + 10.0) as f32);
        let line = |noise: &mut dyn Iterator<Item = f32>| Line(std::array::from_fn(|_| noise.next().unwrap()));
        (0..count).map(|_| (0..pixels).map(|_| line(&mut noise)).collect()).collect()
    }

    fn lane(planes: &[Vec<Line>], image: usize) -> Vec<f32> {
        planes.iter().flatten().map(|line| line.0[image]).collect()
    }

    fn check(x: &[Vec<Line>], dy: &[Vec<Line>], special: Special) {
        let (channels, pixels, eps) = (x.len(), x[0].len(), 1e-5);
        let scale: Vec<f32> = (0..channels).map(|c| 1.5 - c as f32).collect();
        let shift: Vec<f32> = (0..channels).map(|c| 0.25 * c as f32).collect();
        let x_planes: Vec<&[Line]> = x.iter().map(Vec::as_slice).collect();
        let dy_planes: Vec<&[Line]> = dy.iter().map(Vec::as_slice).collect();
        for isa in Isa::available() {
            let what = |pass: &'static str, image: usize| {
                move || format!("{pass} {isa:?}, {channels} x {pixels}, image {image}")
            };
            let mut y = vec![vec![Line::splat(f32::NAN); pixels]; channels];
            let to = y.iter_mut().map(Vec::as_mut_slice).collect();
            isa.execute(GroupNorm { x: &x_planes, scale: &scale, shift: &shift, eps, y: to });
            let mut dx = vec![vec![Line::splat(1.0); pixels]; channels];
            // Every other channel is added to.
            let to = dx.iter_mut().enumerate().map(|(c, plane)| (Some(plane.as_mut_slice()), c % 2 == 1)).collect();
            let got = isa.execute(GroupNormGradient { x: &x_planes, dy: &dy_planes, scale: &scale, eps, dx: to });
            let mut parameters = vec![(0.0, 0.0); channels];
            for image in 0..LANES {
                let (x, dy) = (lane(x, image), lane(dy, image));
                special.assert(what("y", image), &lane(&y, image), &reference::group_norm(&x, &scale, &shift, eps).0);
                let [mut want, dscale, dshift] = reference::group_norm_gradient(&x, &dy, &scale, eps);
                want.iter_mut().enumerate().filter(|(at, _)| at / pixels % 2 == 1).for_each(|(_, dx)| *dx += 1.0);
                special.assert(what("dx", image), &lane(&dx, image), &want);
                for (c, total) in parameters.iter_mut().enumerate() {
                    *total = (total.0 + dscale[c], total.1 + dshift[c]);
                }
            }
            for (c, (got, want)) in got.into_iter().zip(parameters).enumerate() {
                let got = [got.0 as f32, got.1 as f32];
                special.assert(what("scale and shift", c), &got, &[want.0, want.1]);
            }
        }
    }

    #[test]
    fn groups_of_any_size_are_normalised_image_by_image() {
        for (channels, pixels) in [(1, 5), (1, 9), (8, 1), (3, 7), (4, 20)] {
            check(&planes(channels, pixels, 1), &planes(channels, pixels, 2), Special::Same);
        }
    }

    #[test]
    fn nan_stays_in_its_image() {
        let (x, dy) = (planes(3, 7, 1), planes(3, 7, 2));
        for at in 0..21 {
            let with = |planes: &[Vec<Line>]| {
                let mut planes = planes.to_vec();
                planes[at / 7][at % 7].0[at % LANES] = f32::NAN;
                planes
            };
            check(&with(&x), &dy, Special::Same);
            check(&x, &with(&dy), Special::Same);
        }
    }
}
