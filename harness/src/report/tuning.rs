//! How the rows of a table were tuned: the terms under it, and what was chosen for each of them.

use super::aggregate::{Group, SettingRow};
use super::tables::{dash, markdown, thousands};
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
            let of = if alike { String::new() } else { format!(" ({})", labels.join(", ")) };
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

/// What was chosen for each row, and how it stands among its tries. Empty where nothing was tuned.
pub fn section(group: &Group<'_>) -> String {
    let Some(keys) = group.rows.iter().find_map(|row| row.tuned()).map(|choice| choice.values.keys()) else {
        return String::new();
    };
    let keys: Vec<&String> = keys.collect();
    let mut header = vec!["Method"];
    header.extend(keys.iter().map(|key| key.as_str()));
    header.extend(["Try", "Best try (%)", "Worst try (%)", "Failed tries"]);
    let rows: Vec<Vec<String>> = group.rows.iter().map(|row| cells(row, &keys)).collect();
    let at_edge = group.rows.iter().filter_map(SettingRow::tuned).any(|choice| !choice.edges.is_empty());
    let note = match at_edge {
        true => {
            "- **‡ At the edge**: no point that was drawn lies further out; a larger space may hold a better one (`[tune]`).\n"
        }
        false => "",
    };
    format!(
        "\n### What was chosen\n\n{}\n- **Top-1 on validation**, mean over the seeds of tuning. The best of several is too good to be \
         repeated: the seeds of the table above were not looked at for it.\n{note}",
        markdown(&header, &rows)
    )
}

fn cells(row: &SettingRow<'_>, keys: &[&String]) -> Vec<String> {
    let mut cells = vec![row.label.clone()];
    let Some(choice) = row.tuned() else {
        cells.resize(keys.len() + 5, dash());
        return cells;
    };
    cells.extend(keys.iter().map(|key| {
        let mark = if choice.edges.contains(key) { " ‡" } else { "" };
        choice.values.get(*key).map_or_else(dash, |value| format!("{}{mark}", plain(value)))
    }));
    cells.push(format!("{} of {}", choice.number, choice.terms.tries));
    cells.extend([choice.best, choice.worst].map(|share| format!("{:.2}", 100.0 * share)));
    cells.push(choice.failed.to_string());
    cells
}

/// `seed 100`, `seeds 0, 1, 2`
fn listed(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list.join(", "))
}
