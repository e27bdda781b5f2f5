//! The terminal, taken and given back.

use std::io::{self, IsTerminal, Write, stderr};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether it ever was.
static WAS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether stderr is a terminal that can be drawn on and whose keys are ours.
pub fn suits() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb") && in_foreground()
}

/// A process in the background that took the terminal would be stopped for it.
#[cfg(unix)]
fn in_foreground() -> bool {
    let group = rustix::process::getpgrp();
    rustix::termios::tcgetpgrp(stderr()).is_ok_and(|foreground| foreground == group)
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}

/// Whether a terminal that was taken is there no more: its window was closed, its line dropped.
pub fn is_gone() -> bool {
    WAS_TAKEN.load(Ordering::SeqCst) && !is_there()
}

/// A terminal that hung up has no size.
#[cfg(unix)]
fn is_there() -> bool {
    rustix::termios::tcgetwinsize(stderr()).is_ok()
}

#[cfg(not(unix))]
fn is_there() -> bool {
    true
}

/// Takes the terminal: nothing is echoed, keys come one by one, and what was on it comes back afterwards.
///
/// # Errors
/// No terminal, or one that belongs to somebody else at the moment; nothing has changed then.
pub fn take() -> io::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // A message must not go to a screen that is about to vanish.
            restore();
            former(panic);
        }));
    });
    if !suits() {
        return Err(io::Error::other("no terminal to draw on"));
    }
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    WAS_TAKEN.store(true, Ordering::SeqCst);
    // Pasted text is no sequence of keys.
    execute!(stderr(), EnterAlternateScreen, EnableBracketedPaste, Hide).inspect_err(|_| restore())
}

/// Whether the terminal is ours still: a panic anywhere gives it back.
pub fn taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Gives the terminal back, if a screen has it. To be called, from any thread, before the process is ended in a way that
/// drops nothing.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stderr(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stderr().flush();
    }
}
