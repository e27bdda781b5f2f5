//! Colours: few, those that the terminal's owner chose, and never the only sign of anything.

use ratatui::style::{Color, Modifier, Style};

use crate::run::screen::board::{CardState, Tone};

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

    pub fn state(self, state: CardState) -> Style {
        match state {
            CardState::Running => self.accent(),
            CardState::Done => self.tone(Tone::Good),
            CardState::Failed => self.tone(Tone::Failure),
            CardState::Stopped => self.tone(Tone::Warning),
            CardState::Waiting | CardState::Elsewhere => Style::new(),
        }
    }
}

/// A state's sign and word.
pub fn sign(state: CardState) -> (&'static str, &'static str) {
    match state {
        CardState::Running => ("●", "running"),
        CardState::Waiting => ("○", "waiting"),
        CardState::Done => ("✓", "done"),
        CardState::Failed => ("✗", "failed"),
        CardState::Stopped => ("■", "stopped"),
        CardState::Elsewhere => ("◇", "elsewhere"),
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
