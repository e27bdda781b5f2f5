//! Being asked to stop: Ctrl-C, a signal from the system or a scheduler, the parent process that is gone.

use std::io::Read;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// How often this process was asked to stop: once, after a checkpoint; twice, at once.
pub(super) fn asked() -> usize {
    ASKED.load(Ordering::Relaxed)
}

/// Asks this process to stop.
pub(super) fn ask() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// From now on Ctrl-C and termination signals ask instead of ending the process.
pub(super) fn listen() {
    static LISTENING: Once = Once::new();
    // Whoever has a handler already, as a test's host may, keeps it.
    LISTENING.call_once(|| drop(ctrlc::set_handler(ask)));
}

/// From now on the end of standard input asks: the parent closes it to stop this process, and the system does when the
/// parent is gone.
pub(super) fn follow_stdin() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        ask();
    });
}
