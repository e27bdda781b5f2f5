//! Methods over several data sets and backbones.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::aggregate::{Group, SettingRow};
use super::tables::{dash, markdown, signed};
use crate::statistics::{differences, interquartile_mean, interquartile_mean_interval, performance_profile};

/// Differences to vanilla, in points, above which the runs are counted.
const THRESHOLDS: [f64; 5] = [-5.0, -2.0, -1.0, -0.5, 0.0];

/// How methods do over all pairs of data and backbone, as the difference in top-1 to vanilla at the same seed; empty where there
/// are fewer than two such pairs, or one of them has several recipes. Synthetic data is left out beside real data.
pub fn section(groups: &[Group<'_>]) -> String {
    let trained: Vec<&Group<'_>> =
        groups.iter().filter(|group| !group.cost_only() && group.vanilla().is_some()).collect();
    let synthetic = |group: &&&Group<'_>| group.first().trial.data.synthetic;
    let real: Vec<&Group<'_>> = trained.iter().filter(|group| !synthetic(group)).copied().collect();
    let tasks = if real.is_empty() { trained } else { real };
    let names: BTreeSet<(String, String)> = tasks.iter().map(|group| (group.data(), group.backbone())).collect();
    if tasks.len() < 2 || names.len() < tasks.len() {
        return String::new();
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
            false => rows.push(cells(&row.label, &scores)),
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let above = THRESHOLDS.map(|threshold| format!("> {threshold:+}"));
    let mut header = vec!["Method", "Runs", "Δ to vanilla (interquartile mean)", "95 % (bootstrap)"];
    header.extend(above.iter().map(String::as_str));
    let list: Vec<String> = names.iter().map(|(data, backbone)| format!("{backbone} on {data}")).collect();
    let mut text = format!(
        "\n## Over data sets and backbones\n\n{}\n\
         - **Tasks**: {}. A run's score is its top-1 less vanilla's with the same seed, in points.\n\
         - **Interquartile mean**: of the middle half of all runs. Its interval is over seeds, drawn within each task (percentile, 10,000 \
         draws): it says nothing of other data or backbones, and covers less than it says with few seeds.\n\
         - **> x**: share of runs whose score is above x, each task with the same weight.\n",
        markdown(&header, &rows),
        list.join("; ")
    );
    if !absent.is_empty() {
        let _ = writeln!(text, "- **Left out**, for want of a result in every task: {}", absent.join(", "));
    }
    text
}

fn scores(group: &Group<'_>, label: &str) -> Vec<f64> {
    let split = group.split();
    let by_seed = |row: Option<&SettingRow<'_>>| row.map(|row| row.top1_by_seed(split)).unwrap_or_default();
    differences(&by_seed(group.rows.iter().find(|row| row.label == label)), &by_seed(group.vanilla()))
}

fn cells(label: &str, scores: &[Vec<f64>]) -> Vec<String> {
    let mean = interquartile_mean(scores);
    let mut cells = vec![
        label.to_owned(),
        scores.iter().map(Vec::len).sum::<usize>().to_string(),
        mean.map_or_else(dash, |mean| format!("{mean:+.2}")),
        interquartile_mean_interval(scores).map_or_else(dash, signed),
    ];
    match performance_profile(scores, &THRESHOLDS) {
        Some(shares) => cells.extend(shares.iter().map(|share| format!("{:.0} %", 100.0 * share))),
        None => cells.extend(THRESHOLDS.map(|_| dash())),
    }
    cells
}
