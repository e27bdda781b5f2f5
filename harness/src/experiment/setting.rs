//! Combinations -> settings: values typed, networks priced, conditions decided, labels given. In order, but on all threads.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blake3::Hash;
use rayon::prelude::*;
use toml::Value;

use super::identity::Identity;
use super::images::{self, ImageDemand, ImageKeyPlaces};
use super::network::{Network, Networks};
use super::resolve::{check_recipe, section};
use super::sweep::combine::{Combination, Combinations, set};
use super::sweep::document::{Entry, Rule, find, plain};
use super::sweep::keys::Key;
use super::sweep::vocabulary::{short, value_of};
use super::sweep::{ParsedCondition, Sweep};
use crate::config::schema::off_engine_remark;
use crate::config::{Protocol, Recipe, TrialConfig};

/// Combinations that are settled at a time: enough to keep all threads busy, few enough that the first come at once.
const BATCH: usize = 2048;

/// Everything that a trial is but its seed.
#[derive(Debug)]
pub struct Setting {
    /// The network and what varies over the experiment.
    pub label: Arc<str>,
    /// The network.
    pub network: Arc<Network>,
    /// How it is trained.
    pub recipe: Recipe,
    /// Images carved for validation.
    pub validation: usize,
    /// Whether the test split is read at the end.
    pub test: bool,
    /// The seeds that conditions left; each makes one trial.
    pub seeds: Vec<u64>,
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

    /// The configuration of one of its trials; `layers` are the document's.
    pub fn config(&self, layers: &[crate::config::LayerOverride], seed: u64) -> TrialConfig {
        let parts = &self.network.parts;
        TrialConfig {
            dataset: parts.dataset.clone(),
            backbone: parts.backbone.clone(),
            method: parts.method.clone(),
            layers: layers.to_vec(),
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

/// Every setting of a sweep in the order of the file, those that conditions drop left out.
#[derive(Debug)]
pub(super) struct Settings<'s> {
    sweep: &'s Sweep<'s>,
    networks: &'s Networks<'s>,
    /// Whether trials are told from each other.
    hashed: bool,
    combinations: Combinations<'s>,
    ready: std::vec::IntoIter<anyhow::Result<Option<Setting>>>,
    pub tally: Tally,
}

impl<'s> Settings<'s> {
    pub fn new(sweep: &'s Sweep<'s>, networks: &'s Networks<'s>, hashed: bool) -> Self {
        let tally = Tally::new(sweep.conditions.len());
        let (combinations, ready) = (Combinations::new(sweep), vec![].into_iter());
        Self { sweep, networks, hashed, combinations, ready, tally }
    }

    /// How many combinations have been looked at.
    #[cfg(test)]
    pub fn looked_at(&self) -> u64 {
        self.combinations.seen()
    }

    /// Makes a setting of a combination; none if a condition drops it.
    fn settle(&self, combination: Combination<'_>) -> anyhow::Result<Option<Setting>> {
        let document = self.sweep.document;
        let keys = document.keys;
        let block = combination.block;
        let entries = &combination.into_entries()[..];
        let seeds =
            || value_of(keys, entries, "protocol.seeds").and_then(|seeds| seeds.as_array().map(Vec::len)).unwrap_or(1);
        // Conditions come first: values that a condition drops need not make sense together.
        if self.dropped(block, |test| !test.asks_price && !test.asks_seed, &|key| set(keys, entries, key), seeds) {
            return Ok(None);
        }
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
        if self.dropped(block, |test| test.asks_price && !test.asks_seed, &priced, seeds) {
            return Ok(None);
        }
        let recipe: Recipe = section(entries, "recipe.")?;
        let Protocol { mut seeds, validation, test } = section(entries, "protocol.")?;
        check_recipe(document, entries, &recipe, network.pruning.is_some())?;
        if let Some(images) = network.images {
            let demand = ImageDemand { dataset: &network.parts.dataset.name, recipe: &recipe, validation };
            images::check(document, |key| find(entries, key).map(|entry| &entry.at), demand, images)?;
        }
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
        let label = self.label(entries, &network.label).into();
        let hashes = if self.hashed {
            let identity = Identity::new(&network.head, &recipe, network.pruning.as_ref(), validation, test)?;
            seeds.iter().map(|seed| identity.of_seed(*seed)).collect()
        } else {
            vec![]
        };
        let places = ImageKeyPlaces::of(entries);
        Ok(Some(Setting { label, network, recipe, validation, test, seeds, hashes, places }))
    }

    /// Whether one of the conditions that are `such` drops a setting of the block; `trials` gives how many trials it has.
    fn dropped<'a>(
        &self,
        block: usize,
        such: fn(&ParsedCondition<'_>) -> bool,
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
            if holds {
                self.tally.holds(index);
            }
            if holds == drops && !dropped {
                dropped = true;
                self.tally.drops(index, trials());
            }
        }
        dropped
    }

    fn label(&self, entries: &[Cow<'_, Entry>], method: &str) -> String {
        let mut label = method.to_owned();
        for key in &self.sweep.varied {
            // Left at its default: what was not set is not shown, as with the method's options.
            if let Some(entry) = find(entries, key) {
                label.extend([" ", short(key), "=", &plain(&entry.value)]);
            }
        }
        label
    }
}

impl Iterator for Settings<'_> {
    type Item = anyhow::Result<Setting>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ready.next() {
                Some(Ok(None)) => continue,
                Some(Ok(Some(setting))) => return Some(Ok(setting)),
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
            let batch: Vec<_> = self.combinations.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return None;
            }
            let settle = |combination: Result<Combination<'_>, _>| self.settle(combination?);
            self.ready = batch.into_par_iter().map(settle).collect::<Vec<_>>().into_iter();
            let held = self.combinations.held().iter().enumerate().filter(|(_, held)| **held);
            held.for_each(|(index, _)| self.tally.holds(index));
        }
    }
}
