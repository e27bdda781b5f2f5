//! What is told of a comparison.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Pair;
use crate::cli::table::{Cell, Format, Table};
use crate::report::aggregate::{SettingRow, Split};
use crate::report::numbers::{p_equals, signed};
use crate::results::{RunFolder, TrialRecord};
use crate::stamp::Environment;
use crate::statistics::images::ImageComparison;
use crate::statistics::{
    Comparison, FALSE_VERDICTS, Interval, POWER, Summary, Verdict, bootstrap, detectable, differences, seeds_needed,
};

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
    "margin",
    "not_worse",
    "stamps",
];

/// For people.
pub(super) fn people(pair: &Pair<'_>, split: Split, comparison: &Comparison, margin: Option<f64>) -> String {
    let Pair { title, rows: [a, b], .. } = pair;
    let width = a.label.chars().count().max(b.label.chars().count()).max("seen so far".len());
    let mut text = format!("{} against {}: {}\n\n", a.label, b.label, title);
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
    if let Some(margin) = margin {
        say("margin", within(comparison, margin));
    }
    if comparison.left_out > 0 {
        say(
            "left out",
            format!("{} trial{} whose seed the other one lacks", comparison.left_out, plural(comparison.left_out)),
        );
    }
    if let Some(line) = seen(comparison) {
        say("seen so far", line);
    }
    for (what, values) in unlike_stamps([a, b]) {
        say("stamps", format!("made with more than one {what}: {}", values.join(" / ")));
    }
    text
}

/// Whether it was shown that the first is not worse by more than the margin, and by what.
fn within(comparison: &Comparison, margin: f64) -> String {
    let low = comparison.interval().map_or(f64::NAN, |interval| interval.low);
    match comparison.not_worse_by(margin) {
        Err(doubt) => format!("not known to be not worse by more than {margin} points: {}", doubt.name()),
        Ok(true) => format!("not worse by more than {margin} points (the interval begins at {low:+.2})"),
        Ok(false) => format!("may be worse by more than {margin} points (the interval begins at {low:+.2})"),
    }
}

/// What of the stamps of all these trials is not the same, with its values.
fn unlike_stamps(rows: [&SettingRow<'_>; 2]) -> Vec<(&'static str, Vec<String>)> {
    type Part = fn(&Environment) -> String;
    let parts: [(&str, Part); 3] =
        [("build", Environment::build), ("processor", |e| e.cpu.clone()), ("kernel path", |e| e.kernels.clone())];
    let trials = || rows.into_iter().flat_map(|row| &row.trials);
    let values = parts.map(|(what, of)| {
        let values: BTreeSet<String> = trials().map(|record| of(&record.environment)).collect();
        (what, values.into_iter().collect::<Vec<_>>())
    });
    values.into_iter().filter(|(_, values)| values.len() > 1).collect()
}

/// Both methods' networks of each common seed on the same test images: of networks, not of methods.
pub(super) fn over_images(pair: &Pair<'_>, split: Split) -> Result<String> {
    let Pair { rows: [a, b], folders: [of_a, of_b], .. } = pair;
    let right = |folder: &RunFolder, record: &TrialRecord| -> Result<Option<Vec<bool>>> {
        let predictions = folder.predictions(&record.trial.key)?.filter(|_| split == Split::Test);
        Ok(predictions.map(|images| images.iter().map(|image| image.rank == Some(0)).collect()))
    };
    let mut text = String::new();
    for first in &a.trials {
        let Some(second) = b.trials.iter().find(|second| second.trial.config.seed == first.trial.config.seed) else {
            continue;
        };
        let (Some(of_first), Some(of_second)) = (right(of_a, first)?, right(of_b, second)?) else { continue };
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
pub(super) fn programs(
    pair: &Pair<'_>,
    split: Split,
    comparison: &Comparison,
    margin: Option<f64>,
    format: Format,
) -> String {
    let [a, b] = &pair.rows;
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
        real(margin),
        margin
            .and_then(|margin| comparison.not_worse_by(margin).ok())
            .map_or(Cell::Empty, |shown| Cell::text(if shown { "shown" } else { "not shown" })),
        Cell::text(unlike_stamps([a, b]).iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", ")),
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
