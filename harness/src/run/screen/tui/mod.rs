//! A dashboard on the terminal.

mod curves;
mod dashboard;
mod pages;
mod panels;
mod tail;
#[cfg(test)]
mod tests;
mod theme;
mod trials;
mod view;
mod widgets;

use std::io::{self, BufWriter, Stderr, stderr};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};

use super::board::{Board, Note, Tone};
use super::plain::Plain;
use super::{Request, Screen, TrialEntry, Update, terminal};
use theme::Theme;
use view::View;

/// The screen is drawn no more often than this.
const PAUSE: Duration = Duration::from_millis(100);

/// The dashboard; lines once its terminal is lost.
pub struct Tui(Shown);

enum Shown {
    Dashboard(Box<Dashboard>),
    Lines(Box<Plain>),
}

struct Dashboard {
    view: View,
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    /// Whether anything changed since it was drawn, and when that was.
    changed: bool,
    drawn: Option<Instant>,
    /// What stays in the terminal afterwards.
    kept: Vec<Note>,
}

impl Tui {
    /// Takes the terminal.
    ///
    /// # Errors
    /// No terminal, or one that belongs to somebody else at the moment.
    pub fn open(name: &str, entries: &[TrialEntry]) -> io::Result<Self> {
        let view = View::new(name, Board::new(entries, Instant::now()), Theme::from_environment());
        terminal::take()?;
        let terminal =
            Terminal::new(CrosstermBackend::new(BufWriter::new(stderr()))).inspect_err(|_| terminal::restore())?;
        Ok(Self(Shown::Dashboard(Box::new(Dashboard { view, terminal, changed: true, drawn: None, kept: Vec::new() }))))
    }

    /// Gives the terminal back and goes on in lines.
    fn lose(&mut self) {
        if let Shown::Dashboard(dashboard) = &mut self.0 {
            terminal::restore();
            let board = std::mem::replace(&mut dashboard.view.board, Board::new(&[], Instant::now()));
            let mut lines = Plain::of(board);
            for note in &dashboard.kept {
                lines.note(note);
            }
            self.0 = Shown::Lines(Box::new(lines));
        }
    }
}

impl Screen for Tui {
    fn show(&mut self, update: &Update) {
        match &mut self.0 {
            Shown::Dashboard(dashboard) => dashboard.show(update, Instant::now()),
            Shown::Lines(lines) => lines.show(update),
        }
    }

    fn tick(&mut self, left: Option<Duration>, deadline: Option<Duration>) -> Vec<Request> {
        let Shown::Dashboard(dashboard) = &mut self.0 else { return Vec::new() };
        match dashboard.tick(left, deadline, Instant::now()) {
            Ok(requests) => requests,
            // A terminal that hung up is noticed by whoever follows the sweep.
            Err(_) => {
                self.lose();
                Vec::new()
            }
        }
    }

    fn finish(&mut self, done: usize, failed: usize, open: usize) {
        self.lose();
        if let Shown::Lines(lines) = &mut self.0 {
            lines.finish(done, failed, open);
        }
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        terminal::restore();
    }
}

impl Dashboard {
    fn show(&mut self, update: &Update, now: Instant) {
        if let Some(note) = self.view.board.update(update, now)
            && (matches!(note.tone, Tone::Warning | Tone::Failure) || note.trial.is_none())
        {
            self.kept.push(note);
        }
        self.changed = true;
    }

    fn tick(&mut self, left: Option<Duration>, deadline: Option<Duration>, now: Instant) -> io::Result<Vec<Request>> {
        if !terminal::taken() {
            return Err(io::Error::other("the terminal was given back"));
        }
        let mut requests = Vec::new();
        // A key that is held down must not keep the sweep waiting.
        for _ in 0..100 {
            // At the end of its input, crossterm reads on for ever.
            if terminal::is_gone() {
                return Err(io::Error::other("the terminal hung up"));
            }
            if !event::poll(Duration::ZERO)? {
                break;
            }
            if let Event::Key(key) = event::read()? {
                requests.extend(self.view.press(key, now));
            }
            self.changed = true;
        }
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let elapsed = self.view.board.elapsed(now).as_secs();
        let shown = self.drawn.map(|drawn| self.view.board.elapsed(drawn).as_secs());
        self.changed |= shown != Some(elapsed) || seconds(left) != seconds(self.view.left);
        (self.view.left, self.view.deadline) = (left, deadline);
        self.changed |= self.view.refresh(now);
        if self.changed && self.drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= PAUSE) {
            let view = &mut self.view;
            self.terminal.draw(|frame| dashboard::draw(view, frame, now))?;
            (self.changed, self.drawn) = (false, Some(now));
        }
        Ok(requests)
    }
}
