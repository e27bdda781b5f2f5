//! `harness plan`: what a file would train. Trains nothing, and holds no more of a sweep than it has to: rows are written as
//! they come.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use conv_core::{Isa, peak_gflops};

use super::run::output;
use super::sight::{self, Spread};
use super::table::{Cell, Format, Layout};
use super::tuning::TuningView;
use crate::config::Recipe;
use crate::config::error::explain;
use crate::experiment::budget::Budgets;
use crate::experiment::network::Network;
use crate::experiment::plan::{Plan, Row};
use crate::experiment::setting::Setting;
use crate::experiment::{Document, RunSettings, read};
use crate::measure::latency::Latencies;
use crate::measure::probe::phase_time;
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
];

/// What of the machine's multiply-adds a training step gets done: between four and eight tenths, large networks more.
const USED: f64 = 0.5;

/// Remarks in so many words are told below a table; `--format csv` has them all.
const MOST_REMARKS: usize = 100;

/// What is shown of a plan.
#[derive(Clone, Debug)]
pub struct View {
    /// Trials that fit a filter, or all.
    pub only: Option<String>,
    /// How rows are printed.
    pub format: Format,
    /// How a difference varies between seeds, in points, as it was stated.
    pub spread: Option<f64>,
    /// Folder of the results; otherwise that of the experiment's name.
    pub output: Option<PathBuf>,
}

impl View {
    /// The run folder of the experiment `name`.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.output.clone().unwrap_or_else(|| FilePath::new("reports").join(name))
    }

    /// The spread that was stated, or else is known from results of the experiment `name`.
    fn spread_of(&self, name: &str) -> anyhow::Result<Option<Spread>> {
        match self.spread {
            Some(points) => Ok(Some(Spread::stated(points))),
            None => Spread::found(&self.folder(name)),
        }
    }
}

/// A spread as it is given on the command line.
///
/// # Errors
/// What is no number above 0 and below 100.
pub fn points(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|points| *points > 0.0 && *points < 100.0);
    number.ok_or_else(|| "a spread is a number of percentage points above 0 and below 100, e.g. 0.3".to_owned())
}

/// Writes every trial of a file with its price to stdout.
///
/// # Errors
/// An experiment that cannot be used, before anything is written; a filter that no trial passes.
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
    let cells = |row: &Row<'_>| {
        let mut cells = cells(row, speed.as_ref(), remarks_apart);
        let tuned = tuning.as_ref().map(|tuning| Cell::text(tuning.chosen(&row.setting.label)));
        cells.push(tuned.unwrap_or(Cell::Empty));
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
    let mut sums = Sums::default();
    for row in plan.rows() {
        let row = row?;
        if fits(&row) {
            out.write_all(layout.row(&cells(&row), sums.trials == 0).as_bytes())?;
            sums.add(&row, speed.as_ref());
        }
    }
    out.write_all(layout.foot(sums.trials == 0).as_bytes())?;
    let minutes = |macs| speed.map(|speed| speed.minutes(macs) / speed.jobs);
    let tuning = tuning.map_or_else(String::new, |tuning| tuning.text(minutes));
    let mut notes = sums.text(plan, speed.as_ref(), view) + &tuning;
    if latencies.measured() > 0 {
        notes += &format!(
            "{} times of inference were measured just now, for this plan only: a run measures its own, and keeps them\n",
            latencies.measured()
        );
    }
    if format == Format::Table {
        write!(out, "\n{notes}{}", sums.remarks.text())?;
    } else {
        // Rows alone go to stdout.
        write!(std::io::stderr(), "{notes}")?;
    }
    Ok(out.flush()?)
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

/// How fast this machine trains, by a short measurement.
#[derive(Clone, Copy, Debug)]
struct Speed {
    /// Of all its threads together, 1e9 operations a second.
    peak: f64,
    /// What a trial gets of it.
    share: f64,
    /// Trials that run at once.
    jobs: f64,
    /// Threads of a trial.
    threads: usize,
    /// Rounds in which networks are measured after it, if they are.
    measured: Option<usize>,
}

impl Speed {
    /// None where nothing is trained.
    ///
    /// # Errors
    /// Those of [`RunSettings::of`].
    fn of(plan: &Plan<'_>) -> anyhow::Result<Option<Self>> {
        if !plan.trains {
            return Ok(None);
        }
        let peak = peak_gflops(Isa::best());
        let cores = rayon::current_num_threads();
        let RunSettings { threads, jobs, measure, measure_rounds, .. } = RunSettings::of(plan.document())?;
        let threads = threads.unwrap_or(cores / jobs.max(1)).clamp(1, cores);
        let jobs = (jobs as u64).clamp(1, plan.trials) as f64;
        // More threads than there are share them.
        let share = (threads as f64).min(cores as f64 / jobs) / cores as f64;
        let measured = measure.unwrap_or(true).then_some(measure_rounds);
        Ok(Some(Self { peak, share, jobs, threads, measured }))
    }

    /// A trial's time.
    fn minutes(&self, macs: f64) -> f64 {
        macs * 2.0 / (USED * self.peak * self.share * 1e9) / 60.0
    }
}

/// What the rows come to.
#[derive(Default)]
struct Sums {
    trials: u64,
    /// None: of some trial it is not known.
    macs: Option<f64>,
    minutes: f64,
    longest: f64,
    /// Of all trials.
    seeds: BTreeSet<u64>,
    /// Settings that have trials.
    settings: usize,
    /// The last trial's setting, with how many seeds of it came so far.
    current: Option<(Arc<Setting>, usize)>,
    /// Seeds of the setting before it that has the fewest.
    fewest: Option<usize>,
    remarks: Remarks,
}

impl Sums {
    fn add(&mut self, row: &Row<'_>, speed: Option<&Speed>) {
        let macs = training_macs(&row.setting.recipe, &row.setting.network, row.setting.validation);
        self.macs = if self.trials == 0 { macs } else { self.macs.zip(macs).map(|(sum, macs)| sum + macs) };
        if let (Some(speed), Some(macs)) = (speed, macs) {
            self.minutes += speed.minutes(macs);
            self.longest = self.longest.max(speed.minutes(macs));
        }
        self.trials += 1;
        self.seeds.insert(row.seed);
        match &mut self.current {
            Some((setting, seeds)) if Arc::ptr_eq(setting, &row.setting) => *seeds += 1,
            _ => {
                self.settings += 1;
                self.fewest = Some(self.fewest_seeds()).filter(|&seeds| seeds > 0);
                self.current = Some((row.setting.clone(), 1));
            }
        }
        self.remarks.add(row);
    }

    /// Seeds of the setting that has the fewest.
    fn fewest_seeds(&self) -> usize {
        let current = self.current.as_ref().map(|(_, seeds)| *seeds);
        self.fewest.into_iter().chain(current).min().unwrap_or(0)
    }

    fn text(&self, plan: &Plan<'_>, speed: Option<&Speed>, view: &View) -> String {
        let name = name(plan.document());
        let mut text = format!("{name}: {} {}", self.trials, if self.trials == 1 { "trial" } else { "trials" });
        if let Some(macs) = self.macs {
            text +=
                &format!(", {macs:.2e} multiply-accumulates of training in all (forward and backward: 3 a forward)");
            if let Some(speed) = speed {
                // The last ones leave some of the machine idle.
                let minutes = (self.minutes / speed.jobs).max(self.longest);
                let time = if minutes < 1.0 { "less than a minute".into() } else { format!("about {minutes:.0} min") };
                text += &format!(
                    "\n{time} of training, were half of the {:.0} GFLOP/s used that this machine has now",
                    speed.peak
                );
                if speed.jobs > 1.0 {
                    text += &format!(", by {} trials at once on {} threads each", speed.jobs, speed.threads);
                }
                if let Some(rounds) = speed.measured {
                    let seconds = phase_time(self.settings, rounds).as_secs_f64();
                    text += &format!("\nthen at most about {:.0} s of measuring, in {rounds} rounds", seconds.ceil());
                }
            }
        }
        text += "\n";
        if plan.trains && self.seeds.len() > 1 {
            text += "a run trains seed by seed: every setting on the first seed before any on the next\n";
        }
        if plan.trains && self.settings > 1 {
            let seeds = self.fewest_seeds();
            text += &match view.spread_of(name) {
                Ok(spread) => sight::sentence(seeds, self.settings, spread.as_ref()) + "\n",
                Err(error) => {
                    let why = explain(&error);
                    let sentence = sight::sentence(seeds, self.settings, None);
                    format!("{sentence}\nits spread is not known: {}\n", why.lines().next().unwrap_or_default())
                }
            };
        }
        plan.notes().iter().for_each(|note| text += &format!("{note}\n"));
        text
    }
}

fn name(document: &Document) -> &str {
    document.get("name").and_then(|entry| entry.value.as_str()).unwrap_or_default()
}

/// Remarks, each with the first setting that it is about: seeds and costs aside, a remark belongs to a setting.
#[derive(Default)]
struct Remarks {
    /// In the order in which they came: the remarks, the first setting's label, how many others there are.
    told: Vec<(Arc<[String]>, Arc<str>, u64)>,
    known: HashMap<Arc<[String]>, usize>,
    last: Option<Arc<Setting>>,
    untold: u64,
}

impl Remarks {
    fn add(&mut self, row: &Row<'_>) {
        let setting = &row.setting;
        let again = self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, setting));
        let remarks = row.remarks();
        if again || remarks.is_empty() {
            return;
        }
        self.last = Some(setting.clone());
        match self.known.get(&remarks) {
            Some(&index) => self.told[index].2 += u64::from(self.told[index].1 != setting.label),
            None if self.told.len() == MOST_REMARKS => self.untold += 1,
            None => {
                self.known.insert(remarks.clone(), self.told.len());
                self.told.push((remarks, setting.label.clone(), 0));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (remarks, label, others) in &self.told {
            text += &match others {
                0 => format!("\n{label}\n"),
                1 => format!("\n{label}, and another setting\n"),
                others => format!("\n{label}, and {others} other settings\n"),
            };
            remarks.iter().for_each(|remark| text += &format!("  {remark}\n"));
        }
        if self.untold > 0 {
            text += &format!("\nremarks on {} settings more: --format csv has them\n", self.untold);
        }
        text
    }
}

/// Multiply-accumulates of the whole training: three times the forward pass of every image in every epoch, of the whole
/// network before a cut and of the smaller one after it. None where nothing is trained, or where the number of images is
/// known only once the data is there.
pub(super) fn training_macs(recipe: &Recipe, network: &Network, validation: usize) -> Option<f64> {
    if recipe.epochs == 0 {
        return None;
    }
    let images = match recipe.subset {
        0 => network.images?.checked_sub(validation)?,
        subset => subset,
    };
    let epochs = network.phases(recipe).macs(network.trained.macs, &network.compressed);
    Some(3.0 * images as f64 * epochs as f64)
}
