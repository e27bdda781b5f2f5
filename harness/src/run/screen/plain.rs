//! Lines on stderr: all that is worth a line, or failures and warnings alone.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use super::board::{Board, Note, Tone};
use super::text::duration;
use super::{Request, Screen, TrialEntry, Update};

/// A line for each thing that happens. Nothing can be asked of it.
pub struct Plain {
    board: Board,
    out: Box<dyn Write>,
    quiet: bool,
}

impl Plain {
    pub fn new(entries: &[TrialEntry]) -> Self {
        Self::of(Board::new(entries, Instant::now()))
    }

    /// Failures and warnings alone, which nobody should miss.
    pub fn quiet(entries: &[TrialEntry]) -> Self {
        Self { quiet: true, ..Self::new(entries) }
    }

    /// Goes on from what is known.
    pub fn of(board: Board) -> Self {
        Self::to(board, Box::new(stderr()), false)
    }

    pub fn to(board: Board, out: Box<dyn Write>, quiet: bool) -> Self {
        Self { board, out, quiet }
    }

    pub fn update(&mut self, update: &Update, now: Instant) {
        if let Some(note) = self.board.update(update, now)
            && (!self.quiet || matches!(note.tone, Tone::Warning | Tone::Failure))
        {
            self.note(&note);
        }
    }

    /// Prints a note as a line that can be read among those of other trials.
    pub fn note(&mut self, note: &Note) {
        let text = match note.trial {
            Some(index) => {
                let name = &self.board.trials[index].entry.name;
                format!("[{}/{}] {name}: {}", index + 1, self.board.trials.len(), note.text)
            }
            None => note.text.clone(),
        };
        self.print(&text);
    }

    fn print(&mut self, text: &str) {
        // One write a line, lest another process's lines come between. Nobody may be there to read it: never mind.
        let _ = self.out.write_all(format!("{text}\n").as_bytes());
    }

    pub fn close(&mut self, done: usize, failed: usize, open: usize, now: Instant) {
        if !self.quiet && done + failed + open > 0 {
            self.print(&closing(done, failed, open, self.board.elapsed(now)));
        }
    }
}

impl Screen for Plain {
    fn show(&mut self, update: &Update) {
        self.update(update, Instant::now());
    }

    fn tick(&mut self, _: Option<Duration>, _: Option<Duration>) -> Vec<Request> {
        Vec::new()
    }

    fn finish(&mut self, done: usize, failed: usize, open: usize) {
        self.close(done, failed, open, Instant::now());
    }
}

/// The last line.
fn closing(done: usize, failed: usize, open: usize, time: Duration) -> String {
    let all = done + failed + open;
    let trials = if all == 1 { "trial" } else { "trials" };
    let parts = [(done, "done"), (failed, "failed"), (open, "open")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let parts = if done == all { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{all} {trials} in {}{parts}", duration(time.as_secs_f64()))
}
