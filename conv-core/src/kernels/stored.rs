//! Lines as memory holds them, for kernels that do the same to values of f32 and of bf16.

use super::batch16::Line;
use super::simd::Simd;

/// The values of one pixel of one channel in the images of a block, in f32 or narrower: widened when they are read, rounded when
/// they are written. All arithmetic between is f32.
pub(crate) trait Stored: Copy + Default + Send + Sync + 'static {
    fn wide(self) -> Line;

    fn of(line: Line) -> Self;

    /// # Safety
    /// A line is readable at `from`; inside [`Task::execute`](super::simd::Task::execute).
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::W;

    /// # Safety
    /// A line is writable at `to`; inside [`Task::execute`](super::simd::Task::execute).
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::W);
}

impl Stored for Line {
    #[inline(always)]
    fn wide(self) -> Line {
        self
    }

    #[inline(always)]
    fn of(line: Line) -> Self {
        line
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::W {
        // SAFETY: a line is 16 values.
        unsafe { simd.line_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::W) {
        // SAFETY: a line is 16 values.
        unsafe { simd.line_store(to.cast(), value) }
    }
}
