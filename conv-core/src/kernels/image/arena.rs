//! Where planes lie.

use std::ops::Range;

use super::LANES;
use crate::kernels::batch16::Line;

/// How a map lies in memory: row after row with `pad` zeros between them, which are the padding right of one row and left
/// of the next, and rows of zeros above and below. From the first pixel on, positions are worked on in lines of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaneLayout {
    pub(crate) size: (usize, usize),
    pub(crate) pad: usize,
    /// From one row to the next.
    pub(crate) pitch: usize,
    /// Values before the first pixel.
    pub(crate) front: usize,
    /// Lines from the first pixel to the last.
    pub(crate) lines: usize,
    /// Values of a plane.
    pub(crate) len: usize,
}

impl PlaneLayout {
    pub(crate) fn new(size: (usize, usize), pad: usize) -> Self {
        let pitch = size.1 + pad;
        let front = (pad * pitch + pad).next_multiple_of(LANES);
        let lines = (size.0 * pitch - pad).div_ceil(LANES).max(1);
        let lines_needed = (front + lines * LANES + pad * pitch + pad).div_ceil(LANES);
        // An odd number of cache lines: else many planes would begin in the same few sets of the caches.
        Self { size, pad, pitch, front, lines, len: (lines_needed | 1) * LANES }
    }

    /// Place of a pixel, from the first one.
    pub(crate) fn at(&self, row: usize, column: usize) -> usize {
        row * self.pitch + column
    }

    /// Values from the first pixel to the last.
    pub(crate) fn extent(&self) -> usize {
        (self.size.0 - 1) * self.pitch + self.size.1
    }

    /// How far from an output's own place each tap reads, for a convolution that keeps the size.
    pub(crate) fn taps(&self, kernel: usize, padding: usize) -> Vec<isize> {
        let at = |k: usize| k as isize - padding as isize;
        (0..kernel * kernel).map(|tap| at(tap / kernel) * self.pitch as isize + at(tap % kernel)).collect()
    }

    /// One where a line's position is a pixel, zero in the padding and behind the map.
    pub(crate) fn mask(&self) -> Vec<f32> {
        let pixel = |at: usize| at / self.pitch < self.size.0 && at % self.pitch < self.size.1;
        (0..self.lines * LANES).map(|at| f32::from(u8::from(pixel(at)))).collect()
    }
}

/// Places that a step reads or writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(Vec<Range<usize>>);

impl Spans {
    pub(crate) fn push(&mut self, span: Range<usize>) {
        self.0.push(span);
    }

    pub(crate) fn end(&self) -> usize {
        self.0.iter().map(|span| span.end).max().unwrap_or(0)
    }

    /// # Panics
    /// If two spans of `writes` meet, or one of them meets one of `reads`: then tasks could not run at the same time.
    pub(crate) fn check_apart(writes: &Spans, reads: &Spans) {
        let mut all: Vec<(usize, usize, bool)> = (writes.0.iter().map(|span| (span.start, span.end, true)))
            .chain(reads.0.iter().map(|span| (span.start, span.end, false)))
            .collect();
        all.sort_unstable();
        let (mut written, mut read) = (0, 0);
        for (start, end, writes) in all {
            assert!(
                start >= written && !(writes && start < read),
                "single image: a place is written beside another use"
            );
            if writes {
                written = written.max(end);
            } else {
                read = read.max(end);
            }
        }
    }
}

/// The memory of an image.
pub(crate) struct Arena {
    lines: Vec<Line>,
}

impl Arena {
    /// Zeros, at least so many.
    pub(crate) fn new(values: usize) -> Self {
        Self { lines: vec![Line::ZERO; values.div_ceil(LANES)] }
    }

    pub(crate) fn shared(&mut self) -> Shared {
        Shared { base: self.lines.as_mut_ptr().cast(), len: self.lines.len() * LANES }
    }
}

/// An arena as tasks see it that run at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    base: *mut f32,
    pub(crate) len: usize,
}

// SAFETY: whoever reads or writes through the pointer promises that nobody else does what would be a race: see `at`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The value at `place` and those behind it.
    ///
    /// # Safety
    /// What is reached from there lies in the arena, which is still alive; nobody writes what is read, or touches what is
    /// written, at the same time.
    #[inline(always)]
    pub(super) unsafe fn at(self, place: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.base.add(place) }
    }

    /// So many values from `place` on.
    ///
    /// # Safety
    /// Nobody writes them while the slice lives, and the arena does.
    pub(crate) unsafe fn read<'a>(self, place: usize, len: usize) -> &'a [f32] {
        assert!(place + len <= self.len, "single image: a read outside of the arena");
        // SAFETY: in the arena; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.add(place), len) }
    }

    /// So many values from `place` on.
    ///
    /// # Safety
    /// Nobody else touches them while the slice lives, and the arena does.
    pub(crate) unsafe fn write<'a>(self, place: usize, len: usize) -> &'a mut [f32] {
        assert!(place + len <= self.len, "single image: a write outside of the arena");
        // SAFETY: in the arena; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(place), len) }
    }
}
