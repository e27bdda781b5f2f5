//! Which two rows are meant.

use std::path::Path;

use anyhow::{Result, bail};
use conv_core::options::Described;

use crate::config::{Complaint, Recipe};
use crate::experiment::sweep::filter::{SHOWN, fits};
use crate::report::aggregate::{Group, SettingRow, Unlike, unlike};
use crate::results::TrialRecord;

/// A table's title, and two rows of it or of tables that are made alike.
type Chosen<'a> = (String, [SettingRow<'a>; 2]);

/// The two rows of one folder that are meant.
pub(super) fn chosen<'a>(groups: &[Group<'a>], a: &str, b: &str) -> Result<Chosen<'a>> {
    let mut found = Vec::new();
    for group in groups {
        let (first, second) = (rows(group, a), rows(group, b));
        for one in &first {
            let others = second.iter().filter(|other| other.label != one.label);
            found.extend(others.map(|other| (group.title(), [one.clone(), other.clone()])));
        }
    }
    if found.is_empty() {
        for filter in [a, b] {
            check_fits(groups, filter)?;
        }
        bail!(
            "`{a}` and `{b}` are not two rows of one table\n  accepted: two different rows that share data, backbone and recipe"
        )
    }
    only(found, a, b)
}

/// A row of each of two folders, or of two tables of one, which have to be made alike, but for the keys `despite` which they are
/// compared. Of two folders each is called by its folder, too.
pub(super) fn across<'a>(sides: [(&Path, &[Group<'a>], &str); 2], despite: &[String]) -> Result<Chosen<'a>> {
    let known = |key: &str| Recipe::OPTIONS.iter().any(|field| key.strip_prefix("recipe.") == Some(field.key));
    if let Some(key) = despite.iter().find(|key| !known(key)) {
        let accepted = "a key of the recipe, such as recipe.precision";
        return Err(Complaint::new("--despite is no key in which recipes differ", key.clone(), accepted).into());
    }
    let [(first, groups, a), (second, others, b)] = sides;
    let (mut found, mut apart) = (Vec::new(), Vec::new());
    for group in groups {
        for one in rows(group, a) {
            for other_group in others {
                let unlike = unlike(group.first(), other_group.first());
                let (allowed, unlike): (Vec<Unlike>, Vec<Unlike>) =
                    unlike.into_iter().partition(|unlike| despite.contains(&unlike.key));
                let title = allowed.iter().fold(group.title(), |title, unlike| format!("{title}, though {unlike}"));
                for other in rows(other_group, b) {
                    let itself = first == second && allowed.is_empty() && one.label == other.label;
                    match unlike.is_empty() {
                        _ if itself => {}
                        true => found.push((title.clone(), [one.clone(), other])),
                        false => apart.push(unlike.clone()),
                    }
                }
            }
        }
    }
    if found.is_empty() {
        for (path, groups, filter) in sides {
            check_fits(groups, filter).map_err(|error| error.context(path.display().to_string()))?;
        }
        // Of several that might be meant, those that are most alike.
        let least = apart.into_iter().min_by_key(Vec::len).unwrap_or_default();
        bail!(
            "`{a}` of {} and `{b}` of {} were not made alike: {}\n  accepted: results of the same data, backbone and recipe",
            first.display(),
            second.display(),
            least.iter().map(Unlike::to_string).collect::<Vec<_>>().join("; ")
        )
    }
    let (title, mut rows) = only(found, a, b)?;
    for (row, path) in rows.iter_mut().zip([first, second]).filter(|_| first != second) {
        row.label = format!("{} ({})", row.label, path.display());
    }
    Ok((title, rows))
}

fn only<'a>(mut found: Vec<Chosen<'a>>, a: &str, b: &str) -> Result<Chosen<'a>> {
    if found.len() == 1 {
        return Ok(found.swap_remove(0));
    }
    bail!(
        "`{a}` and `{b}` fit several pairs: {}\n  accepted: labels, or KEY=VALUE,... with the key that tells them apart, such as \
         backbone=resnet20",
        list(found.iter().map(|(title, [a, b])| format!("{} / {} ({title})", a.label, b.label)))
    )
}

/// That the filter fits a row at all.
fn check_fits(groups: &[Group<'_>], filter: &str) -> Result<()> {
    if groups.iter().any(|group| !rows(group, filter).is_empty()) {
        return Ok(());
    }
    let all = groups.iter().flat_map(|group| &group.rows).map(|row| row.label.clone());
    bail!("`{filter}` fits no trained row\n  accepted: a label or KEY=VALUE,..., such as {}", list(all))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    items.dedup();
    let more = items.len().saturating_sub(SHOWN);
    items.truncate(SHOWN);
    items.join(" | ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Rows that a filter fits, each with those of its trials that it fits; those that are called so alone, if there are any.
fn rows<'a>(group: &Group<'a>, filter: &str) -> Vec<SettingRow<'a>> {
    let labels = |record: &TrialRecord| -> Vec<String> {
        record.trial.aliases.iter().chain([&record.trial.label]).cloned().collect()
    };
    let called: Vec<SettingRow<'a>> = group
        .rows
        .iter()
        .filter(|row| row.label == filter || labels(row.first()).iter().any(|label| label == filter))
        .cloned()
        .collect();
    if !called.is_empty() {
        return called;
    }
    let fitting = |record: &TrialRecord| {
        let labels = labels(record);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        fits(filter, &labels, record.trial.config.seed, |key| record.trial.config.get(key))
    };
    let kept = |row: &SettingRow<'a>| SettingRow {
        label: row.label.clone(),
        trials: row.trials.iter().copied().filter(|record| fitting(record)).collect(),
    };
    group.rows.iter().map(kept).filter(|row| !row.trials.is_empty()).collect()
}
