//! Batch normalisation, residual addition and ReLU of a block, a channel at a time, over lines as they are stored.

use super::{LANES, Line};
use crate::kernels::moments::Moments;
use crate::kernels::simd::{Simd, Task};
use crate::kernels::stored::Stored;

/// Moments of a plane's first `images` lanes.
pub(crate) struct Measure<'a, L = Line> {
    pub(crate) plane: &'a [L],
    pub(crate) images: usize,
}

impl<L: Stored> Task for Measure<'_, L> {
    type Output = Moments;

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) -> Moments {
        let Some(first) = self.plane.first() else { return Moments::default() };
        // Distances from a value of the channel: squares of large means would swallow the variance.
        let origin = first.wide().0[0];
        // SAFETY: lines are 16 readable values; inside `Task::execute`.
        unsafe {
            let shift = simd.line_splat(origin);
            let (mut sums, mut squares) = ([simd.line_splat(0.0); 4], [simd.line_splat(0.0); 4]);
            let chunks = self.plane.chunks_exact(4);
            for (i, line) in chunks.remainder().iter().enumerate() {
                let value = simd.line_sub(L::load(simd, line), shift);
                sums[i] = simd.line_add(sums[i], value);
                squares[i] = simd.line_mul_add(value, value, squares[i]);
            }
            for lines in chunks {
                for i in 0..4 {
                    let value = simd.line_sub(L::load(simd, &lines[i]), shift);
                    sums[i] = simd.line_add(sums[i], value);
                    squares[i] = simd.line_mul_add(value, value, squares[i]);
                }
            }
            let total = |parts: [S::W; 4]| {
                let mut lanes = Line::ZERO;
                let whole = simd.line_add(simd.line_add(parts[0], parts[1]), simd.line_add(parts[2], parts[3]));
                simd.line_store(lanes.0.as_mut_ptr(), whole);
                lanes.0[..self.images].iter().map(|&lane| f64::from(lane)).sum::<f64>()
            };
            let (sum, squares) = (total(sums), total(squares));
            let count = (self.images * self.plane.len()) as f64;
            let squares = squares - sum * sum / count;
            // Rounding may leave it below 0. `max` would make 0 of NaN.
            let squares = if squares < 0.0 { 0.0 } else { squares };
            Moments { count, mean: f64::from(origin) + sum / count, squares }
        }
    }
}

/// `y = relu?(scale x + shift + residual?)` of one channel, in f32 and rounded once.
pub(crate) struct Apply<'a, L = Line> {
    pub(crate) x: &'a [L],
    pub(crate) scale: f32,
    pub(crate) shift: f32,
    pub(crate) residual: Option<&'a [L]>,
    pub(crate) relu: bool,
    pub(crate) y: &'a mut [L],
}

impl<L: Stored> Task for Apply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { x, scale, shift, residual, relu, y } = self;
        assert!(x.len() == y.len() && residual.is_none_or(|residual| residual.len() == y.len()), "norm: planes");
        let (scale, shift) = (simd.line_splat(scale), simd.line_splat(shift));
        for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
            // SAFETY: these are lines; inside `Task::execute`.
            unsafe {
                let mut value = simd.line_mul_add(L::load(simd, x), scale, shift);
                if let Some(residual) = residual {
                    value = simd.line_add(value, L::load(simd, &residual[at]));
                }
                L::store(simd, y, if relu { simd.line_relu(value) } else { value });
            }
        }
    }
}

/// How the gradient behind a ReLU is found again.
#[derive(Clone, Copy)]
pub(crate) enum Mask<'a, L = Line> {
    /// There is no ReLU.
    Open,
    /// Where the output is positive.
    Output(&'a [L]),
    /// Where `scale x + shift` is.
    Affine { x: &'a [L], scale: f32, shift: f32 },
}

impl<L: Stored> Mask<'_, L> {
    /// The gradient `dy` of pixel `at` before the ReLU.
    ///
    /// # Safety
    /// `at` inside the planes; inside `Task::execute`.
    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, simd: S, at: usize, dy: S::W) -> S::W {
        match *self {
            Mask::Open => dy,
            Mask::Output(y) => simd.line_mask(L::load(simd, y.as_ptr().add(at)), dy),
            Mask::Affine { x, scale, shift } => {
                let x = L::load(simd, x.as_ptr().add(at));
                simd.line_mask(simd.line_mul_add(x, simd.line_splat(scale), simd.line_splat(shift)), dy)
            }
        }
    }

    fn fits(&self, len: usize) -> bool {
        match self {
            Mask::Open => true,
            Mask::Output(plane) | Mask::Affine { x: plane, .. } => plane.len() == len,
        }
    }
}

/// Sums of a channel's masked gradient `g`, and of `g (x - mean)`; `g` itself goes to the residual. Where it is added to what is
/// there, the sum is rounded as it is stored.
pub(crate) struct GradientSums<'a, L = Line> {
    pub(crate) dy: &'a [L],
    pub(crate) mask: Mask<'a, L>,
    /// With its mean; without a norm only the sum of `g` is wanted.
    pub(crate) x: Option<(&'a [L], f32)>,
    /// The residual's gradient, and whether it is added to what is there.
    pub(crate) residual: Option<(&'a mut [L], bool)>,
}

impl<L: Stored> Task for GradientSums<'_, L> {
    type Output = (f64, f64);

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) -> (f64, f64) {
        let Self { dy, mask, x, mut residual } = self;
        let len = dy.len();
        assert!(mask.fits(len) && x.is_none_or(|(x, _)| x.len() == len), "norm: planes");
        assert!(residual.as_ref().is_none_or(|(residual, _)| residual.len() == len), "norm: planes");
        // SAFETY: every index is below the length of all planes; inside `Task::execute`.
        unsafe {
            let (mut sums, mut products) = ([simd.line_splat(0.0); 2], [simd.line_splat(0.0); 2]);
            let mean = simd.line_splat(x.map_or(0.0, |(_, mean)| mean));
            for at in 0..len {
                let g = mask.apply::<S>(simd, at, L::load(simd, dy.as_ptr().add(at)));
                sums[at % 2] = simd.line_add(sums[at % 2], g);
                if let Some((x, _)) = x {
                    let distance = simd.line_sub(L::load(simd, x.as_ptr().add(at)), mean);
                    products[at % 2] = simd.line_mul_add(g, distance, products[at % 2]);
                }
                if let Some((residual, add)) = &mut residual {
                    let place = residual.as_mut_ptr().add(at);
                    L::store(simd, place, if *add { simd.line_add(g, L::load(simd, place)) } else { g });
                }
            }
            let total = |parts: [S::W; 2]| {
                let mut lanes = Line::ZERO;
                simd.line_store(lanes.0.as_mut_ptr(), simd.line_add(parts[0], parts[1]));
                lanes.0.iter().map(|&lane| f64::from(lane)).sum::<f64>()
            };
            (total(sums), total(products))
        }
    }
}

/// `dx (+)= scale g + slope (x - mean) + shift` of one channel, on the first `images` lanes; 0 on the others.
pub(crate) struct InputGradient<'a, L = Line> {
    pub(crate) dy: &'a [L],
    pub(crate) mask: Mask<'a, L>,
    pub(crate) x: &'a [L],
    pub(crate) mean: f32,
    pub(crate) scale: f32,
    pub(crate) slope: f32,
    pub(crate) shift: f32,
    pub(crate) images: usize,
    pub(crate) dx: &'a mut [L],
    pub(crate) add: bool,
}

impl<L: Stored> Task for InputGradient<'_, L> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { dy, mask, x, mean, scale, slope, shift, images, dx, add } = self;
        let len = dx.len();
        assert!(mask.fits(len) && x.len() == len && dy.len() == len, "norm: planes");
        let mut there = Line::ZERO;
        there.0[..images.min(LANES)].fill(1.0);
        // SAFETY: every index is below the length of all planes; inside `Task::execute`.
        unsafe {
            let (there, mean) = (simd.line_load(there.0.as_ptr()), simd.line_splat(mean));
            let (scale, slope, shift) = (simd.line_splat(scale), simd.line_splat(slope), simd.line_splat(shift));
            for at in 0..len {
                let g = mask.apply::<S>(simd, at, L::load(simd, dy.as_ptr().add(at)));
                let x = simd.line_sub(L::load(simd, x.as_ptr().add(at)), mean);
                let value = simd.line_mul_add(g, scale, simd.line_mul_add(x, slope, shift));
                let place = dx.as_mut_ptr().add(at);
                let before = if add { L::load(simd, place) } else { simd.line_splat(0.0) };
                L::store(simd, place, simd.line_add(before, simd.line_mask(there, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::{NOT_FINITE, Special, relu};
    use crate::kernels::simd::Isa;

    const PIXELS: usize = 7;
    const IMAGES: usize = 13;

    /// A plane of noise; the lanes of images that are not there hold what nobody may look at.
    fn plane(seed: u64) -> Vec<Line> {
        let noise = crate::normal_stream(seed, "plane", PIXELS * LANES);
        let mut plane = vec![Line::ZERO; PIXELS];
        for (at, value) in noise.into_iter().enumerate() {
            plane[at / LANES].0[at % LANES] = value as f32;
        }
        plane
    }

    /// The values of the images that are there.
    fn there(plane: &[Line]) -> Vec<f32> {
        plane.iter().flat_map(|line| line.0[..IMAGES].iter().copied()).collect()
    }

    /// Calls `check(pixel, lane, value)` for values that are not finite at every place.
    fn everywhere(check: impl Fn(usize, usize, f32)) {
        for (pixel, lane) in (0..PIXELS).flat_map(|pixel| (0..IMAGES).map(move |lane| (pixel, lane))) {
            NOT_FINITE.into_iter().for_each(|kind| check(pixel, lane, kind));
        }
    }

    fn paths() -> impl Iterator<Item = Isa> {
        Isa::available()
    }

    #[test]
    fn moments_are_those_of_the_images_that_are_there_and_keep_nan() {
        let mut x = plane(1);
        x.iter_mut().for_each(|line| line.0[IMAGES..].fill(f32::NAN));
        for isa in paths() {
            let got = isa.execute(Measure { plane: &x, images: IMAGES });
            let values: Vec<f64> = there(&x).into_iter().map(f64::from).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            assert!((got.mean - mean).abs() < 1e-5 && (got.squares - squares).abs() < 1e-4, "{isa:?}: {got:?}");
            everywhere(|pixel, lane, kind| {
                let mut x = x.clone();
                x[pixel].0[lane] = kind;
                let got = isa.execute(Measure { plane: &x, images: IMAGES });
                let said = format!("{isa:?} {kind} at {pixel}, {lane}: {got:?}");
                // Of an infinity's distances to the mean all that can be said is that they are no numbers.
                assert!(!got.mean.is_finite() && got.squares.is_nan(), "{said}");
                assert!(!kind.is_nan() || got.mean.is_nan(), "{said}");
                let merged = Moments { count: 3.0, mean: 1.0, squares: 2.0 }.merge(got);
                assert!(!merged.mean.is_finite() && merged.squares.is_nan(), "{said}");
            });
        }
    }

    #[test]
    fn norms_keep_what_is_not_finite() {
        let (x, residual) = (plane(2), plane(3));
        let check = |x: &[Line], residual: Option<&[Line]>, relu: bool| {
            let (scale, shift) = (-1.5, 0.25);
            let added = residual.map_or_else(|| vec![0.0; PIXELS * IMAGES], there);
            let want: Vec<f32> = there(x).iter().zip(added).map(|(x, added)| scale * x + shift + added).collect();
            for isa in paths() {
                let mut y = vec![Line([f32::NAN; LANES]); PIXELS];
                isa.execute(Apply { x, scale, shift, residual, relu, y: &mut y });
                let what = || format!("{isa:?} {x:?} {residual:?}");
                if relu {
                    Special::Same.assert_relu(what, &there(&y), &want);
                } else {
                    Special::Same.assert(what, &there(&y), &want);
                }
            }
        };
        everywhere(|pixel, lane, kind| {
            let with = |plane: &[Line]| {
                let mut plane = plane.to_vec();
                plane[pixel].0[lane] = kind;
                plane
            };
            for relu in [false, true] {
                check(&with(&x), None, relu);
                check(&with(&x), Some(&residual), relu);
                check(&x, Some(&with(&residual)), relu);
            }
        });
    }

    /// The gradient behind a ReLU passes where the output was not a number, as in PyTorch: else the gradients of a network
    /// that diverged would look healthy.
    fn masked(y: f32, dy: f32) -> f32 {
        if y <= 0.0 { 0.0 } else { dy }
    }

    #[test]
    fn gradients_keep_what_is_not_finite() {
        let (scale, shift, mean, slope) = (-1.5f32, 0.25f32, 0.125f32, 0.5f32);
        let (mut x, mut dy) = (plane(4), plane(5));
        // As the engine has them: images that are not there have no gradient.
        for plane in [&mut x, &mut dy] {
            plane.iter_mut().for_each(|line| line.0[IMAGES..].fill(0.0));
        }
        let check = |x: &[Line], dy: &[Line], output: &[Line]| {
            let affine = Mask::Affine { x, scale, shift };
            for (mask, masks) in [(Mask::Open, None), (Mask::Output(output), Some(there(output))), (affine, None)] {
                let (xs, dys) = (there(x), there(dy));
                let g: Vec<f32> = (0..xs.len())
                    .map(|at| match (mask, &masks) {
                        (Mask::Open, _) => dys[at],
                        (_, Some(output)) => masked(output[at], dys[at]),
                        _ => masked(scale * xs[at] + shift, dys[at]),
                    })
                    .collect();
                let sum: f64 = g.iter().map(|&g| f64::from(g)).sum();
                let product: f64 = g.iter().zip(&xs).map(|(&g, &x)| f64::from(g) * f64::from(x - mean)).sum();
                let dx: Vec<f32> = g.iter().zip(&xs).map(|(g, x)| scale * g + slope * (x - mean) + shift).collect();
                for isa in paths() {
                    let what = || format!("{isa:?} {x:?} {dy:?} {output:?}");
                    let mut residual = vec![Line::splat(1.0); PIXELS];
                    let (x, mean) = (x, mean);
                    let sums = GradientSums { dy, mask, x: Some((x, mean)), residual: Some((&mut residual, true)) };
                    let got = isa.execute(sums);
                    Special::Same.assert(what, &[got.0 as f32, got.1 as f32], &[sum as f32, product as f32]);
                    let want: Vec<f32> = g.iter().map(|g| g + 1.0).collect();
                    Special::Same.assert(what, &there(&residual), &want);
                    let mut got = vec![Line::splat(f32::NAN); PIXELS];
                    let images = IMAGES;
                    let (dx_to, add) = (got.as_mut_slice(), false);
                    isa.execute(InputGradient { dy, mask, x, mean, scale, slope, shift, images, dx: dx_to, add });
                    Special::Same.assert(what, &there(&got), &dx);
                    assert!(got.iter().all(|line| line.0[IMAGES..] == [0.0; LANES - IMAGES]), "{}", what());
                }
            }
        };
        let mut output = plane(6);
        output.iter_mut().flat_map(|line| &mut line.0).for_each(|value| *value = relu(*value));
        check(&x, &dy, &output);
        everywhere(|pixel, lane, kind| {
            let with = |plane: &[Line]| {
                let mut plane = plane.to_vec();
                plane[pixel].0[lane] = kind;
                plane
            };
            check(&with(&x), &dy, &output);
            check(&x, &with(&dy), &output);
            check(&x, &dy, &with(&output));
            check(&x, &with(&dy), &with(&output));
        });
    }
}
