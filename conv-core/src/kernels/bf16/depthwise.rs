//! Convolution where every group reads one channel, in bf16: each output is a sum over taps alone. Its gradients.

use super::conv::Output;
use super::{HalfLine, Line, rounded, widened};
use crate::kernels::Isa;
use crate::kernels::batch16::depthwise::DepthwiseGradient;
use crate::kernels::batch16::geometry::{Class, Geometry};
use crate::kernels::batch16::weight::Planes;
use crate::kernels::scratch;
use crate::kernels::simd::{Simd, Task};
use crate::kernels::stored::Stored;

/// `to[o] = sum over taps of w[o][tap] from[o / multiplier]`, of a plane a group. Weights (by output and tap) are rounded to
/// bf16, products are exact and sums f32, tap after tap.
pub(crate) fn convolve(isa: Isa, geometry: &Geometry, from: &[&[HalfLine]], weights: &[f32], to: &mut [Output<'_>]) {
    scratch::with_lines(geometry.from, 0, |wide, _| isa.execute(Depthwise { geometry, from, weights, to, wide }));
}

/// `dw[o][tap] += sum over images and pixels of dy[o] x[o / multiplier]`: products are exact, sums f32 in the order of `isa`'s own
/// kernel. `geometry` is that of the forward pass.
pub(crate) fn weight_gradient(isa: Isa, geometry: &Geometry, planes: &Planes<'_, HalfLine>, dw: &mut [f32]) {
    let Planes { x, dy } = planes;
    assert!(!x.is_empty() && dy.len().is_multiple_of(x.len()), "bf16 depthwise: channels");
    let multiplier = dy.len() / x.len();
    let widen = |wide: &mut [Line], plane: &[HalfLine]| {
        wide.iter_mut().zip(plane).for_each(|(wide, half)| *wide = half.wide());
    };
    scratch::with_lines(geometry.from, geometry.to, |x_wide, dy_wide| {
        let outputs = dy.chunks_exact(multiplier).zip(dw.chunks_exact_mut(multiplier * geometry.taps));
        for (x, (dy, dw)) in x.iter().zip(outputs) {
            widen(x_wide, x);
            for (dy, dw) in dy.iter().zip(dw.chunks_exact_mut(geometry.taps)) {
                widen(dy_wide, dy);
                isa.execute(DepthwiseGradient { geometry, x: &[&*x_wide], dy: &[&*dy_wide], dw });
            }
        }
    });
}

struct Depthwise<'a, 'b> {
    geometry: &'a Geometry,
    from: &'a [&'a [HalfLine]],
    weights: &'a [f32],
    to: &'a mut [Output<'b>],
    /// Where a plane is widened once, as every tap reads it.
    wide: &'a mut [Line],
}

/// Pixels whose sums are made at a time.
const PIXELS: usize = 4;

impl Task for Depthwise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { geometry, from, weights, to, wide } = self;
        assert!(!from.is_empty() && to.len().is_multiple_of(from.len()), "bf16 depthwise: channels");
        assert!(from.iter().all(|plane| plane.len() == geometry.from), "bf16 depthwise: source planes");
        assert_eq!(wide.len(), geometry.from, "bf16 depthwise: scratch");
        assert!(to.iter().all(|to| to.fits(geometry.to)), "bf16 depthwise: destination planes");
        assert_eq!(weights.len(), to.len() * geometry.taps, "bf16 depthwise: weights");
        let multiplier = to.len() / from.len();
        let mut taps = Vec::new();
        let outputs = to.chunks_exact_mut(multiplier).zip(weights.chunks_exact(multiplier * geometry.taps));
        for (from, (to, weights)) in from.iter().zip(outputs) {
            wide.iter_mut().zip(*from).for_each(|(wide, half)| *wide = half.wide());
            for (to, weights) in to.iter_mut().zip(weights.chunks_exact(geometry.taps)) {
                for class in &geometry.classes {
                    taps.clear();
                    taps.extend(class.taps.iter().map(|tap| {
                        let weight = widened(rounded(weights[tap.index as usize]));
                        (tap.offset as isize, simd.line_splat(weight))
                    }));
                    // SAFETY: `Geometry::check` has every source of a class inside planes of the length asserted above.
                    // Inside `Task::execute`.
                    unsafe { outputs_of(simd, class, &taps, wide, to) };
                }
            }
        }
    }
}

/// The outputs of a class.
///
/// # Safety
/// Every source of the class, at each offset, lies inside `from`. Inside `Task::execute`.
#[inline(always)]
unsafe fn outputs_of<S: Simd>(simd: S, class: &Class, taps: &[(isize, S::W)], from: &[Line], to: &mut Output<'_>) {
    let (scale, bias) = (simd.line_splat(to.scale), simd.line_splat(to.bias));
    for pixels in class.pixels.chunks(PIXELS) {
        // The last pixel fills the places of those that are not there.
        let mut sources = [std::ptr::null::<Line>(); PIXELS];
        for (at, source) in sources.iter_mut().enumerate() {
            *source = from.as_ptr().add(pixels[at.min(pixels.len() - 1)].0 as usize);
        }
        let mut sums = [simd.line_splat(0.0); PIXELS];
        for &(offset, weight) in taps {
            for (sum, source) in sums.iter_mut().zip(&sources) {
                *sum = simd.line_mul_add(weight, simd.line_load(source.offset(offset).cast()), *sum);
            }
        }
        for (&(_, destination), sum) in pixels.iter().zip(sums) {
            to.finish(simd, destination as usize, simd.line_mul_add(sum, scale, bias));
        }
    }
}
