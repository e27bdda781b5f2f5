//! The vector instructions that kernels are written over, and the choice between them at run time.

use std::sync::OnceLock;

/// A set of vector instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// 16 lanes, AVX-512F.
    Avx512,
    /// 8 lanes, AVX2 with FMA.
    Avx2,
    /// 8 lanes of ordinary Rust; runs everywhere.
    Portable,
}

impl Path {
    /// Every path, fastest first.
    pub const ALL: [Path; 3] = [Path::Avx512, Path::Avx2, Path::Portable];

    /// Whether this processor can execute the path.
    pub fn supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => is_x86_feature_detected!("avx512f") && Path::Avx2.supported(),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx512 | Path::Avx2 => false,
            Path::Portable => true,
        }
    }

    /// The fastest path of this processor.
    pub fn best() -> Path {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| Path::ALL.into_iter().find(|path| path.supported()).unwrap_or(Path::Portable))
    }

    /// As stamps and messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Path::Avx512 => "avx512",
            Path::Avx2 => "avx2",
            Path::Portable => "portable",
        }
    }

    /// Rows of the widest register tile (see `tile.rs`).
    pub(crate) fn rows(self) -> usize {
        match self {
            Path::Avx512 => 8,
            Path::Avx2 | Path::Portable => 4,
        }
    }

    /// Runs `task` compiled for this path (for the portable one, where the processor cannot).
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        if self != Path::Portable && self.supported() {
            return match self {
                // SAFETY: the processor has the features, checked by `supported`.
                Path::Avx512 => unsafe { x86::run_avx512(task) },
                // SAFETY: as above.
                _ => unsafe { x86::run_avx2(task) },
            };
        }
        task.run::<Lanes8>()
    }
}

/// Work that is generic over the vector instructions. `run` must be `#[inline(always)]`, as everything it calls, so that
/// it is compiled with the features of the caller.
pub(crate) trait Task {
    type Output;
    fn run<S: Simd>(self) -> Self::Output;
}

/// A vector of f32. The functions are unsafe where they touch memory and because they may only be executed on a
/// processor that has the instructions: call them from [`Task::run`] alone.
pub(crate) trait Simd: 'static {
    type V: Copy;
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self::V;
    /// # Safety
    /// `LANES` readable values at `from`; no alignment asked.
    unsafe fn load(from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` writable values at `to`; no alignment asked.
    unsafe fn store(to: *mut f32, value: Self::V);
    /// `a b + c`
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The greater of both; `b` where one is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `value` where `condition > 0`, else 0.
    unsafe fn where_positive(condition: Self::V, value: Self::V) -> Self::V;
    /// Sum over lanes, in one fixed order.
    unsafe fn sum(value: Self::V) -> f32;

    /// 16 values, one an image: a line of `lanes`, in as many registers as it takes.
    type W: Copy;
    /// Registers that a `W` takes.
    const WIDTH: usize = 16 / Self::LANES;

    unsafe fn line_splat(value: f32) -> Self::W;
    /// # Safety
    /// 16 readable values at `from`; no alignment asked.
    unsafe fn line_load(from: *const f32) -> Self::W;
    /// # Safety
    /// 16 writable values at `to`; no alignment asked.
    unsafe fn line_store(to: *mut f32, value: Self::W);
    /// `a b + c`
    unsafe fn line_mul_add(a: Self::W, b: Self::W, c: Self::W) -> Self::W;
    unsafe fn line_add(a: Self::W, b: Self::W) -> Self::W;
    unsafe fn line_sub(a: Self::W, b: Self::W) -> Self::W;
    /// The greater of both; `b` where one is not a number.
    unsafe fn line_max(a: Self::W, b: Self::W) -> Self::W;
    /// `value` where `condition > 0`, else 0.
    unsafe fn line_where_positive(condition: Self::W, value: Self::W) -> Self::W;
}

/// Eight lanes of ordinary Rust.
pub(crate) struct Lanes8;

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
    unsafe fn where_positive(condition: Self::V, mut value: Self::V) -> Self::V {
        for i in 0..8 {
            value[i] = if condition[i] > 0.0 { value[i] } else { 0.0 };
        }
        value
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

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
    unsafe fn line_where_positive(condition: Self::W, mut value: Self::W) -> Self::W {
        for i in 0..16 {
            value[i] = if condition[i] > 0.0 { value[i] } else { 0.0 };
        }
        value
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
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
        unsafe fn where_positive(condition: Self::V, value: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps()), value) }
        }

        #[inline(always)]
        unsafe fn sum(value: Self::V) -> f32 {
            // SAFETY: see the impl.
            unsafe { _mm512_reduce_add_ps(value) }
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
        unsafe fn line_where_positive(condition: Self::W, value: Self::W) -> Self::W {
            // SAFETY: see the impl.
            unsafe { Self::where_positive(condition, value) }
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
        unsafe fn where_positive(condition: Self::V, value: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(condition, _mm256_setzero_ps()), value) }
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
        unsafe fn line_where_positive(condition: Self::W, value: Self::W) -> Self::W {
            // SAFETY: see the impl.
            unsafe { [Self::where_positive(condition[0], value[0]), Self::where_positive(condition[1], value[1])] }
        }
    }
}
