//! Checked values -> the typed configuration of one trial.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use toml::{Table, Value};

use super::error::{At, Complaint, ExperimentError, explain};
use super::parse::{Document, Entry, find, insert};
use super::sweep::Combination;
use super::{BackboneConfig, DatasetConfig, LayerOverride, MethodConfig, Protocol, Recipe, TrialConfig, field, keys};
use crate::methods;

/// The experiment's name, fit to be a folder's.
///
/// # Errors
/// None, or one that is not fit.
pub fn file_name(document: &Document) -> Result<String, ExperimentError> {
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
///
/// # Errors
/// Missing or unknown keys, wrong values.
pub fn layers(document: &Document) -> Result<Vec<LayerOverride>, ExperimentError> {
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
///
/// # Errors
/// Missing keys; values that contradict each other.
pub fn resolve(
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
    if recipe.epochs > 0 && recipe.warmup_epochs > recipe.epochs as f64 {
        let what = "`recipe.warmup_epochs` is out of range";
        let accepted = format!("at most recipe.epochs = {}", recipe.epochs);
        return Err(
            fail("recipe.warmup_epochs", Complaint::new(what, recipe.warmup_epochs.to_string(), accepted)).into()
        );
    }
    let prunes = match methods::resolve(&method) {
        Ok(method) => method.pruning.is_some(),
        Err(error) => return Err(fail("method.name", Complaint::new(explain(&error), "", "")).into()),
    };
    if prunes && recipe.epochs > 0 && recipe.finetune_epochs >= recipe.epochs {
        let what = "`recipe.finetune_epochs` leaves no epoch before the cut";
        let accepted = format!("less than recipe.epochs = {}, of which they are the last", recipe.epochs);
        let complaint = Complaint::new(what, recipe.finetune_epochs.to_string(), accepted);
        return Err(fail("recipe.finetune_epochs", complaint).into());
    }
    let Protocol { validation, test, .. } = protocol;
    let layers = layers.to_vec();
    Ok((TrialConfig { dataset, backbone, method, layers, recipe, validation, test, seed: 0 }, protocol))
}

/// Keys outside of the method that differ between combinations: labels show them.
pub fn varied(combinations: &[Combination]) -> Vec<String> {
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
pub fn short(key: &str) -> &str {
    match key.strip_suffix(".name") {
        Some(section) => section,
        None => key.rsplit('.').next().unwrap_or(key),
    }
}

/// A value as labels show it: texts without quotes, no blanks.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string().replace(' ', ""),
    }
}
