//! What follows a convolution that could not do it on its way, in bf16.

use super::HalfLine;
use super::conv::finished;
use crate::kernels::simd::{Simd, Task};

/// `y = relu?(scale x + shift + residual?)` of one channel, in f32 and rounded once.
pub(crate) struct Apply<'a> {
    pub(crate) x: &'a [HalfLine],
    pub(crate) scale: f32,
    pub(crate) shift: f32,
    pub(crate) residual: Option<&'a [HalfLine]>,
    pub(crate) relu: bool,
    pub(crate) y: &'a mut [HalfLine],
}

impl Task for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { x, scale, shift, residual, relu, y } = self;
        assert!(x.len() == y.len() && residual.is_none_or(|residual| residual.len() == y.len()), "bf16 finish: planes");
        let (scale, shift) = (simd.line_splat(scale), simd.line_splat(shift));
        for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
            // SAFETY: a line is 16 values; inside `Task::execute`.
            *y = unsafe {
                let value = simd.line_mul_add(simd.line_load(x.wide().0.as_ptr()), scale, shift);
                finished(simd, value, residual.map(|residual| residual[at]), relu)
            };
        }
    }
}
