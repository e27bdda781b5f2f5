//! Axes -> combinations of values, one after the other: nothing is held but the one at hand.

use std::borrow::Cow;

use super::axes::{Axes, overlay};
use super::document::Entry;
use super::keys::{Key, Keys};
use super::vocabulary::value_of;
use super::{BlockAxes, MOST, Sweep};
use crate::config::error::{At, Complaint, ExperimentError};

/// A value for every key that is set.
#[derive(Clone, Debug)]
pub struct Combination<'s> {
    sweep: &'s Sweep<'s>,
    /// The block it comes from.
    pub(in crate::experiment) block: usize,
    index: u64,
    /// Where cases made it necessary to look at the values.
    entries: Option<Vec<Cow<'s, Entry>>>,
}

impl<'s> Combination<'s> {
    /// Values of the sections, the block and its cases, one per key. Most of the work is here, and not in going through
    /// the combinations: it can be done on all threads.
    pub(in crate::experiment) fn into_entries(self) -> Vec<Cow<'s, Entry>> {
        self.entries.unwrap_or_else(|| entries(self.sweep, &self.sweep.blocks[self.block], self.index))
    }
}

/// Values of the sections and a block.
fn entries<'s>(sweep: &'s Sweep<'s>, block: &'s BlockAxes<'s>, index: u64) -> Vec<Cow<'s, Entry>> {
    let mut entries: Vec<Cow<'s, Entry>> = sweep.document.base.iter().map(Cow::Borrowed).collect();
    overlay(&mut entries, block.axes.at(index));
    entries
}

/// Every combination of a sweep in the order of the file, before conditions drop any.
#[derive(Debug)]
pub struct Combinations<'s> {
    sweep: &'s Sweep<'s>,
    block: usize,
    /// The block's combination at hand.
    index: u64,
    /// For each case of the block, its combination at hand and how many there are; empty where the block's begins.
    cases: Vec<(u64, u64)>,
    /// The values before the first case, after it, after the second, ...
    values: Vec<Vec<Cow<'s, Entry>>>,
    seen: u64,
    /// Conditions of cases that have held.
    held: Vec<bool>,
}

impl<'s> Combinations<'s> {
    /// From the first one on.
    pub fn new(sweep: &'s Sweep<'s>) -> Self {
        let held = vec![false; sweep.conditions.len()];
        Self { sweep, block: 0, index: 0, cases: vec![], values: vec![], seen: 0, held }
    }

    /// How many there have been.
    #[cfg(test)]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Which conditions, all of them those of cases, have held so far.
    pub fn held(&self) -> &[bool] {
        &self.held
    }

    /// Takes the first combination of each case from this one on.
    fn descend(&mut self, block: &'s BlockAxes<'s>) {
        for (test, axes) in &block.cases[self.cases.len()..] {
            let entries = self.values.last().map(Vec::as_slice).unwrap_or_default();
            let holds = test.is_none_or(|test| {
                let holds = self.sweep.conditions[test]
                    .expression
                    .holds(&|key: &Key| set(self.sweep.document.keys, entries, key));
                self.held[test] |= holds;
                holds
            });
            let mut entries = entries.to_vec();
            let count = if holds { axes.count().unwrap_or(0) } else { 1 };
            if holds {
                // A draw's case is drawn along with the block.
                overlay(&mut entries, axes.at(if block.draws() { self.index } else { 0 }));
            }
            self.cases.push((0, if holds { count } else { 0 }));
            self.values.push(entries);
        }
    }

    /// Goes on to the next combination of the innermost case that has one.
    fn advance(&mut self, block: &'s BlockAxes<'s>) -> bool {
        while let Some((at, count)) = self.cases.pop() {
            self.values.pop();
            if at + 1 < count {
                let mut entries = self.values.last().cloned().unwrap_or_default();
                overlay(&mut entries, block.cases[self.cases.len()].1.at(at + 1));
                self.cases.push((at + 1, count));
                self.values.push(entries);
                return true;
            }
        }
        false
    }
}

impl<'s> Combinations<'s> {
    fn found(
        &self,
        index: u64,
        entries: Option<Vec<Cow<'s, Entry>>>,
    ) -> Option<Result<Combination<'s>, ExperimentError>> {
        Some(Ok(Combination { sweep: self.sweep, block: self.block, index, entries }))
    }

    /// Counts a combination, and refuses one too many: how often cases hold is known only here.
    fn count(&mut self) -> Option<Result<Combination<'s>, ExperimentError>> {
        self.seen += 1;
        if self.seen <= MOST {
            return None;
        }
        let at = self.sweep.blocks[self.block].block.map_or(&At::File, |block| &block.at);
        let complaint = Complaint::new(
            "the sweep is too large",
            format!("more than {MOST} settings"),
            format!("at most {MOST} settings in all"),
        );
        let error = self.sweep.document.error(at, complaint);
        self.block = self.sweep.blocks.len();
        Some(Err(error))
    }
}

/// What is set under a key, as far as it can be told before the network is priced.
pub(in crate::experiment) fn set<'a>(
    keys: &'a Keys,
    entries: &'a [Cow<'_, Entry>],
    key: &Key,
) -> Option<Cow<'a, toml::Value>> {
    match key {
        Key::Set(key) => value_of(keys, entries, key),
        _ => None,
    }
}

impl<'s> Iterator for Combinations<'s> {
    type Item = Result<Combination<'s>, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let block = self.sweep.blocks.get(self.block)?;
            if self.values.is_empty() {
                if block.axes.count().is_none_or(|count| self.index >= count) {
                    (self.block, self.index) = (self.block + 1, 0);
                    continue;
                }
                if block.cases.is_empty() {
                    self.index += 1;
                    return self.count().or_else(|| self.found(self.index - 1, None));
                }
                self.values.push(entries(self.sweep, block, self.index));
            } else if !self.advance(block) {
                self.values.clear();
                self.index += 1;
                continue;
            }
            self.descend(block);
            let entries = self.values.last().cloned();
            return self.count().or_else(|| self.found(self.index, entries));
        }
    }
}

impl BlockAxes<'_> {
    fn draws(&self) -> bool {
        matches!(self.axes, Axes::Draw(..))
    }
}
