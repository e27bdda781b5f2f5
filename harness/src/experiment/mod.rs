//! TOML -> experiment -> trials.
//!
//! [`parse`] takes the text apart into a [`document`], [`include`] adds the files it builds on, [`overrides`] applies `--set`.
//! [`sweep`] checks its blocks, whose [`ways`] to choose values [`combine`] goes through one after the other; [`setting`]
//! types each combination, drops what a [`condition`] excludes and labels the rest; [`plan`] sees to it that every trial comes
//! once. [`network`] remembers what networks cost ([`price`]), [`images`] checks whether the data is large enough,
//! [`identity`] says which trials are the same. [`keys`] lists every key with type, range and meaning.

use std::path::Path;
use std::sync::Arc;

use conv_core::Cost;

mod combine;
pub mod condition;
mod data_sets;
pub mod document;
pub mod draw;
mod filter;
pub mod identity;
pub mod images;
pub mod include;
pub mod keys;
pub mod network;
pub mod overrides;
pub mod parse;
pub mod plan;
pub mod price;
pub mod resolve;
pub mod setting;
pub mod settings;
pub mod sweep;
pub mod vocabulary;
mod ways;

pub use document::Document;
pub use include::read;

pub use settings::{OnFailure, RunSettings};

use crate::config::error::{At, Complaint};
use crate::config::{ExperimentError, LayerOverride, TrialConfig};
use images::{Asked, Written};
use plan::{Plan, Row};
use price::Price;
use setting::Wanted;
use sweep::Sweep;

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
}

/// One training.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The method and what was set of its options; beside it the keys that vary over the experiment.
    pub label: String,
    /// Labels of other settings that make the same network.
    pub aliases: Vec<String>,
    /// Everything that was asked for.
    pub config: TrialConfig,
    /// Price of the final network, closed form.
    pub cost: Cost,
    /// Price of the same backbone, vanilla.
    pub vanilla: Cost,
    /// Deepest effective recursion of any layer.
    pub depth: Option<usize>,
    /// What the method remarks about layers, with their names.
    pub remarks: Arc<[String]>,
    /// Which layers the method made, in words.
    pub replaced: Arc<str>,
    /// Everything that decides the result but the data's content, hashed.
    pub signature: String,
    /// Where its numbers of images were asked for.
    pub written: Arc<Written>,
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
    /// As [`Experiment::load`].
    pub fn from_document(document: &Document) -> anyhow::Result<Self> {
        let plan = Plan::for_what(document, Wanted::Trial)?;
        if plan.trials > MOST_TRIALS {
            let what = format!("{} trials are too many to run", plan.trials);
            let complaint = Complaint::new(what, "", format!("at most {MOST_TRIALS}"));
            return Err(document.error(&At::File, complaint.help("`harness plan` lists sweeps of any size")).into());
        }
        let text = |key: &str| document.get(key).and_then(|entry| entry.value.as_str().map(String::from));
        Ok(Self {
            name: resolve::file_name(document)?,
            title: text("title"),
            description: text("description"),
            frozen: document.to_toml(),
            document: document.clone(),
            run: RunSettings::of(document),
            trials: plan.rows().map(|row| Ok(Trial::new(&row?, plan.layers()))).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Refuses a trial for which the data turns out to have too few training images.
    ///
    /// # Errors
    /// An [`ExperimentError`]: the key that asks for too much, and what would be accepted.
    pub fn check_images(&self, trial: &Trial, images: usize) -> Result<(), ExperimentError> {
        let TrialConfig { recipe, validation, dataset, .. } = &trial.config;
        let asked = Asked { dataset: &dataset.name, recipe, validation: *validation };
        images::check(&self.document, |key| trial.written.at(key), asked, images)
    }

    /// Keeps the trials that fit the filter (see [`Trial::matches`]).
    ///
    /// # Errors
    /// None does.
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
    /// A trial that stands in no file any more, with its price.
    pub fn priced(label: String, aliases: Vec<String>, config: TrialConfig, price: &Price, signature: String) -> Self {
        Self {
            label,
            aliases,
            config,
            cost: price.total,
            vanilla: price.vanilla,
            depth: price.depth(),
            remarks: price.remarks().into(),
            replaced: price.replaced.as_str().into(),
            signature,
            written: Arc::default(),
        }
    }

    fn new(row: &Row<'_>, layers: &[LayerOverride]) -> Self {
        let Row { setting, seed, aliases, index, .. } = row;
        let network = &setting.network;
        Self {
            label: setting.label.to_string(),
            aliases: aliases.iter().flat_map(|aliases| &aliases.labels).map(ToString::to_string).collect(),
            config: setting.config(layers, *seed),
            cost: network.cost,
            vanilla: network.vanilla,
            depth: network.depth,
            remarks: network.remarks.clone(),
            replaced: network.replaced.clone(),
            signature: setting.hashes.get(*index).map(|hash| hash.to_hex().to_string()).unwrap_or_default(),
            written: setting.written.clone().unwrap_or_default(),
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
        filter::fits(filter, &labels, self.config.seed, || self.config.clone())
    }
}

/// Looks through a file's text without touching any other file, up to so many combinations: what it is worth to throw
/// arbitrary text at. Networks are not priced.
///
/// # Errors
/// What is wrong with the text.
pub fn skim(text: &str, most: usize) -> Result<usize, ExperimentError> {
    let document = Document::parse("experiment.toml", text)?;
    // What would be frozen is an experiment as well.
    Document::parse("frozen.toml", &document.to_toml())?;
    let sweep = Sweep::new(&document)?;
    let layers = resolve::layers(&document)?;
    let combinations = combine::Combinations::new(&sweep).take(most);
    let settled = |combination: combine::Combination<'_>| usize::from(!combination.into_entries().is_empty());
    combinations.map(|combination| combination.map(settled)).sum::<Result<usize, _>>().map(|count| count + layers.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            let _ = condition::Expression::parse(&text);
            let _ = condition::Expression::parse(&any);
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
}
