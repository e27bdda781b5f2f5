//! How fast trials trained: beside whatever else ran, and so apart from all that compares.

use std::collections::BTreeSet;

use super::aggregate::{Group, SettingRow};
use super::tables::{by, dash, markdown, names};
use crate::results::TrialRecord;

/// The section on the speed of all trials that were trained; empty where none was.
pub fn section(groups: &[Group<'_>]) -> String {
    let trained: Vec<&Group<'_>> = groups.iter().filter(|group| !group.cost_only()).collect();
    if trained.is_empty() {
        return String::new();
    }
    let mut text = "\n### Speed of training\n\n**Measured while training, beside whatever else ran: these figures do not compare**, neither with \
                    one another nor with other machines'. `harness bench` measures what does.\n"
        .to_owned();
    for group in &trained {
        if trained.len() > 1 {
            text += &format!("\n{}:\n", group.title());
        }
        let rows: Vec<Vec<String>> = group.rows.iter().map(cells).collect();
        text += &format!("\n{}", markdown(&["Method", "Images/s", "Jobs at once", "Threads"], &rows));
        for line in off_engine(group) {
            text += &format!("\n- {line}\n");
        }
    }
    text + "\n*Jobs at once*: trials that the sweep let run beside one another, this one among them; not known of results that were made \
            before it was written down, or by single tasks of a cluster.\n"
}

fn cells(row: &SettingRow<'_>) -> Vec<String> {
    let mark = if row.off_engine().is_some() { " †" } else { "" };
    let speed = row.images_per_second().map_or_else(dash, |speed| format!("{speed:.0}{mark}"));
    let jobs = |record: &TrialRecord| record.environment.jobs.map_or_else(dash, |jobs| jobs.to_string());
    vec![row.label.clone(), speed, each(row, jobs), each(row, |record| record.environment.threads.to_string())]
}

/// What a row's trials say, each value once.
fn each(row: &SettingRow<'_>, of: impl Fn(&TrialRecord) -> String) -> String {
    row.trials.iter().map(|record| of(record)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Why what is marked with a dagger is.
fn off_engine(group: &Group<'_>) -> Vec<String> {
    let line = |(why, rows): (Option<String>, Vec<&SettingRow<'_>>)| {
        let (why, methods) = (why?, names(group, &rows).join(", "));
        Some(format!("**† Not on the engine**: {methods} trained operation by operation ({why}), many times slower."))
    };
    by(group, SettingRow::off_engine).into_iter().filter_map(line).collect()
}
