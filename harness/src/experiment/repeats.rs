//! Which trials of a sweep were there before, and under which labels.
//!
//! Two trials are the same if their signatures are and their images are: [`DataSets`] tells the latter.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fmt;
use std::sync::Arc;

use super::budget::Budgets;
use super::data_sets::DataSets;
use super::setting::Setting;

/// At most this many labels are kept of the settings that make the same trial; the others are counted.
const MOST_ALIASES: usize = 64;
/// At most this many of them are kept of a whole sweep.
const MOST_ALIASES_IN_ALL: usize = 1_000_000;

/// The trials of a sweep so far.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: HashMap<Short, FirstTrial>,
    /// For each trial of the sweep, in order, whether it was there before.
    pub flags: Vec<bool>,
    /// By the number of the trial that they belong to; duplicates have no number.
    pub aliases: HashMap<u32, Aliases>,
    /// The budgets that it was solved for, by the number of a trial.
    pub budgets: HashMap<u32, Budgets>,
    /// Labels of the settings that it is a control of, by the number of a trial.
    pub control_of: HashMap<u32, Vec<Arc<str>>>,
    /// Controls that were not there before.
    controls: u64,
    /// Every budget once.
    pub all_budgets: Budgets,
    /// How many labels are kept among them.
    labels: usize,
    data_sets: DataSets,
    /// Trials, each counted once.
    pub first_ones: u64,
    /// Trials that were there before.
    pub duplicates: u64,
}

impl Repeats {
    /// Adds the trials of a setting.
    pub fn add(&mut self, setting: &Setting) {
        let label = blake3::hash(setting.label.as_bytes());
        let label = u32::from_le_bytes(label.as_bytes()[..4].try_into().unwrap_or_default());
        // Where nothing is trained, no images are read: any are the same.
        let trained = setting.recipe.epochs > 0;
        let data = if trained { self.data_sets.number(&setting.network.parts.dataset) } else { 0 };
        for hash in &setting.hashes {
            let new = FirstTrial { number: self.known.len() as u32, label, data };
            let mut key = short(hash);
            if let Some(first) = self.known.get(&key)
                && first.data != data
                && self.data_sets.first_equal(first.data) != self.data_sets.first_equal(data)
            {
                key = on_other_images(hash, self.data_sets.first_equal(data));
            }
            let number = self.known.get(&key).map_or(new.number, |first| first.number);
            if let Some(solved) = setting.solved {
                self.budgets.entry(number).or_default().add(solved);
                self.all_budgets.add(solved);
            }
            if let Some(pruned) = &setting.control_of {
                let all = self.control_of.entry(number).or_default();
                if !all.contains(pruned) {
                    all.push(pruned.clone());
                }
            }
            match self.known.entry(key) {
                Vacant(free) => {
                    free.insert(new);
                    self.flags.push(false);
                    self.first_ones += 1;
                    self.controls += u64::from(setting.control_of.is_some());
                }
                Occupied(first) => {
                    self.flags.push(true);
                    // A control that is there already was asked for by nobody else.
                    self.duplicates += u64::from(setting.control_of.is_none());
                    if first.get().label != label {
                        let room = self.labels < MOST_ALIASES_IN_ALL;
                        let aliases = self.aliases.entry(first.get().number).or_default();
                        self.labels += usize::from(aliases.add(&setting.label, room));
                    }
                }
            }
        }
    }

    /// Lets go of what only further trials would need.
    pub fn close(&mut self) {
        self.known = HashMap::new();
    }

    /// How many controls were added; a line for each data set of which it could not be told whether it is the same as another one.
    pub fn notes(&self) -> Vec<String> {
        let controls = match self.controls {
            0 => None,
            1 => Some("1 trial is a control of pruned ones; protocol.controls = [] leaves it out".into()),
            n => Some(format!("{n} trials are controls of pruned ones; protocol.controls = [] leaves them out")),
        };
        controls.into_iter().chain(self.data_sets.notes()).collect()
    }
}

/// Labels of other settings that make the same trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// The first of them.
    pub labels: Vec<Arc<str>>,
    /// How many trials went under further labels.
    pub more: u64,
}

impl Aliases {
    /// Adds a label, or counts it where there is no `room`; whether it was kept.
    fn add(&mut self, label: &Arc<str>, room: bool) -> bool {
        let new = !self.labels.contains(label);
        let kept = new && room && self.labels.len() < MOST_ALIASES;
        if kept {
            self.labels.push(label.clone());
        }
        self.more += u64::from(new && !kept);
        kept
    }
}

impl fmt::Display for Aliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.labels.join(" = "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// The first trial of a signature and its images.
#[derive(Debug)]
struct FirstTrial {
    /// Its number, duplicates not counted.
    number: u32,
    /// A hash of its label.
    label: u32,
    /// The number of its data set.
    data: u32,
}

/// Enough of a hash that no two trials share it.
type Short = [u32; 3];

fn short(hash: &blake3::Hash) -> Short {
    let bytes = hash.as_bytes();
    [0, 4, 8].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default()))
}

/// What stands for a signature that was there before, on other images.
fn on_other_images(hash: &blake3::Hash, data: u32) -> Short {
    short(&blake3::Hasher::new().update(hash.as_bytes()).update(&data.to_le_bytes()).finalize())
}
