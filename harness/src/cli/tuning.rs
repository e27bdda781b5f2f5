//! What `harness plan` tells of settings that are tuned: what is tried before, or, once that is over, what was chosen.

use std::collections::HashMap;

use super::select;
use super::totals::training_macs;
use super::view::View;
use crate::experiment::choice::{Choice, words};
use crate::experiment::{Document, Experiment};
use crate::run;

/// How an experiment is tuned.
pub struct TuningView {
    /// In words, and for how many trainings.
    terms: String,
    trainings: usize,
    /// Multiply-accumulates of all of them, where that is known.
    macs: Option<f64>,
    /// Settings by their labels, in the order of the experiment, with what is chosen for them.
    settings: Vec<(String, Option<Choice>)>,
    by_label: HashMap<String, usize>,
    /// Whether the final trials are not to be trained.
    only: bool,
}

impl TuningView {
    /// None for an experiment that is not tuned.
    ///
    /// # Errors
    /// What is wrong with `[tune]`; a run folder that cannot be read.
    pub fn of(document: &Document, view: &View) -> anyhow::Result<Option<Self>> {
        let tuned = document.base.iter().any(|entry| entry.key.starts_with("tune."));
        if !tuned && document.search.is_empty() {
            return Ok(None);
        }
        // What is tried, and what comes after, is known to the experiment that is no mere list of tries.
        let mut whole = document.clone();
        let only = whole.get("tune.only").is_some_and(|entry| entry.value.as_bool() == Some(true));
        whole.set_value("tune.only", false.into());
        let experiment = select(Experiment::from_document(&whole)?, view.only.as_deref())?;
        let Some(tuning) = &experiment.tuning else { return Ok(None) };
        let (tries, choices) = (experiment.tries()?, run::choices(&experiment, &view.folder(&experiment.name))?);
        let label = |trials: &[usize]| experiment.trials[trials[0]].label.clone();
        let settings: Vec<(String, Option<Choice>)> =
            tries.settings.iter().map(|setting| label(&setting.trials)).zip(choices).collect();
        let of_try = |trial: &crate::experiment::Trial| {
            training_macs(&trial.config.recipe, &trial.network, trial.config.validation)
        };
        let seeds: Vec<String> = tuning.terms.training_seeds.iter().map(u64::to_string).collect();
        Ok(Some(Self {
            terms: format!("{}, with seed{} {}", tuning.terms, plural(seeds.len()), seeds.join(", ")),
            trainings: tries.trials.len(),
            macs: tries.trials.iter().map(of_try).sum(),
            by_label: settings.iter().enumerate().map(|(at, (label, _))| (label.clone(), at)).collect(),
            settings,
            only,
        }))
    }

    /// The values of a setting, as far as they are known.
    pub fn chosen(&self, label: &str) -> String {
        let choice = self.by_label.get(label).and_then(|&at| self.settings[at].1.as_ref());
        choice.map_or_else(|| "not known yet".into(), |choice| words(&choice.values))
    }

    /// What stands below the trials; `minutes` gives the time that multiply-accumulates take.
    pub fn text(&self, minutes: impl Fn(f64) -> Option<f64>) -> String {
        let mut text = format!(
            "tuning: {}; {} training{}, judged on validation alone, before the trials above",
            self.terms,
            self.trainings,
            plural(self.trainings)
        );
        if let Some(macs) = self.macs {
            text += &format!(", {macs:.2e} multiply-accumulates more");
            text += &match minutes(macs) {
                Some(minutes) if minutes < 1.0 => ", less than a minute".to_owned(),
                Some(minutes) => format!(", about {minutes:.0} min"),
                None => String::new(),
            };
        }
        text += "\n";
        if self.only {
            text += "nothing but that is to be trained (tune.only)\n";
        }
        for (label, choice) in &self.settings {
            let Some(choice) = choice else { continue };
            text += &format!(
                "{label}: {} is chosen, try {} of {} with {:.2} % on validation (the worst has {:.2} %)",
                words(&choice.values),
                choice.number,
                choice.terms.tries,
                100.0 * choice.best,
                100.0 * choice.worst
            );
            if choice.failed > 0 {
                text += &format!("; {} failed", choice.failed);
            }
            if !choice.edges.is_empty() {
                text += &format!("; at the edge of what was drawn: {}", choice.edges.join(", "));
            }
            text += "\n";
        }
        text
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
