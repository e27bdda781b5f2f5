//! Combinations -> settings: values typed, networks priced, conditions decided, labels given. In order, but on all threads.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blake3::Hash;
use rayon::prelude::*;
use toml::Value;

use super::budget::solve::{Solution, Solver};
use super::budget::{self, Solved};
use super::controls;
use super::identity::Identity;
use super::images::{self, ImageDemand, ImageKeyPlaces};
use super::network::{Network, Networks};
use super::resolve::{check_recipe, section};
use super::sweep::combine::{Combination, Combinations, set};
use super::sweep::document::{Entry, Rule, find, plain};
use super::sweep::keys::Key;
use super::sweep::vocabulary::{short, value_of};
use super::sweep::{Document, ParsedCondition, Sweep};
use crate::config::error::ExperimentError;
use crate::config::schema::off_engine_remark;
use crate::config::{InitConfig, Protocol, Recipe, TrialConfig};

/// Combinations that are settled at a time: enough to keep all threads busy, few enough that the first come at once.
const BATCH: usize = 2048;

/// The factor on every channel count.
const WIDTH: &str = "backbone.width";

/// Everything that a trial is but its seed.
#[derive(Debug)]
pub struct Setting {
    /// The network and what varies over the experiment.
    pub label: Arc<str>,
    /// The network.
    pub network: Arc<Network>,
    /// What it starts from.
    pub init: InitConfig,
    /// How it is trained.
    pub recipe: Recipe,
    /// Images carved for validation.
    pub validation: usize,
    /// Whether the test split is read at the end.
    pub test: bool,
    /// The seeds that conditions left; each makes one trial.
    pub seeds: Vec<u64>,
    /// The budget that it was solved for.
    pub solved: Option<Solved>,
    /// Label of the pruned setting that it is a control of.
    pub control_of: Option<Arc<str>>,
    /// What tells each of these trials from all others of the sweep; its signature, where the network keeps its head in full.
    /// Empty where settings are only shown: a quarter of the time that a large sweep takes would go into it.
    pub(super) hashes: Vec<Hash>,
    /// Where its numbers of images were asked for.
    pub(super) places: ImageKeyPlaces,
}

impl Setting {
    /// What is remarked of its network, and of how it trains.
    pub fn remarks(&self) -> Arc<[String]> {
        match self.recipe.off_engine().filter(|_| self.recipe.epochs > 0) {
            Some(why) => self.network.remarks.iter().cloned().chain([off_engine_remark(why)]).collect(),
            None => self.network.remarks.clone(),
        }
    }

    /// Refuses it where the data turns out to have so many training images, and these are too few.
    ///
    /// # Errors
    /// As of [`images::check`].
    pub fn check_images(&self, document: &Document, images: usize) -> Result<(), ExperimentError> {
        let dataset = &self.network.parts.dataset.name;
        let demand = ImageDemand { dataset, recipe: &self.recipe, validation: self.validation };
        images::check(document, |key| self.places.at(key), demand, images)
    }

    /// Whether it is to be compared with controls: it is trained, and cut, and no control itself.
    fn has_controls(&self) -> bool {
        self.network.is_pruned() && self.recipe.epochs > 0 && !controls::is_one(&self.network.parts.method)
    }

    /// Tells the training that one of its trials begins with from all others of the sweep, and the epochs it takes: trials that differ
    /// in what is made of the trained network share it. None where nothing trained is compressed.
    ///
    /// # Errors
    /// Numbers that JSON cannot hold; a file cannot hold them either.
    pub fn base(&self, seed: u64) -> serde_json::Result<Option<(Hash, usize)>> {
        let epochs = self.network.phases(&self.recipe).whole;
        let Some(compression) = self.network.compression.as_ref().filter(|_| epochs > 0) else { return Ok(None) };
        let start = (&self.init, &self.recipe);
        let identity = Identity::of_base(&self.network.head, start, epochs, self.validation)?.of_seed(seed);
        Ok(Some((blake3::hash(format!("{identity}{}", compression.penalty()).as_bytes()), epochs)))
    }

    /// The configuration of one of its trials; `layers` are the document's.
    pub fn config(&self, layers: &[crate::config::LayerOverride], seed: u64) -> TrialConfig {
        let parts = &self.network.parts;
        TrialConfig {
            dataset: parts.dataset.clone(),
            backbone: parts.backbone.clone(),
            method: parts.method.clone(),
            layers: layers.to_vec(),
            init: self.init.clone(),
            recipe: self.recipe.clone(),
            validation: self.validation,
            test: self.test,
            seed,
        }
    }
}

/// What each condition did, over the whole sweep.
#[derive(Debug)]
pub(super) struct Tally {
    /// Whether it ever held.
    pub held: Vec<AtomicBool>,
    /// Trials that it dropped and no condition before it.
    pub dropped: Vec<AtomicU64>,
}

impl Tally {
    fn new(count: usize) -> Self {
        Self { held: (0..count).map(|_| false.into()).collect(), dropped: (0..count).map(|_| 0.into()).collect() }
    }

    fn holds(&self, index: usize) {
        self.held[index].store(true, Ordering::Relaxed);
    }

    fn drops(&self, index: usize, trials: usize) {
        self.dropped[index].fetch_add(trials as u64, Ordering::Relaxed);
    }
}

/// Every setting of a sweep in the order of the file, those that conditions drop left out; then the controls of all of these, so that
/// what the file itself asks for comes first.
#[derive(Debug)]
pub(super) struct Settings<'s> {
    sweep: &'s Sweep<'s>,
    networks: &'s Networks<'s>,
    solver: &'s Solver<'s>,
    /// Whether trials are told from each other.
    hashed: bool,
    combinations: Combinations<'s>,
    ready: std::vec::IntoIter<anyhow::Result<Setting>>,
    /// Whether any setting has controls.
    controlled: AtomicBool,
    /// Whether all of the file's own settings have come, and what comes now are controls.
    adding_controls: bool,
    pub tally: Tally,
}

impl<'s> Settings<'s> {
    pub fn new(sweep: &'s Sweep<'s>, networks: &'s Networks<'s>, solver: &'s Solver<'s>, hashed: bool) -> Self {
        let tally = Tally::new(sweep.conditions.len());
        let (combinations, ready) = (Combinations::new(sweep), vec![].into_iter());
        let controlled = false.into();
        Self { sweep, networks, solver, hashed, combinations, ready, controlled, adding_controls: false, tally }
    }

    /// How many combinations have been looked at.
    #[cfg(test)]
    pub fn looked_at(&self) -> u64 {
        self.combinations.seen()
    }

    /// Makes the settings of a combination: one, or one a budget, less those that a condition drops.
    fn settle(&self, combination: Combination<'_>) -> anyhow::Result<Vec<Setting>> {
        let document = self.sweep.document;
        let block = combination.block;
        let entries = &combination.into_entries()[..];
        let reference = document.keys.default_method();
        let method = find(entries, "method.name").and_then(|entry| entry.value.as_str()).unwrap_or(reference);
        // The reference has its own cost: it is what shares are of.
        let asked = budget::asked(document, entries)?.filter(|_| method != reference);
        let free = asked.as_ref().map_or_else(Vec::new, |asked| asked.free(method, entries));
        let trials = || seeds(document, entries) * asked.as_ref().map_or(1, |asked| asked.budgets.len());
        // Conditions come first: values that a condition drops need not make sense together.
        let early = |test: &ParsedCondition<'_>| !test.asks_seed && !later(test, &free);
        if self.dropped(block, early, &|key| set(document.keys, entries, key), trials) {
            return Ok(vec![]);
        }
        let Some(asked) = asked else {
            return self.settle_one(block, entries, &free, None);
        };
        let mut settings = Vec::with_capacity(asked.budgets.len());
        for Solution { choice, solved } in self.solver.solve(self.networks, entries, &asked)?.iter() {
            let mut entries = entries.to_vec();
            for (key, value) in choice {
                let (key, value, at) = (key.clone(), value.clone(), asked.at.clone());
                entries.push(Cow::Owned(Entry { key, value, at }));
            }
            settings.extend(self.settle_one(block, &entries, &free, Some(*solved))?);
        }
        Ok(settings)
    }

    /// Makes a setting of values none of which is open any more; none if a condition drops it that asks for what was `free`, for
    /// the price or for the seed.
    fn settle_one(
        &self,
        block: usize,
        entries: &[Cow<'_, Entry>],
        free: &[String],
        solved: Option<Solved>,
    ) -> anyhow::Result<Vec<Setting>> {
        let document = self.sweep.document;
        let keys = document.keys;
        let network = self.networks.get(entries)?;
        let priced = |key: &Key| match key {
            Key::Params => Some(Cow::Owned(Value::Integer(network.cost.params as i64))),
            Key::Macs => Some(Cow::Owned(Value::Integer(network.cost.macs as i64))),
            Key::MacsShare => {
                let share = network.cost.macs as f64 / network.vanilla.macs as f64;
                Some(Cow::Owned(Value::Float(share)))
            }
            _ => set(keys, entries, key),
        };
        let late = |test: &ParsedCondition<'_>| !test.asks_seed && later(test, free);
        if self.dropped(block, late, &priced, || self::seeds(document, entries)) {
            return Ok(vec![]);
        }
        let Protocol { mut seeds, .. } = section(entries, "protocol.")?;
        if self.sweep.conditions.iter().any(|test| test.asks_seed) {
            seeds.retain(|&seed| {
                let seed = i64::try_from(seed).unwrap_or(i64::MAX);
                let seeded = |key: &Key| match key {
                    Key::Seed => Some(Cow::Owned(Value::Integer(seed))),
                    key => priced(key),
                };
                !self.dropped(block, |test| test.asks_seed, &seeded, || 1)
            });
        }
        let setting = Setting { solved, ..self.make(entries, network, free, seeds)? };
        if !setting.has_controls() {
            return Ok(if self.adding_controls { vec![] } else { vec![setting] });
        }
        self.controlled.store(true, Ordering::Relaxed);
        if self.adding_controls { self.controls(entries, free, &setting) } else { Ok(vec![setting]) }
    }

    /// The controls of a pruned setting that was made of these values.
    fn controls(&self, entries: &[Cow<'_, Entry>], free: &[String], pruned: &Setting) -> anyhow::Result<Vec<Setting>> {
        let Protocol { controls, .. } = section(entries, "protocol.")?;
        let mut settings = Vec::with_capacity(controls.len());
        for control in controls {
            let entries = controls::values(control, entries, pruned, self.networks, self.solver)?;
            let network = self.networks.get(&entries)?;
            let setting = self.make(&entries, network, free, pruned.seeds.clone())?;
            settings.push(Setting { control_of: Some(pruned.label.clone()), ..setting });
        }
        Ok(settings)
    }

    /// The setting of values that nothing drops any more, for the seeds that are left.
    fn make(
        &self,
        entries: &[Cow<'_, Entry>],
        network: Arc<Network>,
        free: &[String],
        seeds: Vec<u64>,
    ) -> anyhow::Result<Setting> {
        let document = self.sweep.document;
        let mut recipe: Recipe = section(entries, "recipe.")?;
        let init = self.networks.inits.resolve(document, entries, &network)?;
        if find(entries, "init.file").is_some() && find(entries, "recipe.finetune_epochs").is_none() {
            // What is given was trained before: all that follows is fine-tuning.
            recipe.finetune_epochs = recipe.epochs;
        }
        let protocol: Protocol = section(entries, "protocol.")?;
        images::check_judged(document, |key| find(entries, key).map(|entry| &entry.at), &protocol)?;
        let Protocol { validation, test, .. } = protocol;
        check_recipe(document, entries, (&init, &recipe), network.compression.as_ref())?;
        if let Some(images) = network.images {
            let demand = ImageDemand { dataset: &network.parts.dataset.name, recipe: &recipe, validation };
            images::check(document, |key| find(entries, key).map(|entry| &entry.at), demand, images)?;
        }
        let label = self.label(entries, &network.label, free).into();
        let hashes = if self.hashed {
            let identity =
                Identity::new(&network.head, (&init, &recipe), network.compression.as_ref(), validation, test)?;
            seeds.iter().map(|seed| identity.of_seed(*seed)).collect()
        } else {
            vec![]
        };
        let places = ImageKeyPlaces::of(entries);
        let (solved, control_of) = (None, None);
        Ok(Setting { label, network, init, recipe, validation, test, seeds, solved, control_of, hashes, places })
    }

    /// Whether one of the conditions that are `such` drops a setting of the block; `trials` gives how many trials it has.
    fn dropped<'a>(
        &self,
        block: usize,
        such: impl Fn(&ParsedCondition<'_>) -> bool,
        value: &impl Fn(&Key) -> Option<Cow<'a, Value>>,
        trials: impl Fn() -> usize,
    ) -> bool {
        let mut dropped = false;
        for (index, test) in self.sweep.conditions.iter().enumerate() {
            let mine = test.block.is_none_or(|own| own == block);
            let drops = match test.condition.rule {
                Rule::Exclude => true,
                Rule::When => false,
                Rule::If => continue,
            };
            if !mine || !such(test) {
                continue;
            }
            let holds = test.expression.holds(value);
            if holds && !self.adding_controls {
                self.tally.holds(index);
            }
            if holds == drops && !dropped {
                dropped = true;
                if !self.adding_controls {
                    self.tally.drops(index, trials());
                }
            }
        }
        dropped
    }

    fn label(&self, entries: &[Cow<'_, Entry>], method: &str, free: &[String]) -> String {
        let mut label = method.to_owned();
        let varied = || self.sweep.varied.iter().map(String::as_str).filter(|key| !key.starts_with("budget."));
        let is_free = |key: &&str| free.iter().any(|free| free == key);
        let solved = [WIDTH].into_iter().filter(|key| is_free(key) && !varied().any(|varied| varied == *key));
        for key in varied().chain(solved) {
            // Left at its default: what was not set is not shown, as with the method's options. A width of 1 changes nothing.
            if let Some(entry) = find(entries, key).filter(|entry| key != WIDTH || entry.value.as_float() != Some(1.0))
            {
                label.extend([" ", short(key), "=", &plain(&entry.value)]);
            }
        }
        label
    }
}

/// How many seeds a combination has, before conditions drop any.
fn seeds(document: &Document, entries: &[Cow<'_, Entry>]) -> usize {
    value_of(document.keys, entries, "protocol.seeds").and_then(|seeds| seeds.as_array().map(Vec::len)).unwrap_or(1)
}

/// Whether the condition's answer is known only once what is `free` was solved for, or the network priced.
fn later(test: &ParsedCondition<'_>, free: &[String]) -> bool {
    let open = |key: &Key| matches!(key, Key::Set(key) if free.contains(key));
    test.asks_price || !free.is_empty() && test.expression.asks(&open)
}

impl Iterator for Settings<'_> {
    type Item = anyhow::Result<Setting>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(setting) = self.ready.next() {
                return Some(setting);
            }
            let batch: Vec<_> = self.combinations.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                if self.adding_controls || !self.controlled.load(Ordering::Relaxed) {
                    return None;
                }
                (self.adding_controls, self.combinations) = (true, Combinations::new(self.sweep));
                continue;
            }
            let settle = |combination: Result<Combination<'_>, _>| self.settle(combination?);
            // What is measured is not measured while other threads compute.
            let settled: Vec<_> = if self.solver.measures {
                batch.into_iter().map(settle).collect()
            } else {
                batch.into_par_iter().map(settle).collect()
            };
            let each = |settings: anyhow::Result<Vec<Setting>>| match settings {
                Ok(settings) => settings.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            self.ready = settled.into_iter().flat_map(each).collect::<Vec<_>>().into_iter();
            let held = self.combinations.held().iter().enumerate().filter(|(_, held)| **held);
            held.for_each(|(index, _)| self.tally.holds(index));
        }
    }
}
