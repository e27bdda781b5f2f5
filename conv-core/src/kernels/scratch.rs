//! Working memory that a thread keeps between calls: fresh pages cost more than most layers.

use std::cell::RefCell;

use super::batch16::Line;

/// A buffer that only grows. Its contents are whatever was left there.
#[derive(Default)]
pub(super) struct Buffer {
    /// Cache lines: aligned for any vector load.
    lines: Vec<Line>,
}

impl Buffer {
    /// The first `len` lines.
    pub(super) fn take_lines(&mut self, len: usize) -> &mut [Line] {
        if self.lines.len() < len {
            self.lines.resize(len, Line::ZERO);
        }
        &mut self.lines[..len]
    }

    /// The first `len` values.
    pub(super) fn take(&mut self, len: usize) -> &mut [f32] {
        let lines = self.take_lines(len.div_ceil(16));
        // SAFETY: `Line` is `repr(C)` around 16 f32 without padding, so these lines are at least `len` of them.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), len) }
    }
}

/// The buffers a convolution works in.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) a: Buffer,
    pub(super) b: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `work` with this thread's scratch.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        // A kernel inside a kernel (a thread pool may start another task while one waits): fresh memory then.
        Err(_) => work(&mut Scratch::default()),
    })
}

/// Runs `work` with two buffers of so many lines of this thread's scratch.
pub(super) fn with_lines<T>(first: usize, second: usize, work: impl FnOnce(&mut [Line], &mut [Line]) -> T) -> T {
    with(|scratch| work(scratch.a.take_lines(first), scratch.b.take_lines(second)))
}
