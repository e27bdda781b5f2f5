//! Working memory that a thread keeps between calls: fresh pages cost more than most layers.

use std::cell::RefCell;

/// A cache line of values; a `Vec` of them is aligned for any vector load.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A buffer that only grows. Its contents are whatever was left there.
#[derive(Default)]
pub(super) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// The first `len` values.
    pub(super) fn take(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: `Line` is `repr(C)` around 16 f32 without padding, so `lines` lines are 16 `lines` >= `len` of them.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), len) }
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
