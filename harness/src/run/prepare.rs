//! From an experiment to the trials that are missing: keys, data, what is there already.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::priced::{no_data, save_price};
use super::screen::TrialEntry;
use super::{RunOptions, RunSummary};
use crate::config::DatasetConfig;
use crate::data::{self, Dataset, Provenance, decoded};
use crate::experiment::{Experiment, Trial};
use crate::results::{BASES, FrozenTrial, Names, RunFolder, TrialState};
use crate::stamp::Environment;
use crate::train::Checkpoints;

/// Where decoded data sets lie in a run folder.
const IMAGES: &str = "images";

/// A sweep that is ready to be run.
pub(super) struct PreparedSweep {
    /// The experiment's name.
    pub name: String,
    /// Where results go.
    pub folder: RunFolder,
    /// The key of every trial of the experiment, in its order.
    pub keys: Vec<String>,
    /// Trials that have to be trained, in the order in which they are: seed by seed.
    pub missing: Vec<(FrozenTrial, TrialEntry)>,
    /// What was found and done so far.
    pub summary: RunSummary,
    /// For everyone to read before it starts.
    pub notes: Vec<String>,
}

/// Finds out what is missing. Data is read once, and left decoded for the trials' processes.
pub(super) fn prepare(experiment: &Experiment, options: &RunOptions) -> Result<PreparedSweep> {
    // A folder of someone else's is refused before hours of download, and made only once the data is there.
    RunFolder::check(&options.output, &experiment.name)?;
    // Where another experiment was tuned, its tries are as useful as its trials.
    let tuned = options.reuse.iter().map(|path| RunFolder::tuning(path)).filter(|path| path.is_dir());
    let others = options.reuse.iter().cloned().chain(tuned);
    let others = others.map(|path| RunFolder::open(&path)).collect::<Result<Vec<_>>>()?;
    let mut loaded: Vec<(DatasetConfig, Dataset)> = Vec::new();
    let (mut planned, mut keys) = (Planned::default(), Vec::new());
    for trial in &experiment.trials {
        let data = match trial.config.recipe.epochs {
            0 => no_data(&trial.config.dataset.name),
            _ => {
                let dataset = load(&mut loaded, &trial.config.dataset)?;
                experiment.check_images(trial, dataset.train.len())?;
                ensure!(
                    !(trial.config.test && dataset.test.is_empty()),
                    "dataset.sources: {}: has no test split\n  accepted: protocol.test = false; or dataset.test_share = 0.2, say, which \
                     makes one of a part of each class",
                    dataset.provenance.source
                );
                dataset.provenance.clone()
            }
        };
        let frozen = FrozenTrial::new(trial, data);
        keys.push(frozen.key.clone());
        planned.add(trial, frozen);
    }
    let notes = planned.notes();
    let planned = planned.trials;
    let folder = RunFolder::create(&options.output, &experiment.name, &experiment.frozen)?;
    folder.add_names(planned.iter().map(|(trial, frozen)| {
        let FrozenTrial { key, label, aliases, budgets, control_of, .. } = frozen.clone();
        (key, Names { label, aliases, budgets, control_of, tuned: trial.tuned.clone() })
    }))?;
    if !experiment.latencies.is_empty() {
        folder.keep_latencies(&experiment.latencies)?;
    }

    let mut sweep = PreparedSweep {
        name: experiment.name.clone(),
        folder,
        keys,
        missing: Vec::new(),
        summary: RunSummary::default(),
        notes,
    };
    // Asked for only where there is something to be priced.
    let mut environment = None;
    for (trial, frozen) in planned {
        if sweep.is_there(&frozen.key, &others)? {
            continue;
        }
        if trial.config.recipe.epochs > 0 {
            let entry = entry(trial, &frozen, &sweep.folder);
            sweep.missing.push((frozen, entry));
        } else if let Some(_claim) = sweep.folder.claim(&frozen.key)? {
            let environment = environment.get_or_insert_with(|| Environment::capture(rayon::current_num_threads()));
            save_price(&frozen, &sweep.folder, environment)?;
            sweep.summary.trained += 1;
        }
    }
    if !sweep.missing.is_empty() {
        sweep.share(&loaded);
    }
    seed_by_seed(&mut sweep.missing, experiment);
    Ok(sweep)
}

/// Every setting on the first seed first, in the order of the file: a sweep that is stopped early leaves a comparison.
fn seed_by_seed(missing: &mut [(FrozenTrial, TrialEntry)], experiment: &Experiment) {
    let mut places = HashMap::new();
    for trial in &experiment.trials {
        let next = places.len();
        places.entry(trial.config.seed).or_insert(next);
    }
    missing.sort_by_key(|(frozen, _)| places.get(&frozen.config.seed).copied());
}

/// The trials of an experiment, each once.
#[derive(Default)]
struct Planned<'e> {
    trials: Vec<(&'e Trial, FrozenTrial)>,
    by_key: HashMap<String, usize>,
    merged: usize,
}

impl<'e> Planned<'e> {
    /// Adds a trial, or its label to the one that has the same key: only the loaded data shows that their images are the
    /// same.
    fn add(&mut self, trial: &'e Trial, frozen: FrozenTrial) {
        match self.by_key.get(&frozen.key) {
            None => {
                self.by_key.insert(frozen.key.clone(), self.trials.len());
                self.trials.push((trial, frozen));
            }
            Some(&first) => {
                let (_, first) = &mut self.trials[first];
                first.budgets.extend(&frozen.budgets);
                let new = frozen.control_of.into_iter().filter(|pruned| !first.control_of.contains(pruned));
                first.control_of.extend(new.collect::<Vec<_>>());
                for label in [frozen.label].into_iter().chain(frozen.aliases) {
                    if label != first.label && !first.aliases.contains(&label) {
                        first.aliases.push(label);
                    }
                }
                self.merged += 1;
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        let note = match self.merged {
            0 => return vec![],
            1 => "1 trial turned out to have".to_owned(),
            n => format!("{n} trials turned out to have"),
        };
        vec![format!("{note} the images of an earlier one under another source: trained once, with both labels")]
    }
}

impl PreparedSweep {
    /// Whether the trial has a result, here or in one of the `others`, from where it is copied.
    fn is_there(&mut self, key: &str, others: &[RunFolder]) -> Result<bool> {
        match self.folder.state(key)? {
            TrialState::Done(_) => {
                // A kill between the result and this would have left them.
                let _ = Checkpoints::new(&self.folder.trial_dir(key)).remove();
                self.summary.skipped += 1;
                return Ok(true);
            }
            TrialState::Damaged(what) => {
                let Some(_claim) = self.folder.claim(key)? else { return Ok(false) };
                let aside = self.folder.set_aside(key)?;
                self.notes.push(format!("{what}; it is made anew, the damaged files are in {}", aside.display()));
            }
            TrialState::Open | TrialState::Failed(_) => {}
        }
        for other in others {
            let Some(_claim) = self.folder.claim(key)? else { return Ok(false) };
            if self.folder.reuse(other, key)? {
                self.summary.reused += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves the data decoded for the trials' processes. Where that is not possible, each reads it from its source.
    fn share(&self, loaded: &[(DatasetConfig, Dataset)]) {
        for (_, data) in loaded {
            let path = images(&self.folder, &data.provenance);
            let there = path.parent().is_some_and(|dir| fs::create_dir_all(dir).is_ok());
            if there && !path.exists() {
                let _ = decoded::write(&path, data);
            }
        }
    }
}

/// Where a data set lies decoded.
pub(super) fn images(folder: &RunFolder, provenance: &Provenance) -> PathBuf {
    folder.root().join(IMAGES).join(&provenance.fingerprint[..provenance.fingerprint.len().min(16)])
}

/// Removes what trials share, the decoded data and the networks that they compress: none needs it any more.
pub(super) fn drop_shared(root: &Path) {
    for shared in [IMAGES, BASES] {
        let _ = fs::remove_dir_all(root.join(shared));
    }
}

fn entry(trial: &Trial, frozen: &FrozenTrial, folder: &RunFolder) -> TrialEntry {
    let config = &trial.config;
    TrialEntry {
        key: frozen.key.clone(),
        name: format!("{} {} seed {}", config.backbone.name, trial.label, config.seed),
        method: config.method.name.clone(),
        epochs: trial.network.phases(&config.recipe).epochs(),
        log: folder.log(&frozen.key),
    }
}

/// Loads a data set at its first use. Trials that differ in what is done to training images alone share them.
fn load<'a>(loaded: &'a mut Vec<(DatasetConfig, Dataset)>, config: &DatasetConfig) -> Result<&'a Dataset> {
    let stored = |config: &DatasetConfig| DatasetConfig { augment: true, crop: None, flip: None, ..config.clone() };
    let same = |other: &DatasetConfig| stored(other) == stored(config);
    let index = match loaded.iter().position(|(other, _)| same(other)) {
        Some(index) => index,
        None => {
            loaded.push((config.clone(), data::load(config)?));
            loaded.len() - 1
        }
    };
    Ok(&loaded[index].1)
}
