//! Why a trial has no result.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The loss was no number any more.
    Diverged,
    /// A defect of the program.
    Panic,
    /// It held more memory than `run.memory`.
    OutOfMemory,
    /// It took longer than `run.time_limit`.
    OutOfTime,
    /// Its process was ended from outside, or ended itself without a word.
    Killed,
    /// None of its setting's tries was trained to its end, so that nothing could be chosen.
    Untuned,
    /// Anything that it could name: data, options, files.
    Error,
}

impl FailureKind {
    /// Whether another attempt could end differently: the same trial diverges at the same step, bit for bit.
    pub fn may_pass(self) -> bool {
        self != Self::Diverged
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "diverged",
            Self::Panic => "panic",
            Self::OutOfMemory => "out of memory",
            Self::OutOfTime => "out of time",
            Self::Killed => "killed",
            Self::Untuned => "not tuned",
            Self::Error => "error",
        })
    }
}

/// A trial that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What went wrong, in words.
    pub reason: String,
    /// How often it was tried in this run.
    pub attempts: u32,
}
