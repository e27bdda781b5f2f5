//! Reference figures that papers print, for tables apart from ours, each beside what was run here.

mod agreement;
mod papers;

use super::aggregate::{Group, SettingRow, Split};
use super::tables::{dash, markdown, quantity};
use crate::config::TrialConfig;
use crate::statistics::Interval;
use crate::{data, methods};
use agreement::{Agreement, counts, ours};
use papers::{PUBLISHED, Paper, Row};

fn title(dataset: &'static str) -> &'static str {
    data::find(dataset).map_or(dataset, |info| info.title)
}

/// The published rows for a group's backbone and data, as Markdown; none where there are none, and never beside
/// accuracies on procedural data.
pub fn beside(group: &Group<'_>) -> Option<String> {
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
    for paper in *papers {
        text += &format!("\n*published:* {}\n\n{}{}", paper.title, table(paper, group), disputes(paper));
    }
    Some(text)
}

/// Top-5 has a column where the paper prints it. A row stands once for each network here that it may be.
fn table(paper: &Paper, group: &Group<'_>) -> String {
    let has_top5 = paper.rows.iter().any(|row| !row.top5.is_empty());
    let mut header = vec!["Method", "Params", "MACs", "Top-1 (%)", "Δ to its baseline"];
    header.extend(has_top5.then_some("Top-5 (%)"));
    header.extend(["Here", "MACs here", "Costs"]);
    header.extend((!group.cost_only()).then_some("Top-1 here (%)"));
    header.push("Agreement");
    let mut rows = Vec::new();
    for (place, row) in paper.rows.iter().enumerate() {
        let base = paper.rows.first().filter(|_| place > 0);
        let mut printed = printed(row, base, has_top5);
        let networks = ours(group, row);
        let networks: Vec<Option<&SettingRow<'_>>> =
            if networks.is_empty() { vec![None] } else { networks.into_iter().map(Some).collect() };
        for network in networks {
            let cells = printed.clone().into_iter().chain(here(row, network, group));
            rows.push(cells.collect());
            // Under its first line, what is printed is not printed again.
            printed.fill(String::new());
        }
    }
    markdown(&header, &rows)
}

/// What the paper prints.
fn printed(row: &Row, base: Option<&Row>, has_top5: bool) -> Vec<String> {
    let figure = |text: &str| if text.is_empty() { dash() } else { text.to_owned() };
    let percent = |row: &Row| row.top1.parse::<f64>().ok();
    let difference = match (percent(row), base.and_then(percent)) {
        (Some(top1), Some(base)) => format!("{:+.2}", top1 - base),
        _ => dash(),
    };
    let name = format!("{} (published)", row.method);
    let mut cells = vec![name, figure(row.params), figure(row.macs), figure(row.top1), difference];
    cells.extend(has_top5.then(|| figure(row.top5)));
    cells
}

/// What stands beside it here.
fn here(row: &Row, network: Option<&SettingRow<'_>>, group: &Group<'_>) -> Vec<String> {
    let name = |network: &SettingRow<'_>| match network.is_vanilla() {
        true => network.label.clone(),
        false => {
            let record = network.first();
            format!("{} ({})", methods::label(&record.trial.config.method), record.network.replaced)
        }
    };
    let mut cells = vec![
        network.map_or_else(dash, name),
        network.map_or_else(dash, |network| quantity(network.macs())),
        network.map_or_else(dash, |network| counts(row, network)),
    ];
    if !group.cost_only() {
        cells.push(network.and_then(|network| network.top1(Split::Test)).map_or_else(
            dash,
            |top1| match top1.interval() {
                Some(Interval { low, high }) => format!("{:.2} [{low:.2}, {high:.2}]", top1.mean),
                None => format!("{:.2}", top1.mean),
            },
        ));
    }
    cells.push(Agreement::of(row, network).name().into());
    cells
}

/// Why rows are disputed.
fn disputes(paper: &Paper) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in paper.rows {
        let Some(why) = row.disputed else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, methods)) if methods.last() == Some(&row.method) => {}
            Some((_, methods)) => methods.push(row.method),
            None => reasons.push((why, vec![row.method])),
        }
    }
    let lines: Vec<String> =
        reasons.iter().map(|(why, methods)| format!("- **Disputed** ({}): {why}.\n", methods.join(", "))).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.concat()) }
}
