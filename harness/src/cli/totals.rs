//! What the rows of a plan come to: how long training takes here, what the seeds can see, which data is there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use blake3::Hash;
use conv_core::{Isa, peak_gflops};

use super::sight;
use super::split_sizes::{SplitSizes, same_images};
use super::starts::Starts;
use super::view::View;
use crate::config::Recipe;
use crate::config::error::explain;
use crate::data;
use crate::experiment::network::Network;
use crate::experiment::plan::{Plan, Row};
use crate::experiment::setting::Setting;
use crate::experiment::{Document, RunSettings};
use crate::measure::probe::{USED, phase_time};
use crate::run::screen::brief;

/// Remarks in so many words are told below a table; `--format csv` has them all.
const MOST_REMARKS: usize = 100;

/// How fast this machine trains, by a short measurement.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Of all its threads together, 1e9 operations a second.
    peak: f64,
    /// What a trial gets of it.
    share: f64,
    /// Trials that run at once.
    pub jobs: f64,
    /// Threads of a trial.
    threads: usize,
    /// Rounds in which networks are measured after it, if they are, and images of a batch where that is said.
    measured: Option<(usize, Option<usize>)>,
}

impl Speed {
    /// None where nothing is trained.
    ///
    /// # Errors
    /// Those of [`RunSettings::of`].
    pub fn of(plan: &Plan<'_>) -> anyhow::Result<Option<Self>> {
        if !plan.trains {
            return Ok(None);
        }
        let peak = peak_gflops(Isa::best());
        let cores = rayon::current_num_threads();
        let RunSettings { threads, jobs, measure, measure_rounds, measure_batch, .. } =
            RunSettings::of(plan.document())?;
        let threads = threads.unwrap_or(cores / jobs.max(1)).clamp(1, cores);
        let jobs = (jobs as u64).clamp(1, plan.trials) as f64;
        // More threads than there are share them.
        let share = (threads as f64).min(cores as f64 / jobs) / cores as f64;
        let measured = measure.unwrap_or(true).then_some((measure_rounds, measure_batch));
        Ok(Some(Self { peak, share, jobs, threads, measured }))
    }

    /// A trial's time.
    pub fn minutes(&self, macs: f64) -> f64 {
        macs * 2.0 / (USED * self.peak * self.share * 1e9) / 60.0
    }
}

/// What the rows come to.
#[derive(Default)]
pub struct Totals {
    pub trials: u64,
    /// None: of some trial it is not known.
    macs: Option<f64>,
    minutes: f64,
    longest: f64,
    /// Of all trials.
    seeds: BTreeSet<u64>,
    /// Of each setting that has trials: multiply-accumulates an image, and images of a batch.
    loads: Vec<(u64, usize)>,
    /// The last trial's setting, with how many seeds of it came so far.
    current: Option<(Arc<Setting>, usize)>,
    /// Seeds of the setting before it that has the fewest.
    fewest: Option<usize>,
    remarks: Remarks,
    /// The first setting of each that asks something else of the data that it is trained on.
    demands: Vec<Arc<Setting>>,
    /// Which networks were held against given weights.
    starts: Starts,
    /// Trainings that several trials begin with.
    bases: HashSet<Hash>,
}

impl Totals {
    /// Adds a trial.
    pub fn add(&mut self, row: &Row<'_>, speed: Option<&Speed>) {
        let macs = training_macs(&row.setting.recipe, &row.setting.network, row.setting.validation);
        let again = self.shared_macs(row);
        let sum = self.macs.filter(|_| self.trials > 0).or((self.trials == 0).then_some(0.0));
        self.macs = sum.zip(macs).map(|(sum, macs)| sum + macs - again);
        if let (Some(speed), Some(macs)) = (speed, macs) {
            self.minutes += speed.minutes(macs - again);
            self.longest = self.longest.max(speed.minutes(macs));
        }
        self.trials += 1;
        self.seeds.insert(row.seed);
        match &mut self.current {
            Some((setting, seeds)) if Arc::ptr_eq(setting, &row.setting) => *seeds += 1,
            _ => {
                self.loads.push((row.setting.network.cost.macs, row.setting.recipe.batch));
                self.fewest = Some(self.fewest_seeds()).filter(|&seeds| seeds > 0);
                self.current = Some((row.setting.clone(), 1));
                self.add_demand(&row.setting);
                self.starts.add(row);
            }
        }
        self.remarks.add(row);
    }

    /// Multiply-accumulates of what the trial begins with, where another trial has trained it before.
    fn shared_macs(&mut self, row: &Row<'_>) -> f64 {
        let setting = &row.setting;
        // Numbers that no file can hold make no base.
        let Some((base, epochs)) = setting.base(row.seed).ok().flatten() else { return 0.0 };
        if self.bases.insert(base) {
            return 0.0;
        }
        let images = training_images(&setting.recipe, &setting.network, setting.validation).unwrap_or(0);
        3.0 * images as f64 * epochs as f64 * setting.network.trained.macs as f64
    }

    /// Notes what a setting asks of the data that it is trained on.
    fn add_demand(&mut self, setting: &Arc<Setting>) {
        let asked = |setting: &Setting| (setting.validation, setting.recipe.subset, setting.recipe.batch, setting.test);
        let known = |known: &Arc<Setting>| is_on_same_images(known, setting) && asked(known) == asked(setting);
        if setting.recipe.epochs > 0 && !self.demands.iter().any(known) {
            self.demands.push(setting.clone());
        }
    }

    /// What is remarked of settings.
    pub fn remarks(&self) -> String {
        self.remarks.text()
    }

    /// Seeds of the setting that has the fewest.
    fn fewest_seeds(&self) -> usize {
        let current = self.current.as_ref().map(|(_, seeds)| *seeds);
        self.fewest.into_iter().chain(current).min().unwrap_or(0)
    }

    /// All of it for people, but the remarks; and what a run would refuse of the data and weights that are there.
    pub fn text(
        &self,
        plan: &Plan<'_>,
        speed: Option<&Speed>,
        view: &View,
        splits: &mut SplitSizes,
    ) -> (String, Vec<String>) {
        let name = name(plan.document());
        let mut text = format!("{name}: {} {}", self.trials, if self.trials == 1 { "trial" } else { "trials" });
        if let Some(macs) = self.macs {
            text +=
                &format!(", {macs:.2e} multiply-accumulates of training in all (forward and backward: 3 a forward)");
            if let Some(speed) = speed {
                // The last ones leave some of the machine idle.
                let minutes = (self.minutes / speed.jobs).max(self.longest);
                text += &format!(
                    "\nabout {} of training, were half of the {:.0} GFLOP/s used that this machine has now",
                    brief(60.0 * minutes),
                    speed.peak
                );
                if speed.jobs > 1.0 {
                    text += &format!(", by {} trials at once on {} threads each", speed.jobs, speed.threads);
                }
                if let Some((rounds, batch)) = speed.measured {
                    let loads = self.loads.iter().map(|&(macs, images)| (macs, batch.unwrap_or(images)));
                    let seconds = phase_time(&loads.collect::<Vec<_>>(), rounds, speed.peak).as_secs_f64();
                    text += &format!("\nthen about {} of measuring, in {rounds} rounds", brief(seconds.ceil()));
                }
            }
        }
        text += "\n";
        let mut refused = Vec::new();
        for (place, setting) in self.demands.iter().enumerate() {
            let splits = splits.told(setting, plan.document()).map(Vec::from_iter);
            // What is to be said of images is said once.
            let again = self.demands[..place].iter().any(|known| is_on_same_images(known, setting));
            let dataset = &setting.network.parts.dataset;
            let lines = match again {
                false => vec![data::outlook(dataset).map(|line| vec![line]), data::examine(dataset), splits],
                true => vec![splits.map(|_| vec![])],
            };
            for lines in lines {
                match lines {
                    Ok(lines) => lines.into_iter().for_each(|line| text += &format!("data: {line}\n")),
                    Err(error) => refused.push(explain(&error)),
                }
            }
        }
        // What cannot be read is said by each that tries.
        refused.dedup();
        refused.extend(self.starts.refused());
        if plan.trains && self.seeds.len() > 1 {
            text += "a run trains seed by seed: every setting on the first seed before any on the next\n";
        }
        if plan.trains && self.loads.len() > 1 {
            let seeds = self.fewest_seeds();
            text += &match view.spread_of(name) {
                Ok(spread) => sight::sentence(seeds, self.loads.len(), spread.as_ref()) + "\n",
                Err(error) => {
                    let why = explain(&error);
                    let sentence = sight::sentence(seeds, self.loads.len(), None);
                    format!("{sentence}\nits spread is not known: {}\n", why.lines().next().unwrap_or_default())
                }
            };
        }
        plan.notes().iter().for_each(|note| text += &format!("{note}\n"));
        (text, refused)
    }
}

fn is_on_same_images(a: &Setting, b: &Setting) -> bool {
    same_images(&a.network.parts.dataset, &b.network.parts.dataset)
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

/// Images of an epoch, where that is known before the data is there.
fn training_images(recipe: &Recipe, network: &Network, validation: usize) -> Option<usize> {
    match recipe.subset {
        0 => network.images?.checked_sub(validation),
        subset => Some(subset),
    }
}

/// Multiply-accumulates of the whole training: three times the forward pass of every image in every epoch, of the whole
/// network before a cut and of the smaller one after it. None where nothing is trained, or where the number of images is
/// known only once the data is there.
pub(super) fn training_macs(recipe: &Recipe, network: &Network, validation: usize) -> Option<f64> {
    if recipe.epochs == 0 {
        return None;
    }
    let images = training_images(recipe, network, validation)?;
    let epochs = network.phases(recipe).macs(network.trained.macs, &network.compressed);
    Some(3.0 * images as f64 * epochs as f64)
}
