//! `harness plan`: what a file would train. Trains nothing, and holds no more of a sweep than it has to: rows are written as
//! they come.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path as FilePath;

use anyhow::ensure;

use super::split_sizes::SplitSizes;
use super::table::{Cell, Format, Layout};
use super::totals::{Speed, Totals, training_macs};
use super::tuning::TuningView;
use super::view::{View, output};
use crate::experiment::budget::Budgets;
use crate::experiment::plan::{Plan, Row};
use crate::experiment::read;
use crate::measure::latency::Latencies;
use crate::results::RunFolder;

const COLUMNS: &[&str] = &[
    "trial",
    "seed",
    "params",
    "macs",
    "params_nonzero",
    "macs_nonzero",
    "vanilla_share",
    "depth",
    "budget",
    "budget_mismatch",
    "control_of",
    "training_macs",
    "estimated_minutes",
    "aliases",
    "remarks",
    "tuned",
    "train_by_class",
    "validation_by_class",
    "test_by_class",
];

/// Writes every trial of a file with its price to stdout.
///
/// # Errors
/// An experiment that cannot be used, before anything is written; a filter that no trial passes; after everything is written, data
/// and weights that are there and that a run would refuse.
pub fn print_plan(file: &FilePath, set: &[String], view: &View) -> anyhow::Result<()> {
    let document = read(file, set)?;
    let folder = output(&document, view.output.as_deref())?;
    let latencies = Latencies::new(RunFolder::latencies(&folder)?);
    let plan = Plan::timed(&document, &latencies)?;
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    match print_rows(&plan, &latencies, view, &mut out) {
        // Whoever reads may have enough (`| head`): no error.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {
            // What is buffered still has nowhere to go.
            let _ = out.into_parts();
            Ok(())
        }
        done => done,
    }
}

fn print_rows(plan: &Plan<'_>, latencies: &Latencies, view: &View, out: &mut dyn Write) -> anyhow::Result<()> {
    let (only, format) = (view.only.as_deref(), view.format);
    if let Some(filter) = only {
        plan.check_filter(filter)?;
    }
    let speed = Speed::of(plan)?;
    let tuning = TuningView::of(plan.document(), view)?;
    let remarks_apart = format == Format::Table;
    let fits = |row: &Row<'_>| only.is_none_or(|filter| row.matches(filter));
    let mut splits = SplitSizes::default();
    let mut cells = |row: &Row<'_>| {
        let mut cells = cells(row, speed.as_ref(), remarks_apart);
        let tuned = tuning.as_ref().map(|tuning| Cell::text(tuning.chosen(&row.setting.label)));
        cells.push(tuned.unwrap_or(Cell::Empty));
        // People read the counts below the table.
        let counts = if remarks_apart { None } else { splits.of(&row.setting) };
        let by_class = counts.map(|counts| [counts.train, counts.validation, counts.test].map(Cell::Counts));
        cells.extend(by_class.unwrap_or([Cell::Empty, Cell::Empty, Cell::Empty]));
        cells
    };
    let mut layout = Layout::new(COLUMNS, format);
    if format == Format::Table {
        for row in plan.rows() {
            let row = row?;
            if fits(&row) {
                layout.see(&cells(&row));
            }
        }
    }
    out.write_all(layout.head().as_bytes())?;
    let mut totals = Totals::default();
    for row in plan.rows() {
        let row = row?;
        if fits(&row) {
            out.write_all(layout.row(&cells(&row), totals.trials == 0).as_bytes())?;
            totals.add(&row, speed.as_ref());
        }
    }
    out.write_all(layout.foot(totals.trials == 0).as_bytes())?;
    let minutes = |macs| speed.map(|speed| speed.minutes(macs) / speed.jobs);
    let tuning = tuning.map_or_else(String::new, |tuning| tuning.text(minutes));
    let (text, refused) = totals.text(plan, speed.as_ref(), view, &mut splits);
    let mut notes = text + &tuning;
    if latencies.measured() > 0 {
        notes += &format!(
            "{} times of inference were measured just now, for this plan only: a run measures its own, and keeps them\n",
            latencies.measured()
        );
    }
    if format == Format::Table {
        write!(out, "\n{notes}{}", totals.remarks())?;
    } else {
        // Rows alone go to stdout.
        write!(std::io::stderr(), "{notes}")?;
    }
    out.flush()?;
    ensure!(refused.is_empty(), "a run would refuse this: {}", refused.join("\n"));
    Ok(())
}

fn cells(row: &Row<'_>, speed: Option<&Speed>, remarks_apart: bool) -> Vec<Cell> {
    let network = &row.setting.network;
    let macs = training_macs(&row.setting.recipe, network, row.setting.validation);
    let minutes = speed.zip(macs).map(|(speed, macs)| speed.minutes(macs));
    vec![
        Cell::text(&*row.setting.label),
        Cell::Count(row.seed),
        Cell::Count(network.cost.params),
        Cell::Count(network.cost.macs),
        network.nonzero.map_or(Cell::Empty, |nonzero| Cell::Count(nonzero.params)),
        network.nonzero.and_then(|nonzero| nonzero.macs).map_or(Cell::Empty, Cell::Count),
        Cell::share(network.cost.macs, network.vanilla.macs),
        Cell::count(network.depth),
        row.budgets.and_then(Budgets::shown).map_or(Cell::Empty, Cell::text),
        row.budgets.and_then(Budgets::mismatch).map_or(Cell::Empty, Cell::Difference),
        Cell::text(row.control_of.join("; ")),
        macs.map_or(Cell::Empty, Cell::Large),
        minutes.map_or(Cell::Empty, Cell::Real),
        row.aliases.map_or(Cell::Empty, |aliases| Cell::text(aliases.to_string())),
        if remarks_apart { Cell::Empty } else { Cell::text(row.remarks().join(" | ")) },
    ]
}
