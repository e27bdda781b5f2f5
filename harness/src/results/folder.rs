//! The run folder `reports/NAME/`: what is in it, who may write it, and how nothing in it is ever half written.
//!
//! ```text
//! harness.json          marker: made by the harness, for this experiment
//! experiment.toml       the experiment as it was last run
//! trials.json           how the experiment names its trials: labels and aliases by key
//! trials/KEY/           one trial:
//!   trial.json            what its process reads, frozen before it starts
//!   config.toml           the same for people
//!   lock                  locked while a process works on the trial
//!   log.txt               what its processes wrote on stderr
//!   epochs.jsonl          a line an epoch
//!   checkpoint*           from which an interrupted training goes on
//!   costs.csv, weights.safetensors
//!   predictions.parquet   what the finished network made of every test image
//!   checksums             of all of these that stay, and of the result
//!   result.json           last: it means done
//!   failed.json           instead of it: why there is none
//! images/               decoded data sets for the trials' processes; may be deleted any time
//! results.{csv,parquet} one row a trial; epochs.parquet: one row an epoch
//! README.md, plots/     the report
//! checksums             of everything outside of trials/
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files::{TEMPORARY, json, read, remove_temporary, write_atomic};

const MARKER: &str = "harness.json";
const EXPERIMENT: &str = "experiment.toml";
const NAMES: &str = "trials.json";
const LOCK: &str = "harness.lock";
/// Layout of the folder; folders of a later one are not understood.
const FORMAT: u32 = 2;

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

/// How the experiment names one of its trials. Names are no part of a trial: they follow the latest run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Method and options, and what else varies.
    pub label: String,
    /// Labels of other settings that make the same network.
    pub aliases: Vec<String>,
}

/// The right to write outside of `trials/`, given back when dropped.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held, not read")] File);

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
            let marker = Marker { experiment: name.to_owned(), format: FORMAT };
            write_atomic(&root.join(MARKER), &json(&marker)?)?;
        }
        let folder = Self { root: root.to_owned(), name: name.to_owned() };
        let _lock = folder.lock()?;
        write_atomic(&root.join(EXPERIMENT), frozen.as_bytes())?;
        let trials = root.join("trials");
        fs::create_dir_all(&trials).with_context(|| format!("{}: the folder cannot be made", trials.display()))?;
        Ok(folder)
    }

    /// Waits until no other process writes outside of `trials/`, and keeps them from it. What processes that were killed
    /// while writing have left is removed.
    ///
    /// # Errors
    /// A lock file that cannot be made or locked.
    pub fn lock(&self) -> Result<FolderLock> {
        let path = self.root.join(LOCK);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.with_context(|| format!("{}: cannot be written", path.display()))?;
        file.lock().with_context(|| format!("{}: cannot be locked", path.display()))?;
        remove_temporary(&self.root);
        Ok(FolderLock(file))
    }

    /// Names of trials, by key; those of the latest run that had the trial.
    ///
    /// # Errors
    /// A file that is there and cannot be read. One that is damaged counts as none: the next run writes it anew.
    pub fn names(&self) -> Result<BTreeMap<String, Names>> {
        let path = self.root.join(NAMES);
        Ok(read(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Adds names, or replaces those that the trials had.
    ///
    /// # Errors
    /// Files that cannot be read, locked or written.
    pub fn add_names(&self, names: impl IntoIterator<Item = (String, Names)>) -> Result<()> {
        let _lock = self.lock()?;
        let known = self.names()?;
        let mut all = known.clone();
        all.extend(names);
        if all == known { Ok(()) } else { write_atomic(&self.root.join(NAMES), &json(&all)?) }
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

    /// The experiment as it was last run, with what was set on the command line.
    pub fn experiment(&self) -> PathBuf {
        self.root.join(EXPERIMENT)
    }

    /// `title` and `description` of the experiment, where it has them.
    ///
    /// # Errors
    /// A frozen experiment that cannot be read; names the file.
    pub fn headings(&self) -> Result<Headings> {
        let path = self.experiment();
        let text = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}: is no readable experiment", path.display()))
    }
}

fn read_marker(root: &Path) -> Result<Marker> {
    let path = root.join(MARKER);
    let bytes = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let marker: Marker = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is not the harness's marker; give another folder", path.display()))?;
    if marker.format > FORMAT {
        bail!(
            "{}: was made by a later harness (layout {}); accepted: layouts up to {FORMAT}",
            root.display(),
            marker.format
        );
    }
    Ok(marker)
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
