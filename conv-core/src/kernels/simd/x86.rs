//! Vectors of AVX-512 and of AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Simd, Task};

/// Calls instructions in a method of a token.
macro_rules! instructions {
    ($call:expr) => {
        // SAFETY: the processor has the instructions, else there would be no token; memory is as the caller promises.
        unsafe { $call }
    };
}

/// The token of AVX-512F.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Avx512(());

/// The token of AVX2 with FMA.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Avx2(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && Avx2::detect().is_some()).then_some(Self(()))
    }

    /// Executes `task`, compiled for these instructions.
    pub(super) fn execute<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn compiled<T: Task>(simd: Avx512, task: T) -> T::Output {
            task.execute(simd)
        }
        instructions!(compiled(self, task))
    }
}

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Executes `task`, compiled for these instructions.
    pub(super) fn execute<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<T: Task>(simd: Avx2, task: T) -> T::Output {
            task.execute(simd)
        }
        instructions!(compiled(self, task))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        instructions!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        instructions!(_mm512_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::V) {
        instructions!(_mm512_storeu_ps(to, value))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        instructions!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn mask(self, condition: Self::V, value: Self::V) -> Self::V {
        instructions!(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(condition, _mm512_setzero_ps()), value))
    }

    #[inline(always)]
    fn sum(self, value: Self::V) -> f32 {
        instructions!(_mm512_reduce_add_ps(value))
    }

    #[inline(always)]
    fn sums(self, values: &[Self::V], to: &mut [f32]) {
        for (values, to) in values.chunks(16).zip(to.chunks_mut(16)) {
            // So few by themselves take no more instructions than sixteen together.
            if values.len() < 5 {
                to.iter_mut().zip(values).for_each(|(to, &value)| *to = self.sum(value));
                continue;
            }
            let value = |at: usize| values.get(at).copied().unwrap_or(self.splat(0.0));
            let mut lines = [0f32; 16];
            let sums = instructions!(sums_of_16(value));
            // SAFETY: `lines` are 16 values.
            unsafe { self.store(lines.as_mut_ptr(), sums) };
            to.copy_from_slice(&lines[..to.len()]);
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        instructions!(_mm_prefetch::<_MM_HINT_T1>(at.cast()))
    }

    type W = [__m512; 1];

    #[inline(always)]
    fn line_splat(self, value: f32) -> Self::W {
        [self.splat(value)]
    }
}

/// Lane `i` is the sum of `value(i)`'s lanes, added in the order of `_mm512_reduce_add_ps`: halves, quarters, pairs.
///
/// Two vectors at a time: each step adds what two of them have in one place to what they have in another, and leaves one vector with
/// half as many lanes of either.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_of_16(value: impl Fn(usize) -> __m512) -> __m512 {
    macro_rules! step {
        ($shuffle:ident, $one:literal, $other:literal, $a:expr, $b:expr) => {{
            let (a, b) = ($a, $b);
            _mm512_add_ps($shuffle::<$one>(a, b), $shuffle::<$other>(a, b))
        }};
    }
    // The quarters of a vector have one place in the result, the lanes of a quarter another: so values are taken four apart.
    let quarters = |column: usize| {
        let halves = |row: usize| {
            step!(_mm512_shuffle_f32x4, 0x44, 0xee, value(4 * row + column), value(4 * (row + 1) + column))
        };
        step!(_mm512_shuffle_f32x4, 0x88, 0xdd, halves(0), halves(2))
    };
    let pairs = |column: usize| step!(_mm512_shuffle_ps, 0x44, 0xee, quarters(column), quarters(column + 1));
    step!(_mm512_shuffle_ps, 0x88, 0xdd, pairs(0), pairs(2))
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        instructions!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        instructions!(_mm256_loadu_ps(from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::V) {
        instructions!(_mm256_storeu_ps(to, value))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        instructions!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        instructions!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn mask(self, condition: Self::V, value: Self::V) -> Self::V {
        instructions!(_mm256_and_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(condition, _mm256_setzero_ps()), value))
    }

    #[inline(always)]
    fn sum(self, value: Self::V) -> f32 {
        // In the portable set's order.
        instructions!({
            let four = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps::<1>(value));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        instructions!(_mm_prefetch::<_MM_HINT_T1>(at.cast()))
    }

    type W = [__m256; 2];

    #[inline(always)]
    fn line_splat(self, value: f32) -> Self::W {
        [self.splat(value); 2]
    }
}
