//! Counts the multiply-accumulates and activations of the operations that are run, so that prices can be held
//! against them.
//!
//! Nothing is counted inside a kernel: an operation reports, each time it runs, the count that follows from the shapes it was
//! given (a convolution: output values times weights per output channel), and an engine that of all steps of its program, the
//! same steps that it goes through. So a count says which operations a network really runs, how often and on what shapes, and is
//! independent of what was written down. It is the direct sum's: taps that meet padding are
//! counted though kernels leave them out, and Winograd's convolutions count what they save. Convolutions and linear layers are
//! counted, as in the papers; norms, poolings, products and gates are not.
//!
//! Counters belong to a thread: operations report on the thread that calls them, whatever threads they use inside.

use std::cell::Cell;

use crate::Cost;

thread_local! {
    static EXECUTED: Cell<Cost> = const { Cell::new(Cost { params: 0, macs: 0, activations: 0 }) };
}

/// Reports the work of an operation that is run now. Called by convolutions, linear layers and engines only.
pub(crate) fn record(macs: u64, activations: u64) {
    EXECUTED.with(|cell| cell.set(cell.get() + Cost { params: 0, macs, activations }));
}

/// Runs `work` and returns its result with the multiply-accumulates and activations (whole batch; `params` stays 0)
/// that the forward passes inside it reported on this thread.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = EXECUTED.with(|cell| cell.replace(Cost::default()));
    let result = work();
    let executed = EXECUTED.with(|cell| cell.replace(before));
    (result, executed)
}
