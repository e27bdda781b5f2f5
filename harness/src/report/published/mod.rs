//! Reference figures that papers print, for tables apart from ours, each beside what was run here.

mod agreement;
mod papers;
mod reproduction;

use super::aggregate::{Group, SettingRow, Split};
use super::numbers::{difference, unsigned};
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use crate::config::TrialConfig;
use crate::{data, methods};
use agreement::{Agreement, counts, ours};
use papers::{PUBLISHED, Paper, Row};

pub use reproduction::{Reproduction, reproductions};

fn title(dataset: &'static str) -> &'static str {
    data::find(dataset).map_or(dataset, |info| info.title)
}

/// The published rows for a group's backbone and data; none where there are none, and never beside accuracies on procedural
/// data.
pub fn section(group: &Group<'_>, name: &str) -> Option<Section> {
    let record = group.first();
    // Costs do not depend on where the images come from; accuracies do.
    if record.trial.data.synthetic && !group.cost_only() {
        return None;
    }
    let TrialConfig { dataset, backbone, .. } = &record.trial.config;
    let (_, known, papers) = PUBLISHED.iter().find(|(network, known, _)| {
        // A folder of images is called by its own name.
        let is_folder = data::find(&dataset.name).is_some_and(|info| info.geometry.is_none());
        let is_called_so = is_folder && record.trial.data.label.contains(title(known));
        *network == backbone.name && (*known == dataset.name || is_called_so)
    })?;
    let data = title(known);
    let mut text = format!(
        "**Published** figures for {} on {data}, as printed, from the papers named. Not measured here and not comparable row by \
         row: their schedules are full-length, their data the original files, their baselines differ from paper to paper \
         (compare within one). What they print as FLOPs are MACs.\n",
        group.backbone()
    );
    text += match group.cost_only() {
        true => {
            "\n**Agreement** of rows that were counted here, too: *inside*, MACs and parameters are ours to the printed digits; *outside*, they \
             differ, by as much as stands there; *disputed*, as told under the table.\n"
        }
        false => {
            "\n**Agreement** of rows that were trained here, too: *inside*, the printed accuracy lies in the 95 % interval of the mean over seeds \
             here (Student t); *outside*, it does not; *one seed*, there is no interval; *disputed*, as told under the table. Costs are \
             *exact* to the printed digits, or ours differ by as much as stands there.\n"
        }
    };
    let mut parts = vec![Part::Text(text)];
    for (number, paper) in papers.iter().enumerate() {
        parts.push(Part::Text(format!("*published:* {}", paper.title)));
        let mut table = table(paper, group, format!("{name}-published-{}", number + 1));
        table.notes = disputes(paper);
        parts.push(Part::Table(table));
    }
    Some(Section::of_group("Published figures", parts))
}

/// A line of a table: a published row, whether it was printed in a line before, and a network here that it may be.
#[derive(Clone, Copy)]
struct Line<'l> {
    row: &'l Row,
    again: bool,
    ours: Option<&'l SettingRow<'l>>,
}

/// Top-5 has a column where the paper prints it. A row stands once for each network here that it may be.
fn table(paper: &Paper, group: &Group<'_>, name: String) -> Table {
    let lines: Vec<Line<'_>> = paper
        .rows
        .iter()
        .flat_map(|row| {
            let networks: Vec<Option<&SettingRow<'_>>> = match ours(group, row) {
                networks if networks.is_empty() => vec![None],
                networks => networks.into_iter().map(Some).collect(),
            };
            networks.into_iter().enumerate().map(move |(nth, ours)| Line { row, again: nth > 0, ours })
        })
        .collect();
    // Under its first line, what is printed is not printed again.
    let printed = |cell: &dyn Fn(&Row) -> Cell| -> Vec<Cell> {
        lines.iter().map(|line| if line.again { Cell::empty() } else { cell(line.row) }).collect()
    };
    let figure = |text: &str| if text.is_empty() { Cell::missing() } else { Cell::text(text) };
    let percent = |text: &str| Cell::of(text.parse::<f64>().ok(), |value| Cell::shown(text, [value.into()]));
    let base = paper.rows.first();
    let to_base = |row: &Row| {
        let base = base.filter(|base| !std::ptr::eq(*base, row)).and_then(|base| base.top1.parse::<f64>().ok());
        let delta = row.top1.parse::<f64>().ok().zip(base).map(|(top1, base)| top1 - base);
        Cell::of(delta, |delta| Cell::shown(difference(delta), [delta.into()]))
    };
    let mut table = Table::new(name, format!("{}, as published: {}", group.backbone(), paper.title));
    let method = |row: &Row| Cell::shown(format!("{} (published)", row.method), [Value::Text(row.method.into())]);
    table.column("Method", ["published"], printed(&method));
    table.column("Params", ["published_params"], printed(&|row| figure(row.params)));
    table.column("MACs", ["published_macs"], printed(&|row| figure(row.macs)));
    table.column("Top-1 (%)", ["published_top1"], printed(&|row| percent(row.top1)));
    table.column("Δ to its baseline", ["published_delta"], printed(&to_base));
    if paper.rows.iter().any(|row| !row.top5.is_empty()) {
        table.column("Top-5 (%)", ["published_top5"], printed(&|row| percent(row.top5)));
    }
    let here = |cell: &dyn Fn(Line<'_>, &SettingRow<'_>) -> Cell| -> Vec<Cell> {
        lines.iter().map(|line| Cell::of(line.ours, |ours| cell(*line, ours))).collect()
    };
    table.column("Here", ["label"], here(&|_, ours| Cell::text(called(ours))));
    table.column("MACs here", ["macs"], here(&|_, ours| Cell::quantity(ours.macs())));
    table.column("Costs", ["costs"], here(&|line, ours| Cell::text(counts(line.row, ours))));
    if !group.cost_only() {
        let top1 = |ours: &SettingRow<'_>| {
            Cell::of(ours.top1(Split::Test), |top1| match top1.interval() {
                Some(interval) => {
                    let text = format!("{:.2} {}", top1.mean, unsigned(interval));
                    Cell::shown(text, [top1.mean.into(), interval.low.into(), interval.high.into()])
                }
                None => Cell::shown(format!("{:.2}", top1.mean), [top1.mean.into(), Value::Missing, Value::Missing]),
            })
        };
        table.column("Top-1 here (%)", ["test", "test_low", "test_high"], here(&|_, ours| top1(ours)));
        let delta = |line: Line<'_>, ours: &SettingRow<'_>| {
            let printed = line.row.top1.parse::<f64>().ok();
            let delta = ours.top1(Split::Test).zip(printed).map(|(ours, printed)| ours.mean - printed);
            Cell::of(delta, |delta| Cell::shown(difference(delta), [delta.into()]))
        };
        table.column("Here less published", ["test_less_published"], here(&delta));
    }
    let agreement = lines.iter().map(|line| Cell::text(Agreement::of(line.row, line.ours).name()));
    table.column("Agreement", ["agreement"], agreement);
    table
}

/// What a network here is called in these tables.
fn called(network: &SettingRow<'_>) -> String {
    match network.is_vanilla() {
        true => network.label.clone(),
        false => {
            let record = network.first();
            format!("{} ({})", methods::label(&record.trial.config.method), record.network.replaced)
        }
    }
}

/// Why rows are disputed.
fn disputes(paper: &Paper) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in paper.rows {
        let Some(why) = row.disputed else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, methods)) if methods.last() == Some(&row.method) => {}
            Some((_, methods)) => methods.push(row.method),
            None => reasons.push((why, vec![row.method])),
        }
    }
    reasons.iter().map(|(why, methods)| format!("**Disputed** ({}): {why}.", methods.join(", "))).collect()
}
