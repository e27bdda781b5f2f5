//! What panels are made of.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders};

use super::theme::Theme;

/// A headline over a panel.
pub fn rule<'a>(title: impl Into<Line<'a>>, theme: Theme) -> Block<'a> {
    let title = title.into();
    Block::new().borders(Borders::TOP).border_style(theme.dim()).title_style(theme.strong()).title(title)
}

/// A panel's title.
pub fn title(text: &str, theme: Theme) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{text} "), theme.strong().not_dim())])
}

/// A bar of which this share is full.
pub fn bar(share: f64, width: u16, style: Style, theme: Theme) -> Vec<Span<'static>> {
    let width = usize::from(width);
    let full = ((share.clamp(0.0, 1.0) * width as f64) as usize).min(width);
    vec![Span::styled("━".repeat(full), style), Span::styled("─".repeat(width - full), theme.dim())]
}

/// Text that is cut, visibly, where it would be wider than this.
pub fn fit(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if Span::raw(cut.as_str()).width() + 1 > width {
            cut.pop();
            break;
        }
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}
