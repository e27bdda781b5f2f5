//! `harness compare`: two methods of a run folder, seed by seed.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::Reply;
use super::table::{Cell, Format, Table};
use crate::experiment::sweep::filter::{SHOWN, fits};
use crate::report::aggregate::{Group, SettingRow, Split, groups};
use crate::report::seeds::p_equals;
use crate::report::tables::signed;
use crate::results::{RunFolder, TrialRecord};
use crate::statistics::images::ImageComparison;
use crate::statistics::{
    Comparison, FALSE_VERDICTS, Interval, Summary, Verdict, bootstrap, detectable, differences, seeds_needed,
};

/// The power at which it is said what seeds can see.
pub const POWER: f64 = 0.8;

const COLUMNS: &[&str] = &[
    "a",
    "b",
    "split",
    "seeds",
    "left_out",
    "mean_a",
    "mean_b",
    "difference",
    "low",
    "high",
    "bootstrap_low",
    "bootstrap_high",
    "p",
    "verdict",
    "why",
];

/// Whether method A of a run folder is better than method B, by top-1 at the same seeds: the difference with its interval, and a
/// verdict that is false in 5 % of comparisons of equal methods. Trains nothing.
///
/// The verdict is over seeds, which train other networks; what each seed's two networks make of the test images is told beside
/// it. Of several comparisons some are false by chance: a report has all pairs with a correction for their number.
///
/// Exit codes: 0 the verdict is what --require asks for; 1 A is worse; 4 the two are not distinguishable, and that is not
/// enough; 2 nothing could be compared as asked.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// A run folder, e.g. reports/cifar.
    folder: PathBuf,
    /// The method that the verdict is on: its label, a part of it, or KEY=VALUE,... such as method=ghost,ratio=2.
    a: String,
    /// The method that it is compared with.
    b: String,
    /// What has to be the case for exit code 0.
    #[arg(long, value_enum, default_value_t)]
    require: Requirement,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is asked of A.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Requirement {
    /// A is better.
    #[default]
    Better,
    /// A is better, or tested and not distinguishable from B.
    NotWorse,
}

impl Requirement {
    fn exit_code(self, comparison: &Comparison) -> u8 {
        match (comparison.verdict(), self) {
            (Verdict::Better, _) => 0,
            (Verdict::Worse, _) => 1,
            // What could not be tested has not passed.
            (Verdict::NotDistinguishable, Self::NotWorse) if comparison.p.is_ok() => 0,
            (Verdict::NotDistinguishable, _) => 4,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A folder that cannot be read; a filter that fits no row, or several that could be meant.
pub fn compare_methods(args: &CompareArgs) -> Result<Reply> {
    let folder = RunFolder::open(&args.folder)?;
    let trials = folder.collected()?;
    let all = groups(&trials.done);
    let trained: Vec<&Group<'_>> = all.iter().filter(|group| !group.cost_only()).collect();
    let (group, a, b) = chosen(&trained, &args.a, &args.b)?;
    let read = |row: &SettingRow<'_>| row.top1(Split::Test).is_some();
    let split = if read(&a) && read(&b) { Split::Test } else { Split::Validation };
    let comparison = a.compare(&b, split);
    let text = match args.format {
        Format::Table => told(group, [&a, &b], split, &comparison) + &over_images(&folder, [&a, &b], split)?,
        format => row([&a, &b], split, &comparison, format),
    };
    Ok(Reply { text, code: args.require.exit_code(&comparison) })
}

/// The two rows that are meant, and the group that has both.
fn chosen<'g, 'a>(
    groups: &[&'g Group<'a>],
    a: &str,
    b: &str,
) -> Result<(&'g Group<'a>, SettingRow<'a>, SettingRow<'a>)> {
    let mut found = Vec::new();
    for group in groups {
        let (first, second) = (rows(group, a), rows(group, b));
        for one in &first {
            found.extend(
                second
                    .iter()
                    .filter(|other| other.label != one.label)
                    .map(|other| (*group, one.clone(), other.clone())),
            );
        }
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            for filter in [a, b] {
                if groups.iter().all(|group| rows(group, filter).is_empty()) {
                    let all = groups.iter().flat_map(|group| &group.rows).map(|row| row.label.clone());
                    bail!(
                        "`{filter}` fits no trained row\n  accepted: a label or KEY=VALUE,..., such as {}",
                        list(all)
                    );
                }
            }
            bail!(
                "`{a}` and `{b}` are not two rows of one table\n  accepted: two different rows that share data, backbone and recipe"
            )
        }
        _ => bail!(
            "`{a}` and `{b}` fit several pairs: {}\n  accepted: labels, or KEY=VALUE,... with the key that tells them apart, such as \
             backbone=resnet20",
            list(found.iter().map(|(group, a, b)| format!("{} / {} ({})", a.label, b.label, group.title())))
        ),
    }
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

/// For people.
fn told(group: &Group<'_>, [a, b]: [&SettingRow<'_>; 2], split: Split, comparison: &Comparison) -> String {
    let width = a.label.chars().count().max(b.label.chars().count()).max("seen so far".len());
    let mut text = format!("{} against {}: {}\n\n", a.label, b.label, group.title());
    let mut say = |what: &str, that: String| {
        text += &format!("{what}{}  {that}\n", " ".repeat(width.saturating_sub(what.chars().count())))
    };
    for row in [a, b] {
        let values = values(row, split);
        let mean = Summary::of(&values).map_or_else(
            || "no result".into(),
            |summary| match summary.deviation {
                Some(deviation) => format!("{:.2} ± {deviation:.2} %", summary.mean),
                None => format!("{:.2} %", summary.mean),
            },
        );
        let seeds: Vec<String> = row.seeds().iter().map(u64::to_string).collect();
        say(&row.label, format!("{mean} on {} (seed{} {})", split.name(), plural(seeds.len()), seeds.join(", ")));
    }
    if let Some(difference) = comparison.difference {
        let mut line = format!("{:+.2} points", difference.mean);
        if let Some(interval) = comparison.interval() {
            line += &format!(", 95 % interval {} (Student t, paired by seed)", signed(interval));
        }
        if let Some(interval) = bootstrap(&common(a, b, split)) {
            line += &format!("; bootstrap {}", signed(interval));
        }
        say("difference", line);
    }
    let verdict = comparison.verdict().name();
    say(
        "verdict",
        match comparison.p {
            Ok(p) => format!("{verdict} ({}, {} common seeds)", p_equals(p), comparison.seeds()),
            Err(doubt) => format!("{verdict}: {}", doubt.name()),
        },
    );
    if comparison.left_out > 0 {
        say(
            "left out",
            format!("{} trial{} whose seed the other one lacks", comparison.left_out, plural(comparison.left_out)),
        );
    }
    if let Some(line) = seen(comparison) {
        say("seen so far", line);
    }
    text
}

/// Both methods' networks of each common seed on the same test images: of networks, not of methods.
fn over_images(folder: &RunFolder, [a, b]: [&SettingRow<'_>; 2], split: Split) -> Result<String> {
    let right = |record: &TrialRecord| -> Result<Option<Vec<bool>>> {
        let predictions = folder.predictions(&record.trial.key)?.filter(|_| split == Split::Test);
        Ok(predictions.map(|images| images.iter().map(|image| image.rank == Some(0)).collect()))
    };
    let mut text = String::new();
    for first in &a.trials {
        let Some(second) = b.trials.iter().find(|second| second.trial.config.seed == first.trial.config.seed) else {
            continue;
        };
        let (Some(of_first), Some(of_second)) = (right(first)?, right(second)?) else { continue };
        let Some(found) = ImageComparison::of(&of_first, &of_second) else { continue };
        let interval = found.interval().map_or_else(String::new, |Interval { low, high }| {
            format!(" {}", signed(Interval { low: 100.0 * low, high: 100.0 * high }))
        });
        text += &format!(
            "seed {}: {} of {} test images are right in the first network alone, {} in the second alone; {:+.2} points{interval}, {}\n",
            first.trial.config.seed,
            found.first_only,
            found.images,
            found.second_only,
            100.0 * found.difference(),
            p_equals(found.p())
        );
    }
    Ok(if text.is_empty() {
        "\nwhat other test images would say of these networks is not known: no predictions are kept\n".into()
    } else {
        format!(
            "\nover images (of two networks and not of their methods; 95 % bootstrap interval over images, McNemar's exact test):\n{text}"
        )
    })
}

/// What so many seeds can see at the spread that was found.
fn seen(comparison: &Comparison) -> Option<String> {
    let Summary { n, mean, deviation } = comparison.difference?;
    let deviation = deviation.filter(|deviation| *deviation > 0.0)?;
    let least = detectable(n, deviation, POWER, FALSE_VERDICTS)?;
    let mut text =
        format!("{n} seeds see {least:.2} points at 80 % power, at the spread of {deviation:.2} that was found");
    if comparison.verdict() == Verdict::NotDistinguishable
        && let Some(needed) = seeds_needed(mean.abs(), deviation, POWER, FALSE_VERDICTS)
    {
        text += &format!("; were {:.2} the true difference, {needed} would be needed", mean.abs());
    }
    Some(text)
}

/// For programs.
fn row([a, b]: [&SettingRow<'_>; 2], split: Split, comparison: &Comparison, format: Format) -> String {
    let real = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Real);
    let mean = |row: &SettingRow<'_>| Summary::of(&values(row, split)).map(|summary| summary.mean);
    let (interval, drawn) = (comparison.interval(), bootstrap(&common(a, b, split)));
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        Cell::text(&*a.label),
        Cell::text(&*b.label),
        Cell::text(split.name()),
        Cell::Count(comparison.seeds() as u64),
        Cell::Count(comparison.left_out as u64),
        real(mean(a)),
        real(mean(b)),
        real(comparison.difference.map(|difference| difference.mean)),
        real(interval.map(|interval| interval.low)),
        real(interval.map(|interval| interval.high)),
        real(drawn.map(|interval| interval.low)),
        real(drawn.map(|interval| interval.high)),
        real(comparison.p.ok()),
        Cell::text(comparison.verdict().name()),
        comparison.p.err().map_or(Cell::Empty, |doubt| Cell::text(doubt.name())),
    ]);
    table.render(format)
}

fn values(row: &SettingRow<'_>, split: Split) -> Vec<f64> {
    row.top1_by_seed(split).into_iter().map(|(_, value)| value).collect()
}

fn common(a: &SettingRow<'_>, b: &SettingRow<'_>, split: Split) -> Vec<f64> {
    differences(&a.top1_by_seed(split), &b.top1_by_seed(split))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
