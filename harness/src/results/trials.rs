//! What one trial leaves in the run folder, and how it is read back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;

use super::checksums::{Checksums, Damage};
use super::epochs::EPOCHS;
use super::predictions::PREDICTIONS;
use super::{FailureKind, FrozenTrial, RunFolder, TrialRecord};
use crate::config::TrialConfig;
use crate::files::{json, read, read_text, remove, remove_temporary, write_atomic};
use crate::train::EpochLog;
use crate::weights::WeightsFile;

const FROZEN: &str = "trial.json";
const CONFIG: &str = "config.toml";
const LOCK: &str = "lock";
const LOG: &str = "log.txt";
const COSTS: &str = "costs.csv";
/// The finished network, unless it is not kept.
pub const WEIGHTS: &str = "weights.safetensors";
const RESULT: &str = "result.json";
const FAILED: &str = "failed.json";

/// Files of a finished trial that, beside its result, tables, plots and comparisons are made of: checked whenever it is asked
/// for.
const TABLED: [&str; 3] = [EPOCHS, COSTS, PREDICTIONS];

/// How far a trial is.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialState {
    /// No result yet; it may be under way.
    Open,
    /// Finished.
    Done(Box<TrialRecord>),
    /// The last run could not finish it.
    Failed(Box<TrialRecord>),
    /// It was finished, and is no longer what was written: the file, and what is wrong.
    Damaged(String),
}

/// The trials of a folder that are over, each list sorted by data, backbone, label and seed, and named as the experiment
/// names them now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// Those with a result.
    pub done: Vec<TrialRecord>,
    /// Those that failed and were not finished since.
    pub failed: Vec<TrialRecord>,
}

/// The right to work on a trial: held by one process at a time, given back when that process ends, however it does.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, not read")] File);

impl RunFolder {
    /// The folder of one trial; may not be there yet.
    pub fn trial_dir(&self, key: &str) -> PathBuf {
        self.root().join("trials").join(key)
    }

    /// Where the output of a trial's process goes.
    pub fn log(&self, key: &str) -> PathBuf {
        self.trial_dir(key).join(LOG)
    }

    /// Takes the trial for this process; none if another one has it. The folder may be on a shared file system, as long as
    /// that has locks.
    ///
    /// # Errors
    /// A lock file that cannot be made or locked.
    pub fn claim(&self, key: &str) -> Result<Option<Claim>> {
        self.make_trial_dir(key)?;
        let path = self.trial_dir(key).join(LOCK);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.with_context(|| format!("{}: cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                remove_temporary(&self.trial_dir(key));
                Ok(Some(Claim(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
            }
        }
    }

    /// Whether a process works on the trial now.
    pub fn is_claimed(&self, key: &str) -> bool {
        let lock = File::open(self.trial_dir(key).join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Writes what the trial's process will read, unless it is there already and can be read.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn freeze(&self, trial: &FrozenTrial) -> Result<()> {
        if self.frozen(&trial.key).is_ok_and(|there| there == *trial) {
            return Ok(());
        }
        self.make_trial_dir(&trial.key)?;
        write_atomic(&self.trial_dir(&trial.key).join(FROZEN), &json(trial)?)
    }

    /// What was frozen for the trial.
    ///
    /// # Errors
    /// A file that is not there or cannot be read.
    pub fn frozen(&self, key: &str) -> Result<FrozenTrial> {
        let path = self.trial_dir(key).join(FROZEN);
        let bytes = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{}: is no frozen trial", path.display()))
    }

    /// Makes a trial's folder: writes its `config.toml`, and makes its log hold the epochs that earlier attempts are known to
    /// have finished. What else an interruption left of the log is half a line, or an epoch that is about to be trained again.
    ///
    /// # Errors
    /// Files that cannot be written; names the first.
    pub fn start(&self, key: &str, config: &TrialConfig, epochs: &[EpochLog]) -> Result<()> {
        self.make_trial_dir(key)?;
        self.write_epochs(key, epochs)?;
        write_atomic(&self.trial_dir(key).join(CONFIG), toml::to_string(config)?.as_bytes())
    }

    /// How far the trial is.
    ///
    /// # Errors
    /// Files that are there and cannot be read.
    pub fn state(&self, key: &str) -> Result<TrialState> {
        let dir = self.trial_dir(key);
        let Some(bytes) = read(&dir.join(RESULT))? else {
            // A failure that cannot be read is tried again like any other.
            let failed = read(&dir.join(FAILED))?.and_then(|bytes| parse(&dir.join(FAILED), key, &bytes).ok());
            return Ok(failed.map_or(TrialState::Open, |record| TrialState::Failed(Box::new(record))));
        };
        let Some(sums) = Checksums::read(&dir)? else {
            return Ok(TrialState::Damaged(format!("{}: the checksums are missing", dir.display())));
        };
        let there = |name: &str| dir.join(name).exists();
        for name in sums.names().filter(|name| TABLED.contains(name) || !there(name)) {
            if let Some(damage) = sums.check(&dir, name)? {
                return Ok(TrialState::Damaged(damage.to_string()));
            }
        }
        let path = dir.join(RESULT);
        if let Some(what) = sums.damage(RESULT, &bytes) {
            return Ok(TrialState::Damaged(Damage { path, what }.to_string()));
        }
        Ok(match parse(&path, key, &bytes) {
            Ok(record) => TrialState::Done(Box::new(record)),
            Err(error) => TrialState::Damaged(format!("{error:#}")),
        })
    }

    /// The trial's result, or none if it is not finished.
    ///
    /// # Errors
    /// A result that cannot be read, or is not what was written; names the file.
    pub fn record(&self, key: &str) -> Result<Option<TrialRecord>> {
        Ok(match self.sound(key)? {
            TrialState::Done(record) => Some(*record),
            _ => None,
        })
    }

    /// How far the trial is, damage being an error.
    fn sound(&self, key: &str) -> Result<TrialState> {
        match self.state(key)? {
            TrialState::Damaged(what) => {
                bail!("{what}; run the experiment again to make the trial anew, the damaged files are kept aside")
            }
            state => Ok(state),
        }
    }

    /// Writes a trial's result, which says that the trial is done: everything else of it must be there already, and is
    /// summed with it. A trial that is done is never written again.
    ///
    /// # Errors
    /// Files that cannot be summed or written; names the first.
    pub fn save(&self, record: &TrialRecord) -> Result<()> {
        let key = &record.trial.key;
        self.make_trial_dir(key)?;
        let (dir, bytes) = (self.trial_dir(key), json(record)?);
        let mut sums = Checksums::default();
        for name in [FROZEN, CONFIG, COSTS, EPOCHS, PREDICTIONS, WEIGHTS] {
            sums.add_file(&dir, name)?;
        }
        sums.add(RESULT, &bytes);
        sums.write(&dir)?;
        write_atomic(&dir.join(RESULT), &bytes)?;
        remove(&dir.join(FAILED))
    }

    /// Writes that and why the trial failed; the next run tries it again.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn save_failure(&self, record: &TrialRecord) -> Result<()> {
        self.make_trial_dir(&record.trial.key)?;
        write_atomic(&self.trial_dir(&record.trial.key).join(FAILED), &json(record)?)
    }

    /// Takes back that a trial failed, where it failed in this way: it is not to be trained any more.
    ///
    /// # Errors
    /// Files that cannot be read or removed.
    pub fn withdraw_failure(&self, key: &str, kind: FailureKind) -> Result<()> {
        match self.state(key)? {
            TrialState::Failed(record) if record.failure().is_some_and(|failure| failure.kind == kind) => {
                remove(&self.trial_dir(key).join(FAILED))
            }
            _ => Ok(()),
        }
    }

    /// Moves a damaged trial out of the way, to `trials/KEY.damaged-N`; where to.
    ///
    /// # Errors
    /// A folder that cannot be moved.
    pub fn set_aside(&self, key: &str) -> Result<PathBuf> {
        let free = (1..).map(|n| self.root().join("trials").join(format!("{key}.damaged-{n}")));
        let Some(to) = free.into_iter().find(|path| !path.exists()) else { bail!("no free name for {key}") };
        fs::rename(self.trial_dir(key), &to).with_context(|| format!("{}: cannot be moved", to.display()))?;
        Ok(to)
    }

    /// The finished network's weights, checked against their checksum.
    ///
    /// # Errors
    /// Weights that were not kept, or are no longer what was written; names the file.
    pub fn weights(&self, key: &str) -> Result<WeightsFile> {
        let dir = self.trial_dir(key);
        let path = dir.join(WEIGHTS);
        let Some(bytes) = read(&path)? else {
            bail!(
                "{}: not there; a trial keeps its weights unless run.keep_weights = false: run it again without, after its folder \
                 is removed",
                path.display()
            )
        };
        let sums = Checksums::read(&dir)?.with_context(|| format!("{}: the checksums are missing", dir.display()))?;
        if let Some(what) = sums.damage(WEIGHTS, &bytes) {
            bail!("{}", Damage { path, what });
        }
        WeightsFile::read(&bytes).with_context(|| format!("{}: cannot be read", path.display()))
    }

    /// Writes a trial's cost by layer, as `harness cost --format csv` prints it.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn save_costs(&self, key: &str, csv: &str) -> Result<()> {
        self.make_trial_dir(key)?;
        write_atomic(&self.trial_dir(key).join(COSTS), csv.as_bytes())
    }

    /// A trial's cost by layer as CSV, or none if it was not written.
    ///
    /// # Errors
    /// A file that is there and cannot be read; names it.
    pub fn costs(&self, key: &str) -> Result<Option<String>> {
        read_text(&self.trial_dir(key).join(COSTS))
    }

    /// Every trial that is over, each file read once.
    ///
    /// # Errors
    /// A result that cannot be read, or is not what was written; names the file.
    pub fn collected(&self) -> Result<Collected> {
        let states: Vec<TrialState> = self.keys()?.par_iter().map(|key| self.sound(key)).collect::<Result<_>>()?;
        let names = self.names()?;
        let mut collected = Collected::default();
        for state in states {
            let (list, mut record) = match state {
                TrialState::Done(record) => (&mut collected.done, *record),
                TrialState::Failed(record) => (&mut collected.failed, *record),
                TrialState::Open | TrialState::Damaged(_) => continue,
            };
            if let Some(names) = names.get(&record.trial.key) {
                record.trial.label.clone_from(&names.label);
                record.trial.aliases.clone_from(&names.aliases);
                record.trial.budgets.clone_from(&names.budgets);
                record.trial.control_of.clone_from(&names.control_of);
                record.trial.tuned.clone_from(&names.tuned);
            }
            list.push(record);
        }
        for list in [&mut collected.done, &mut collected.failed] {
            list.sort_by_cached_key(|record| {
                let FrozenTrial { key, label, config, data, .. } = &record.trial;
                (data.label.clone(), config.backbone.name.clone(), natural(label), config.seed, key.clone())
            });
        }
        Ok(collected)
    }

    /// Keys of the trials that have a folder.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn keys(&self) -> Result<Vec<String>> {
        let trials = self.root().join("trials");
        let list = || -> std::io::Result<Vec<String>> {
            let entries = fs::read_dir(&trials)?.collect::<std::io::Result<Vec<_>>>()?;
            Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        };
        let mut keys = match list() {
            // A published study keeps its tables, not its trials.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            keys => keys.with_context(|| format!("{}: cannot be read", trials.display()))?,
        };
        // Beside them: what was set aside, and what an interrupted copy left.
        keys.retain(|key| key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
        keys.sort();
        Ok(keys)
    }

    pub(super) fn make_trial_dir(&self, key: &str) -> Result<()> {
        let dir = self.trial_dir(key);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))
    }
}

/// The record of the trial `key` that a file holds.
fn parse(path: &Path, key: &str, bytes: &[u8]) -> Result<TrialRecord> {
    let record: TrialRecord =
        serde_json::from_slice(bytes).with_context(|| format!("{}: is not a readable result", path.display()))?;
    if record.trial.key != key {
        bail!("{}: holds the result of trial {}, not of {key}", path.display(), record.trial.key);
    }
    Ok(record)
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
