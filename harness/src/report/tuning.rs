//! How the rows of a table were tuned: the terms under it, and what was chosen for each of them.

use super::aggregate::{Group, SettingRow};
use super::comparison::cells;
use super::markup::escaped;
use super::numbers::thousands;
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use crate::experiment::choice::{Choice, Terms};
use crate::experiment::sweep::document::plain;

/// What stands under a table of rows that were tuned: the terms, and whether they were the same for all. Empty where none was.
pub fn captions(group: &Group<'_>) -> Vec<String> {
    let mut terms: Vec<(&Terms, Vec<&SettingRow<'_>>)> = Vec::new();
    for row in &group.rows {
        let Some(Choice { terms: own, .. }) = row.tuned() else { continue };
        match terms.iter_mut().find(|(known, _)| *known == own) {
            Some((_, rows)) => rows.push(row),
            None => terms.push((own, vec![row])),
        }
    }
    let images = thousands(group.first().trial.config.validation as u64);
    let mut seeds: Vec<u64> = group.rows.iter().flat_map(SettingRow::seeds).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let alike = terms.len() == 1;
    let mut lines: Vec<String> = terms
        .into_iter()
        .map(|(terms, rows)| {
            let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
            let of = if alike { String::new() } else { format!(" ({})", escaped(&labels.join(", "))) };
            format!(
                "**Tuning**{of}: {terms}, the same points for every row; chosen on {images} validation images after the last epoch, with {}; \
                 then fresh {}. The test split was closed to it.",
                listed(&terms.training_seeds),
                listed(&seeds)
            )
        })
        .collect();
    if lines.len() > 1 {
        lines.push("**Not at parity**: rows were tuned on different terms, and may differ because of these.".into());
    }
    lines
}

/// What was chosen for each row, and how it stands among its tries. None where nothing was tuned.
pub fn section(group: &Group<'_>, name: &str) -> Option<Section> {
    let keys: Vec<&String> = group.rows.iter().find_map(|row| row.tuned())?.values.keys().collect();
    let rows = &group.rows;
    let of = |cell: fn(&Choice) -> Cell| cells(rows, move |row| Cell::of(row.tuned(), cell));
    let mut table = Table::new(format!("{name}-tuning"), format!("{}: what was chosen", group.title()));
    table.column("Method", ["label"], cells(rows, |row| Cell::text(&row.label)));
    for key in keys {
        let chosen = |choice: &Choice| {
            let mark = if choice.edges.contains(key) { " ‡" } else { "" };
            Cell::of(choice.values.get(key), |value| {
                let text = plain(value);
                let number = value.as_float().or(value.as_integer().map(|number| number as f64));
                let behind = number.map_or_else(|| Value::Text(text.clone()), Value::Number);
                Cell::shown(format!("{text}{mark}"), [behind])
            })
        };
        table.column(key, [&**key], rows.iter().map(|row| Cell::of(row.tuned(), chosen)));
    }
    let number = |choice: &Choice| {
        let text = format!("{} of {}", choice.number, choice.terms.tries);
        Cell::shown(text, [(choice.number as u64).into(), (choice.terms.tries as u64).into()])
    };
    table.column("Try", ["try", "tries"], of(number));
    table.column("Best try (%)", ["best"], of(|choice| Cell::number(100.0 * choice.best, 2)));
    table.column("Worst try (%)", ["worst"], of(|choice| Cell::number(100.0 * choice.worst, 2)));
    table.column("Failed tries", ["failed_tries"], of(|choice| Cell::count(choice.failed)));
    table.notes.push(
        "**Top-1 on validation**, mean over the seeds of tuning. The best of several is too good to be repeated: the seeds of the \
         table above were not looked at for it."
            .into(),
    );
    if rows.iter().filter_map(SettingRow::tuned).any(|choice| !choice.edges.is_empty()) {
        let edge = "**‡ At the edge**: no point that was drawn lies further out; a larger space may hold a better one (`[tune]`).";
        table.notes.push(edge.into());
    }
    Some(Section::of_group("What was chosen", vec![Part::Table(table)]))
}

/// `seed 100`, `seeds 0, 1, 2`
fn listed(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list.join(", "))
}
