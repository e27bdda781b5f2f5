//! Methods over several data sets and backbones.

use std::collections::BTreeSet;

use super::aggregate::{Group, SettingRow};
use super::markup::escaped;
use super::numbers::{difference, signed};
use super::section::{Part, Section};
use super::table::{Cell, Table};
use crate::statistics::{differences, interquartile_mean, interquartile_mean_interval, performance_profile};

/// Differences to vanilla, in points, above which the runs are counted.
const THRESHOLDS: [f64; 5] = [-5.0, -2.0, -1.0, -0.5, 0.0];

/// How methods do over all pairs of data and backbone, as the difference in top-1 to vanilla at the same seed; none where there
/// are fewer than two such pairs, or one of them has several recipes. Synthetic data is left out beside real data.
pub fn section(groups: &[&Group<'_>]) -> Option<Section> {
    let trained: Vec<&Group<'_>> =
        groups.iter().copied().filter(|group| !group.cost_only() && group.vanilla().is_some()).collect();
    let synthetic = |group: &&&Group<'_>| group.first().trial.data.synthetic;
    let real: Vec<&Group<'_>> = trained.iter().filter(|group| !synthetic(group)).copied().collect();
    let tasks = if real.is_empty() { trained } else { real };
    let names: BTreeSet<(String, String)> = tasks.iter().map(|group| (group.data(), group.backbone())).collect();
    if tasks.len() < 2 || names.len() < tasks.len() {
        return None;
    }
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for row in tasks.iter().flat_map(|group| &group.rows).filter(|row| !row.is_vanilla()) {
        if !seen.insert(&row.label) {
            continue;
        }
        let scores: Vec<Vec<f64>> = tasks.iter().map(|group| scores(group, &row.label)).collect();
        match scores.iter().any(Vec::is_empty) {
            true => absent.push(row.label.as_str()),
            false => rows.push((row.label.as_str(), scores)),
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new("tasks", "Over data sets and backbones");
    let of = |cell: fn(&[Vec<f64>]) -> Cell| rows.iter().map(move |(_, scores)| cell(scores));
    table.column("Method", ["label"], rows.iter().map(|(label, _)| Cell::text(*label)));
    table.column("Runs", ["runs"], of(|scores| Cell::count(scores.iter().map(Vec::len).sum())));
    let mean =
        |scores: &[Vec<f64>]| Cell::of(interquartile_mean(scores), |mean| Cell::shown(difference(mean), [mean.into()]));
    table.column("Δ to vanilla (interquartile mean)", ["delta"], of(mean));
    let interval = |scores: &[Vec<f64>]| {
        let ends = interquartile_mean_interval(scores);
        Cell::of(ends, |ends| Cell::shown(signed(ends), [ends.low.into(), ends.high.into()]))
    };
    table.column("95 % (bootstrap)", ["delta_low", "delta_high"], of(interval));
    for (place, threshold) in THRESHOLDS.into_iter().enumerate() {
        let share = |share: f64| Cell::shown(format!("{:.0} %", 100.0 * share), [share.into()]);
        let cells = rows
            .iter()
            .map(|(_, scores)| Cell::of(performance_profile(scores, &THRESHOLDS).map(|shares| shares[place]), share));
        table.column(format!("> {threshold:+}"), [&*format!("above_{threshold:+}")], cells);
    }
    let list: Vec<String> = names.iter().map(|(data, backbone)| format!("{backbone} on {data}")).collect();
    table.notes = vec![
        format!(
            "**Tasks**: {}. A run's score is its top-1 less vanilla's with the same seed, in points.",
            escaped(&list.join("; "))
        ),
        "**Interquartile mean**: of the middle half of all runs. Its interval is over seeds, drawn within each task (percentile, 10,000 \
         draws): it says nothing of other data or backbones, and covers less than it says with few seeds."
            .into(),
        "**> x**: share of runs whose score is above x, each task with the same weight.".into(),
    ];
    if !absent.is_empty() {
        let absent = escaped(&absent.join(", "));
        table.notes.push(format!("**Left out**, for want of a result in every task: {absent}"));
    }
    Some(Section::of_report("Over data sets and backbones", vec![Part::Table(table)]))
}

fn scores(group: &Group<'_>, label: &str) -> Vec<f64> {
    let split = group.split();
    let by_seed = |row: Option<&SettingRow<'_>>| row.map(|row| row.top1_by_seed(split)).unwrap_or_default();
    differences(&by_seed(group.rows.iter().find(|row| row.label == label)), &by_seed(group.vanilla()))
}
