//! The weights' gradient where every group reads one channel: all taps of a pixel class in one pass over the planes, as there
//! are no channels to share a loaded value with.

use super::Line;
use super::geometry::{Class, Geometry, Tap};
use crate::kernels::simd::{Simd, Task};

/// `dw[o][tap] += sum over images and pixels of dy[o] x[o / multiplier]`.
pub(crate) struct DepthwiseGradient<'a> {
    /// Of the forward pass.
    pub(crate) geometry: &'a Geometry,
    /// A plane a group.
    pub(crate) x: &'a [&'a [Line]],
    /// A plane an output.
    pub(crate) dy: &'a [&'a [Line]],
    pub(crate) dw: &'a mut [f32],
}

impl Task for DepthwiseGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { geometry, x, dy, dw } = self;
        assert!(!x.is_empty() && dy.len().is_multiple_of(x.len()), "depthwise: channels");
        assert!(x.iter().all(|plane| plane.len() == geometry.from), "depthwise: input planes");
        assert!(dy.iter().all(|plane| plane.len() == geometry.to), "depthwise: output planes");
        assert_eq!(dw.len(), dy.len() * geometry.taps, "depthwise: weights");
        let multiplier = dy.len() / x.len();
        for ((o, dy), dw) in dy.iter().enumerate().zip(dw.chunks_exact_mut(geometry.taps)) {
            for class in &geometry.classes {
                let mut taps = class.taps.as_slice();
                while !taps.is_empty() {
                    let x = x[o / multiplier];
                    // SAFETY: `Geometry::check` has every source and destination of a class inside planes of the lengths
                    // asserted above; tap indices are below `geometry.taps`. Inside `Task::execute`.
                    let done = unsafe {
                        match taps.len() {
                            // Nine sums fill the registers of the narrow paths.
                            9.. => taps_at_once::<S, 9>(simd, class, taps, x, dy, dw),
                            6.. => taps_at_once::<S, 6>(simd, class, taps, x, dy, dw),
                            4.. => taps_at_once::<S, 4>(simd, class, taps, x, dy, dw),
                            2.. => taps_at_once::<S, 2>(simd, class, taps, x, dy, dw),
                            _ => taps_at_once::<S, 1>(simd, class, taps, x, dy, dw),
                        }
                    };
                    taps = &taps[done..];
                }
            }
        }
    }
}

/// # Safety
/// `taps` are at least `T` of the class's, whose sources lie inside `x` and destinations inside `dy`.
#[inline(always)]
unsafe fn taps_at_once<S: Simd, const T: usize>(
    simd: S,
    class: &Class,
    taps: &[Tap],
    x: &[Line],
    dy: &[Line],
    dw: &mut [f32],
) -> usize {
    let mut offsets = [0isize; T];
    for (offset, tap) in offsets.iter_mut().zip(taps) {
        *offset = tap.offset as isize;
    }
    for lane in (0..S::WIDTH).map(|part| part * S::LANES) {
        let mut sums = [simd.splat(0.0); T];
        for &(source, destination) in &class.pixels {
            let dy = simd.load(dy.as_ptr().add(destination as usize).cast::<f32>().add(lane));
            let source = x.as_ptr().add(source as usize);
            for (sum, &offset) in sums.iter_mut().zip(&offsets) {
                *sum = simd.mul_add(dy, simd.load(source.offset(offset).cast::<f32>().add(lane)), *sum);
            }
        }
        for (sum, tap) in sums.into_iter().zip(taps) {
            dw[tap.index as usize] += simd.sum(sum);
        }
    }

    T
}
