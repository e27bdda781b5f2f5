//! The screen as a whole: what goes where at which size.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};

use super::theme::sign;
use super::view::{Page, View};
use super::widgets::{bar, fit};
use super::{curves, pages, panels, trials};
use crate::run::screen::board::CardState;
use crate::run::screen::text::{brief, duration};

/// Two columns from this width on.
const WIDE: u16 = 110;

/// Draws everything.
pub fn draw(view: &mut View, frame: &mut Frame<'_>, now: Instant) {
    view.keep_chosen();
    let area = frame.area();
    let margin = u16::from(area.width >= 40);
    let area = area.inner(Margin { horizontal: margin, vertical: 0 });
    let header = match area.height {
        0..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    // The footer requests questions: without room for both, it has the only row once there is one.
    let urgent = view.question.is_some() || view.stopping.is_some();
    let footer = u16::from(area.height > 3 || urgent);
    let [header, body, footer] = Layout::vertical([
        Constraint::Length(header.min(area.height - footer.min(area.height))),
        Constraint::Fill(1),
        Constraint::Length(footer),
    ])
    .areas(area);
    draw_header(view, frame, header, now);
    frame.render_widget(keys(view, footer.width), footer);
    match &view.page {
        Page::Dashboard => draw_body(view, frame, body, now),
        Page::Help => pages::help(view, frame, body),
        Page::Failures(at) => pages::failures(view, *at, frame, body),
        Page::Log(_) => pages::log(view, frame, body),
    }
}

fn draw_body(view: &View, frame: &mut Frame<'_>, area: Rect, now: Instant) {
    let running = 2 + u16::try_from(view.board.running().len()).unwrap_or(u16::MAX).max(1);
    if area.width >= WIDE && area.height >= 16 {
        let [left, _, right] =
            Layout::horizontal([Constraint::Fill(5), Constraint::Length(2), Constraint::Fill(3)]).areas(area);
        let table = running.min(left.height / 3);
        let [table, chart] = Layout::vertical([Constraint::Length(table), Constraint::Fill(1)]).areas(left);
        trials::draw(view, frame, table, now);
        curves::draw(view, frame, chart);
        let best = (1 + panels::methods(view)).clamp(3, right.height / 2);
        let [best, notes] = Layout::vertical([Constraint::Length(best), Constraint::Fill(1)]).areas(right);
        panels::best(view, frame, best);
        panels::notes(view, frame, notes);
        return;
    }
    let table = if area.height < 10 { area.height } else { running.clamp(3, area.height / 3) };
    let rest = area.height - table;
    let (chart, bottom) = match rest {
        0..=3 => (0, rest),
        4..=10 => (rest, 0),
        _ => (rest - (rest * 2 / 5).clamp(4, 10), (rest * 2 / 5).clamp(4, 10)),
    };
    let [table, chart, bottom] =
        Layout::vertical([Constraint::Length(table), Constraint::Length(chart), Constraint::Length(bottom)])
            .areas(area);
    trials::draw(view, frame, table, now);
    curves::draw(view, frame, chart);
    if bottom.width < 60 {
        panels::notes(view, frame, bottom);
        return;
    }
    let [best, _, notes] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).areas(bottom);
    panels::best(view, frame, best);
    panels::notes(view, frame, notes);
}

/// Name and times, progress, states.
fn draw_header(view: &View, frame: &mut Frame<'_>, area: Rect, now: Instant) {
    let (board, theme) = (&view.board, view.theme);
    let rows = area.rows().collect::<Vec<_>>();
    if rows.len() == 1 {
        frame.render_widget(Line::from(states(view, false)), area);
        return;
    }
    let mut times = format!("{} gone", duration(board.elapsed(now).as_secs_f64()));
    if let Some(left) = view.left {
        times += &format!(", {} left", brief(left.as_secs_f64()));
    }
    let mut name = vec![Span::styled(view.name.clone(), theme.strong())];
    if !board.shared.is_empty() {
        name.push(Span::styled(format!("  {}", board.shared), theme.dim()));
    }
    let mut rows = rows.into_iter();
    if let Some(row) = rows.next() {
        ends(frame, row, Line::from(name), Line::from(times));
    }
    if area.height > 2
        && let Some(row) = rows.next()
    {
        let share = board.share();
        let percent = format!(" {:3.0} %", (100.0 * share).floor());
        let bar = bar(share, row.width.saturating_sub(percent.len() as u16), theme.accent(), theme);
        ends(frame, row, Line::from(bar), Line::styled(percent, theme.strong()));
    }
    if let Some(row) = rows.next() {
        let deadline = view.deadline.map_or(String::new(), |left| format!("stops in {}", brief(left.as_secs_f64())));
        let mut counts = Line::from(states(view, true));
        if counts.width() > usize::from(row.width) {
            counts = Line::from(states(view, false));
        }
        ends(frame, row, counts, Line::from(deadline));
    }
}

/// How many trials are where.
fn states(view: &View, words: bool) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let usual = [CardState::Running, CardState::Waiting, CardState::Done, CardState::Failed];
    for state in usual.into_iter().chain([CardState::Stopped, CardState::Elsewhere]) {
        let count = view.board.count(state);
        if count == 0 && !usual.contains(&state) {
            continue;
        }
        let (sign, word) = sign(state);
        let text = if words { format!("{sign} {count} {word}   ") } else { format!("{sign}{count} ") };
        spans.push(Span::styled(text, if count == 0 { view.theme.dim() } else { view.theme.state(state) }));
    }
    spans
}

/// The last line: what keys do, or a question.
fn keys(view: &View, width: u16) -> Line<'static> {
    let theme = view.theme;
    if let Some(trial) = view.question {
        let name = fit(&view.board.trials[trial].short, width.saturating_sub(14).into());
        return Line::styled(format!("Skip {name}?  y / n"), theme.state(CardState::Stopped)).style(theme.strong());
    }
    let mut spans = Vec::new();
    if view.stopping.is_some() {
        spans.push(Span::styled("stopping after a checkpoint; again: at once   ", theme.state(CardState::Stopped)));
    }
    let keys: &[(&str, &str)] = match &view.page {
        Page::Dashboard => {
            &[("↑↓", "select"), ("l", "log"), ("f", "failures"), ("s", "skip"), ("q", "stop"), ("?", "help")]
        }
        Page::Help => &[("Esc", "back")],
        Page::Failures(_) => &[("↑↓", "select"), ("l", "log"), ("Esc", "back")],
        Page::Log(_) => &[("↑↓ PgUp PgDn Home End", "scroll"), ("s", "skip"), ("Esc", "back")],
    };
    for (key, what) in keys {
        spans.push(Span::styled(*key, theme.strong()));
        spans.push(Span::styled(format!(" {what}   "), theme.dim()));
    }
    Line::from(spans)
}

/// One text at the row's left end, one at its right, if there is room for both.
fn ends(frame: &mut Frame<'_>, row: Rect, left: Line<'_>, right: Line<'_>) {
    let room = left.width() + right.width() <= usize::from(row.width);
    frame.render_widget(left, row);
    if room {
        frame.render_widget(right.right_aligned(), row);
    }
}
