//! Combinations -> settings: values typed, networks priced, conditions decided, labels given. In order, but on all threads.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blake3::Hash;
use rayon::prelude::*;
use toml::Value;

use super::combine::{Combination, Combinations, set};
use super::document::{Rule, find};
use super::identity::Identity;
use super::images::{self, Asked, Written};
use super::network::{Network, Networks};
use super::resolve::{check_recipe, plain, section, short};
use super::sweep::{Sweep, Test};
use super::vocabulary::{Key, value_of};
use super::ways::Held;
use crate::config::{Protocol, Recipe, TrialConfig};

/// So many combinations are settled at a time: enough to keep threads busy, few enough that the first come at once.
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
    /// One trial each, those that conditions left.
    pub seeds: Vec<u64>,
    /// What each of these trials is told from others by; not where only its price is wanted.
    pub(super) hashes: Vec<Hash>,
    /// Where its numbers of images were asked for; only where trials are to be made.
    pub(super) written: Option<Arc<Written>>,
}

impl Setting {
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

/// What became of each condition.
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

/// What settings are settled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To be shown.
    Price,
    /// To be told from each other.
    Identity,
    /// To be trained.
    Trial,
}

/// Every setting of a sweep in the order of the file, those that conditions drop left out.
#[derive(Debug)]
pub(super) struct Settings<'s> {
    sweep: &'s Sweep<'s>,
    networks: &'s Networks<'s>,
    wanted: Wanted,
    combinations: Combinations<'s>,
    ready: std::vec::IntoIter<anyhow::Result<Option<Setting>>>,
    pub tally: Tally,
}

impl<'s> Settings<'s> {
    pub fn new(sweep: &'s Sweep<'s>, networks: &'s Networks<'s>, wanted: Wanted) -> Self {
        let tally = Tally::new(sweep.conditions.len());
        let (combinations, ready) = (Combinations::new(sweep), vec![].into_iter());
        Self { sweep, networks, wanted, combinations, ready, tally }
    }

    /// None: a condition dropped it.
    fn settle(&self, combination: Combination<'_>) -> anyhow::Result<Option<Setting>> {
        let document = self.sweep.document;
        let block = combination.block;
        let entries = &combination.into_entries()[..];
        let seeds =
            || value_of(entries, "protocol.seeds").and_then(|seeds| seeds.as_array().map(Vec::len)).unwrap_or(1);
        // Before anything else: what a condition drops need not make sense.
        if self.dropped(block, |test| !test.asks_price && !test.asks_seed, &|key| set(entries, key), seeds) {
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
            _ => set(entries, key),
        };
        if self.dropped(block, |test| test.asks_price && !test.asks_seed, &priced, seeds) {
            return Ok(None);
        }
        let recipe: Recipe = section(entries, "recipe.")?;
        let Protocol { mut seeds, validation, test } = section(entries, "protocol.")?;
        check_recipe(document, entries, &recipe, network.pruning.is_some())?;
        if let Some(images) = network.images {
            let asked = Asked { dataset: &network.parts.dataset.name, recipe: &recipe, validation };
            images::check(document, |key| find(entries, key).map(|entry| &entry.at), asked, images)?;
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
        let mut hashes = Vec::new();
        if self.wanted != Wanted::Price {
            let head = network.head.as_ref().map_or(&network.digest[..], |head| head.as_bytes());
            let identity = Identity::new(head, &recipe, network.pruning.as_ref(), validation, test)?;
            hashes = seeds.iter().map(|seed| identity.of_seed(*seed)).collect();
        }
        let label = self.label(entries, &network.label).into();
        let written = (self.wanted == Wanted::Trial).then(|| Arc::new(Written::of(entries)));
        Ok(Some(Setting { label, network, recipe, validation, test, seeds, hashes, written }))
    }

    /// Whether a condition drops it; `trials`: how many go with it.
    fn dropped<'a>(
        &self,
        block: usize,
        such: fn(&Test<'_>) -> bool,
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

    fn label(&self, entries: &[Held<'_>], method: &str) -> String {
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
