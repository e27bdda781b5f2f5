//! Vectors of AVX-512 and of AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Simd, Task};

#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) unsafe fn run_avx512<T: Task>(task: T) -> T::Output {
    task.run::<Lanes16>()
}

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

pub(super) struct Lanes16;

// SAFETY (every block below): executed under `run_avx512` only; memory as the trait's callers promise.
impl Simd for Lanes16 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mask(condition: Self::V, value: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(condition, _mm512_setzero_ps()), value) }
    }

    #[inline(always)]
    unsafe fn sum(value: Self::V) -> f32 {
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_add_ps(value) }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: every x86-64 processor has it, and no address makes it fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    type W = __m512;

    #[inline(always)]
    unsafe fn line_splat(value: f32) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn line_load(from: *const f32) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn line_store(to: *mut f32, value: Self::W) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn line_mul_add(a: Self::W, b: Self::W, c: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn line_add(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn line_sub(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn line_max(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn line_mask(condition: Self::W, value: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { Self::mask(condition, value) }
    }
}

pub(super) struct Avx2;

// SAFETY (every block below): executed under `run_avx2` only; memory as the trait's callers promise.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: see the impl.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mask(condition: Self::V, value: Self::V) -> Self::V {
        // SAFETY: see the impl.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(condition, _mm256_setzero_ps()), value) }
    }

    #[inline(always)]
    unsafe fn sum(value: Self::V) -> f32 {
        // In the portable path's order.
        // SAFETY: see the impl.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps::<1>(value));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: every x86-64 processor has it, and no address makes it fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    type W = [__m256; 2];

    #[inline(always)]
    unsafe fn line_splat(value: f32) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn line_load(from: *const f32) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn line_store(to: *mut f32, value: Self::W) {
        // SAFETY: see the impl.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }

    #[inline(always)]
    unsafe fn line_mul_add(a: Self::W, b: Self::W, c: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    unsafe fn line_add(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn line_sub(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn line_max(a: Self::W, b: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn line_mask(condition: Self::W, value: Self::W) -> Self::W {
        // SAFETY: see the impl.
        unsafe { [Self::mask(condition[0], value[0]), Self::mask(condition[1], value[1])] }
    }
}
