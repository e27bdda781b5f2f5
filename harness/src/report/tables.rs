//! Markdown tables in the style of the papers.

use std::fmt::Write;

use super::aggregate::{Group, SettingRow, Split};
use super::{caption, measured};
use crate::results::TrialRecord;
use crate::statistics::{Comparison, Interval, Summary, Verdict};

/// The comparison of one group: a Markdown table with its caption.
pub fn comparison(group: &Group<'_>) -> String {
    let columns = columns(group);
    let header: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let rows: Vec<Vec<String>> =
        group.rows.iter().map(|row| columns.iter().map(|column| (column.cell)(row)).collect()).collect();
    format!("{}\n{}", markdown(&header, &rows), caption::caption(group))
}

/// Trials without a result, with what went wrong; empty where there is none.
pub fn failures(failures: &[TrialRecord]) -> String {
    if failures.is_empty() {
        return String::new();
    }
    let mut text = "\n## Trials that failed\n\n| Trial | Seed | What went wrong | Attempts | Log |\n| --- | ---: | --- | ---: | --- |\n"
        .to_owned();
    for record in failures {
        let Some(failure) = record.failure() else { continue };
        let reason: String = failure.reason.replace('|', "\\|").replace('\n', " ").chars().take(300).collect();
        let _ = writeln!(
            text,
            "| {} | {} | **{}**: {reason} | {} | `trials/{}/log.txt` |",
            record.trial.label, record.trial.config.seed, failure.kind, failure.attempts, record.trial.key
        );
    }
    text + "\nThey are in no table above; the next run tries them again.\n"
}

/// A Markdown table; every column but the first is numbers, and flush right.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let escape = |cell: &str| cell.replace('|', "\\|");
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..header.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned()).collect();
    let mut text = line(header.iter().map(|cell| escape(cell)).collect()) + &line(rule);
    text.extend(rows.iter().map(|row| line(row.iter().map(|cell| escape(cell)).collect())));
    text
}

/// A column of a table over the rows of a group.
pub(super) struct Column<'g> {
    pub title: String,
    pub cell: Box<dyn Fn(&SettingRow<'_>) -> String + 'g>,
}

fn columns<'g>(group: &'g Group<'_>) -> Vec<Column<'g>> {
    let mut columns: Vec<Column<'g>> = Vec::new();
    let mut add = |title: &str, cell: Box<dyn Fn(&SettingRow<'_>) -> String + 'g>| {
        columns.push(Column { title: title.to_owned(), cell });
    };
    let vanilla = group.vanilla();
    add("Method", Box::new(|row| row.label.clone()));
    if group.trials().any(|record| record.network.depth.is_some()) {
        add("Depth", Box::new(|row| row.first().network.depth.map_or_else(dash, |depth| depth.to_string())));
    }
    add("Params", Box::new(|row| quantity(row.params())));
    add("MACs", Box::new(|row| quantity(row.macs())));
    if group.rows.iter().any(|row| row.params_nonzero().is_some()) {
        add("nonzero params", Box::new(|row| row.params_nonzero().map_or_else(dash, quantity)));
        add("nonzero MACs", Box::new(|row| row.macs_nonzero().map_or_else(dash, quantity)));
    }
    add("of vanilla", Box::new(move |row| vanilla.map_or_else(dash, |vanilla| share(row.macs(), vanilla.macs()))));
    if group.rows.iter().any(|row| !row.budgets().is_empty()) {
        add("Budget", Box::new(|row| row.budgets().shown().unwrap_or_else(dash)));
        let off = |row: &SettingRow<'_>| row.budgets().mismatch();
        add("off budget", Box::new(move |row| off(row).map_or_else(dash, |off| format!("{:+.1} %", 100.0 * off))));
    }
    if group.rows.iter().any(|row| !row.control_of().is_empty()) {
        add(
            "Control of",
            Box::new(|row| match row.control_of() {
                [] => dash(),
                pruned => pruned.join(", "),
            }),
        );
    }
    if group.cost_only() {
        let share_of_params =
            move |row: &SettingRow<'_>| vanilla.map_or_else(dash, |v| share(row.params(), v.params()));
        add("params of vanilla", Box::new(share_of_params));
        add("Activations", Box::new(|row| quantity(row.first().network.cost.activations)));
        columns.extend(measured::columns(group));
        return columns;
    }
    if varies(group, |row| row.seeds()) {
        add("Seeds", Box::new(|row| row.trials.len().to_string()));
    }
    if varies(group, |row| row.epochs()) {
        add("Epochs", Box::new(|row| row.epochs().to_string()));
    }
    let accuracy = |row: &SettingRow<'_>, split| row.top1(split).map_or_else(dash, plus_minus);
    add("Validation (%)", Box::new(move |row| accuracy(row, Split::Validation)));
    if group.rows.iter().any(|row| row.top1(Split::Test).is_some()) {
        add("Test (%)", Box::new(move |row| accuracy(row, Split::Test)));
    }
    let split = group.split();
    add(
        &format!("Δ {} to vanilla", split.name()),
        Box::new(move |row| match vanilla {
            Some(vanilla) if !row.is_vanilla() => difference(&row.compare(vanilla, split)),
            _ => dash(),
        }),
    );
    columns.extend(measured::columns(group));
    columns
}

/// Labels of rows; the method's name alone where all its rows are among them.
pub(super) fn names<'g>(group: &'g Group<'_>, rows: &[&'g SettingRow<'_>]) -> Vec<&'g str> {
    let mut names = Vec::new();
    for row in rows {
        let of_method = |method: &str| group.rows.iter().filter(|row| row.method() == method).count();
        let all = rows.iter().filter(|other| other.method() == row.method()).count() == of_method(row.method());
        let name = if all { row.method() } else { &row.label };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Rows by a property of theirs, in order of first appearance.
pub(super) fn by<'g, 'a, K: PartialEq>(
    group: &'g Group<'a>,
    key: impl Fn(&SettingRow<'a>) -> K,
) -> Vec<(K, Vec<&'g SettingRow<'a>>)> {
    let mut found: Vec<(K, Vec<&SettingRow<'a>>)> = Vec::new();
    for row in &group.rows {
        let key = key(row);
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => found.push((key, vec![row])),
        }
    }
    found
}

pub(super) fn varies<K: PartialEq>(group: &Group<'_>, key: impl Fn(&SettingRow<'_>) -> K) -> bool {
    group.rows.iter().any(|row| key(row) != key(&group.rows[0]))
}

pub(super) fn dash() -> String {
    "–".into()
}

/// `62.31`, or `62.31 ± 0.40` over seeds.
fn plus_minus(summary: Summary) -> String {
    match summary.deviation {
        Some(deviation) => format!("{:.2} ± {deviation:.2}", summary.mean),
        None => format!("{:.2}", summary.mean),
    }
}

/// `-1.20`, or `-1.20 [-2.10, -0.30]` over seeds, bold where the two by themselves are told apart.
fn difference(comparison: &Comparison) -> String {
    let Some(Summary { mean, .. }) = comparison.difference else { return dash() };
    let Some(interval) = comparison.interval() else { return format!("{mean:+.2}") };
    let text = format!("{mean:+.2} {}", signed(interval));
    if comparison.verdict() == Verdict::NotDistinguishable { text } else { format!("**{text}**") }
}

/// `[-2.10, -0.30]`.
pub fn signed(Interval { low, high }: Interval) -> String {
    format!("[{low:+.2}, {high:+.2}]")
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

/// A count in four digits: `272.5k`, `40.55M`, `4.089G`. The exact ones are in `results.csv`.
pub fn quantity(count: u64) -> String {
    let (value, unit) = match count {
        0..1_000 => return count.to_string(),
        1_000..1_000_000 => (count as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (count as f64 / 1e6, "M"),
        _ => (count as f64 / 1e9, "G"),
    };
    let decimals = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.decimals$}{unit}")
}

/// `45,000`
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|three| str::from_utf8(three).ok()).collect();
    groups.join(",")
}
