//! Trials as a polars frame, one row each: `results.csv` and `results.parquet`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use conv_core::options::{Described, Kind, Literal};
use polars::prelude::{AnyValue, Column, CsvWriter, DataFrame, DataType, NamedFrom, ParquetWriter, SerWriter, Series};
use toml::{Table, Value};

use super::measured_columns::columns;
use super::{Collected, Measures, RunFolder, TrialRecord, epoch_frame};
use crate::config::{MethodConfig, Protocol, TrialConfig};
use crate::files::write_atomic;
use crate::methods;
use crate::train::Evaluation;

/// Every trial of the folder that finished, and after them those that failed, as a frame (see [`frame`]).
///
/// # Errors
/// A result that cannot be read; names the file.
pub fn collect(folder: &RunFolder) -> Result<DataFrame> {
    let Collected { done, failed } = folder.collected()?;
    with_measured(&[(folder, [done, failed].concat())])
}

/// The frame of these folders' trials, with what was measured of them.
fn with_measured(parts: &[(&RunFolder, Vec<TrialRecord>)]) -> Result<DataFrame> {
    let mut measures: Vec<Column> = Vec::new();
    for (folder, records) in parts {
        let own = columns(records, folder.measured()?.as_ref());
        if measures.is_empty() {
            measures = own;
        } else {
            for (all, own) in measures.iter_mut().zip(&own) {
                all.append(own).context("measures of several folders")?;
            }
        }
    }
    let records: Vec<TrialRecord> = parts.iter().flat_map(|(_, records)| records.iter().cloned()).collect();
    let mut frame = frame(&records)?.hstack(&measures).context("measures beside results")?;
    let experiment: Vec<&str> =
        parts.iter().flat_map(|(folder, records)| records.iter().map(|_| folder.name())).collect();
    frame.insert_column(0, Column::new("experiment".into(), experiment)).context("the experiment beside results")?;
    Ok(frame)
}

/// Writes `results.csv`, `results.parquet` (as [`collect`] has them) and `epochs.parquet` of these folders' trials into `root`; the
/// paths.
///
/// # Errors
/// A log that cannot be read, a file that cannot be written; names it.
pub fn write_frames(root: &Path, parts: &[(&RunFolder, Collected)]) -> Result<[PathBuf; 3]> {
    let mut epochs: Option<DataFrame> = None;
    for (folder, Collected { done, .. }) in parts {
        let own = epoch_frame(folder, done)?.collect().context("epochs as a frame")?;
        epochs = Some(match epochs {
            Some(all) => all.vstack(&own).context("epochs of several folders")?,
            None => own,
        });
    }
    let mut epochs = epochs.unwrap_or_default();
    let all = parts.iter().map(|(folder, Collected { done, failed })| (*folder, [done.as_slice(), failed].concat()));
    let mut frame = with_measured(&all.collect::<Vec<_>>())?;
    let [csv, parquet, by_epoch] = ["results.csv", "results.parquet", "epochs.parquet"].map(|name| root.join(name));
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
        rows.column("key", |r| Some(r.trial.key.clone())),
        rows.column("label", |r| Some(r.trial.label.clone())),
        rows.column("method", |r| Some(r.trial.config.method.name.clone())),
    ];
    let names: BTreeSet<&String> = options.iter().flat_map(Table::keys).collect();
    columns.extend(names.into_iter().map(|name| option(name, &options)));
    columns.extend([
        rows.column("layers", |r| (!r.trial.config.layers.is_empty()).then(|| overrides(r))),
        rows.column("aliases", |r| Some(r.trial.aliases.join("; "))),
        rows.column("budget", |r| r.trial.budgets.shown()),
        rows.column("budget_mismatch", |r| r.trial.budgets.mismatch()),
        rows.column("control_of", |r| (!r.trial.control_of.is_empty()).then(|| r.trial.control_of.join("; "))),
        rows.column("tuned", |r| r.trial.tuned.is_some()),
    ]);
    columns.extend(rows.section(|config| config.backbone.clone())?);
    columns.push(rows.column("replaced", |r| Some(r.network.replaced.clone())));
    columns.extend(rows.section(|config| config.dataset.clone())?);
    columns.extend([
        rows.column("data_source", |r| Some(r.trial.data.source.clone())),
        rows.column("data_label", |r| Some(r.trial.data.label.clone())),
        rows.column("synthetic", |r| r.trial.data.synthetic),
        rows.column("data_fingerprint", |r| Some(r.trial.data.fingerprint.clone())),
        rows.column("seed", |r| Some(r.trial.config.seed)),
    ]);
    columns.extend(rows.section(|config| config.init.clone())?);
    columns.extend(rows.section(|config| config.recipe.clone())?);
    columns.extend(rows.section(|&TrialConfig { seed, validation, test, .. }| Protocol {
        seeds: vec![seed],
        validation,
        test,
        ..Protocol::default()
    })?);
    columns.extend([
        rows.column("epochs_trained", |r| Some(r.measures().map_or(0, |m| m.epochs) as u64)),
        rows.column("base", |r| r.measures()?.base.clone()),
        rows.column("train_images", |r| Some(r.measures().map_or(0, |m| m.train_images) as u64)),
        rows.column("test_images", |r| Some(r.measures()?.test_images? as u64)),
        rows.column("reporting", |r| Some(r.measures()?.reporting.name().to_owned())),
        rows.column("params", |r| Some(r.network.cost.params)),
        rows.column("macs", |r| Some(r.network.cost.macs)),
        rows.column("params_nonzero", |r| r.network.params_nonzero),
        rows.column("macs_nonzero", |r| r.network.macs_nonzero),
        rows.column("activations", |r| Some(r.network.cost.activations)),
        rows.column("depth", |r| r.network.depth.map(|depth| depth as u64)),
    ]);
    type Read = fn(&Measures) -> Option<Evaluation>;
    let splits: [(&str, Read); 2] = [("validation", |m| m.validation), ("test", |m| m.test)];
    for (split, evaluation) in splits {
        let trained = |r: &TrialRecord| r.measures().and_then(evaluation);
        columns.push(rows.column(&format!("{split}_top1"), |r| Some(trained(r)?.top1)));
        columns.push(rows.column(&format!("{split}_top5"), |r| Some(trained(r)?.top5)));
        columns.push(rows.column(&format!("{split}_loss"), |r| Some(trained(r)?.loss)));
    }
    columns.extend([
        rows.column("train_loss", |r| Some(r.measures()?.train_loss)),
        rows.column("seconds", |r| Some(r.measures()?.seconds)),
        rows.column("images_per_second", |r| Some(r.measures()?.images_per_second)),
        rows.column("commit", |r| Some(r.environment.commit.clone())),
        rows.column("dirty", |r| r.environment.dirty),
        rows.column("diff", |r| Some(r.environment.diff.clone())),
        rows.column("cargo_lock", |r| Some(r.environment.lock.clone())),
        rows.column("features", |r| Some(r.environment.features.clone())),
        rows.column("cpu", |r| Some(r.environment.cpu.clone())),
        rows.column("threads", |r| Some(r.environment.threads as u64)),
        rows.column("jobs", |r| r.environment.jobs.map(|jobs| jobs as u64)),
        rows.column("os", |r| Some(r.environment.os.clone())),
        rows.column("rustc", |r| Some(r.environment.rustc.clone())),
        rows.column("harness", |r| Some(r.environment.harness.clone())),
        rows.column("candle", |r| Some(r.environment.candle.clone())),
        rows.column("kernels", |r| Some(r.environment.kernels.clone())),
        rows.column("off_engine", TrialRecord::off_engine),
        rows.column("status", |r| Some(r.failure().map_or("done", |_| "FAILED").to_owned())),
        rows.column("failure", |r| r.failure().map(|failure| format!("{}: {}", failure.kind, failure.reason))),
    ]);
    DataFrame::new(records.len(), columns).context("results as a frame")
}

/// Makes one column over all trials.
struct Rows<'a>(&'a [TrialRecord]);

impl Rows<'_> {
    fn column<V, P: ?Sized>(&self, name: &str, value: impl Fn(&TrialRecord) -> V) -> Column
    where
        Series: NamedFrom<Vec<V>, P>,
    {
        Column::new(name.into(), self.0.iter().map(value).collect::<Vec<_>>())
    }

    /// The columns of a section's keys.
    fn section<T: Described>(&self, section: impl Fn(&TrialConfig) -> T) -> Result<Vec<Column>> {
        let sections: Vec<T> = self.0.iter().map(|record| section(&record.trial.config)).collect();
        let rows: Vec<Vec<Literal<'_>>> = sections.iter().map(T::values).collect();
        let fields = T::OPTIONS.iter().enumerate();
        let columns = fields.filter_map(|(at, field)| {
            field.column.map(|title| key(title, &field.kind, rows.iter().map(|row| &row[at])))
        });
        columns.collect()
    }
}

/// The column of a key: numbers and flags as such, all else as texts; null where nothing is set.
fn key<'a>(title: &str, kind: &Kind, values: impl Iterator<Item = &'a Literal<'a>>) -> Result<Column> {
    fn text(value: &Literal<'_>) -> String {
        match value {
            Literal::Text(text) => text.to_string(),
            Literal::List(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        }
    }
    let cell = |value: &Literal<'_>| match value {
        Literal::Absent => AnyValue::Null,
        // One value where there may be several.
        Literal::Integer(_) | Literal::Number(_) if matches!(kind, Kind::OneOrList(_)) => {
            AnyValue::StringOwned(text(value).into())
        }
        Literal::Flag(value) => AnyValue::Boolean(*value),
        Literal::Integer(value) => AnyValue::Int128(*value),
        Literal::Number(value) => AnyValue::Float64(*value),
        other => AnyValue::StringOwned(text(other).into()),
    };
    let dtype = match kind {
        Kind::Flag => DataType::Boolean,
        Kind::Integer(0.., _) | Kind::Odd => DataType::UInt64,
        Kind::Number(_) => DataType::Float64,
        _ => DataType::String,
    };
    let cells: Vec<AnyValue<'_>> = values.map(cell).collect();
    Ok(Series::from_any_values_and_dtype(title.into(), &cells, &dtype, false)?.into())
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

/// The `[[layer]]` exceptions in one line, e.g. `layer3.*: ghost ratio=4`.
fn overrides(record: &TrialRecord) -> String {
    let one = |layer: &crate::config::LayerOverride| {
        let options = layer.method.options.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
        format!("{}: {}{options}", layer.pattern, layer.method.name)
    };
    record.trial.config.layers.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use crate::results::dictionary;

    #[test]
    fn every_key_has_a_column_of_its_type_and_no_two_the_same() {
        let frame = frame(&[]).unwrap();
        for field in Recipe::OPTIONS {
            let title = field.column.unwrap_or_else(|| panic!("{} has a column", field.key));
            let expected = match field.kind {
                Kind::Flag => DataType::Boolean,
                Kind::Integer(..) => DataType::UInt64,
                Kind::Number(_) => DataType::Float64,
                _ => DataType::String,
            };
            assert_eq!(*frame.column(title).unwrap().dtype(), expected, "{title}");
        }
        for title in ["dataset", "augment", "backbone", "head", "validation_images", "test_read", "recipe_kernels"] {
            assert!(frame.column(title).is_ok(), "{title}");
        }
    }

    #[test]
    fn every_column_has_its_line_in_the_dictionary() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&dir.path().join("x"), "x", "name = 'x'\n").unwrap();
        let found = with_measured(&[(&folder, vec![])]).unwrap();
        let found: Vec<&str> = found.get_column_names().into_iter().map(|name| name.as_str()).collect();
        // No trial, no options.
        let told: Vec<&str> = dictionary::of("results.csv").into_iter().filter(|name| *name != "option_*").collect();
        assert_eq!(found, told);
        let epochs = epoch_frame(&folder, &[]).unwrap().collect().unwrap();
        let epochs: Vec<&str> = epochs.get_column_names().into_iter().map(|name| name.as_str()).collect();
        assert_eq!(epochs, dictionary::of("epochs.parquet"));
    }

    #[test]
    fn a_key_is_written_by_its_kind() {
        let text = |value: Literal<'_>| key("x", &Kind::Text, [value].iter()).unwrap().get(0).unwrap().to_string();
        assert_eq!(text(Literal::List(vec![Literal::Number(0.5), Literal::Number(0.75)])), "\"0.5 0.75\"");
        assert_eq!(text(Literal::Text("cosine".into())), "\"cosine\"");
        assert_eq!(text(Literal::Absent), "null");
        let whole = key("x", &Kind::Integer(0, 9), [Literal::Integer(7), Literal::Absent].iter()).unwrap();
        assert_eq!((whole.null_count(), whole.dtype()), (1, &DataType::UInt64));
    }
}
