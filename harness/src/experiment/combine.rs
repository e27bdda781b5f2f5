//! Ways to choose -> settings, one after the other: nothing is held but the one at hand.

use std::borrow::Cow;

use super::sweep::{MOST, Sweep, Ways};
use super::vocabulary::{Key, value_of};
use super::ways::{Chosen, Held, overlay};
use crate::config::error::{At, Complaint, ExperimentError};

/// One way to set every key.
#[derive(Clone, Debug)]
pub struct Combination<'s> {
    sweep: &'s Sweep<'s>,
    /// The block it comes from.
    pub(super) block: usize,
    way: u64,
    /// Where cases made it necessary to look at the values.
    entries: Option<Vec<Held<'s>>>,
}

impl<'s> Combination<'s> {
    /// Values of the sections, the block and its cases, one per key. Most of the work is here, and not in going through
    /// the combinations: it can be done on all threads.
    pub(super) fn into_entries(self) -> Vec<Held<'s>> {
        self.entries.unwrap_or_else(|| chosen(self.sweep, &self.sweep.blocks[self.block], self.way))
    }
}

/// Values of the sections and a block.
fn chosen<'s>(sweep: &'s Sweep<'s>, ways: &'s Ways<'s>, way: u64) -> Vec<Held<'s>> {
    let mut entries: Vec<Held<'s>> = sweep.document.base.iter().map(Held::Written).collect();
    overlay(&mut entries, ways.chosen.at(way));
    entries
}

/// Every combination of a sweep in the order of the file, before conditions drop any.
#[derive(Debug)]
pub struct Combinations<'s> {
    sweep: &'s Sweep<'s>,
    block: usize,
    /// The block's way at hand.
    way: u64,
    /// For each case of the block, the way at hand and how many there are; empty at the beginning of a block's way.
    cases: Vec<(u64, u64)>,
    /// The values before the first case, after it, after the second, ...
    values: Vec<Vec<Held<'s>>>,
    seen: u64,
    /// Conditions of cases that have held.
    held: Vec<bool>,
}

impl<'s> Combinations<'s> {
    /// From the first one on.
    pub fn new(sweep: &'s Sweep<'s>) -> Self {
        let held = vec![false; sweep.conditions.len()];
        Self { sweep, block: 0, way: 0, cases: vec![], values: vec![], seen: 0, held }
    }

    /// Which conditions, all of them those of cases, have held so far.
    pub fn held(&self) -> &[bool] {
        &self.held
    }

    /// Chooses for the cases from this one on, each its first way.
    fn descend(&mut self, ways: &'s Ways<'s>) {
        for (test, chosen) in &ways.cases[self.cases.len()..] {
            let entries = self.values.last().map(Vec::as_slice).unwrap_or_default();
            let holds = test.is_none_or(|test| {
                let holds = self.sweep.conditions[test].expression.holds(&|key: &Key| set(entries, key));
                self.held[test] |= holds;
                holds
            });
            let mut entries = entries.to_vec();
            let count = if holds { chosen.count().unwrap_or(0) } else { 1 };
            if holds {
                // A draw's case is drawn along with the block.
                overlay(&mut entries, chosen.at(if ways.draws() { self.way } else { 0 }));
            }
            self.cases.push((0, if holds { count } else { 0 }));
            self.values.push(entries);
        }
    }

    /// Goes on to the next way of the innermost case that has one.
    fn advance(&mut self, ways: &'s Ways<'s>) -> bool {
        while let Some((at, count)) = self.cases.pop() {
            self.values.pop();
            if at + 1 < count {
                let mut entries = self.values.last().cloned().unwrap_or_default();
                overlay(&mut entries, ways.cases[self.cases.len()].1.at(at + 1));
                self.cases.push((at + 1, count));
                self.values.push(entries);
                return true;
            }
        }
        false
    }
}

impl<'s> Combinations<'s> {
    fn found(&self, way: u64, entries: Option<Vec<Held<'s>>>) -> Option<Result<Combination<'s>, ExperimentError>> {
        Some(Ok(Combination { sweep: self.sweep, block: self.block, way, entries }))
    }

    /// An error once there are too many: how often cases hold is known only now.
    fn count(&mut self) -> Option<Result<Combination<'s>, ExperimentError>> {
        self.seen += 1;
        if self.seen <= MOST {
            return None;
        }
        let at = self.sweep.blocks[self.block].block.map_or(&At::File, |block| &block.at);
        let complaint = Complaint::new("the sweep is too large", "", format!("at most {MOST} settings in all"));
        let error = self.sweep.document.error(at, complaint);
        self.block = self.sweep.blocks.len();
        Some(Err(error))
    }
}

/// What is set under a key, as far as it can be told before the network is priced.
pub(super) fn set<'a>(entries: &'a [Held<'_>], key: &Key) -> Option<Cow<'a, toml::Value>> {
    match key {
        Key::Set(key) => value_of(entries, key),
        _ => None,
    }
}

impl<'s> Iterator for Combinations<'s> {
    type Item = Result<Combination<'s>, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let ways = self.sweep.blocks.get(self.block)?;
            if self.values.is_empty() {
                if ways.chosen.count().is_none_or(|count| self.way >= count) {
                    (self.block, self.way) = (self.block + 1, 0);
                    continue;
                }
                if ways.cases.is_empty() {
                    self.way += 1;
                    return self.count().or_else(|| self.found(self.way - 1, None));
                }
                self.values.push(chosen(self.sweep, ways, self.way));
            } else if !self.advance(ways) {
                self.values.clear();
                self.way += 1;
                continue;
            }
            self.descend(ways);
            let entries = self.values.last().cloned();
            return self.count().or_else(|| self.found(self.way, entries));
        }
    }
}

impl Ways<'_> {
    fn draws(&self) -> bool {
        matches!(self.chosen, Chosen::Draw(..))
    }
}
