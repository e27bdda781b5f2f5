//! The meaning of an experiment file: document -> settings -> trials, each once.
//!
//! [`sweep`] is the language: it turns a file into combinations of values, given the [`mod@keys`] there are. Here [`setting`] types
//! each combination, drops what a condition excludes and labels the rest; [`plan`] sees to it that every trial comes once, and
//! `data_sets` tells whether two of them are trained on the same images. [`network`] remembers what networks cost ([`price`]),
//! [`phases`] says which epochs train which network, [`images`] checks whether the data is large enough, [`identity`] says which
//! trials are the same, [`run_settings`] how they are executed. [`budget`] solves for what networks are to cost, `controls` adds
//! what pruned ones are compared with. [`tuning`] makes the tries of settings that are tuned, [`choice`] chooses among what these
//! came to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub mod budget;
pub mod choice;
mod controls;
mod data_sets;
mod given;
pub mod identity;
pub mod images;
pub mod keys;
pub mod network;
pub mod nonzero;
pub mod phases;
pub mod plan;
pub mod price;
mod repeats;
pub mod resolve;
pub mod run_settings;
pub mod setting;
pub mod sweep;
pub mod tuning;

pub use run_settings::{OnFailure, RunSettings, Size, Time};
pub use sweep::Document;

use crate::config::error::{At, Complaint};
use crate::config::{ExperimentError, LayerOverride, TrialConfig};
use budget::{Budgets, Stopwatch};
use choice::Choice;
use images::{ImageDemand, ImageKeyPlaces};
use keys::keys;
use network::Network;
use plan::{Plan, Row};
use sweep::{Sweep, combine, filter};
use tuning::Tuning;

/// More trials than these cannot be run; [`Plan`] goes through larger sweeps.
const MOST_TRIALS: u64 = 1_000_000;

/// A checked experiment: what is to be trained, in order.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Names the folder of its results.
    pub name: String,
    /// Heads the report.
    pub title: Option<String>,
    /// Opens the report.
    pub description: Option<String>,
    /// The file with its overrides applied, as TOML: gives the same trials again.
    pub frozen: String,
    /// The file with its overrides applied, as it was written: errors that only the data brings to light point into it.
    pub document: Document,
    /// How its trials are executed.
    pub run: RunSettings,
    /// Every trial once, in the order of the file; the seeds of a setting follow each other.
    pub trials: Vec<Trial>,
    /// Times of inference that budgets were solved with, as shares of vanilla's.
    pub latencies: BTreeMap<String, f64>,
    /// How these trials get the values of some keys of their recipes; none where they have them all.
    pub tuning: Option<Tuning>,
    /// Whether its trials are the tries of another experiment.
    pub only_tries: bool,
}

/// One training.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The method and what was set of its options; beside it the keys that vary over the experiment.
    pub label: String,
    /// Labels of other settings that make the same network.
    pub aliases: Vec<String>,
    /// The budgets that its network was solved for.
    pub budgets: Budgets,
    /// Labels of the pruned networks that it is a control of.
    pub control_of: Vec<String>,
    /// Everything that was asked for.
    pub config: TrialConfig,
    /// Its network and what that costs.
    pub network: Arc<Network>,
    /// Everything that decides the result but the data's content, hashed.
    pub signature: String,
    /// Where its numbers of images were asked for.
    pub places: ImageKeyPlaces,
    /// How its setting was tuned, where it was.
    pub tuned: Option<Choice>,
}

/// Reads a file with all that it includes, and applies `KEY=VALUE`s to it.
///
/// # Errors
/// Files that cannot be read or are no TOML; unknown keys; files that include each other in a circle.
pub fn read(path: &Path, overrides: &[String]) -> Result<Document, ExperimentError> {
    sweep::include::read(keys(), path, overrides)
}

/// Takes a file's text apart; what it includes is not read.
///
/// # Errors
/// What is no TOML; unknown sections and keys; empty blocks.
pub fn parse(file: &str, text: &str) -> Result<Document, ExperimentError> {
    Document::parse(keys(), file, text)
}

impl Experiment {
    /// Reads and checks a file; `overrides` are `KEY=VALUE`, as after `--set`.
    ///
    /// # Errors
    /// An [`ExperimentError`]: what is wrong, where, and what would be accepted.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let document = read(path, overrides)?;
        Self::from_document(&document)
    }

    /// Resolves a document that overrides were applied to.
    ///
    /// # Errors
    /// An [`ExperimentError`]: what is wrong, where, and what would be accepted.
    pub fn from_document(document: &Document) -> anyhow::Result<Self> {
        Self::of_plan(document, &Plan::to_train(document, None)?)
    }

    /// The same where times may be measured, too.
    ///
    /// # Errors
    /// Those of [`Experiment::from_document`], and of the stopwatch.
    pub fn timed(document: &Document, stopwatch: &dyn Stopwatch) -> anyhow::Result<Self> {
        let experiment = Self::of_plan(document, &Plan::to_train(document, Some(stopwatch))?)?;
        Ok(Self { latencies: stopwatch.shares(), ..experiment })
    }

    fn of_plan(document: &Document, plan: &Plan<'_>) -> anyhow::Result<Self> {
        if plan.trials > MOST_TRIALS {
            let what = format!("{} trials are too many to run", plan.trials);
            let complaint = Complaint::new(what, "", format!("at most {MOST_TRIALS}"));
            return Err(document.error(&At::File, complaint.help("`harness plan` lists sweeps of any size")).into());
        }
        let text = |key: &str| document.get(key).and_then(|entry| entry.value.as_str().map(String::from));
        let experiment = Self {
            name: resolve::file_name(document)?,
            title: text("title"),
            description: text("description"),
            frozen: document.to_toml(),
            document: document.clone(),
            run: RunSettings::of(document)?,
            trials: plan.rows().map(|row| Ok(Trial::new(&row?, plan.layers()))).collect::<anyhow::Result<_>>()?,
            latencies: BTreeMap::new(),
            tuning: None,
            only_tries: false,
        };
        experiment.tuned()
    }

    /// Refuses a trial for which the data turns out to have too few training images.
    ///
    /// # Errors
    /// An [`ExperimentError`]: the key that asks for too much, and what would be accepted.
    pub fn check_images(&self, trial: &Trial, images: usize) -> Result<(), ExperimentError> {
        let TrialConfig { recipe, validation, dataset, .. } = &trial.config;
        let demand = ImageDemand { dataset: &dataset.name, recipe, validation: *validation };
        images::check(&self.document, |key| trial.places.at(key), demand, images)
    }

    /// Keeps the trials that fit the filter (see [`Trial::matches`]).
    ///
    /// # Errors
    /// A filter that fits none; the message has labels that would.
    pub fn only(mut self, filter: &str) -> anyhow::Result<Self> {
        let labels: Vec<String> = self.trials.iter().map(|trial| trial.label.clone()).collect();
        self.trials.retain(|trial| trial.matches(filter));
        if self.trials.is_empty() {
            return Err(filter::none_fits(filter, labels.iter().map(String::as_str)).into());
        }
        Ok(self)
    }
}

impl Trial {
    fn new(row: &Row<'_>, layers: &[LayerOverride]) -> Self {
        let Row { setting, seed, aliases, budgets, control_of, index, .. } = row;
        Self {
            label: setting.label.to_string(),
            aliases: aliases.iter().flat_map(|aliases| &aliases.labels).map(ToString::to_string).collect(),
            budgets: budgets.cloned().unwrap_or_default(),
            control_of: control_of.iter().map(ToString::to_string).collect(),
            config: setting.config(layers, *seed),
            network: setting.network.clone(),
            signature: setting.hashes[*index].to_hex().to_string(),
            places: setting.places.clone(),
            tuned: None,
        }
    }

    /// Names the trial's folder, given the content hash of the data: 16 hex digits.
    pub fn key(&self, fingerprint: &str) -> String {
        identity::key(&self.signature, fingerprint)
    }

    /// Whether every comma-separated term of the filter fits: `KEY=VALUE` compares `method` (the name), an option of the
    /// method, `seed`, or a key of another section; anything else must be a part of the label. Aliases count.
    pub fn matches(&self, filter: &str) -> bool {
        let labels: Vec<&str> = self.aliases.iter().chain([&self.label]).map(String::as_str).collect();
        filter::fits(filter, &labels, self.config.seed, |key| self.config.get(key))
    }
}

/// Looks through a file's text without touching any other file, up to so many combinations: what it is worth to throw
/// arbitrary text at. Networks are not priced.
///
/// # Errors
/// What is wrong with the text.
pub fn skim(text: &str, most: usize) -> Result<usize, ExperimentError> {
    let document = parse("experiment.toml", text)?;
    // What would be frozen is an experiment as well.
    parse("frozen.toml", &document.to_toml())?;
    let sweep = Sweep::new(&document)?;
    let layers = resolve::layers(&document)?;
    let combinations = combine::Combinations::new(&sweep).take(most);
    let settled = |combination: combine::Combination<'_>| usize::from(!combination.into_entries().is_empty());
    combinations.map(|combination| combination.map(settled)).sum::<Result<usize, _>>().map(|count| count + layers.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sweep::condition;
    use super::*;

    /// Lines of experiments and slips in them, so that some of what is thrown makes sense.
    const PIECES: [&str; 24] = [
        "name = 'x'",
        "[recipe]",
        "lr = 0.1",
        "[[grid]]",
        "[[zip]]",
        "[[list]]",
        "[[draw]]",
        "[[grid.case]]",
        "[[draw.case]]",
        "[[layer]]",
        "count = 1000000000000000000",
        "count = 9_000_000",
        "seed = 3",
        "if = 'method = compconv'",
        "when = 'lr > 0.1 and (depth = 3'",
        "exclude = ['lr in [0.1, 0.2]', 'not depth = 1']",
        "recipe.lr = [0.1, 0.2, 0.3]",
        "recipe.batch = { uniform = [1, 9223372036854775807] }",
        "recipe.weight_decay = { log_uniform = [1e-300, 1e300] }",
        "method.name = ['vanilla', 'compconv']",
        "method.depth = [1, 2]",
        "rows = [{ recipe.lr = 1 }, { method.depth = 3 }]",
        "protocol.seeds = [0, 1]",
        "recipe = { lr = [",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = skim(&text, 100);
        }

        #[test]
        fn no_file_makes_the_sweep_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..16)) {
            let text: Vec<&str> = pieces.iter().map(|&piece| PIECES[piece]).collect();
            let _ = skim(&text.join("\n"), 100);
        }

        #[test]
        fn no_text_makes_a_condition_panic(text in "[a-z.=<>!()\\[\\], '\"0-9_-]{0,60}", any in "\\PC{0,60}") {
            let _ = condition::Expression::parse(keys(), &text);
            let _ = condition::Expression::parse(keys(), &any);
        }
    }

    #[test]
    fn small_files_of_huge_sweeps_are_refused_at_once() {
        let axis = |n: usize| format!("[{}]", vec!["1"; n].join(", "));
        let keys = ["lr", "batch", "epochs", "warmup_epochs", "subset", "finetune_epochs", "finetune_lr", "gamma"];
        let grid: String = keys.iter().map(|key| format!("recipe.{key} = {}\n", axis(2000))).collect();
        let error = skim(&format!("[[grid]]\n{grid}"), 10).unwrap_err().to_string();
        assert!(error.contains("the [[grid]] is too large"), "{error}");
        // Some are looked at, not all.
        let cases: String = keys.iter().map(|key| format!("[[grid.case]]\nrecipe.{key} = {}\n", axis(2000))).collect();
        assert_eq!(skim(&format!("[[grid]]\nmethod.name = 'ghost'\n{cases}"), 10).unwrap(), 10);
    }

    const BASE: &str = "name = 'base'\nexclude = 'lr = 0.3'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n\
        [method]\nname = 'compconv'\ndepth = 2\n[recipe]\nlr = 0.2\nepochs = 7\n[[grid]]\nrecipe.batch = [8, 16]\n";

    #[test]
    fn an_experiment_builds_on_the_file_it_includes_and_needs_it_no_more_when_frozen() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("shared")).unwrap();
        std::fs::write(folder.path().join("shared/base.toml"), BASE).unwrap();
        let own = "include = 'shared/base.toml'\nname = 'own'\n[recipe]\nlr = 0.5\n[[grid]]\nrecipe.lr = [0.3, 0.4]\n";
        std::fs::write(folder.path().join("own.toml"), own).unwrap();
        let experiment = Experiment::load(&folder.path().join("own.toml"), &["recipe.epochs=3".to_owned()]).unwrap();
        let trials: Vec<_> = experiment.trials.iter().map(|t| (t.label.as_str(), t.config.recipe.lr)).collect();
        assert_eq!(
            trials,
            [
                ("compconv depth=2 batch=8 lr=0.5", 0.5),
                ("compconv depth=2 batch=16 lr=0.5", 0.5),
                ("compconv depth=2 lr=0.4", 0.4),
            ]
        );
        assert!(experiment.name == "own" && experiment.trials.iter().all(|trial| trial.config.recipe.epochs == 3));
        assert!(!experiment.frozen.contains("include"));
        let again = Experiment::from_document(&parse("frozen.toml", &experiment.frozen).unwrap()).unwrap();
        let signatures = |e: &Experiment| e.trials.iter().map(|t| t.signature.clone()).collect::<Vec<_>>();
        assert_eq!(signatures(&experiment), signatures(&again));
    }
}
