//! TOML -> experiment -> trials.
//!
//! [`parse`] takes the text apart, [`overrides`] applies `--set`, [`sweep`] multiplies the grids out, [`price`] says what each
//! network costs, [`identity`] which trials are the same. [`keys`] lists every key with type, range and meaning.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use conv_core::Cost;
use serde::Deserialize;
use toml::{Table, Value};

pub mod error;
pub mod field;
pub mod identity;
pub mod keys;
pub mod overrides;
pub mod parse;
pub mod price;
pub mod schema;
pub mod sweep;

pub use error::ExperimentError;
pub use schema::{
    BackboneConfig, DatasetConfig, Head, LayerOverride, MethodConfig, Protocol, Recipe, Replace, Schedule, TrialConfig,
};

use crate::methods;
use error::{At, Complaint};
use parse::{Document, Entry, find, insert};
use sweep::Combination;

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
    /// `run.threads`, if set.
    pub threads: Option<usize>,
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
        let mut unmatched: Vec<usize> = (0..layers.len()).collect();
        for combination in &combinations {
            let (mut config, protocol) = resolve(document, combination, &layers)?;
            let price = price::price(&config).map_err(|error| {
                let at = find(&combination.entries, error.key).map_or(&combination.at, |entry| &entry.at);
                let (what, rest) = error.why.split_once('\n').unwrap_or((&error.why, ""));
                // A complaint from below keeps its own lines.
                let what = if rest.is_empty() { what.to_string() } else { error.why.clone() };
                document.error(at, Complaint::new(what, "", ""))
            })?;
            unmatched.retain(|&i| !price.layers.iter().any(|layer| methods::matches(&layers[i].pattern, &layer.name)));
            let label = varied.iter().fold(methods::label(&config.method), |label, key| {
                let value = find(&combination.entries, key).map_or("default".into(), |entry| plain(&entry.value));
                format!("{label} {}={value}", short(key))
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
                });
            }
        }
        if let Some(&index) = unmatched.first() {
            let at = find(&document.layers[index].entries, "match").map_or(&document.layers[index].at, |entry| &entry.at);
            let what = format!("no layer is called `{}`", layers[index].pattern);
            let accepted = "layer names as `harness cost` prints them; `*` stands for any run of characters";
            return Err(document.error(at, Complaint::new(what, "", accepted)).into());
        }
        let text = |key: &str| document.get(key).and_then(|entry| entry.value.as_str().map(String::from));
        let count = |key: &str| document.get(key).and_then(|entry| entry.value.as_integer()?.try_into().ok());
        Ok(Self {
            name,
            title: text("title"),
            description: text("description"),
            frozen: document.to_toml(),
            threads: count("run.threads"),
            trials,
        })
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
        part(filter) || filter.split(',').map(str::trim).all(|term| match term.split_once('=') {
            Some(("method" | "method.name", name)) => {
                labels().any(|label| label.split(' ').next() == Some(name))
            }
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
        ExperimentError { file: file.clone(), at: At::File, source_line: None, complaint }
    })?;
    let mut document = Document::parse(&file, &text)?;
    for assignment in overrides {
        overrides::apply(&mut document, assignment)?;
    }
    Ok(document)
}

/// The experiment's name, fit to be a folder's.
fn file_name(document: &Document) -> Result<String, ExperimentError> {
    let accepted = "name = \"...\" of letters, digits, `-`, `_` and `.`, not starting with `.`";
    let Some(entry) = document.get("name") else {
        return Err(document.error(&At::File, Complaint::new("the key `name` is missing", "", accepted)));
    };
    match entry.value.as_str() {
        Some(name)
            if !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) =>
        {
            Ok(name.into())
        }
        _ => {
            let complaint = Complaint::new("`name` names a folder", field::describe(&entry.value), accepted);
            Err(document.error(&entry.at, complaint))
        }
    }
}

/// `[[layer]]` blocks, checked.
fn layers(document: &Document) -> Result<Vec<LayerOverride>, ExperimentError> {
    let mut layers = Vec::new();
    for block in &document.layers {
        let mut table = Table::new();
        for key in ["match", "method.name"] {
            if find(&block.entries, key).is_none() {
                let accepted = "match = \"layer3.*\" and method.name = \"vanilla\"";
                let what = format!("the key `{key}` of [[layer]] is missing");
                return Err(document.error(&block.at, Complaint::new(what, "", accepted)));
            }
        }
        let name = find(&block.entries, "method.name").and_then(|entry| entry.value.as_str()).unwrap_or_default();
        let fail = |entry: &Entry, complaint| document.error(&entry.at, complaint);
        // The name first: what its options are depends on it.
        let (first, rest): (Vec<_>, Vec<_>) = block.entries.iter().partition(|entry| entry.key == "method.name");
        for entry in first.into_iter().chain(rest) {
            keys::lookup(&entry.key, &[name], keys::LAYER_KEYS)
                .and_then(|field| field.check(&entry.key, &entry.value))
                .map_err(|complaint| fail(entry, complaint))?;
            insert(&mut table, &entry.key, entry.value.clone());
        }
        let layer = table.try_into().map_err(|error: toml::de::Error| {
            document.error(&block.at, Complaint::new(error.message(), "", "match and method.name"))
        })?;
        layers.push(layer);
    }
    Ok(layers)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    dataset: DatasetConfig,
    backbone: BackboneConfig,
    method: MethodConfig,
    #[serde(default)]
    recipe: Recipe,
    #[serde(default)]
    protocol: Protocol,
}

/// One combination as a configuration (its seed still to be set) and protocol.
fn resolve(
    document: &Document,
    combination: &Combination,
    layers: &[LayerOverride],
) -> anyhow::Result<(TrialConfig, Protocol)> {
    let fail = |key: &str, complaint| {
        let at = find(&combination.entries, key).map_or(&At::File, |entry| &entry.at);
        document.error(at, complaint)
    };
    let mut table = Table::new();
    insert(&mut table, "method.name", Value::String("vanilla".into()));
    let sections = combination.entries.iter().filter(|entry| entry.key.contains('.') && !entry.key.starts_with("run."));
    sections.for_each(|entry| insert(&mut table, &entry.key, entry.value.clone()));
    for (key, example) in [("dataset.name", "cifar10"), ("backbone.name", "resnet20")] {
        if find(&combination.entries, key).is_none() {
            let accepted = format!("[{}] with name = \"{example}\"", key.split('.').next().unwrap_or_default());
            let complaint = Complaint::new(format!("the key `{key}` is missing"), "", accepted);
            return Err(fail(key, complaint.help("`harness datasets` and `harness backbones` list the names")).into());
        }
    }
    let sections: Sections = table.try_into().context("a checked configuration was refused")?;
    let Sections { dataset, backbone, method, recipe, protocol } = sections;
    if recipe.warmup_epochs > recipe.epochs as f64 {
        let what = "`recipe.warmup_epochs` is out of range";
        let accepted = format!("at most recipe.epochs = {}", recipe.epochs);
        return Err(fail("recipe.warmup_epochs", Complaint::new(what, recipe.warmup_epochs.to_string(), accepted)).into());
    }
    if let Err(error) = methods::resolve(&method) {
        return Err(fail("method.name", Complaint::new(error.to_string(), "", "")).into());
    }
    let Protocol { validation, test, .. } = protocol;
    let layers = layers.to_vec();
    Ok((TrialConfig { dataset, backbone, method, layers, recipe, validation, test, seed: 0 }, protocol))
}

/// Keys outside of the method that differ between combinations: labels show them.
fn varied(combinations: &[Combination]) -> Vec<String> {
    let mut values: BTreeMap<&str, (String, bool, usize)> = BTreeMap::new();
    for entry in combinations.iter().flat_map(|combination| &combination.entries) {
        if entry.key.starts_with("method.") || entry.key == "protocol.seeds" {
            continue;
        }
        let text = plain(&entry.value);
        let seen = values.entry(&entry.key).or_insert_with(|| (text.clone(), false, 0));
        seen.1 |= seen.0 != text;
        seen.2 += 1;
    }
    let differs = |(_, (_, differs, count)): &(&str, (String, bool, usize))| *differs || *count < combinations.len();
    values.into_iter().filter(differs).map(|(key, _)| key.to_string()).collect()
}

/// `recipe.lr` -> `lr`, `backbone.name` -> `backbone`.
fn short(key: &str) -> &str {
    match key.strip_suffix(".name") {
        Some(section) => section,
        None => key.rsplit('.').next().unwrap_or(key),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string().replace(' ', ""),
    }
}
