//! Batch normalisation with what follows it, in as few passes as there can be: one to take the moments, one to write.
//!
//! All slices are `[n, c, pixels]`; images are shared out over threads and per-image sums are added in image order.

use rayon::prelude::*;

use crate::kernels::Isa;
use crate::kernels::epilogue::{self, Scalar};
use crate::kernels::moments::Moments;
use crate::kernels::simd::{Simd, Task};

/// Batch, channels, pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
}

impl Planes {
    fn image(&self) -> usize {
        self.channels * self.pixels
    }

    fn len(&self) -> usize {
        self.batch * self.image()
    }
}

/// Moments of each channel.
pub(crate) fn moments(isa: Isa, planes: &Planes, x: &[f32]) -> Vec<Moments> {
    assert_eq!(x.len(), planes.len(), "batch norm: wrong length");
    struct Measure<'a>(&'a [f32], usize);
    impl Task for Measure<'_> {
        type Output = Vec<Moments>;
        #[inline(always)]
        fn execute<S: Simd>(self, _: S) -> Self::Output {
            let moments = self.0.chunks_exact(self.1).map(|plane| {
                let mean = lanes_sum(plane, |x| x) / self.1 as f32;
                let squares = lanes_sum(plane, |x| (x - mean) * (x - mean));
                Moments { count: self.1 as f64, mean: f64::from(mean), squares: f64::from(squares) }
            });
            moments.collect()
        }
    }
    let images: Vec<_> =
        x.par_chunks(planes.image().max(1)).map(|image| isa.execute(Measure(image, planes.pixels))).collect();
    (0..planes.channels).map(|c| Moments::of_equal_parts(images.iter().map(|image| image[c]))).collect()
}

/// Sum of `f` over a plane, in sixteen partial sums whatever the instruction set.
#[inline(always)]
fn lanes_sum(plane: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let chunks = plane.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    lanes.iter().sum()
}

/// `y = relu?(scale[c] x + shift[c] + residual?)`
pub(crate) fn affine(
    isa: Isa,
    planes: &Planes,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Vec<f32> {
    assert_eq!((x.len(), scale.len(), shift.len()), (planes.len(), planes.channels, planes.channels));
    assert!(residual.is_none_or(|residual| residual.len() == x.len()), "residual of another size");
    struct Affine<'a> {
        x: &'a [f32],
        y: &'a mut [f32],
        residual: Option<&'a [f32]>,
        scale: &'a [f32],
        shift: &'a [f32],
        pixels: usize,
        relu: bool,
    }
    impl Task for Affine<'_> {
        type Output = ();
        #[inline(always)]
        fn execute<S: Simd>(self, _: S) {
            let channels = self.scale.iter().zip(self.shift).enumerate();
            for (c, (&scale, &shift)) in channels {
                let span = c * self.pixels..(c + 1) * self.pixels;
                let (x, y) = (&self.x[span.clone()], &mut self.y[span.clone()]);
                let residual = self.residual.map(|residual| &residual[span]);
                for (at, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                    let residual = residual.map(|residual| &raw const residual[at]);
                    // SAFETY: the address is that of an element.
                    *y = unsafe { epilogue::apply(Scalar, scale * x + shift, None, residual, self.relu) };
                }
            }
        }
    }
    let mut y = vec![0f32; x.len()];
    let image = planes.image().max(1);
    y.par_chunks_mut(image).enumerate().for_each(|(n, y)| {
        let span = n * image..(n + 1) * image;
        let residual = residual.map(|residual| &residual[span.clone()]);
        isa.execute(Affine { x: &x[span], y, residual, scale, shift, pixels: planes.pixels, relu });
    });
    y
}

/// What the backward pass of a batch norm reads.
pub(crate) struct Saved<'a> {
    pub(crate) x: &'a [f32],
    /// Output, for the ReLU's mask; none without ReLU.
    pub(crate) y: Option<&'a [f32]>,
    pub(crate) mean: &'a [f32],
    pub(crate) inv_std: &'a [f32],
    pub(crate) gamma: &'a [f32],
}

/// Gradients of a batch norm.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    /// The gradient of what goes into the ReLU, which is the residual's too; only if asked for.
    pub(crate) residual: Option<Vec<f32>>,
}

/// From `dy`, the gradient of the output.
pub(crate) fn backward(isa: Isa, planes: &Planes, saved: &Saved<'_>, dy: &[f32], residual: bool) -> Gradients {
    let image = planes.image().max(1);
    let pixels = planes.pixels;
    assert_eq!((dy.len(), saved.x.len()), (planes.len(), planes.len()), "batch norm: wrong length");
    assert!(saved.y.is_none_or(|y| y.len() == dy.len()), "batch norm: wrong length");
    struct Sums<'a>(&'a Saved<'a>, &'a [f32], std::ops::Range<usize>, usize);
    impl Task for Sums<'_> {
        type Output = Vec<(f64, f64)>;
        #[inline(always)]
        fn execute<S: Simd>(self, _: S) -> Self::Output {
            let Sums(saved, dy, image, pixels) = self;
            let sums = saved.mean.iter().enumerate().map(|(c, &mean)| {
                let span = image.start + c * pixels..image.start + (c + 1) * pixels;
                let (x, dy) = (&saved.x[span.clone()], &dy[span.clone()]);
                let (beta, centred) = match saved.y {
                    Some(y) => lanes_sums(x, dy, &y[span], mean, |dy, y| if y <= 0.0 { 0.0 } else { dy }),
                    None => lanes_sums(x, dy, dy, mean, |dy, _| dy),
                };
                (f64::from(beta), f64::from(centred))
            });
            sums.collect()
        }
    }
    let images: Vec<_> = (0..planes.batch)
        .into_par_iter()
        .map(|n| isa.execute(Sums(saved, dy, n * image..(n + 1) * image, pixels)))
        .collect();
    let total = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        (0..planes.channels).map(|c| images.iter().map(|image| pick(&image[c])).sum()).collect()
    };
    let (beta, centred) = (total(|sums| sums.0), total(|sums| sums.1));
    let gamma: Vec<f64> = centred.iter().zip(saved.inv_std).map(|(sum, &inv)| sum * f64::from(inv)).collect();

    // dx = gamma inv (g - beta' / m - x_hat gamma' / m), as a g + b x + d with constants per channel.
    let count = (planes.batch * pixels) as f64;
    let constants: Vec<[f32; 3]> = (0..planes.channels)
        .map(|c| {
            let (inv, mean) = (f64::from(saved.inv_std[c]), f64::from(saved.mean[c]));
            let a = f64::from(saved.gamma[c]) * inv;
            let b = -a * inv * gamma[c] / count;
            [a as f32, b as f32, (-a * beta[c] / count - b * mean) as f32]
        })
        .collect();
    struct Write<'a> {
        saved: &'a Saved<'a>,
        dy: &'a [f32],
        start: usize,
        pixels: usize,
        constants: &'a [[f32; 3]],
        dx: &'a mut [f32],
        residual: Option<&'a mut [f32]>,
    }
    impl Task for Write<'_> {
        type Output = ();
        #[inline(always)]
        fn execute<S: Simd>(mut self, _: S) {
            for (c, &[a, b, d]) in self.constants.iter().enumerate() {
                let local = c * self.pixels..(c + 1) * self.pixels;
                let span = self.start + local.start..self.start + local.end;
                let (x, dy, dx) = (&self.saved.x[span.clone()], &self.dy[span.clone()], &mut self.dx[local.clone()]);
                match (self.saved.y, &mut self.residual) {
                    (Some(y), Some(residual)) => {
                        let outputs = dx.iter_mut().zip(&mut residual[local]);
                        for (((dx, residual), (&x, &dy)), &y) in outputs.zip(x.iter().zip(dy)).zip(&y[span]) {
                            let g = if y <= 0.0 { 0.0 } else { dy };
                            *residual = g;
                            *dx = a * g + b * x + d;
                        }
                    }
                    (Some(y), None) => {
                        for ((dx, (&x, &dy)), &y) in dx.iter_mut().zip(x.iter().zip(dy)).zip(&y[span]) {
                            let g = if y <= 0.0 { 0.0 } else { dy };
                            *dx = a * g + b * x + d;
                        }
                    }
                    (None, residual) => {
                        for (dx, (&x, &dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
                            *dx = a * dy + b * x + d;
                        }
                        if let Some(residual) = residual {
                            residual[local].copy_from_slice(dy);
                        }
                    }
                }
            }
        }
    }
    let mut dx = vec![0f32; dy.len()];
    let mut residual = residual.then(|| vec![0f32; dy.len()]);
    let write = |n: usize, dx: &mut [f32], residual: Option<&mut [f32]>| {
        isa.execute(Write { saved, dy, start: n * image, pixels, constants: &constants, dx, residual });
    };
    match &mut residual {
        Some(residual) => {
            let chunks = dx.par_chunks_mut(image).zip(residual.par_chunks_mut(image)).enumerate();
            chunks.for_each(|(n, (dx, residual))| write(n, dx, Some(residual)));
        }
        None => dx.par_chunks_mut(image).enumerate().for_each(|(n, dx)| write(n, dx, None)),
    }
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    Gradients { x: dx, gamma: narrow(gamma), beta: narrow(beta), residual }
}

/// Sums of `g` and of `g (x - mean)` over a plane, `g = mask(dy, y)`.
#[inline(always)]
fn lanes_sums(x: &[f32], dy: &[f32], y: &[f32], mean: f32, mask: impl Fn(f32, f32) -> f32) -> (f32, f32) {
    let (mut first, mut second) = ([0f32; 16], [0f32; 16]);
    let whole = x.len() / 16 * 16;
    let parts = x[..whole].chunks_exact(16).zip(dy[..whole].chunks_exact(16)).zip(y[..whole].chunks_exact(16));
    for ((x, dy), y) in parts.chain(std::iter::once(((&x[whole..], &dy[whole..]), &y[whole..]))) {
        let sums = first.iter_mut().zip(second.iter_mut());
        for (((first, second), (&x, &dy)), &y) in sums.zip(x.iter().zip(dy)).zip(y) {
            let g = mask(dy, y);
            *first += g;
            *second += g * (x - mean);
        }
    }
    (first.iter().sum(), second.iter().sum())
}
