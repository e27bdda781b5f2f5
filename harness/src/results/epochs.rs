//! A trial's log by epoch, and all of them as one frame.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame, IntoLazy, LazyFrame};
use rayon::prelude::*;

use super::{RunFolder, TrialRecord};
use crate::files::{read_text, remove, write_atomic};
use crate::train::EpochLog;

pub(super) const EPOCHS: &str = "epochs.jsonl";

impl RunFolder {
    /// Adds a line to the trial's `epochs.jsonl`.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn append_epoch(&self, key: &str, epoch: &EpochLog) -> Result<()> {
        self.make_trial_dir(key)?;
        let path = self.trial_dir(key).join(EPOCHS);
        let mut line = serde_json::to_vec(epoch)?;
        line.push(b'\n');
        let append = || OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line);
        append().with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Makes `epochs.jsonl` hold exactly these epochs, as when a trial goes on from a checkpoint; no epochs, no file.
    ///
    /// # Errors
    /// A file that cannot be written or removed; names it.
    pub(super) fn write_epochs(&self, key: &str, epochs: &[EpochLog]) -> Result<()> {
        let path = self.trial_dir(key).join(EPOCHS);
        if epochs.is_empty() {
            return remove(&path);
        }
        let mut bytes = Vec::new();
        for epoch in epochs {
            serde_json::to_writer(&mut bytes, epoch)?;
            bytes.push(b'\n');
        }
        write_atomic(&path, &bytes)
    }

    /// The trial's log by epoch, ascending; empty if there is none. An epoch written twice counts as written last.
    ///
    /// # Errors
    /// A line that is no epoch, unless it is the last and was cut short.
    pub fn epochs(&self, key: &str) -> Result<Vec<EpochLog>> {
        let path = self.trial_dir(key).join(EPOCHS);
        let Some(text) = read_text(&path)? else { return Ok(Vec::new()) };
        let mut epochs = BTreeMap::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            match serde_json::from_str::<EpochLog>(line) {
                Ok(epoch) => drop(epochs.insert(epoch.epoch, epoch)),
                Err(_) if !line.ends_with('\n') => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("{}:{}: is no epoch", path.display(), number + 1));
                }
            }
        }
        Ok(epochs.into_values().collect())
    }
}

/// The epochs of these trials, one row each: what tells the trial, and the columns of [`EpochLog`].
///
/// # Errors
/// A log that cannot be read; names the file.
pub fn epoch_frame(folder: &RunFolder, records: &[TrialRecord]) -> Result<LazyFrame> {
    let logs: Vec<Vec<EpochLog>> =
        records.par_iter().map(|record| folder.epochs(&record.trial.key)).collect::<Result<_>>()?;
    let rows =
        || records.iter().zip(&logs).flat_map(|(record, log)| log.iter().map(move |epoch| (&record.trial, epoch)));
    let real = |name: &str, value: fn(&EpochLog) -> Option<f64>| {
        Column::new(name.into(), rows().map(|(_, epoch)| value(epoch)).collect::<Vec<_>>())
    };
    let columns = vec![
        Column::new("experiment".into(), rows().map(|_| folder.name()).collect::<Vec<_>>()),
        Column::new("key".into(), rows().map(|(trial, _)| trial.key.as_str()).collect::<Vec<_>>()),
        Column::new("label".into(), rows().map(|(trial, _)| trial.label.as_str()).collect::<Vec<_>>()),
        Column::new("seed".into(), rows().map(|(trial, _)| trial.config.seed).collect::<Vec<_>>()),
        Column::new("epoch".into(), rows().map(|(_, epoch)| epoch.epoch as u64).collect::<Vec<_>>()),
        Column::new("phase".into(), rows().map(|(_, epoch)| epoch.phase.as_str()).collect::<Vec<_>>()),
        real("lr", |epoch| Some(epoch.lr)),
        real("train_loss", |epoch| Some(epoch.train_loss)),
        real("train_accuracy", |epoch| Some(epoch.train_accuracy)),
        real("validation_loss", |epoch| epoch.validation_loss),
        real("validation_accuracy", |epoch| epoch.validation_accuracy),
        real("seconds", |epoch| Some(epoch.seconds)),
        real("images_per_second", |epoch| Some(epoch.images_per_second)),
    ];
    let height = logs.iter().map(Vec::len).sum();
    Ok(DataFrame::new(height, columns).context("epochs as a frame")?.lazy())
}
