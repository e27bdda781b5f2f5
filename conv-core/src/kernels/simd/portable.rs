//! Vectors that the compiler makes of ordinary Rust.

use super::Simd;

/// Eight lanes of ordinary Rust: its token, which anybody may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        // SAFETY: the caller promises 8 readable values.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::V) {
        // SAFETY: the caller promises 8 writable values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..8 {
            c[i] += a[i] * b[i];
        }
        c
    }

    #[inline(always)]
    fn add(self, mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..8 {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    fn sub(self, mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..8 {
            a[i] -= b[i];
        }
        a
    }

    #[inline(always)]
    fn max(self, mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..8 {
            a[i] = if a[i] > b[i] { a[i] } else { b[i] };
        }
        a
    }

    #[inline(always)]
    fn mask(self, condition: Self::V, mut value: Self::V) -> Self::V {
        for i in 0..8 {
            value[i] = if condition[i] <= 0.0 { 0.0 } else { value[i] };
        }
        value
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    type W = [Self::V; 2];

    #[inline(always)]
    fn line_splat(self, value: f32) -> Self::W {
        [self.splat(value); 2]
    }
}
