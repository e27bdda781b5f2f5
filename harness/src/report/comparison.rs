//! The main table of a group, in the style of the papers.

use super::aggregate::{Group, SettingRow, Split};
use super::markup::escaped;
use super::numbers::{decimals, difference, share, signed};
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use super::{caption, measured};
use crate::statistics::{FALSE_VERDICTS, Pair, Summary};

/// The comparison of one group, with everything under it that a reader needs to judge it.
pub fn section(group: &Group<'_>, name: &str) -> Section {
    let parts = [Part::Table(table(group, name))].into_iter().chain(caption::remarks(group)).collect();
    Section::of_report(escaped(&group.title()), parts).drawn()
}

fn table(group: &Group<'_>, name: &str) -> Table {
    let mut table = Table::new(format!("{name}-comparison"), group.title());
    let rows = &group.rows;
    let vanilla = group.vanilla();
    table.column("Method", ["label"], cells(rows, |row| Cell::text(&row.label)));
    if group.trials().any(|record| record.network.depth.is_some()) {
        table.column("Depth", ["depth"], cells(rows, |row| Cell::of(row.first().network.depth, Cell::count)));
    }
    table.column("Params", ["params"], cells(rows, |row| Cell::quantity(row.params())));
    table.column("MACs", ["macs"], cells(rows, |row| Cell::quantity(row.macs())));
    if rows.iter().any(|row| row.params_nonzero().is_some()) {
        let params = cells(rows, |row| Cell::of(row.params_nonzero(), Cell::quantity));
        table.column("nonzero params", ["params_nonzero"], params);
        table.column("nonzero MACs", ["macs_nonzero"], cells(rows, |row| Cell::of(row.macs_nonzero(), Cell::quantity)));
    }
    let of_vanilla = cells(rows, |row| Cell::of(vanilla, |vanilla| of_whole(row.macs(), vanilla.macs())));
    table.column("of vanilla", ["macs_share"], of_vanilla);
    if rows.iter().any(|row| !row.budgets().is_empty()) {
        table.column("Budget", ["budget"], cells(rows, |row| Cell::of(row.budgets().shown(), Cell::text)));
        let off = |off: f64| Cell::shown(format!("{:+.1} %", 100.0 * off), [off.into()]);
        table.column("off budget", ["budget_mismatch"], cells(rows, |row| Cell::of(row.budgets().mismatch(), off)));
    }
    if rows.iter().any(|row| !row.control_of().is_empty()) {
        let pruned = |row: &SettingRow<'_>| (!row.control_of().is_empty()).then(|| row.control_of().join(", "));
        table.column("Control of", ["control_of"], cells(rows, |row| Cell::of(pruned(row), Cell::text)));
    }
    if group.cost_only() {
        let of_vanilla = cells(rows, |row| Cell::of(vanilla, |vanilla| of_whole(row.params(), vanilla.params())));
        table.column("params of vanilla", ["params_share"], of_vanilla);
        let activations = cells(rows, |row| Cell::quantity(row.first().network.cost.activations));
        table.column("Activations", ["activations"], activations);
    } else {
        accuracies(&mut table, group);
    }
    measured::columns(&mut table, group);
    table.notes = caption::lines(group);
    table
}

fn accuracies(table: &mut Table, group: &Group<'_>) {
    let rows = &group.rows;
    if varies(group, |row| row.seeds()) {
        table.column("Seeds", ["seeds"], cells(rows, |row| Cell::count(row.trials.len())));
    }
    if varies(group, |row| row.epochs()) {
        table.column("Epochs", ["epochs"], cells(rows, |row| Cell::count(row.epochs())));
    }
    let accuracy = |split| cells(rows, move |row| Cell::of(row.top1(split), plus_minus));
    table.column("Validation (%)", ["validation", "validation_sd"], accuracy(Split::Validation));
    if rows.iter().any(|row| row.top1(Split::Test).is_some()) {
        table.column("Test (%)", ["test", "test_sd"], accuracy(Split::Test));
    }
    let split = group.split();
    let delta = |row: &SettingRow<'_>| Cell::of(group.beside_vanilla(row), |(at, pair)| against(pair, at));
    let title = format!("Δ {} to vanilla", split.name());
    table.column(title, ["delta", "delta_low", "delta_high"], cells(rows, delta));
}

/// A cell of each row.
pub(super) fn cells<'r>(
    rows: &'r [SettingRow<'_>],
    cell: impl Fn(&SettingRow<'_>) -> Cell + 'r,
) -> impl Iterator<Item = Cell> + 'r {
    rows.iter().map(cell)
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

/// `62.31`, or `62.31 ± 0.40` over seeds.
fn plus_minus(Summary { mean, deviation, .. }: Summary) -> Cell {
    let text = match deviation {
        Some(deviation) => format!("{mean:.2} ± {deviation:.2}"),
        None => decimals(mean, 2),
    };
    Cell::shown(text, [mean.into(), deviation.into()])
}

/// `-1.20`, or `-1.20 [-2.10, -0.30]` over seeds: one of a pair less the other; bold where the two by themselves are told apart.
pub(super) fn against(pair: &Pair, one: usize) -> Cell {
    let Some(mean) = pair.difference_on(one) else { return Cell::missing() };
    let Some(interval) = pair.interval_on(one) else {
        return Cell::shown(difference(mean), [mean.into(), Value::Missing, Value::Missing]);
    };
    let text = format!("{} {}", difference(mean), signed(interval));
    let values = [mean.into(), interval.low.into(), interval.high.into()];
    Cell::shown(text, values).bold(pair.tested.is_some_and(|tested| tested.p < FALSE_VERDICTS))
}

fn of_whole(part: u64, whole: u64) -> Cell {
    Cell::shown(share(part, whole), [(part as f64 / whole as f64).into()])
}
