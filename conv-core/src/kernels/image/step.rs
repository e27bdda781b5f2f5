//! A step of a single image, whichever kernel does it.

use super::{Apply, Channels, Gate, Pixels, Pool, Repeat, Shared, Spans, Spread};
use crate::kernels::simd::Isa;

/// A kernel with where in the arena it reads and writes.
pub(crate) enum ImageStep {
    Spread(Spread),
    Pixels(Pixels),
    Channels(Channels),
    Apply(Apply),
    Pool(Pool),
    Repeat(Repeat),
    Gate(Gate),
}

impl ImageStep {
    /// What it reads, and what it writes.
    pub(crate) fn spans(&self) -> (Spans, Spans) {
        match self {
            Self::Spread(step) => step.spans(),
            Self::Pixels(step) => step.spans(),
            Self::Channels(step) => step.spans(),
            Self::Apply(step) => step.spans(),
            Self::Pool(step) => step.spans(),
            Self::Repeat(step) => step.spans(),
            Self::Gate(step) => step.spans(),
        }
    }

    /// Into how many tasks it is shared out.
    pub(crate) fn tasks(&self) -> usize {
        match self {
            Self::Spread(step) => step.tasks(),
            Self::Pixels(step) => step.tasks(),
            Self::Channels(step) => step.tasks(),
            Self::Apply(step) => step.tasks(),
            Self::Pool(step) => step.tasks(),
            Self::Repeat(step) => step.tasks(),
            Self::Gate(step) => step.tasks(),
        }
    }

    /// One of its tasks.
    ///
    /// # Safety
    /// `memory` is the arena that the step was made for; nobody touches it but other tasks of this step.
    pub(crate) unsafe fn execute(&self, isa: Isa, memory: Shared, task: usize) {
        // SAFETY: the caller's promise is what each kernel asks for.
        unsafe {
            match self {
                Self::Spread(step) => step.spread(memory, task),
                Self::Pixels(step) => step.convolve(isa, memory, task),
                Self::Channels(step) => step.convolve(isa, memory, task),
                Self::Apply(step) => step.apply(isa, memory, task),
                Self::Pool(step) => step.pool(isa, memory, task),
                Self::Repeat(step) => step.repeat(memory, task),
                Self::Gate(step) => step.execute(isa, memory, task),
            }
        }
    }
}
