//! What follows a sum in the same pass: adding what is there already, adding a residual, ReLU.

use super::simd::Simd;

/// The arithmetic of an epilogue, on vectors, on lines or on single values.
pub(crate) trait Arithmetic: Copy {
    type Value: Copy;
    /// # Safety
    /// A value is readable at `from`; no alignment asked beyond that of an f32.
    unsafe fn load(self, from: *const f32) -> Self::Value;
    fn add(self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// The value where it is positive, -0 or not a number, else 0.
    fn relu(self, value: Self::Value) -> Self::Value;
}

impl<S: Simd> Arithmetic for S {
    type Value = S::V;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { Simd::load(self, from) }
    }

    #[inline(always)]
    fn add(self, a: S::V, b: S::V) -> S::V {
        Simd::add(self, a, b)
    }

    #[inline(always)]
    fn relu(self, value: S::V) -> S::V {
        // In this order NaN stays NaN.
        self.max(self.splat(0.0), value)
    }
}

/// A line at a time, whole: all registers of one are loaded and stored before those of the next, as a line whose other half
/// is wanted later would have to be brought near twice.
#[derive(Clone, Copy)]
pub(crate) struct Whole<S>(pub(crate) S);

impl<S: Simd> Arithmetic for Whole<S> {
    type Value = S::W;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> S::W {
        // SAFETY: the caller's promise.
        unsafe { self.0.line_load(from) }
    }

    #[inline(always)]
    fn add(self, a: S::W, b: S::W) -> S::W {
        self.0.line_add(a, b)
    }

    #[inline(always)]
    fn relu(self, value: S::W) -> S::W {
        self.0.line_relu(value)
    }
}

/// One value at a time.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Arithmetic for Scalar {
    type Value = f32;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn relu(self, value: f32) -> f32 {
        if value < 0.0 { 0.0 } else { value }
    }
}

/// `relu?(value + there? + residual?)`, added in this order. `value` has its bias already, because a norm rounds it together
/// with a product. What is added is given by its address, so that nothing is loaded where nothing is added.
///
/// # Safety
/// A value is readable at each address.
#[inline(always)]
pub(crate) unsafe fn apply<A: Arithmetic>(
    arithmetic: A,
    mut value: A::Value,
    there: Option<*const f32>,
    residual: Option<*const f32>,
    relu: bool,
) -> A::Value {
    if let Some(there) = there {
        // SAFETY: the caller's promise.
        value = arithmetic.add(value, unsafe { arithmetic.load(there) });
    }
    if let Some(residual) = residual {
        // SAFETY: the caller's promise.
        value = arithmetic.add(value, unsafe { arithmetic.load(residual) });
    }
    if relu { arithmetic.relu(value) } else { value }
}
