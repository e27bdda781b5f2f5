//! The best of each method, and what happened.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::pages::wrap;
use super::theme::mark;
use super::view::View;
use super::widgets::{fit, rule, title};
use crate::run::screen::board::{CardState, Note, Tone};
use crate::run::screen::text::{one_line, percent};

/// Methods that have a best trial.
pub fn methods(view: &View) -> u16 {
    u16::try_from(view.board.best().len()).unwrap_or(u16::MAX - 1)
}

/// A bar each, best first.
pub fn best(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let block = rule(title("best validation per method", theme), theme);
    frame.render_widget(&block, area);
    let area = block.inner(area);
    let best = view.board.best();
    if best.is_empty() {
        frame.render_widget(Span::styled("  none yet", theme.dim()), area);
        return;
    }
    let widest = best.iter().map(|best| Span::raw(best.method).width()).max().unwrap_or(0).min(14);
    let bars = usize::from(area.width / 4).min(24);
    let rows = usize::from(area.height);
    for (at, (row, best)) in area.rows().zip(&best).enumerate() {
        let hidden = view.board.best().len() - at;
        if at + 1 == rows && hidden > 1 {
            frame.render_widget(Span::styled(format!("and {hidden} more"), theme.dim()), row);
            return;
        }
        let trial = &view.board.trials[best.trial];
        let running = trial.state == CardState::Running;
        let style = theme.state(if running { CardState::Running } else { CardState::Done });
        let method = fit(best.method, widest);
        let pad = " ".repeat(widest - Span::raw(method.as_str()).width());
        let mut line = Line::from(vec![
            Span::raw(format!("{method}{pad} ")),
            Span::styled(blocks(best.validation, bars), style),
            Span::styled(format!(" {:>7} ", percent(best.validation)), theme.strong()),
            Span::styled(if running { "● " } else { "" }, style),
        ]);
        let room = usize::from(row.width).saturating_sub(line.width());
        // Its options alone: the method was said.
        let options = trial.short.strip_prefix(best.method).unwrap_or(&trial.short).trim();
        line.push_span(Span::styled(fit(options, room), theme.dim()));
        frame.render_widget(line, row);
    }
}

/// A bar in eighths of a letter.
fn blocks(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (8 * width) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    let filled = bar.chars().count();
    bar + &" ".repeat(width.saturating_sub(filled))
}

/// Failures and warnings, newest first, then the rest of what happened, newest first.
pub fn notes(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let bad = |note: &&Note| matches!(note.tone, Tone::Warning | Tone::Failure);
    let troubles: Vec<&Note> = view.board.notes.iter().rev().filter(bad).collect();
    let others: Vec<&Note> = view.board.notes.iter().rev().filter(|note| !bad(note)).collect();
    let tall = area.height >= 12;
    // Rows of a note.
    let most = if tall { 3 } else { 1 };
    let rows: usize = troubles.iter().map(|note| said(view, note, area.width.into(), most).len()).sum();
    let wanted = if rows == 0 { 0 } else { u16::try_from(1 + rows).unwrap_or(u16::MAX) };
    let mut height = wanted.min(if tall { area.height / 2 } else { area.height.saturating_sub(1) });
    // A headline without a line below it says nothing.
    if area.height < height + 2 {
        height = if wanted > 0 { area.height } else { 0 };
    }
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    for (name, notes, area) in [("last errors", troubles, above), ("latest", others, below)] {
        let block = rule(title(name, theme), theme);
        frame.render_widget(&block, area);
        let room = block.inner(area);
        let lines = notes.iter().flat_map(|note| said(view, note, room.width.into(), most));
        for (row, line) in room.rows().zip(lines) {
            frame.render_widget(line, row);
        }
    }
}

/// A note in at most so many rows, the last of which shows whether there was more.
fn said(view: &View, note: &Note, width: usize, most: usize) -> Vec<Line<'static>> {
    let name = note.trial.map_or(String::new(), |index| format!("{}: ", view.board.trials[index].short));
    // The mark says that much.
    let text = note.text.trim_start_matches("FAILED: ").trim_start_matches("warning: ");
    let width = width.saturating_sub(2).max(1);
    let mut rows = wrap(&format!("{name}{}", one_line(text)), width);
    if rows.len() > most {
        let rest = rows.split_off(most - 1).concat();
        rows.push(fit(&rest, width));
    }
    let mark = Span::styled(format!("{} ", mark(note.tone)), view.theme.tone(note.tone));
    let before = std::iter::once(mark).chain(std::iter::repeat(Span::raw("  ")));
    before.zip(rows).map(|(before, row)| Line::from(vec![before, Span::raw(row)])).collect()
}
