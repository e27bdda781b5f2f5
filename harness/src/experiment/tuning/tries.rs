//! The tries of an experiment's settings, and its trials once something is chosen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use toml::Table;

use super::{Tuning, without};
use crate::config::error::{At, Complaint};
use crate::config::{Recipe, TrialConfig};
use crate::experiment::choice::{Choice, Point, words};
use crate::experiment::identity::{Identity, key};
use crate::experiment::images::{self, ImageDemand};
use crate::experiment::resolve::check_recipe;
use crate::experiment::sweep::document::Entry;
use crate::experiment::{Experiment, Trial};

/// The tries of an experiment.
#[derive(Clone, Debug)]
pub struct Tries {
    /// Each once: points that make the same training of a setting share it.
    pub trials: Vec<Trial>,
    /// The settings that they are of, in the order of the experiment.
    pub settings: Vec<TunedSetting>,
}

/// A setting and its tries.
#[derive(Clone, Debug)]
pub struct TunedSetting {
    /// Names it, whatever the values of its searched keys.
    pub id: String,
    /// Which of the experiment's trials are its own.
    pub trials: Vec<usize>,
    /// For each point, which of the tries are trained there, one a training seed.
    pub tries: Vec<Vec<usize>>,
}

/// A recipe at a point.
fn at(recipe: &Recipe, point: &Point) -> Result<Recipe> {
    let mut table = Table::try_from(recipe)?;
    table.extend(point.iter().map(|(key, value)| (key.clone(), value.clone())));
    table.try_into().context("a checked recipe was refused")
}

impl Experiment {
    /// Checks `[tune]` against the trials. Where nothing but the tries is asked for, these become the trials.
    pub(in crate::experiment) fn tuned(mut self) -> Result<Self> {
        let Some(tuning) = Tuning::of(&self.document)? else { return Ok(self) };
        tuning.check(&self.document, &self.trials)?;
        let only = tuning.only;
        self.tuning = Some(tuning);
        // Points at which a setting cannot be trained are an error now, not after the first tries.
        self.tries()?;
        if only { self.into_tries() } else { Ok(self) }
    }

    /// The experiment that trains nothing but its tries.
    ///
    /// # Errors
    /// An experiment that tunes nothing.
    pub fn into_tries(self) -> Result<Self> {
        if self.tuning.is_none() {
            let complaint = Complaint::new("there is nothing to tune", "", "an experiment with a section [tune]");
            return Err(self.document.error(&At::File, complaint).into());
        }
        let trials = self.tries()?.trials;
        let mut document = self.document.clone();
        document.set_value("tune.only", true.into());
        let frozen = document.to_toml();
        Ok(Self { trials, document, frozen, tuning: None, only_tries: true, ..self })
    }

    /// The tries of its trials: for each setting all points, whatever its method. None where it is not tuned.
    ///
    /// # Errors
    /// An [`ExperimentError`]: points at which a setting cannot be trained.
    pub fn tries(&self) -> Result<Tries> {
        let mut tries = Tries { trials: vec![], settings: vec![] };
        let Some(tuning) = &self.tuning else { return Ok(tries) };
        let (mut settings, mut known) = (HashMap::new(), HashMap::new());
        for (index, trial) in self.trials.iter().enumerate() {
            let id = tuning.setting(trial)?;
            let next = tries.settings.len();
            let place = *settings.entry(id.clone()).or_insert(next);
            if place < next {
                tries.settings[place].trials.push(index);
                continue;
            }
            let mut setting = TunedSetting { id, trials: vec![index], tries: vec![] };
            for point in &tuning.points {
                let mut of_point = Vec::new();
                for &seed in &tuning.terms.training_seeds {
                    let one = self.at_point(trial, point, tuning.terms.epochs, |config| TrialConfig {
                        test: false,
                        seed,
                        ..config
                    })?;
                    let name = |label: &String| format!("{label} {}", words(point));
                    let (label, aliases) = (name(&trial.label), trial.aliases.iter().map(name).collect());
                    let next = tries.trials.len();
                    let same = (one.signature.clone(), trial.config.dataset.sources.clone());
                    let place = *known.entry(same).or_insert(next);
                    if place == next {
                        tries.trials.push(Trial { label, aliases, ..one });
                    }
                    of_point.push(place);
                }
                // What a try may do, its final trial may not be able to: that is longer or shorter.
                self.at_point(trial, point, None, |config| config)?;
                setting.tries.push(of_point);
            }
            tries.settings.push(setting);
        }
        Ok(tries)
    }

    /// The experiment as it is trained in the end: with what was chosen for each of the settings. Those without a choice are left
    /// out.
    ///
    /// # Errors
    /// None for tries that are the experiment's own.
    pub fn with_choices(&self, tries: &Tries, choices: &[Option<Choice>]) -> Result<Self> {
        let mut of_trial: BTreeMap<usize, &Choice> = BTreeMap::new();
        for (setting, choice) in tries.settings.iter().zip(choices) {
            let Some(choice) = choice else { continue };
            of_trial.extend(setting.trials.iter().map(|&index| (index, choice)));
        }
        let finals = of_trial.into_iter().map(|(index, choice)| {
            let trial = self.at_point(&self.trials[index], &choice.values, None, |config| config)?;
            Ok(Trial { tuned: Some(choice.clone()), ..trial })
        });
        Ok(Self { trials: finals.collect::<Result<_>>()?, tuning: None, ..self.clone() })
    }

    /// A trial at a point of the search space, for so many epochs, with whatever else of its configuration is to be another.
    fn at_point(
        &self,
        trial: &Trial,
        point: &Point,
        epochs: Option<usize>,
        change: impl FnOnce(TrialConfig) -> TrialConfig,
    ) -> Result<Trial> {
        let document = &self.document;
        let mut recipe = at(&trial.config.recipe, point)?;
        recipe.epochs = epochs.unwrap_or(recipe.epochs);
        let config = change(TrialConfig { recipe, ..trial.config.clone() });
        // What is wrong is wrong where it is searched, or where the epochs of tries are set.
        let asked = epochs.and_then(|_| document.get("tune.epochs"));
        let asked = asked.map(|entry| Entry { key: "recipe.epochs".into(), ..entry.clone() });
        let base = document.base.iter().filter(|entry| epochs.is_none() || entry.key != "recipe.epochs");
        let entries = document.search.iter().chain(&asked).chain(base).map(Cow::Borrowed);
        let entries: Vec<Cow<'_, Entry>> = entries.collect();
        check_recipe(document, &entries, (&config.init, &config.recipe), trial.network.compression.as_ref())?;
        let places = match document.search.iter().find(|entry| entry.key == images::BATCH) {
            Some(entry) => trial.places.with(entry),
            None => trial.places.clone(),
        };
        if let Some(count) = trial.network.images {
            let TrialConfig { dataset, recipe, validation, .. } = &config;
            let demand = ImageDemand { dataset: &dataset.name, recipe, validation: *validation };
            images::check(document, |key| places.at(key), demand, count)?;
        }
        let signature = signature(trial, &config)?;
        Ok(Trial { config, signature, places, ..trial.clone() })
    }
}

impl Tuning {
    /// Names the setting of a trial: all that it is but its seed, the values that are searched left out.
    fn setting(&self, trial: &Trial) -> Result<String> {
        let recipe = without(&trial.config.recipe, self.terms.space.keys());
        let config = TrialConfig { recipe, seed: 0, ..trial.config.clone() };
        // Two sources may hold the same images; until they are read, they are two settings.
        Ok(key(&signature(trial, &config)?, &format!("{:?}", config.dataset.sources)))
    }
}

/// The signature of a trial's network under another configuration of its training.
fn signature(trial: &Trial, config: &TrialConfig) -> Result<String> {
    let network = &trial.network;
    let TrialConfig { init, recipe, validation, test, .. } = config;
    let identity = Identity::new(&network.head, (init, recipe), network.compression.as_ref(), *validation, *test)?;
    Ok(identity.of_seed(config.seed).to_hex().to_string())
}
