//! What the dashboard shows at a moment, and what keys do to it: no terminal, no clock.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::tail;
use super::theme::Theme;
use crate::run::screen::Request;
use crate::run::screen::board::{Board, CardState};
use crate::run::screen::text::one_line;

/// A second `q` within this time is the same key held down.
const HELD: Duration = Duration::from_millis(600);

/// How often a log that is looked at is read anew.
const READ: Duration = Duration::from_secs(1);

/// The state of the dashboard.
pub struct View {
    pub board: Board,
    /// The experiment's.
    pub name: String,
    pub theme: Theme,
    /// Estimated time to the end of the sweep.
    pub left: Option<Duration>,
    /// Time to the moment it stops.
    pub deadline: Option<Duration>,
    pub page: Page,
    /// The trial that may be skipped, if the answer is yes.
    pub question: Option<usize>,
    /// Trials that were asked to stop.
    pub skipped: BTreeSet<usize>,
    /// Since when everything was asked to stop.
    pub stopping: Option<Instant>,
    selected: Option<usize>,
}

/// What fills the screen.
pub enum Page {
    Dashboard,
    Help,
    /// Trials that failed, with the place of the chosen one among them.
    Failures(usize),
    Log(Log),
}

/// The end of a trial's log.
pub struct Log {
    pub trial: usize,
    /// Or why it cannot be read.
    pub lines: Result<Vec<String>, String>,
    /// Rows below those shown; 0: the end, which is followed.
    pub up: usize,
    /// Rows shown.
    pub rows: usize,
    read: Instant,
    /// Where it was opened from, if not the dashboard: the place among the failures.
    from: Option<usize>,
}

impl View {
    pub fn new(name: &str, board: Board, theme: Theme) -> Self {
        Self {
            board,
            name: one_line(name),
            theme,
            left: None,
            deadline: None,
            page: Page::Dashboard,
            question: None,
            skipped: BTreeSet::new(),
            stopping: None,
            selected: None,
        }
    }

    /// The trial that keys are about: one that runs, or else the last that was looked at.
    pub fn chosen(&self) -> Option<usize> {
        let runs = |index: &usize| self.board.trials[*index].state == CardState::Running;
        self.selected.filter(runs).or_else(|| self.board.running().next()).or(self.selected)
    }

    /// Stays with the trial that is chosen now, so that it is still the one when it has ended.
    pub fn keep_chosen(&mut self) {
        self.selected = self.chosen();
    }

    /// Reads a followed log anew, once it is due. Whether there is anything to draw.
    pub fn refresh(&mut self, now: Instant) -> bool {
        let Page::Log(log) = &mut self.page else { return false };
        if log.up > 0 || now.saturating_duration_since(log.read) < READ {
            return false;
        }
        let lines = read(&self.board, log.trial);
        log.read = now;
        let changed = lines != log.lines;
        log.lines = lines;
        changed
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent, now: Instant) -> Option<Request> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        // The terminal hands it over as a key, not as a signal.
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'C')).then(|| self.stop(now));
        }
        if let Some(trial) = self.question.take() {
            let yes = matches!(key.code, KeyCode::Char('y' | 'Y')) && self.runs(trial);
            return yes.then(|| {
                self.skipped.insert(trial);
                Request::Skip(trial)
            });
        }
        match (&mut self.page, key.code) {
            (Page::Dashboard, KeyCode::Char('q')) => {
                let held = self.stopping.is_some_and(|since| now.saturating_duration_since(since) < HELD);
                return (!held).then(|| self.stop(now));
            }
            // As in a pager: `q` leaves the page, not the sweep.
            (_, KeyCode::Esc | KeyCode::Char('q')) => self.back(),
            (Page::Help, KeyCode::Char('?')) => self.back(),
            (_, KeyCode::Char('?')) => self.page = Page::Help,
            (_, KeyCode::Char('f')) => self.page = Page::Failures(0),
            (Page::Dashboard, KeyCode::Up | KeyCode::Char('k')) => self.select(-1),
            (Page::Dashboard, KeyCode::Down | KeyCode::Char('j')) => self.select(1),
            (Page::Dashboard | Page::Log(_), KeyCode::Char('s')) => self.ask_to_skip(),
            (Page::Dashboard, KeyCode::Char('l') | KeyCode::Enter) => {
                if let Some(trial) = self.chosen() {
                    self.open_log(trial, None, now);
                }
            }
            (Page::Failures(at), code) => {
                let (at, most) = (*at, self.board.failures().len().saturating_sub(1));
                match code {
                    KeyCode::Up | KeyCode::Char('k') => self.page = Page::Failures(at.saturating_sub(1)),
                    KeyCode::Down | KeyCode::Char('j') => self.page = Page::Failures((at + 1).min(most)),
                    KeyCode::Char('l') | KeyCode::Enter => {
                        if let Some(&trial) = self.board.failures().get(at) {
                            self.open_log(trial, Some(at), now);
                        }
                    }
                    _ => {}
                }
            }
            (Page::Log(log), code) => {
                let page = log.rows.saturating_sub(1).max(1);
                match code {
                    KeyCode::Char('l') => self.back(),
                    KeyCode::Up | KeyCode::Char('k') => log.up += 1,
                    KeyCode::Down | KeyCode::Char('j') => log.up = log.up.saturating_sub(1),
                    KeyCode::PageUp => log.up += page,
                    KeyCode::PageDown | KeyCode::Char(' ') => log.up = log.up.saturating_sub(page),
                    // Drawing knows how many rows there are.
                    KeyCode::Home => log.up = usize::MAX / 2,
                    KeyCode::End => log.up = 0,
                    _ => {}
                }
            }
            _ => {}
        }
        None
    }

    fn stop(&mut self, now: Instant) -> Request {
        self.question = None;
        self.stopping = Some(now);
        Request::Stop
    }

    fn runs(&self, trial: usize) -> bool {
        self.board.trials[trial].state == CardState::Running
    }

    fn ask_to_skip(&mut self) {
        let trial = match &self.page {
            Page::Log(log) => Some(log.trial),
            _ => self.chosen(),
        };
        self.question = trial.filter(|&trial| self.runs(trial) && !self.skipped.contains(&trial));
    }

    fn select(&mut self, step: isize) {
        let running: Vec<usize> = self.board.running().collect();
        let at = running.iter().position(|&index| Some(index) == self.chosen()).unwrap_or(0);
        let to = at.saturating_add_signed(step).min(running.len().saturating_sub(1));
        self.selected = running.get(to).copied().or(self.selected);
    }

    fn open_log(&mut self, trial: usize, from: Option<usize>, now: Instant) {
        let lines = read(&self.board, trial);
        self.page = Page::Log(Log { trial, lines, up: 0, rows: 0, read: now, from });
    }

    fn back(&mut self) {
        self.page = match &self.page {
            Page::Log(Log { from: Some(at), .. }) => Page::Failures(*at),
            _ => Page::Dashboard,
        };
    }
}

fn read(board: &Board, trial: usize) -> Result<Vec<String>, String> {
    let path = &board.trials[trial].entry.log;
    tail::read(path).map_err(|error| one_line(&format!("{}: {error}", path.display())))
}
