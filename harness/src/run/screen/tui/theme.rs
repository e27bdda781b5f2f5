//! Colours: few, those that the terminal's owner chose, and never the only sign of anything.

use ratatui::style::{Color, Modifier, Style};

use crate::run::screen::board::{State, Tone};

/// Styles by meaning.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Without: bold and dim alone.
    pub colours: bool,
}

impl Theme {
    /// As the environment wants it: <https://no-color.org>.
    pub fn from_environment() -> Self {
        Self { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn tint(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn accent(self) -> Style {
        self.tint(Color::Cyan)
    }

    /// The second of two curves.
    pub fn other(self) -> Style {
        self.tint(Color::Magenta)
    }

    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Routine | Tone::News => Style::new(),
            Tone::Good => self.tint(Color::Green),
            Tone::Warning => self.tint(Color::Yellow),
            Tone::Failure => self.tint(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    pub fn state(self, state: State) -> Style {
        match state {
            State::Running => self.accent(),
            State::Done => self.tone(Tone::Good),
            State::Failed => self.tone(Tone::Failure),
            State::Stopped => self.tone(Tone::Warning),
            State::Waiting | State::Elsewhere => Style::new(),
        }
    }
}

/// A state's sign and word.
pub fn sign(state: State) -> (&'static str, &'static str) {
    match state {
        State::Running => ("●", "running"),
        State::Waiting => ("○", "waiting"),
        State::Done => ("✓", "done"),
        State::Failed => ("✗", "failed"),
        State::Stopped => ("■", "stopped"),
        State::Elsewhere => ("◇", "elsewhere"),
    }
}

/// The sign before a note.
pub fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Routine | Tone::News => "·",
        Tone::Good => "✓",
        Tone::Warning => "!",
        Tone::Failure => "✗",
    }
}
