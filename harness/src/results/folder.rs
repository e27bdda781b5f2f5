//! The run folder `reports/NAME/`: what is in it, who may write it, and how nothing in it is ever half written.
//!
//! ```text
//! harness.json          marker: made by the harness, for this experiment
//! experiment.toml       the frozen experiment
//! trials/KEY/           config.toml, epochs.jsonl, costs.csv, weights.safetensors, result.json (last: it means done)
//! results.{csv,parquet} one row a trial
//! README.md, plots/     the report
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::TrialRecord;
use crate::experiment::TrialConfig;
use crate::train::EpochLog;

const MARKER: &str = "harness.json";
const FROZEN: &str = "experiment.toml";
/// Prefix of files that are being written; what an interruption leaves is not anyone's content.
const TEMPORARY: &str = ".writing-";

/// Says that the harness made a folder, and for which experiment.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    experiment: String,
    format: u32,
}

/// How an experiment introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Headings {
    /// Heads the report; the name does where there is none.
    pub title: Option<String>,
    /// Opens the report.
    pub description: Option<String>,
}

/// A folder of results: `reports/NAME/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    root: PathBuf,
    name: String,
}

impl RunFolder {
    /// Whether the folder may be used for the experiment `name`; writes nothing.
    ///
    /// # Errors
    /// A file, a folder that holds another experiment, or one that has something in it the harness did not make.
    pub fn check(root: &Path, name: &str) -> Result<()> {
        if root.exists() && !root.is_dir() {
            bail!("output {}: is a file; the results of `{name}` need a folder", root.display());
        }
        if root.join(MARKER).exists() {
            let found = read_marker(root)?;
            if found.experiment != name {
                bail!(
                    "output {}: holds the results of experiment `{}`, not of `{name}`; give another folder with --output, \
                     or another `name` in the experiment file",
                    root.display(),
                    found.experiment
                );
            }
        } else if root.exists()
            && let Some(foreign) = first_entry(root)?
        {
            bail!(
                "output {}: was not made by the harness (it holds `{foreign}` and no `{MARKER}`); nothing was touched. \
                 Give an empty or new folder",
                root.display()
            );
        }
        Ok(())
    }

    /// Makes the folder of the experiment `name`, or reopens it, and writes `frozen` (the resolved experiment file) into it.
    ///
    /// Results already there stay: their keys tell whether they still belong to a trial.
    ///
    /// # Errors
    /// A folder that cannot be written, or that [`RunFolder::check`] refuses.
    pub fn create(root: &Path, name: &str, frozen: &str) -> Result<Self> {
        Self::check(root, name)?;
        fs::create_dir_all(root).with_context(|| format!("output {}: the folder cannot be made", root.display()))?;
        if !root.join(MARKER).exists() {
            let marker = Marker { experiment: name.to_owned(), format: 1 };
            write_atomic(&root.join(MARKER), &json(&marker)?)?;
        }
        write_atomic(&root.join(FROZEN), frozen.as_bytes())?;
        let trials = root.join("trials");
        fs::create_dir_all(&trials).with_context(|| format!("{}: the folder cannot be made", trials.display()))?;
        Ok(Self { root: root.to_owned(), name: name.to_owned() })
    }

    /// Opens a folder that a run has made; writes nothing.
    ///
    /// # Errors
    /// A folder that is not there, or has no readable marker.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            bail!("results {}: no such folder; a run makes it: `harness EXPERIMENT.toml`", root.display());
        }
        if !root.join(MARKER).exists() {
            bail!("results {}: was not made by the harness (no `{MARKER}` in it)", root.display());
        }
        Ok(Self { root: root.to_owned(), name: read_marker(root)?.experiment })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The experiment's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `title` and `description` of the experiment, where it has them.
    ///
    /// # Errors
    /// A frozen experiment that cannot be read; names the file.
    pub fn headings(&self) -> Result<Headings> {
        let path = self.root.join(FROZEN);
        let text = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}: is no readable experiment", path.display()))
    }

    /// The folder of one trial; may not be there yet.
    pub fn trial_dir(&self, key: &str) -> PathBuf {
        self.root.join("trials").join(key)
    }

    /// Makes a trial's folder anew: writes its `config.toml`, and drops the log of an attempt that did not finish.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn start(&self, key: &str, config: &TrialConfig) -> Result<()> {
        let dir = self.trial_dir(key);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        let log = dir.join("epochs.jsonl");
        match fs::remove_file(&log) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{}: cannot be replaced", log.display()));
            }
            _ => {}
        }
        write_atomic(&dir.join("config.toml"), toml::to_string(config)?.as_bytes())
    }

    /// The trial's result, or none if it is not finished.
    ///
    /// # Errors
    /// A result that cannot be read; names the file.
    pub fn record(&self, key: &str) -> Result<Option<TrialRecord>> {
        let path = self.trial_dir(key).join("result.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("{}: cannot be read", path.display()))?,
        };
        let record: TrialRecord = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{}: is not a readable result; delete this file and run again to make the trial anew",
                path.display()
            )
        })?;
        if record.key != key {
            bail!("{}: holds the result of trial {}, not of {key}", path.display(), record.key);
        }
        Ok(Some(record))
    }

    /// Writes a trial's `result.json`, which says that the trial is done: everything else of it must be there already.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, record: &TrialRecord) -> Result<()> {
        let dir = self.trial_dir(&record.key);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        write_atomic(&dir.join("result.json"), &json(record)?)
    }

    /// Writes a trial's cost by layer, as `harness cost --format csv` prints it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save_costs(&self, key: &str, csv: &str) -> Result<()> {
        let dir = self.trial_dir(key);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        write_atomic(&dir.join("costs.csv"), csv.as_bytes())
    }

    /// A trial's cost by layer as CSV, or none if it was not written.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn costs(&self, key: &str) -> Result<Option<String>> {
        let path = self.trial_dir(key).join("costs.csv");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(Some(text.with_context(|| format!("{}: cannot be read", path.display()))?)),
        }
    }

    /// Adds a line to the trial's `epochs.jsonl`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn append_epoch(&self, key: &str, epoch: &EpochLog) -> Result<()> {
        let dir = self.trial_dir(key);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        let path = dir.join("epochs.jsonl");
        let mut line = serde_json::to_vec(epoch)?;
        line.push(b'\n');
        let append = || OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line);
        append().with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// The trial's log by epoch, ascending; empty if there is none. An epoch written twice counts as written last.
    ///
    /// # Errors
    /// A line that is no epoch, unless it is the last and was cut short.
    pub fn epochs(&self, key: &str) -> Result<Vec<EpochLog>> {
        let path = self.trial_dir(key).join("epochs.jsonl");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| format!("{}: cannot be read", path.display()))?,
        };
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

    /// Every finished trial, sorted by data, backbone, label and seed.
    ///
    /// # Errors
    /// A result that cannot be read; names the file.
    pub fn records(&self) -> Result<Vec<TrialRecord>> {
        let trials = self.root.join("trials");
        let list = || -> std::io::Result<Vec<String>> {
            let entries = fs::read_dir(&trials)?.collect::<std::io::Result<Vec<_>>>()?;
            Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        };
        let keys = list().with_context(|| format!("{}: cannot be read", trials.display()))?;
        let read: Result<Vec<_>> = keys.par_iter().map(|key| self.record(key)).collect();
        let mut records: Vec<_> = read?.into_iter().flatten().collect();
        records.sort_by_cached_key(|r| {
            (r.data.label.clone(), r.config.backbone.name.clone(), natural(&r.label), r.config.seed, r.key.clone())
        });
        Ok(records)
    }
}

/// Writes a file so that it is, at any time, either the old or the new one, even if the machine stops: a temporary file
/// in the same folder, flushed to disk, then renamed.
///
/// # Errors
/// Those of the file system; names the file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        // A temporary file is private by default; results are as readable as any file the user makes.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself lives in the folder.
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read_marker(root: &Path) -> Result<Marker> {
    let path = root.join(MARKER);
    let bytes = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is not the harness's marker; give another folder", path.display()))
}

/// Name of something in the folder that an interrupted write did not leave there.
fn first_entry(root: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(root).with_context(|| format!("output {}: cannot be read", root.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(TEMPORARY) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A key that sorts `c0=8` before `c0=16`.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[words..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| words + n);
        parts.push((rest[..words].to_owned(), rest[words..digits].parse().unwrap_or(0)));
        rest = &rest[digits..];
    }
    parts
}
