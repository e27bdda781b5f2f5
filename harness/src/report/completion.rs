//! How far the experiment of a run folder has come: what is done, what failed, and what is open.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;

use crate::experiment::{Experiment, Trial, read};
use crate::measure::latency::Latencies;
use crate::results::{Collected, FrozenTrial, RunFolder, TrialRecord};

/// Labels that a line names at most.
const MOST_LABELS: usize = 8;

/// The trials of the experiment as it was last run, counted. Trials of the folder that the experiment no longer has, or
/// has on other data, are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Trials that have a result.
    pub done: usize,
    /// Trials that failed and have none.
    pub failed: usize,
    /// Trials that have neither: they never started, or were stopped.
    pub open: usize,
    /// Settings of which no trial is done, in the order of the experiment.
    pub absent: Vec<String>,
}

impl Completion {
    /// Holds the experiment that the folder keeps against what was collected in it. Data is not read: its content is known
    /// from the trials that used it.
    ///
    /// # Errors
    /// An experiment that cannot be read, or not by this harness.
    pub fn of(folder: &RunFolder, collected: &Collected) -> Result<Self> {
        let document = read(&folder.experiment(), &[])?;
        let experiment = Experiment::timed(&document, &Latencies::kept(RunFolder::latencies(folder.root())?))?;
        let records = collected.done.iter().chain(&collected.failed);
        let prints: BTreeSet<&str> = records.map(|record| record.trial.data.fingerprint.as_str()).collect();
        let mut signatures: BTreeMap<&str, usize> = BTreeMap::new();
        experiment.trials.iter().for_each(|trial| *signatures.entry(&trial.signature).or_default() += 1);
        let [done, failed] = [&collected.done, &collected.failed].map(|records| by_key(records));
        let is_among = |records: &HashMap<&str, &TrialRecord>, trial: &Trial| {
            // Trials that differ by the source of their images alone are told apart by what they are called.
            let alone = signatures.get(trial.signature.as_str()) == Some(&1);
            let named = |found: &FrozenTrial| found.label == trial.label || found.aliases.contains(&trial.label);
            let mut found = prints.iter().filter_map(|print| records.get(&*trial.key(print)));
            found.any(|record| alone || named(&record.trial))
        };

        // What was chosen for a setting is known from the trials that it was chosen for.
        let settings_of_tries = experiment.tries()?.settings;
        let ids: HashMap<usize, &str> =
            settings_of_tries.iter().flat_map(|setting| setting.trials.iter().map(|&at| (at, &*setting.id))).collect();
        let is_tuned = |records: &HashMap<&str, &TrialRecord>, trial: &Trial, id: &str| {
            let of_setting =
                |record: &TrialRecord| record.trial.tuned.as_ref().is_some_and(|choice| choice.setting == id);
            records.values().any(|record| record.trial.config.seed == trial.config.seed && of_setting(record))
        };
        let is_done = |trial: &Trial, id: Option<&&str>| {
            id.map_or_else(|| is_among(&done, trial), |id| is_tuned(&done, trial, id))
        };
        // Where nothing could be chosen, the trial failed with the values that it had.
        let has_failed = |trial: &Trial, id: Option<&&str>| {
            id.is_some_and(|id| is_tuned(&failed, trial, id)) || is_among(&failed, trial)
        };

        let mut completion = Self::default();
        let mut settings: Vec<(&str, bool)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, trial) in experiment.trials.iter().enumerate() {
            let id = ids.get(&at);
            let place = *places.entry(&trial.label).or_insert_with(|| {
                settings.push((&trial.label, false));
                settings.len() - 1
            });
            if is_done(trial, id) {
                completion.done += 1;
                settings[place].1 = true;
            } else if has_failed(trial, id) {
                completion.failed += 1;
            } else {
                completion.open += 1;
            }
        }
        completion.absent = settings.into_iter().filter(|(_, done)| !done).map(|(label, _)| label.to_owned()).collect();
        Ok(completion)
    }

    /// In a sentence what is missing; none where every trial is done.
    pub fn missing(&self) -> Option<String> {
        let Self { done, failed, open, absent } = self;
        let all = done + failed + open;
        let mut text = match (failed, open) {
            (0, 0) => return None,
            (0, open) => format!("{done} of {all} trials are done and {open} {} open", are(*open)),
            (failed, 0) => format!("{done} of {all} trials are done and {failed} failed"),
            (failed, open) => {
                format!("{done} of {all} trials are done, {failed} failed and {open} {} open", are(*open))
            }
        };
        if !absent.is_empty() {
            let named = &absent[..absent.len().min(MOST_LABELS)];
            text += &format!("; without any result: {}", named.join(", "));
            if absent.len() > named.len() {
                text += &format!(" and {} more", absent.len() - named.len());
            }
        }
        Some(text)
    }
}

fn by_key(records: &[TrialRecord]) -> HashMap<&str, &TrialRecord> {
    records.iter().map(|record| (record.trial.key.as_str(), record)).collect()
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
