//! How fast trials trained: beside whatever else ran, and so apart from all that compares.

use std::collections::BTreeSet;

use super::aggregate::{Group, SettingRow};
use super::comparison::{by, names};
use super::markup::escaped;
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use crate::results::TrialRecord;

/// The section on the speed of all trials that were trained; none where none was. `names` are those of the groups' files.
pub fn section(groups: &[(String, Group<'_>)]) -> Option<Section> {
    let trained: Vec<&(String, Group<'_>)> = groups.iter().filter(|(_, group)| !group.cost_only()).collect();
    if trained.is_empty() {
        return None;
    }
    let lead = "**Measured while training, beside whatever else ran: these figures do not compare**, neither with one another nor with \
                other machines'. `harness bench` measures what does.";
    let mut parts = vec![Part::Text(lead.into())];
    for (name, group) in &trained {
        if trained.len() > 1 {
            parts.push(Part::Text(format!("{}:", escaped(&group.title()))));
        }
        parts.push(Part::Table(table(group, name)));
    }
    let jobs = "*Jobs at once*: trials that the sweep let run beside one another, this one among them; not known of results that were \
                made before it was written down, or by single tasks of a cluster.";
    parts.push(Part::Text(jobs.into()));
    Some(Section::of_group("Speed of training", parts))
}

fn table(group: &Group<'_>, name: &str) -> Table {
    let rows = &group.rows;
    let mut table = Table::new(format!("{name}-training-speed"), format!("{}: speed of training", group.title()));
    table.column("Method", ["label"], rows.iter().map(|row| Cell::text(&row.label)));
    let speed = |row: &SettingRow<'_>| {
        let mark = if row.off_engine().is_some() { " †" } else { "" };
        Cell::of(row.images_per_second(), |speed| Cell::shown(format!("{speed:.0}{mark}"), [speed.into()]))
    };
    table.column("Images/s", ["images_per_second"], rows.iter().map(speed));
    let jobs = |record: &TrialRecord| record.environment.jobs.map_or_else(|| "–".to_owned(), |jobs| jobs.to_string());
    let each = |of: fn(&TrialRecord) -> String| {
        rows.iter().map(move |row| {
            let said = each(row, of);
            Cell::shown(said.clone(), [Value::Text(said)])
        })
    };
    table.column("Jobs at once", ["jobs"], each(jobs));
    table.column("Threads", ["threads"], each(|record| record.environment.threads.to_string()));
    table.notes = off_engine(group);
    table
}

/// What a row's trials say, each value once.
fn each(row: &SettingRow<'_>, of: impl Fn(&TrialRecord) -> String) -> String {
    row.trials.iter().map(|record| of(record)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Why what is marked with a dagger is.
fn off_engine(group: &Group<'_>) -> Vec<String> {
    let line = |(why, rows): (Option<String>, Vec<&SettingRow<'_>>)| {
        let (why, methods) = (why?, escaped(&names(group, &rows).join(", ")));
        Some(format!("**† Not on the engine**: {methods} trained operation by operation ({why}), many times slower."))
    };
    by(group, SettingRow::off_engine).into_iter().filter_map(line).collect()
}
