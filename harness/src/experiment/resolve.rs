//! Checked values -> the typed configuration of one trial.

use std::borrow::{Borrow, Cow};

use anyhow::Context;
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use toml::{Table, Value};

use super::sweep::check;
use super::sweep::document::{Document, Entry, find, insert};
use crate::config::error::{At, Complaint, ExperimentError, explain};
use crate::config::field::{self, Check};
use crate::config::{
    BackboneConfig, DatasetConfig, InitConfig, Kernels, LayerOverride, MethodConfig, Precision, Recipe, UpdateRule,
};
use crate::methods::{self, Compression};

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
            document
                .keys
                .lookup_layer(&entry.key, &[name])
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

/// `[dataset]`, `[backbone]` and `[method]`: what the network is made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The data.
    pub dataset: DatasetConfig,
    /// The network.
    pub backbone: BackboneConfig,
    /// What makes its convolutions.
    pub method: MethodConfig,
}

/// Whether the key decides what network there is.
pub fn is_part(key: &str) -> bool {
    ["dataset.", "backbone.", "method."].iter().any(|section| key.starts_with(section))
}

/// The keys that decide what network there is, typed.
///
/// # Errors
/// Missing keys; options that the method has not.
pub(super) fn parts(document: &Document, entries: &[Cow<'_, Entry>]) -> anyhow::Result<Parts> {
    for (key, example) in [("dataset.name", "cifar10"), ("backbone.name", "resnet20")] {
        if find(entries, key).is_none() {
            let accepted = format!("[{}] with name = \"{example}\"", key.split('.').next().unwrap_or_default());
            let complaint = Complaint::new(format!("the key `{key}` is missing"), "", accepted);
            let complaint = complaint.help("`harness datasets` and `harness backbones` list the names");
            return Err(document.error(&At::File, complaint).into());
        }
    }
    let name =
        find(entries, "method.name").and_then(|entry| entry.value.as_str()).unwrap_or(document.keys.default_method());
    let mut table = Table::new();
    insert(&mut table, "method.name", Value::String(name.into()));
    for entry in entries.iter().filter(|entry| is_part(&entry.key)) {
        // A case may hold for a method that has not its options.
        if entry.key.starts_with("method.") {
            check(document, entry, document.keys.lookup(&entry.key, &[name]))?;
        }
        insert(&mut table, &entry.key, entry.value.clone());
    }
    let parts: Parts = table.try_into().context("a checked configuration was refused")?;
    if let Err(error) = methods::resolve(&parts.method) {
        let at = find(entries, "method.name").map_or(&At::File, |entry| &entry.at);
        return Err(document.error(at, Complaint::new(explain(&error), "", "")).into());
    }
    Ok(parts)
}

/// One section of a setting, typed; what is not set has its default.
pub(super) fn section<'d, T: Deserialize<'d>>(entries: &[impl Borrow<Entry>], prefix: &str) -> anyhow::Result<T> {
    let entries = entries.iter().map(Borrow::borrow);
    let values = entries.filter_map(|entry| Some((entry.key.strip_prefix(prefix)?, entry.value.clone())));
    let map = MapDeserializer::<_, toml::de::Error>::new(values);
    T::deserialize(map).context("a checked configuration was refused")
}

/// Whether the recipe's parts go together.
///
/// # Errors
/// Adam at rates that nobody chose for it; a warm-up or fine-tuning longer than the training, or a fine-tuning of fewer epochs
/// than cuts.
pub(super) fn check_recipe(
    document: &Document,
    entries: &[Cow<'_, Entry>],
    (init, recipe): (&InitConfig, &Recipe),
    compression: Option<&Compression>,
) -> Result<(), ExperimentError> {
    let fail = |key: &str, complaint| {
        let at = find(entries, key).map_or(&At::File, |entry| &entry.at);
        Err(document.error(at, complaint))
    };
    if recipe.epochs > 0 && recipe.warmup_epochs > recipe.epochs as f64 {
        let what = "`recipe.warmup_epochs` is out of range";
        let accepted = format!("at most recipe.epochs = {}", recipe.epochs);
        return fail("recipe.warmup_epochs", Complaint::new(what, recipe.warmup_epochs.to_string(), accepted));
    }
    if recipe.precision() == Precision::Bf16 && recipe.kernels == Kernels::Candle {
        let what = "`recipe.precision` is \"bf16\", which candle's operations (`recipe.kernels`) do not compute here";
        return fail("recipe.precision", Complaint::new(what, "", "recipe.kernels = \"own\" or \"direct\", or f32"));
    }
    // The defaults are SGD's: Adam moves every weight by about the rate at every step, and diverges or stalls at these.
    let tunes = compression.is_some_and(|compression| compression.reads_finetuning().1) && recipe.finetune_epochs > 0;
    for (key, read) in [("recipe.lr", true), ("recipe.finetune_lr", tunes)] {
        if recipe.epochs > 0 && recipe.rule() != UpdateRule::Sgd && read && find(entries, key).is_none() {
            let name = recipe.rule().name();
            let what = format!("`recipe.optimizer` is \"{name}\" and `{key}` is not set: its default is SGD's");
            let complaint = Complaint::new(what, "", format!("{key} as well, {name}'s usual 0.001 for one"));
            return fail("recipe.optimizer", complaint);
        }
    }
    let Some(compression) = compression.filter(|_| recipe.epochs > 0) else { return Ok(()) };
    // Given weights need no training before they are compressed.
    let given = !init.is_fresh() || find(entries, "init.file").is_some();
    if recipe.finetune_epochs >= recipe.epochs + usize::from(given) {
        let what = "`recipe.finetune_epochs` leaves no epoch before the cut";
        let accepted = format!("less than recipe.epochs = {}, of which they are the last", recipe.epochs);
        let complaint = Complaint::new(what, recipe.finetune_epochs.to_string(), accepted);
        return fail("recipe.finetune_epochs", complaint);
    }
    let steps = compression.steps();
    if steps > 1 && recipe.finetune_epochs < steps {
        let what = format!("`recipe.finetune_epochs` has not one epoch for each of method.steps = {steps} cuts");
        let accepted = format!("at least {steps}, and less than recipe.epochs = {}", recipe.epochs);
        return fail("recipe.finetune_epochs", Complaint::new(what, recipe.finetune_epochs.to_string(), accepted));
    }
    Ok(())
}
