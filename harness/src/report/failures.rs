//! Trials without a result, with what went wrong.

use super::section::{Part, Section};
use super::table::{Cell, Table};
use crate::results::{Failure, TrialRecord};

/// The most that is said of what went wrong.
const LONGEST: usize = 300;

/// The section on them; none where there is none.
pub fn section(failures: &[TrialRecord]) -> Option<Section> {
    let failed: Vec<(&TrialRecord, &Failure)> =
        failures.iter().filter_map(|record| Some((record, record.failure()?))).collect();
    if failed.is_empty() {
        return None;
    }
    let mut table = Table::new("failures", "Trials that failed");
    let cells =
        |cell: fn(&TrialRecord, &Failure) -> Cell| failed.iter().map(move |(record, failure)| cell(record, failure));
    table.column("Trial", ["label"], cells(|record, _| Cell::text(&record.trial.label)));
    table.column("Seed", ["seed"], cells(|record, _| Cell::whole(record.trial.config.seed)));
    table.column("Kind", ["kind"], cells(|_, failure| Cell::text(failure.kind.to_string()).bold(true)));
    let reason = |failure: &Failure| failure.reason.replace('\n', " ").chars().take(LONGEST).collect::<String>();
    let reasons = failed.iter().map(|(_, failure)| Cell::text(reason(failure)));
    table.column("What went wrong", ["reason"], reasons);
    table.column("Attempts", ["attempts"], cells(|_, failure| Cell::whole(failure.attempts.into())));
    table.column("Log", ["log"], cells(|record, _| Cell::text(format!("trials/{}/log.txt", record.trial.key))));
    let after = "They are in no table above; the next run tries them again.";
    Some(Section::of_report("Trials that failed", vec![Part::Table(table), Part::Text(after.into())]))
}
