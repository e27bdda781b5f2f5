//! Convolution where every group reads one channel, in bf16: each output is a sum over taps alone, read where it lies.

use super::conv::{Output, finished};
use super::{HalfLine, rounded, widened};
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::simd::{Simd, Task};

/// `to[o] = sum over taps of w[o][tap] from[o / multiplier]`. Weights are rounded to bf16, products are exact and sums f32, tap
/// after tap.
pub(crate) struct Depthwise<'a, 'b> {
    pub(crate) geometry: &'a Geometry,
    /// A plane a group.
    pub(crate) from: &'a [&'a [HalfLine]],
    /// By output and tap.
    pub(crate) weights: &'a [f32],
    pub(crate) to: &'a mut [Output<'b>],
}

impl Task for Depthwise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { geometry, from, weights, to } = self;
        assert!(!from.is_empty() && to.len().is_multiple_of(from.len()), "bf16 depthwise: channels");
        assert!(from.iter().all(|plane| plane.len() == geometry.from), "bf16 depthwise: source planes");
        assert!(
            to.iter()
                .all(|to| to.plane.len() == geometry.to && to.residual.is_none_or(|added| added.len() == geometry.to)),
            "bf16 depthwise: destination planes"
        );
        assert_eq!(weights.len(), to.len() * geometry.taps, "bf16 depthwise: weights");
        let multiplier = to.len() / from.len();
        let mut taps = Vec::new();
        for ((o, to), weights) in to.iter_mut().enumerate().zip(weights.chunks_exact(geometry.taps)) {
            let from = from[o / multiplier];
            let (scale, bias) = (simd.line_splat(to.scale), simd.line_splat(to.bias));
            for class in &geometry.classes {
                taps.clear();
                taps.extend(
                    class.taps.iter().map(|tap| {
                        (tap.offset as isize, simd.line_splat(widened(rounded(weights[tap.index as usize]))))
                    }),
                );
                for &(source, destination) in &class.pixels {
                    let destination = destination as usize;
                    // SAFETY: `Geometry::check` has every source of a class inside planes of the length asserted above.
                    // Inside `Task::execute`.
                    unsafe {
                        let mut sum = simd.line_splat(0.0);
                        for &(offset, weight) in &taps {
                            let value = from.as_ptr().offset(source as isize + offset).read().wide();
                            sum = simd.line_mul_add(weight, simd.line_load(value.0.as_ptr()), sum);
                        }
                        let residual = to.residual.map(|residual| residual[destination]);
                        let value = simd.line_mul_add(sum, scale, bias);
                        to.plane[destination] = finished(simd, value, residual, to.relu);
                    }
                }
            }
        }
    }
}
