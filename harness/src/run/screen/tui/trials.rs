//! The table of the trials that run.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::view::View;
use super::widgets::{bar, fit, rule, title};
use crate::run::screen::board::Card;
use crate::run::screen::live::Live;
use crate::run::screen::text::brief;

/// A column: its title, its width, and the width that the table has to have for it to be there.
struct Column {
    title: &'static str,
    width: u16,
    needed: u16,
    text: fn(&Card, &Live, Instant) -> String,
}

const COLUMNS: [Column; 7] = [
    Column { title: "epoch", width: 7, needed: 26, text: |_, live, _| format!("{}/{}", live.epoch, live.epochs) },
    Column { title: "step", width: 9, needed: 90, text: |_, live, _| format!("{}/{}", live.step, live.steps) },
    Column { title: "loss", width: 6, needed: 44, text: |_, live, _| number(live.loss, 3) },
    Column { title: "acc %", width: 5, needed: 60, text: |_, live, _| percent(live.accuracy) },
    Column {
        title: "val %",
        width: 5,
        needed: 34,
        text: |_, live, _| percent(live.validation.as_ref().and_then(|log| log.validation_accuracy)),
    },
    Column {
        title: "img/s",
        width: 6,
        needed: 68,
        text: |_, live, _| format!("{}{}", number(live.images_per_second, 0), live.speed_mark()),
    },
    Column { title: "left", width: 9, needed: 52, text: |_, live, now| live.left(now).map_or("–".into(), brief) },
];

/// Width of a trial's bar, and the table's from which on there is one.
const BAR: (u16, u16) = (12, 96);

pub fn draw(view: &View, frame: &mut Frame<'_>, area: Rect, now: Instant) {
    let theme = view.theme;
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| area.width >= column.needed).collect();
    let bars = area.width >= BAR.1;
    let mut widths = vec![Constraint::Fill(1)];
    widths.extend(bars.then_some(Constraint::Length(BAR.0)));
    widths.extend(columns.iter().map(|column| Constraint::Length(column.width)));
    let taken = columns.iter().map(|column| column.width + 2).sum::<u16>() + if bars { BAR.0 + 2 } else { 0 } + 2;
    let room = usize::from(area.width.saturating_sub(taken));

    let mut rows = Vec::new();
    let mut state = TableState::new();
    for index in view.board.running() {
        let trial = &view.board.trials[index];
        if view.chosen() == Some(index) {
            state.select(Some(rows.len()));
        }
        let mut cells = vec![Cell::from(fit(&name(view, index), room))];
        let Some(live) = &trial.live else { continue };
        if bars {
            let share = live.position() / live.epochs.max(1) as f64;
            cells.push(Cell::from(Line::from(bar(share, BAR.0, theme.accent(), theme))));
        }
        cells.extend(columns.iter().map(|c| Cell::from(Line::from((c.text)(trial, live, now)).right_aligned())));
        rows.push(Row::new(cells));
    }
    let block = rule(title("running", theme), theme);
    if rows.is_empty() {
        frame.render_widget(&block, area);
        frame.render_widget(Span::styled("  no trial at the moment", theme.dim()), block.inner(area));
        return;
    }
    let count = rows.len();
    let mut table =
        Table::new(rows, widths).column_spacing(2).highlight_symbol("▸ ").row_highlight_style(theme.strong());
    // Where there is little room, rows matter more than what they are called.
    if usize::from(area.height) >= 2 + count.min(3) {
        let mut titles = vec![Cell::from("trial")];
        titles.extend(bars.then(Cell::default));
        titles.extend(columns.iter().map(|column| Cell::from(Line::from(column.title).right_aligned())));
        table = table.header(Row::new(titles).style(theme.dim()));
    }
    if area.height > 2 {
        table = table.block(block);
    }
    frame.render_stateful_widget(table, area, &mut state);
}

/// The trial's name, with what is out of the ordinary about it.
fn name(view: &View, index: usize) -> String {
    let trial = &view.board.trials[index];
    let again = if trial.attempt > 1 { format!(" #{}", trial.attempt) } else { String::new() };
    let stops = view.stopping.is_some() || view.skipped.contains(&index);
    format!("{}{}{again}", if stops { "■ " } else { "" }, trial.short)
}

/// A number, or a dash where there is none yet.
pub fn number(value: Option<f64>, decimals: usize) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.abs() >= 1e6 => format!("{value:.0e}"),
        Some(value) => format!("{value:.decimals$}"),
    }
}

/// A share as a number of percent.
pub fn percent(share: Option<f64>) -> String {
    number(share.map(|share| 100.0 * share), 1)
}
