//! Counts the work that [`crate::ops`] really execute, so that closed forms can be held against it.
//!
//! Counters belong to a thread: ops report on the thread that calls them, whatever threads they use inside.

use std::cell::Cell;

use crate::Cost;

thread_local! {
    static EXECUTED: Cell<Cost> = const { Cell::new(Cost { params: 0, macs: 0, activations: 0 }) };
}

/// Reports executed work. Called by convolutions and linear layers only.
pub(crate) fn record(macs: u64, activations: u64) {
    EXECUTED.with(|cell| cell.set(cell.get() + Cost { params: 0, macs, activations }));
}

/// Runs `work` and returns its result with the multiply-accumulates and activations (whole batch; `params` stays 0)
/// that the forward passes inside it executed on this thread.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = EXECUTED.with(|cell| cell.replace(Cost::default()));
    let result = work();
    let executed = EXECUTED.with(|cell| cell.replace(before));
    (result, executed)
}
