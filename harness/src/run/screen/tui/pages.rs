//! What fills the screen at the press of a key: help, the failures, a log.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{List, ListItem, ListState, Paragraph};

use super::theme::{mark, sign};
use super::view::{Page, View};
use super::widgets::{fit, rule, title};
use crate::run::screen::board::{CardState, Tone};

const HELP: [(&str, &str); 8] = [
    ("↑ ↓", "select the trial whose curves are shown; #2: its second attempt"),
    ("l", "the end of its log, followed; ↑ ↓ PgUp PgDn Home End scroll"),
    ("f", "the trials that failed, with their reasons; l there shows a log"),
    ("s", "skip it: it stops after a checkpoint and stays unfinished"),
    ("q, Ctrl-C", "stop the sweep after a checkpoint; once more: at once"),
    ("", "Run the same command again, and it goes on from there."),
    ("Esc", "back"),
    ("?", "this"),
];

pub fn help(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let mut lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!("{key:<11}"), theme.strong()), Span::raw(*what)]))
        .collect();
    lines.push(Line::default());
    let states = CardState::ALL.map(|state| {
        let (sign, word) = sign(state);
        Span::styled(format!("{sign} {word}   "), theme.state(state))
    });
    lines.push(Line::from(states.to_vec()));
    lines.push(Line::styled("elsewhere: another process is at work on it", theme.dim()));
    frame.render_widget(Paragraph::new(lines).block(rule(title("keys", theme), theme)), area);
}

pub fn failures(view: &View, at: usize, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let failures = view.board.failures();
    let block = rule(title(&format!("{} failed", failures.len()), theme), theme);
    if failures.is_empty() {
        frame.render_widget(Paragraph::new(Line::styled("  none", theme.dim())).block(block), area);
        return;
    }
    let width = usize::from(area.width.saturating_sub(4)).max(1);
    let tallest = usize::from(area.height.saturating_sub(2));
    let items = failures.iter().map(|&index| {
        let trial = &view.board.trials[index];
        let again = if trial.state == CardState::Failed { "" } else { "  (tried again)" };
        let head = vec![
            Span::styled(format!("{} ", mark(Tone::Failure)), theme.tone(Tone::Failure)),
            Span::styled(fit(&trial.short, width.saturating_sub(again.len())), theme.strong()),
            Span::styled(again, theme.dim()),
        ];
        let reason = trial.reason.as_deref().unwrap_or_default();
        let reason = reason.lines().flat_map(|line| wrap(line, width)).take(tallest);
        ListItem::new(
            std::iter::once(Line::from(head))
                .chain(reason.map(|line| Line::from(format!("  {line}"))))
                .collect::<Vec<_>>(),
        )
    });
    let list = List::new(items).block(block).highlight_symbol("▸ ");
    frame.render_stateful_widget(list, area, &mut ListState::default().with_selected(Some(at)));
}

pub fn log(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let theme = view.theme;
    let Page::Log(log) = &mut view.page else { return };
    let trial = &view.board.trials[log.trial];
    let lines = match &log.lines {
        Ok(lines) => lines.iter().flat_map(|line| wrap(line, area.width.into())).collect(),
        Err(error) => vec![error.clone()],
    };
    log.rows = usize::from(area.height.saturating_sub(1));
    log.up = log.up.min(lines.len().saturating_sub(log.rows));
    let end = lines.len() - log.up;
    let shown = &lines[end.saturating_sub(log.rows)..end];
    let more = match log.up {
        0 => String::new(),
        1 => ", 1 line below".into(),
        lines => format!(", {lines} lines below"),
    };
    let mut headline = title(&format!("log of {}:", trial.short), theme);
    headline.push_span(Span::styled(format!("{}{more} ", sign(trial.state).1), theme.state(trial.state).not_dim()));
    let text: Vec<Line<'_>> = if lines.is_empty() {
        let ended = matches!(trial.state, CardState::Done | CardState::Failed | CardState::Stopped);
        vec![Line::styled(if ended { "  empty: it had nothing to report" } else { "  empty so far" }, theme.dim())]
    } else {
        shown.iter().map(|line| Line::raw(line.as_str())).collect()
    };
    frame.render_widget(Paragraph::new(text).block(rule(headline, theme)), area);
}

/// A line as rows of at most this width, broken after spaces where there are any; an empty one is a row too. The rows
/// together are the line.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for c in line.chars() {
        let wide = letter_width(c);
        if used + wide > width && used > 0 {
            // A break far from the edge would waste the row.
            let space = row.rfind(' ').map(|at| at + 1).filter(|&at| at > row.len() / 2 && c != ' ');
            let next = row.split_off(space.unwrap_or(row.len()));
            rows.push(std::mem::replace(&mut row, next));
            used = row.chars().map(letter_width).sum();
        }
        used += wide;
        row.push(c);
    }
    rows.push(row);
    rows
}

fn letter_width(c: char) -> usize {
    Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped() {
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("no memory left at all", 10), ["no memory ", "left at ", "all"]);
        assert_eq!(wrap("ab cd", 2), ["ab", " c", "d"]);
        assert_eq!(wrap("名前名前", 3), ["名", "前", "名", "前"]);
        assert_eq!(wrap("名前", 1), ["名", "前"]);
    }
}
