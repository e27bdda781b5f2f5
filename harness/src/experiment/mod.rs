//! TOML -> experiment -> trials.
//!
//! [`parse`] takes the text apart, [`overrides`] applies `--set`, [`sweep`] multiplies the grids out, [`mod@resolve`]
//! types the values, [`price`] says what each network costs, [`images`] whether the data is large enough, [`identity`]
//! which trials are the same. [`keys`] lists every key with type, range and meaning.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use conv_core::Cost;
use toml::Table;

pub mod error;
pub mod field;
pub mod identity;
pub mod images;
pub mod keys;
pub mod overrides;
pub mod parse;
pub mod price;
pub mod resolve;
pub mod schema;
pub mod settings;
pub mod sweep;

pub use error::ExperimentError;
pub use schema::{
    BackboneConfig, DatasetConfig, Head, LayerOverride, MethodConfig, Protocol, Recipe, Replace, Schedule, TrialConfig,
};

pub use settings::{OnFailure, RunSettings};

use crate::methods;
use error::{At, Complaint, explain};
use images::Written;
use parse::{Document, find};
use price::Price;
use resolve::{file_name, layers, plain, resolve, short, varied};

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
    pub remarks: Vec<String>,
    /// Which layers the method made, in words.
    pub replaced: String,
    /// Everything that decides the result but the data's content, hashed.
    pub signature: String,
    /// Where its numbers of images were asked for.
    pub written: Written,
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
        let name = file_name(document)?;
        let combinations = sweep::expand(document)?;
        let layers = layers(document)?;
        let varied = varied(&combinations);
        let mut trials: Vec<Trial> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        // Combinations that differ in the recipe alone are one network, priced once.
        let mut prices: HashMap<String, Price> = HashMap::new();
        let mut unmatched: Vec<usize> = (0..layers.len()).collect();
        for combination in &combinations {
            let (mut config, protocol) = resolve(document, combination, &layers)?;
            let network = serde_json::to_string(&(&config.dataset, &config.backbone, &config.method))?;
            let price = match prices.entry(network) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(price::price(&config).map_err(|error| {
                    let at = find(&combination.entries, error.key).map_or(&combination.at, |entry| &entry.at);
                    let (what, rest) = error.why.split_once('\n').unwrap_or((&error.why, ""));
                    // A complaint from below keeps its own lines.
                    let what = if rest.is_empty() { what.to_string() } else { error.why.clone() };
                    document.error(at, Complaint::new(what, "", ""))
                })?),
            };
            let written = Written::of(&combination.entries);
            let most = images::most(&config.dataset).map_err(|error| {
                let at = find(&combination.entries, "dataset.sources").map_or(&combination.at, |entry| &entry.at);
                document.error(at, Complaint::new(explain(&error), "", ""))
            })?;
            if let Some(most) = most {
                images::check(document, &written, &config, most)?;
            }
            unmatched.retain(|&i| !price.layers.iter().any(|layer| methods::matches(&layers[i].pattern, &layer.name)));
            let label = varied.iter().fold(methods::label(&config.method), |label, key| {
                match find(&combination.entries, key) {
                    Some(entry) => format!("{label} {}={}", short(key), plain(&entry.value)),
                    // Left at its default: what was not set is not shown, as with the method's options.
                    None => label,
                }
            });
            for seed in protocol.seeds {
                config.seed = seed;
                let signature = identity::signature(&config, &price.architecture)?;
                if let Some(&index) = known.get(&signature) {
                    let trial: &mut Trial = &mut trials[index];
                    if trial.label != label && !trial.aliases.contains(&label) {
                        trial.aliases.push(label.clone());
                    }
                    continue;
                }
                known.insert(signature.clone(), trials.len());
                trials.push(Trial {
                    label: label.clone(),
                    aliases: vec![],
                    config: config.clone(),
                    cost: price.total,
                    vanilla: price.vanilla,
                    depth: price.depth(),
                    remarks: price.remarks(),
                    replaced: price.replaced.clone(),
                    signature,
                    written: written.clone(),
                });
            }
        }
        if let Some(&index) = unmatched.first() {
            let at =
                find(&document.layers[index].entries, "match").map_or(&document.layers[index].at, |entry| &entry.at);
            let what = format!("no layer is called `{}`", layers[index].pattern);
            let accepted = "layer names as `harness cost` prints them; `*` stands for any run of characters, \
                `|` for either of two";
            return Err(document.error(at, Complaint::new(what, "", accepted)).into());
        }
        let text = |key: &str| document.get(key).and_then(|entry| entry.value.as_str().map(String::from));
        Ok(Self {
            name,
            title: text("title"),
            description: text("description"),
            frozen: document.to_toml(),
            document: document.clone(),
            run: RunSettings::of(document),
            trials,
        })
    }

    /// Refuses a trial for which the data turns out to have too few training images.
    ///
    /// # Errors
    /// An [`ExperimentError`]: the key that asks for too much, and what would be accepted.
    pub fn check_images(&self, trial: &Trial, images: usize) -> Result<(), ExperimentError> {
        images::check(&self.document, &trial.written, &trial.config, images)
    }

    /// Keeps the trials that fit the filter (see [`Trial::matches`]).
    ///
    /// # Errors
    /// None does.
    pub fn only(mut self, filter: &str) -> anyhow::Result<Self> {
        let labels: Vec<String> = self.trials.iter().map(|trial| trial.label.clone()).collect();
        self.trials.retain(|trial| trial.matches(filter));
        if self.trials.is_empty() {
            let mut shown: Vec<&str> = labels.iter().map(String::as_str).take(12).collect();
            shown.dedup();
            let accepted = format!("KEY=VALUE,... or a part of a label, such as {}", shown.join(" | "));
            return Err(Complaint::new(format!("--only {filter}: no trial fits"), filter, accepted).into());
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
            remarks: price.remarks(),
            replaced: price.replaced.clone(),
            signature,
            written: Written::default(),
        }
    }

    /// Names the trial's folder, given the content hash of the data: 16 hex digits.
    pub fn key(&self, fingerprint: &str) -> String {
        identity::key(&self.signature, fingerprint)
    }

    /// Whether every comma-separated term of the filter fits: `KEY=VALUE` compares `method` (the name), an option of the
    /// method, `seed`, or a key of another section; anything else must be a part of the label. Aliases count.
    pub fn matches(&self, filter: &str) -> bool {
        let labels = || self.aliases.iter().chain([&self.label]);
        // With a value in it, only whole words: `c0=6` is not `c0=64`.
        let part = |text: &str| match text.contains('=') {
            true => labels().any(|label| format!(" {label} ").contains(&format!(" {text} "))),
            false => labels().any(|label| label.contains(text)),
        };
        // As a whole first: labels can have commas in them.
        part(filter)
            || filter.split(',').map(str::trim).all(|term| match term.split_once('=') {
                Some(("method" | "method.name", name)) => labels().any(|label| label.split(' ').next() == Some(name)),
                Some(("seed", seed)) => self.config.seed.to_string() == seed,
                Some((key, value)) => {
                    part(&format!("{}={value}", key.trim_start_matches("method."))) || self.has(key, value)
                }
                None => part(term),
            })
    }

    fn has(&self, key: &str, value: &str) -> bool {
        let Ok(table) = Table::try_from(&self.config) else { return false };
        let short = match key {
            "backbone" | "dataset" => format!("{key}.name"),
            _ if key.contains('.') => key.to_string(),
            _ => format!("recipe.{key}"),
        };
        let mut parts = short.split('.');
        let first = parts.next().and_then(|part| table.get(part));
        let found = parts.fold(first, |value, part| value.and_then(|value| value.get(part)));
        found.is_some_and(|found| plain(found) == value)
    }
}

/// Reads a file and applies `KEY=VALUE`s to it.
///
/// # Errors
/// A file that cannot be read or is no TOML; unknown keys.
pub fn read(path: &Path, overrides: &[String]) -> Result<Document, ExperimentError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let complaint = Complaint::new(format!("cannot be read: {error}"), "", "an experiment in TOML")
            .help("`harness init PATH` writes one");
        ExperimentError { file: file.clone(), at: At::File, source_line: None, complaint: Box::new(complaint) }
    })?;
    let mut document = Document::parse(&file, &text)?;
    for assignment in overrides {
        overrides::apply(&mut document, assignment)?;
    }
    Ok(document)
}
