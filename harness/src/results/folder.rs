//! The run folder `reports/NAME/`: what is in it, who may write it, and how nothing in it is ever half written.
//!
//! ```text
//! harness.json          marker: made by the harness, for this experiment
//! experiment.toml       the experiment as it was last run
//! trials.json           how the experiment names its trials: labels, aliases, budgets and what was chosen for them, by key
//! latencies.json        times of inference that budgets were solved with, as shares of vanilla's
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
//! bases/KEY/            a trained network that several trials compress: a checkpoint, locked while it is trained. What several
//!                       kernel paths, recipes or seeds make has names of its own; may be deleted any time
//! measured/             what its networks cost to run, of one measuring phase; replaced by the next one
//!   measured.json         every network and training with the trials that it is of
//!   checksums             of it
//!   lock                  locked while a process measures
//! tuning/               where settings are tuned, a run folder of its own: the tries
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

use crate::experiment::budget::Budgets;
use crate::experiment::choice::Choice;
use crate::files::{TEMPORARY, json, read, remove_temporary, write_atomic};

const MARKER: &str = "harness.json";
const EXPERIMENT: &str = "experiment.toml";
const NAMES: &str = "trials.json";
const LATENCIES: &str = "latencies.json";
const LOCK: &str = "harness.lock";
/// Where trained networks lie that several trials compress.
pub const BASES: &str = "bases";
const TUNING: &str = "tuning";
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
    /// What of `[tune]` a report has to say.
    #[serde(default)]
    pub tune: TuneHeading,
}

/// What of `[tune]` a report has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TuneHeading {
    /// Whether the folder is one of tries.
    #[serde(default)]
    pub only: bool,
}

/// How the experiment names one of its trials. Names are no part of a trial: they follow the latest run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// Method and options, and what else varies.
    pub label: String,
    /// Labels of other settings that make the same network.
    pub aliases: Vec<String>,
    /// The budgets that its network was solved for.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// Labels of the pruned networks that it is a control of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_of: Vec<String>,
    /// How its setting was tuned, where the experiment tunes: what was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Choice>,
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
        for (key, names) in names {
            if let Some(new) = &names.tuned {
                // What was chosen before, of fewer tries perhaps, is a trial like any other now.
                let replaced = |old: &Choice| old.setting == new.setting && old.values != new.values;
                let others = all.values_mut().filter(|other| other.tuned.as_ref().is_some_and(replaced));
                others.for_each(|other| other.tuned = None);
            }
            all.insert(key, names);
        }
        if all == known { Ok(()) } else { write_atomic(&self.root.join(NAMES), &json(&all)?) }
    }

    /// Shares that were measured before an earlier run of the experiment, as [`RunFolder::keep_latencies`] keeps them; none where
    /// there is no such folder yet.
    ///
    /// # Errors
    /// A file that is there and cannot be read: other times would make other trials.
    pub fn latencies(root: &Path) -> Result<BTreeMap<String, f64>> {
        let path = root.join(LATENCIES);
        // What can be no folder at all is for the run to refuse, which says so better.
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let Some(bytes) = read(&path)? else { return Ok(BTreeMap::new()) };
        serde_json::from_slice(&bytes).with_context(|| format!("{}: holds no times of inference", path.display()))
    }

    /// Keeps what was measured, so that the experiment has the same trials again.
    ///
    /// # Errors
    /// Files that cannot be read, locked or written.
    pub fn keep_latencies(&self, measured: &BTreeMap<String, f64>) -> Result<()> {
        let _lock = self.lock()?;
        let known = Self::latencies(&self.root)?;
        let mut all = measured.clone();
        // What was there decides: trials were made with it.
        all.extend(known.clone());
        if all == known { Ok(()) } else { write_atomic(&self.root.join(LATENCIES), &json(&all)?) }
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

    /// The folder of what several trials begin with; may not be there yet.
    pub fn base_dir(&self, key: &str) -> PathBuf {
        self.root.join(BASES).join(key)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a folder has nothing of a run but tries yet.
    pub fn has_tries_alone(root: &Path) -> bool {
        !root.join(MARKER).exists() && Self::tuning(root).join(MARKER).exists()
    }

    /// Where the tries of a run folder are.
    pub fn tuning(root: &Path) -> PathBuf {
        root.join(TUNING)
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

/// Name of something in the folder that neither an interrupted write nor tuning left there.
fn first_entry(root: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(root).with_context(|| format!("output {}: cannot be read", root.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Tries come first; a kill may have left no more than their folder.
        let tries =
            || Ok::<_, anyhow::Error>(RunFolder::has_tries_alone(root) || first_entry(&entry.path())?.is_none());
        let own = name.starts_with(TEMPORARY) || name == TUNING && entry.path().is_dir() && tries()?;
        if !own {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
