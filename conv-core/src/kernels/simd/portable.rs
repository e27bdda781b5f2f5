//! Vectors that the compiler makes of ordinary Rust.

use super::Simd;

/// Eight lanes of ordinary Rust.
pub(super) struct Lanes8;

impl Simd for Lanes8 {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller promises 8 readable values.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: the caller promises 8 writable values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..8 {
            c[i] += a[i] * b[i];
        }
        c
    }

    #[inline(always)]
    unsafe fn add(mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..8 {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn max(mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..8 {
            a[i] = if a[i] > b[i] { a[i] } else { b[i] };
        }
        a
    }

    #[inline(always)]
    unsafe fn mask(condition: Self::V, mut value: Self::V) -> Self::V {
        for i in 0..8 {
            value[i] = if condition[i] <= 0.0 { 0.0 } else { value[i] };
        }
        value
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    fn prefetch(_: *const f32) {}

    type W = [f32; 16];

    #[inline(always)]
    unsafe fn line_splat(value: f32) -> Self::W {
        [value; 16]
    }

    #[inline(always)]
    unsafe fn line_load(from: *const f32) -> Self::W {
        // SAFETY: the caller promises 16 readable values.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn line_store(to: *mut f32, value: Self::W) {
        // SAFETY: the caller promises 16 writable values.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn line_mul_add(a: Self::W, b: Self::W, mut c: Self::W) -> Self::W {
        for i in 0..16 {
            c[i] += a[i] * b[i];
        }
        c
    }

    #[inline(always)]
    unsafe fn line_add(mut a: Self::W, b: Self::W) -> Self::W {
        for i in 0..16 {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn line_sub(mut a: Self::W, b: Self::W) -> Self::W {
        for i in 0..16 {
            a[i] -= b[i];
        }
        a
    }

    #[inline(always)]
    unsafe fn line_max(mut a: Self::W, b: Self::W) -> Self::W {
        for i in 0..16 {
            a[i] = if a[i] > b[i] { a[i] } else { b[i] };
        }
        a
    }

    #[inline(always)]
    unsafe fn line_mask(condition: Self::W, mut value: Self::W) -> Self::W {
        for i in 0..16 {
            value[i] = if condition[i] <= 0.0 { 0.0 } else { value[i] };
        }
        value
    }
}
