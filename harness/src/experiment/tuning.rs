//! `[tune]`: every setting tries the same points of one search space, and is trained with the best of them.
//!
//! A *try* is an ordinary trial: of one setting at one point, with a seed that no final trial has, judged on validation alone. So
//! tries have keys, checkpoints and results as all trials have, and [`Choice`](super::choice::Choice) is made of those results.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use conv_core::options;
use conv_core::options::{Kind, at_least};
use toml::{Table, Value};

use super::choice::{Choice, Point, Terms, words};
use super::identity::{Identity, key};
use super::images::{self, ImageDemand};
use super::resolve::{check_recipe, section};
use super::sweep::condition::Expression;
use super::sweep::document::{Entry, find, plain};
use super::sweep::keys::Key;
use super::sweep::points;
use super::{Document, Experiment, Trial};
use crate::config::error::{At, Complaint, ExperimentError};
use crate::config::{Recipe, TrialConfig};

/// More tries than these are a slip.
const MOST_TRIES: i64 = 1000;
const SEED: Kind = at_least(0);
/// What searches could not leave alike for all settings: how long, and on how many images they are trained.
const BUDGET: [&str; 2] = ["recipe.epochs", "recipe.subset"];

options! {
    /// `[tune]`, beside the keys of the recipe that it searches.
    #[derive(Eq)]
    TuneSettings = "tune", "how settings are tuned" {
        /// Points of the search space that every setting tries, all of them the same.
        tries: usize = 8, Kind::Integer(1, MOST_TRIES);
        /// Decides which points these are; a larger number of tries keeps those that were drawn before.
        seed: u64 = 0, SEED;
        /// Seeds that each try is trained with; none of protocol.seeds.
        training_seeds: Vec<u64> = vec![100], Kind::NonEmptyList(&SEED);
        /// Epochs of a try; when absent: the recipe's.
        epochs: Option<usize> = None, at_least(1);
        /// Whether to stop once everything is tried: no final trial is trained.
        only: bool = false, Kind::Flag;
    }
}

/// How the settings of an experiment are tuned.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What they have alike.
    pub terms: Terms,
    /// The points, in the order in which they were drawn.
    pub points: Vec<Point>,
    /// Whether nothing but the tries is to be trained.
    pub(super) only: bool,
}

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

impl Tuning {
    /// That of a document whose sweep was checked; none where it has no `[tune]`.
    ///
    /// # Errors
    /// Nothing to search; keys that cannot be searched, or that something else sets too.
    pub(super) fn of(document: &Document) -> Result<Option<Self>> {
        let own = |entry: &&Entry| entry.key.starts_with("tune.");
        let Some(first) = document.base.iter().find(own).or(document.search.first()) else { return Ok(None) };
        let TuneSettings { tries, seed, training_seeds, epochs, only } = section(&document.base, "tune.")?;
        if document.search.is_empty() {
            let accepted = "at least one key of the recipe, e.g. recipe.lr = { log_uniform = [0.01, 0.5] }";
            return Err(document.error(&first.at, Complaint::new("[tune] searches nothing", "", accepted)).into());
        }
        document.search.iter().try_for_each(|entry| check_searched(document, entry))?;
        let drawn = points(document, &document.search, tries as u64, seed)?;
        let point = |entries: Vec<Entry>| entries.into_iter().map(|entry| (bare(&entry.key), entry.value)).collect();
        let space = document.search.iter().map(|entry| (bare(&entry.key), space(&entry.value))).collect();
        let terms = Terms { tries, seed, training_seeds, epochs, space };
        Ok(Some(Self { terms, points: drawn.into_iter().map(point).collect(), only }))
    }

    /// Refuses trials that cannot be tuned.
    fn check(&self, document: &Document, trials: &[Trial]) -> Result<(), ExperimentError> {
        let place = |key: &str| document.get(key).map_or(&document.search[0].at, |entry| &entry.at);
        if let Some(trial) = trials.iter().find(|trial| trial.config.recipe.epochs == 0) {
            let what = format!("[tune] has nothing to tune of {}: it is not trained", trial.label);
            let complaint = Complaint::new(what, "recipe.epochs = 0", "recipe.epochs of at least 1, or no [tune]");
            return Err(document.error(place("recipe.epochs"), complaint));
        }
        let seeds = &self.terms.training_seeds;
        if let Some(trial) = trials.iter().find(|trial| seeds.contains(&trial.config.seed)) {
            let seed = trial.config.seed;
            let what = format!("`tune.training_seeds` has seed {seed} of protocol.seeds");
            let complaint = Complaint::new(what, format!("{seeds:?}"), "seeds that no final trial is trained with");
            let complaint = complaint.help("a choice that was made on a seed would favour it");
            return Err(document.error(place("tune.training_seeds"), complaint));
        }
        Ok(())
    }
}

/// Whether the key may be searched, and nothing else in the document wants to decide it.
fn check_searched(document: &Document, entry: &Entry) -> Result<(), ExperimentError> {
    let key = &entry.key;
    if !key.starts_with("recipe.") || BUDGET.contains(&key.as_str()) {
        let accepted = "keys of the recipe but epochs and subset, e.g. recipe.lr, recipe.weight_decay";
        let complaint = Complaint::new(format!("`{key}` cannot be searched"), "", accepted);
        return Err(document.error(
            &entry.at,
            match key.as_str() {
                key if key.starts_with("method.") => complaint.help(
                    "methods differ in their options: settings of them belong into a block, and each of these is tuned",
                ),
                "recipe.epochs" => complaint.help("tune.epochs sets how long all tries are trained"),
                _ => complaint,
            },
        ));
    }
    let searched = document.place(&entry.at);
    let twice = |at: &At, how: &str| {
        let what = format!("`{key}` is searched by [tune] ({searched}) and {how}: which would hold?");
        Err(document.error(at, Complaint::new(what, "", "one of the two")))
    };
    let set = document.blocks.iter().flat_map(|block| block.lists()).find_map(|entries| find(entries, key));
    if let Some(set) = set {
        return twice(&set.at, "set in a block");
    }
    if let Some(Entry { at: at @ At::Option(_), .. }) = document.get(key) {
        return twice(at, "set here");
    }
    let conditions = document.blocks.iter().flat_map(|block| {
        let cases = block.cases.iter().filter_map(|case| case.condition.as_ref());
        block.conditions.iter().chain(cases)
    });
    for condition in document.conditions.iter().chain(conditions) {
        let asks = |expression: &Expression| expression.asks(&|asked: &Key| *asked == Key::Set(key.clone()));
        if Expression::parse(document.keys, &condition.text).as_ref().is_ok_and(asks) {
            return twice(&condition.at, "asked for by a condition");
        }
    }
    Ok(())
}

/// `lr` of `recipe.lr`.
fn bare(key: &str) -> String {
    key.trim_start_matches("recipe.").to_owned()
}

/// `log-uniform 0.01 to 0.5`, `one of 0.1, 0.2`
fn space(value: &Value) -> String {
    let list = |values: &[Value], between: &str| values.iter().map(plain).collect::<Vec<_>>().join(between);
    match value {
        Value::Table(range) => {
            let ends = range.iter().map(|(form, ends)| {
                let ends = ends.as_array().map_or_else(String::new, |ends| list(ends, " to "));
                format!("{} {ends}", form.replace('_', "-"))
            });
            ends.collect()
        }
        Value::Array(values) => format!("one of {}", list(values, ", ")),
        value => plain(value),
    }
}

/// A recipe at a point.
fn at(recipe: &Recipe, point: &Point) -> Result<Recipe> {
    let mut table = Table::try_from(recipe)?;
    table.extend(point.iter().map(|(key, value)| (key.clone(), value.clone())));
    table.try_into().context("a checked recipe was refused")
}

/// A recipe without the values of some keys: all that differ in these alone become one.
pub fn without<'k>(recipe: &Recipe, keys: impl IntoIterator<Item = &'k String>) -> Recipe {
    let neutral = || -> Result<Recipe> {
        let (mut table, default) = (Table::try_from(recipe)?, Table::try_from(Recipe::default())?);
        for key in keys {
            match default.get(key) {
                Some(value) => table.insert(key.clone(), value.clone()),
                None => table.remove(key),
            };
        }
        Ok(table.try_into()?)
    };
    // Keys that this harness does not know: nothing of its own differs in them.
    neutral().unwrap_or_else(|_| recipe.clone())
}

impl Experiment {
    /// Checks `[tune]` against the trials. Where nothing but the tries is asked for, these become the trials.
    pub(super) fn tuned(mut self) -> Result<Self> {
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
        check_recipe(document, &entries, &config.recipe, trial.network.compression.as_ref())?;
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
    let TrialConfig { recipe, validation, test, .. } = config;
    let identity = Identity::new(&network.head, recipe, network.compression.as_ref(), *validation, *test)?;
    Ok(identity.of_seed(config.seed).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::keys::keys;
    use crate::experiment::sweep::overrides::apply;

    const HEAD: &str =
        "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[recipe]\nlr = 0.3\nepochs = 4\n";
    const TUNE: &str = "[tune]\ntries = 3\ntraining_seeds = [7, 8]\nrecipe.lr = { log_uniform = [0.01, 0.5] }\n";
    const GRID: &str = "[[grid]]\nmethod.name = ['vanilla', 'ghost', 'pruned']\nprotocol.seeds = [0, 1]\n\
        protocol.controls = []\n";

    fn experiment(text: &str, sets: &[&str]) -> Result<Experiment> {
        let mut document = Document::parse(keys(), "x.toml", &format!("{HEAD}{text}"))?;
        for set in sets {
            apply(&mut document, set)?;
        }
        Experiment::from_document(&document)
    }

    fn rates(tries: &Tries, setting: usize) -> Vec<f64> {
        let of_setting = tries.settings[setting].tries.iter().flatten();
        of_setting.map(|&index| tries.trials[index].config.recipe.lr).collect()
    }

    #[test]
    fn every_setting_tries_the_same_points_with_seeds_of_their_own_and_the_test_split_closed() {
        let whole = experiment(&format!("{TUNE}epochs = 2\n{GRID}"), &[]).unwrap();
        let tries = whole.tries().unwrap();
        assert_eq!((whole.trials.len(), tries.settings.len(), tries.trials.len()), (6, 3, 3 * 3 * 2));
        assert!(tries.settings.iter().all(|setting| setting.trials.len() == 2 && setting.tries.len() == 3));
        for trial in &tries.trials {
            let TrialConfig { recipe, test, seed, .. } = &trial.config;
            assert!(!test && [7, 8].contains(seed) && recipe.epochs == 2, "{}", trial.label);
        }
        assert_eq!(rates(&tries, 0), rates(&tries, 1));
        assert_eq!(rates(&tries, 0), rates(&tries, 2));
        assert!(tries.trials[0].label.starts_with("vanilla lr="));
        // More tries keep those that there were.
        let more = experiment(&format!("{TUNE}{GRID}"), &["tune.tries=5", "tune.epochs=2"]).unwrap().tries().unwrap();
        assert_eq!(rates(&more, 1)[..6], rates(&tries, 1)[..]);
        assert_eq!(more.trials[0].signature, tries.trials[0].signature);
    }

    #[test]
    fn a_chosen_value_is_as_good_as_one_that_was_written() {
        let whole = experiment(&format!("{TUNE}{GRID}"), &[]).unwrap();
        let tries = whole.tries().unwrap();
        let tuning = whole.tuning.as_ref().unwrap();
        let choose =
            |setting: &TunedSetting| Choice::of(&setting.id, &tuning.terms, &tuning.points, &[None, Some(0.5), None]);
        let mut choices: Vec<Option<Choice>> = tries.settings.iter().map(choose).collect();
        choices[2] = None;
        let finals = whole.with_choices(&tries, &choices).unwrap();
        let Value::Float(rate) = tuning.points[1]["lr"] else { panic!("{:?}", tuning.points) };
        let written = experiment(&GRID.replace(", 'pruned'", ""), &[&format!("recipe.lr={rate}")]).unwrap();
        let signatures =
            |e: &Experiment| e.trials.iter().map(|t| (t.label.clone(), t.signature.clone())).collect::<Vec<_>>();
        assert_eq!(signatures(&finals), signatures(&written));
        // The value that the recipe had before names no setting, and neither does the number of tries.
        let other = experiment(&format!("{}{TUNE}{GRID}", "gamma = 0.1\n"), &["tune.tries=9"]).unwrap();
        let ids = |tries: &Tries| tries.settings.iter().map(|setting| setting.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&other.tries().unwrap()), ids(&tries));
    }

    #[test]
    fn settings_and_points_that_are_the_same_are_tried_once() {
        let grid = "[[grid]]\nmethod.name = 'vanilla'\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = 0\n";
        let tune = "[tune]\ntries = 9\nrecipe.lr = [0.1, 0.2]\nrecipe.finetune_lr = { uniform = [0.1, 0.2] }\n";
        let tries = experiment(&format!("{tune}{grid}"), &[]).unwrap().tries().unwrap();
        assert_eq!((tries.settings.len(), tries.settings[0].tries.len(), tries.trials.len()), (1, 9, 2));
        assert_eq!(tries.trials[0].aliases.len(), 1);
    }

    #[test]
    fn what_is_frozen_tunes_the_same_and_the_tries_alone_are_an_experiment() {
        let whole =
            experiment(&format!("{TUNE}{GRID}"), &["tune.recipe.weight_decay=[0.1, 0.2]", "tune.seed=3"]).unwrap();
        let again =
            |text: &str| Experiment::from_document(&Document::parse(keys(), "frozen.toml", text).unwrap()).unwrap();
        let signatures =
            |trials: &[Trial]| trials.iter().map(|t| (t.label.clone(), t.signature.clone())).collect::<Vec<_>>();
        let tries = whole.tries().unwrap().trials;
        assert_eq!(signatures(&again(&whole.frozen).tries().unwrap().trials), signatures(&tries));
        let alone = whole.into_tries().unwrap();
        assert!(alone.only_tries && alone.tuning.is_none());
        assert_eq!(signatures(&alone.trials), signatures(&tries));
        assert_eq!(signatures(&again(&alone.frozen).trials), signatures(&tries));
    }

    #[test]
    fn slips_are_refused_where_they_are() {
        for (tune, sets, part) in [
            ("[tune]\ntries = 3", &[][..], "x.toml:10: [tune] searches nothing"),
            ("[tune]\ntries = 0\nrecipe.lr = [0.1, 0.2]", &[], "x.toml:10: `tune.tries` is out of range"),
            ("[tune]\ntires = 3\nrecipe.lr = [0.1, 0.2]", &[], "did you mean `tune.tries`?"),
            ("[tune]\nrecipe.rl = { uniform = [0.1, 0.2] }", &[], "x.toml:10: unknown key `recipe.rl`"),
            ("[tune]\nrecipe.lr = { unifrom = [0.1, 0.2] }", &[], "did you mean `uniform`?"),
            ("[tune]\nrecipe.lr = { uniform = [0.0, 0.2] }", &[], "x.toml:10: `recipe.lr` is out of range, at an end"),
            ("[tune]\nmethod.depth = [1, 2]", &[], "x.toml:10: `method.depth` cannot be searched"),
            ("[tune]\nprotocol.validation = [1, 2]", &[], "`protocol.validation` cannot be searched"),
            ("[tune]\nrecipe.epochs = [1, 2]", &[], "tune.epochs sets how long"),
            (
                "[tune]\nrecipe.lr = [0.1, 0.2]",
                &["recipe.epochs=0"],
                "--set recipe.epochs=0: [tune] has nothing to tune",
            ),
            (
                "[tune]\nrecipe.lr = [0.1, 0.2]\ntraining_seeds = [5, 1]",
                &["protocol.seeds=[0, 1]"],
                "x.toml:11: `tune.train",
            ),
            ("[tune]\nrecipe.lr = [0.1, 0.2]", &["protocol.seeds=[100]"], "has seed 100 of protocol.seeds"),
            (
                "[tune]\nrecipe.lr = [0.1, 0.2]\n[[grid]]\nrecipe.lr = 0.3",
                &[],
                "x.toml:12: `recipe.lr` is searched by [tune] (x.toml:10)",
            ),
            ("[tune]\nrecipe.lr = [0.1, 0.2]", &["recipe.lr=0.3"], "--set recipe.lr=0.3: `recipe.lr` is searched"),
            ("[tune]\nrecipe.lr = [0.1, 0.2]", &["exclude=lr > 1"], "asked for by a condition"),
            (
                "[tune]\nrecipe.lr = [0.1, 0.2]",
                &["tune.recipe.rl=0.3"],
                "--set tune.recipe.rl=0.3: unknown key `recipe.rl`",
            ),
            (
                "[tune]\nrecipe.warmup_epochs = [1, 5]",
                &["tune.seed=1"],
                "x.toml:10: `recipe.warmup_epochs` is out of range",
            ),
            ("[tune]\nrecipe.batch = [1, 70000]", &[], "x.toml:10: `recipe.batch`"),
            ("[[grid]]\ntune.tries = [1, 2]", &[], "`tune.tries` cannot vary in a [[grid]]"),
            ("[tune]\nrecipe.lr = [0.1, 0.2]", &["when=tries = 3"], "unknown key `tries` in a condition"),
        ] {
            let error = experiment(tune, sets).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(part), "{tune} {sets:?}: {error}");
        }
    }
}
