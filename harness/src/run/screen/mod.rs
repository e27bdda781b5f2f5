//! What a person sees of a sweep, and what they may ask of it: the seam between the sweep and its ways of being shown.
//!
//! A way of showing keeps its facts in a [`board`], which knows no terminal, and differs from the others in what it prints
//! of them.

mod board;
mod display;
mod live;
mod plain;
mod series;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod tui;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use display::Display;
pub use terminal::restore;
pub use text::brief;

use crate::train::{EpochLog, StepLog};

/// What a running trial says of itself: one line of JSON each on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The data is there and training begins.
    Started {
        /// Epochs in all.
        epochs: usize,
        /// Optimizer steps of each.
        steps_per_epoch: usize,
        /// Epochs that an interrupted attempt had finished, from whose checkpoint it goes on.
        resumed: Vec<EpochLog>,
    },
    /// An optimizer step; not every one is told.
    Step(StepLog),
    /// An epoch and its validation.
    Epoch(EpochLog),
    /// Its network is computed operation by operation, and not by the engine: its images/s do not compare with others'.
    OffEngine {
        /// In a few words.
        why: String,
    },
    /// Something a person should know, such as a checkpoint that could not be read.
    Warning {
        /// In a line.
        text: String,
    },
}

/// A trial of the sweep, as it is called everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialEntry {
    /// Its identity.
    pub key: String,
    /// Backbone, label and seed.
    pub name: String,
    /// Its method's name.
    pub method: String,
    /// Epochs it is to train; 0: only its cost is worked out.
    pub epochs: usize,
    /// Where its output goes.
    pub log: PathBuf,
}

/// Something happened to the trial with this index in the list that the screen was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// Its process was started, for the n-th time, counted from 1.
    Launched(usize, u32),
    /// It said something.
    Event(usize, Event),
    /// It finished.
    Done(usize, TrialSummary),
    /// It failed; the reason in words, and whether it will be tried again.
    Failed(usize, String, bool),
    /// It was stopped after a checkpoint, or never started, and will be there next time.
    Stopped(usize),
    /// Another process is at work on it.
    Elsewhere(usize),
    /// A line for everyone.
    Line(String),
}

/// What a finished trial came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrialSummary {
    /// Top-1 on validation, in [0, 1]; none: nothing was trained.
    pub validation: Option<f64>,
    /// Top-1 on test, in [0, 1], if it was read.
    pub test: Option<f64>,
    /// Parameters of the final network.
    pub params: u64,
    /// Multiply-accumulates per image of the final network.
    pub macs: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// What the person at the screen wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Leave this trial out for now: it is stopped after a checkpoint and stays unfinished.
    Skip(usize),
    /// Stop everything after a checkpoint; asked a second time: at once.
    Stop,
    /// Nothing: their terminal is gone. Stops everything after a checkpoint, however often it is said.
    HangUp,
}

/// A way of showing a sweep. All calls come from one thread.
pub trait Screen {
    /// Shows an update. Never fails: a sweep does not end because nobody can watch it.
    fn show(&mut self, update: &Update);

    /// Called several times a second: redraws what moves, and says what was asked since the last call. `left`: estimated
    /// time to the end of the sweep, `deadline`: time to the moment it stops.
    fn tick(&mut self, left: Option<Duration>, deadline: Option<Duration>) -> Vec<Request>;

    /// The sweep is over: gives the terminal back. `done`, `failed`, `open` trials.
    fn finish(&mut self, done: usize, failed: usize, open: usize);
}

/// The ways of showing a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ScreenKind {
    /// A dashboard on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines on stderr.
    Plain,
    /// A dashboard with keys to skip, stop, and see logs.
    Tui,
    /// Failures and warnings alone.
    None,
}

/// The screen of a sweep of this name over these trials. Without a terminal to draw on, a dashboard is lines.
fn open(kind: ScreenKind, name: &str, entries: &[TrialEntry]) -> Box<dyn Screen> {
    let dashboard = match kind {
        ScreenKind::None => return Box::new(plain::Plain::quiet(entries)),
        ScreenKind::Plain => false,
        ScreenKind::Tui => true,
        ScreenKind::Auto => !entries.is_empty() && terminal::suits(),
    };
    if dashboard {
        match tui::Tui::open(name, entries) {
            Ok(screen) => return Box::new(screen),
            Err(error) => {
                let mut lines = plain::Plain::new(entries);
                lines.show(&Update::Line(format!("no dashboard ({error}); plain lines instead")));
                return Box::new(lines);
            }
        }
    }
    Box::new(plain::Plain::new(entries))
}
