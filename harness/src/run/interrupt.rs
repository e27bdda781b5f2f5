//! Requests to stop this process: Ctrl-C, a signal from the system or a scheduler, a terminal that is gone, a parent
//! process that is gone.
//!
//! Signals are received by a thread of their own. While a [`Watch`] lives they are counted, and whoever follows the count
//! stops in its own time; otherwise a signal ends the process at once, whatever its other threads are at.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::screen;

/// A second signal within this time is the first one again: `timeout` sends its own to a process and to its group.
const SAME: Duration = Duration::from_millis(500);

/// How long the terminal may take to be given back before the process is ended.
const FAREWELL: Duration = Duration::from_millis(500);

/// Exit code of a process that was stopped before the end: the same command goes on.
const STOPPED: i32 = 3;

struct Requests {
    count: usize,
    /// When the last one came that was counted.
    last: Option<Instant>,
    /// How many [`Watch`]es live, and the patience of the last.
    watches: usize,
    patience: Option<Duration>,
    /// How often the count was asked for.
    looks: u64,
    /// Whether this process belonged to a terminal when signals began to be counted.
    had_terminal: bool,
}

static REQUESTS: Mutex<Requests> =
    Mutex::new(Requests { count: 0, last: None, watches: 0, patience: None, looks: 0, had_terminal: false });

fn lock() -> MutexGuard<'static, Requests> {
    REQUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often this process was asked to stop: once, after a checkpoint; more than once, at once.
pub fn requests() -> usize {
    let mut requests = lock();
    requests.looks += 1;
    requests.count
}

/// While it lives, signals are counted for [`requests`] instead of ending the process.
pub(super) struct Watch(());

/// From now on signals are received: they end the process with the exit code of one that goes on next time, unless there
/// is a [`Watch`].
pub(super) fn listen() {
    static LISTENING: Once = Once::new();
    // Whoever has a handler already, as a test's host may, keeps it.
    LISTENING.call_once(|| drop(ctrlc::set_handler(request)));
}

impl Watch {
    /// Counts from now on. With `patience`, a signal ends the process after all if [`requests`] is not asked within that
    /// time: whoever should is stuck.
    pub fn start(patience: Option<Duration>) -> Self {
        listen();
        let mut requests = lock();
        requests.watches += 1;
        (requests.patience, requests.had_terminal) = (patience, has_terminal());
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock().watches -= 1;
    }
}

/// From now on the end of standard input is a request: the parent closes it to stop this process, and the system does when
/// the parent is gone.
pub(super) fn follow_stdin() {
    thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        lock().count += 1;
    });
}

/// A signal came.
fn request() {
    let now = Instant::now();
    let mut requests = lock();
    if requests.watches == 0 {
        drop(requests);
        end();
    }
    if requests.last.is_some_and(|last| now.saturating_duration_since(last) < SAME) {
        return;
    }
    requests.count += 1;
    requests.last = Some(now);
    let (looks, patience) = (requests.looks, requests.patience);
    drop(requests);
    if let Some(patience) = patience {
        thread::spawn(move || {
            thread::sleep(patience);
            let stuck = lock().looks == looks;
            if stuck {
                end();
            }
        });
    }
}

/// Whether this process belongs to a terminal, whatever it writes to; not any more once that has hung up.
fn has_terminal() -> bool {
    cfg!(unix) && std::fs::File::open("/dev/tty").is_ok()
}

/// The terminal is gone, whether or not a signal says so as well.
pub(super) fn hang_up() {
    let mut requests = lock();
    if requests.count == 0 {
        (requests.count, requests.last) = (1, Some(Instant::now()));
    }
}

/// Whether this process belonged to a terminal that is gone.
pub(super) fn has_hung_up() -> bool {
    lock().had_terminal && !has_terminal()
}

/// Ends the process. The processes of its trials notice, and stop after a checkpoint.
fn end() -> ! {
    // A terminal may keep whoever writes to it.
    let farewell = thread::spawn(screen::restore);
    let started = Instant::now();
    while !farewell.is_finished() && started.elapsed() < FAREWELL {
        thread::sleep(Duration::from_millis(5));
    }
    std::process::exit(STOPPED)
}
