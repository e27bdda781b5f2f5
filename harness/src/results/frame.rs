//! Trials as a polars frame, one row each: `results.csv` and `results.parquet`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use polars::prelude::{Column, CsvWriter, DataFrame, ParquetWriter, SerWriter};
use serde::Serialize;
use toml::{Table, Value};

use super::{Collected, Measures, RunFolder, TrialRecord, epoch_frame};
use crate::config::MethodConfig;
use crate::files::write_atomic;
use crate::methods;
use crate::train::Evaluation;

/// Every trial of the folder that finished, and after them those that failed, as a frame (see [`frame`]).
///
/// # Errors
/// A result that cannot be read; names the file.
pub fn collect(folder: &RunFolder) -> Result<DataFrame> {
    let Collected { done, failed } = folder.collected()?;
    frame(&[done, failed].concat())
}

/// Writes `results.csv`, `results.parquet` (as [`collect`] has them) and `epochs.parquet` into the folder; the paths.
///
/// # Errors
/// A log that cannot be read, a file that cannot be written; names it.
pub fn write_frames(folder: &RunFolder, trials: &Collected) -> Result<[PathBuf; 3]> {
    let Collected { done, failed } = trials;
    let keys: Vec<&str> = done.iter().map(|record| record.trial.key.as_str()).collect();
    let mut epochs = epoch_frame(folder, &keys)?.collect().context("epochs as a frame")?;
    let mut frame = frame(&[done.as_slice(), failed].concat())?;
    let [csv, parquet, by_epoch] =
        ["results.csv", "results.parquet", "epochs.parquet"].map(|name| folder.root().join(name));
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).context("results as CSV")?;
    write_atomic(&csv, &bytes)?;
    bytes.clear();
    ParquetWriter::new(&mut bytes).finish(&mut frame).context("results as Parquet")?;
    write_atomic(&parquet, &bytes)?;
    bytes.clear();
    ParquetWriter::new(&mut bytes).finish(&mut epochs).context("epochs as Parquet")?;
    write_atomic(&by_epoch, &bytes)?;
    Ok([csv, parquet, by_epoch])
}

/// One row a trial, in the order given. Every option that any of the methods has is a column `option_NAME`, with the
/// default where it was not set, and null where a trial's method does not have it or it has no default; accuracies,
/// losses and times are null where nothing was trained, or the test split not read.
///
/// # Errors
/// Columns that polars cannot put beside each other: a defect.
pub fn frame(records: &[TrialRecord]) -> Result<DataFrame> {
    let rows = Rows(records);
    let options: Vec<Table> = records.iter().map(|r| options(&r.trial.config.method)).collect();
    let mut columns = vec![
        rows.text("key", |r| Some(r.trial.key.clone())),
        rows.text("label", |r| Some(r.trial.label.clone())),
        rows.text("method", |r| Some(r.trial.config.method.name.clone())),
    ];
    let names: BTreeSet<&String> = options.iter().flat_map(Table::keys).collect();
    columns.extend(names.into_iter().map(|name| option(name, &options)));
    columns.extend([
        rows.text("layers", |r| (!r.trial.config.layers.is_empty()).then(|| overrides(r))),
        rows.text("aliases", |r| Some(r.trial.aliases.join("; "))),
        rows.text("backbone", |r| Some(r.trial.config.backbone.name.clone())),
        rows.text("head", |r| name(&r.trial.config.backbone.head)),
        rows.text("replaced", |r| Some(r.network.replaced.clone())),
        rows.text("dataset", |r| Some(r.trial.config.dataset.name.clone())),
        rows.text("data_source", |r| Some(r.trial.data.source.clone())),
        rows.text("data_label", |r| Some(r.trial.data.label.clone())),
        rows.flag("synthetic", |r| r.trial.data.synthetic),
        rows.text("data_fingerprint", |r| Some(r.trial.data.fingerprint.clone())),
        rows.flag("augment", |r| r.trial.config.dataset.augment),
        rows.count("seed", |r| Some(r.trial.config.seed)),
        rows.count("epochs", |r| Some(r.trial.config.recipe.epochs as u64)),
        rows.count("finetune_epochs", |r| Some(r.trial.config.recipe.finetune_epochs as u64)),
        rows.count("epochs_trained", |r| Some(r.measures().map_or(0, |m| m.epochs) as u64)),
        rows.count("batch", |r| Some(r.trial.config.recipe.batch as u64)),
        rows.real("lr", |r| Some(r.trial.config.recipe.lr)),
        rows.text("schedule", |r| name(&r.trial.config.recipe.schedule)),
        rows.text("milestones", |r| {
            Some(r.trial.config.recipe.milestones.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }),
        rows.real("gamma", |r| Some(r.trial.config.recipe.gamma)),
        rows.real("warmup_epochs", |r| Some(r.trial.config.recipe.warmup_epochs)),
        rows.real("momentum", |r| Some(r.trial.config.recipe.momentum)),
        rows.flag("nesterov", |r| r.trial.config.recipe.nesterov),
        rows.real("weight_decay", |r| Some(r.trial.config.recipe.weight_decay)),
        rows.flag("decay_norm_and_bias", |r| r.trial.config.recipe.decay_norm_and_bias),
        rows.real("label_smoothing", |r| Some(r.trial.config.recipe.label_smoothing)),
        rows.real("finetune_lr", |r| Some(r.trial.config.recipe.finetune_lr)),
        rows.text("recipe_kernels", |r| {
            Some(serde_json::to_value(&r.trial.config.recipe).ok()?["kernels"].as_str()?.to_owned())
        }),
        rows.flag("test_read", |r| r.trial.config.test),
        rows.count("subset", |r| Some(r.trial.config.recipe.subset as u64)),
        rows.count("train_images", |r| Some(r.measures().map_or(0, |m| m.train_images) as u64)),
        rows.count("validation_images", |r| Some(r.trial.config.validation as u64)),
        rows.count("params", |r| Some(r.network.cost.params)),
        rows.count("macs", |r| Some(r.network.cost.macs)),
        rows.count("activations", |r| Some(r.network.cost.activations)),
        rows.count("depth", |r| r.network.depth.map(|depth| depth as u64)),
    ]);
    type Read = fn(&Measures) -> Option<Evaluation>;
    let splits: [(&str, Read); 2] = [("validation", |m| Some(m.validation)), ("test", |m| m.test)];
    for (split, evaluation) in splits {
        let trained = |r: &TrialRecord| r.measures().and_then(evaluation);
        columns.push(rows.real(&format!("{split}_top1"), |r| Some(trained(r)?.top1)));
        columns.push(rows.real(&format!("{split}_top5"), |r| Some(trained(r)?.top5)));
        columns.push(rows.real(&format!("{split}_loss"), |r| Some(trained(r)?.loss)));
    }
    columns.extend([
        rows.real("train_loss", |r| Some(r.measures()?.train_loss)),
        rows.real("seconds", |r| Some(r.measures()?.seconds)),
        rows.real("images_per_second", |r| Some(r.measures()?.images_per_second)),
        rows.text("commit", |r| Some(r.environment.commit.clone())),
        rows.flag("dirty", |r| r.environment.dirty),
        rows.text("diff", |r| Some(r.environment.diff.clone())),
        rows.text("cargo_lock", |r| Some(r.environment.lock.clone())),
        rows.text("features", |r| Some(r.environment.features.clone())),
        rows.text("cpu", |r| Some(r.environment.cpu.clone())),
        rows.count("threads", |r| Some(r.environment.threads as u64)),
        rows.text("os", |r| Some(r.environment.os.clone())),
        rows.text("rustc", |r| Some(r.environment.rustc.clone())),
        rows.text("harness", |r| Some(r.environment.harness.clone())),
        rows.text("candle", |r| Some(r.environment.candle.clone())),
        rows.text("kernels", |r| Some(r.environment.kernels.clone())),
        rows.text("off_engine", TrialRecord::off_engine),
        rows.text("status", |r| Some(r.failure().map_or("done", |_| "FAILED").to_owned())),
        rows.text("failure", |r| r.failure().map(|failure| format!("{}: {}", failure.kind, failure.reason))),
    ]);
    DataFrame::new(records.len(), columns).context("results as a frame")
}

/// Makes one column over all trials.
struct Rows<'a>(&'a [TrialRecord]);

impl Rows<'_> {
    fn text(&self, name: &str, value: impl Fn(&TrialRecord) -> Option<String>) -> Column {
        Column::new(name.into(), self.0.iter().map(value).collect::<Vec<_>>())
    }

    fn real(&self, name: &str, value: impl Fn(&TrialRecord) -> Option<f64>) -> Column {
        Column::new(name.into(), self.0.iter().map(value).collect::<Vec<_>>())
    }

    fn count(&self, name: &str, value: impl Fn(&TrialRecord) -> Option<u64>) -> Column {
        Column::new(name.into(), self.0.iter().map(value).collect::<Vec<_>>())
    }

    fn flag(&self, name: &str, value: impl Fn(&TrialRecord) -> bool) -> Column {
        Column::new(name.into(), self.0.iter().map(value).collect::<Vec<_>>())
    }
}

/// A method's options: those that were set, and the defaults of the others.
fn options(method: &MethodConfig) -> Table {
    let mut options = methods::find(&method.name).map(|info| (info.defaults)()).unwrap_or_default();
    options.extend(method.options.clone());
    options
}

/// An option's column, in the narrowest type that holds every value of it.
fn option(name: &str, options: &[Table]) -> Column {
    let values: Vec<Option<&Value>> = options.iter().map(|options| options.get(name)).collect();
    let all = |test: fn(&Value) -> bool| values.iter().flatten().all(|value| test(value));
    let title = format!("option_{name}").into();
    if all(Value::is_integer) {
        Column::new(title, values.iter().map(|v| v.and_then(Value::as_integer)).collect::<Vec<_>>())
    } else if all(|value| value.is_integer() || value.is_float()) {
        let real = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
        Column::new(title, values.iter().map(|v| v.and_then(real)).collect::<Vec<_>>())
    } else if all(Value::is_bool) {
        Column::new(title, values.iter().map(|v| v.and_then(Value::as_bool)).collect::<Vec<_>>())
    } else {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
        Column::new(title, values.iter().map(|v| v.map(text)).collect::<Vec<_>>())
    }
}

/// How a unit variant is written in experiment files.
fn name(value: &impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(String::from)
}

/// The `[[layer]]` exceptions in one line, e.g. `layer3.*: ghost ratio=4`.
fn overrides(record: &TrialRecord) -> String {
    let one = |layer: &crate::config::LayerOverride| {
        let options = layer.method.options.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
        format!("{}: {}{options}", layer.pattern, layer.method.name)
    };
    record.trial.config.layers.iter().map(one).collect::<Vec<_>>().join("; ")
}
