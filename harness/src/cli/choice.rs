//! Which trained network a command is about.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::experiment::sweep::filter::{SHOWN, fits};
use crate::results::{RunFolder, TrialRecord};
use crate::run::FinishedNetwork;

#[derive(Args, Debug)]
pub struct TrialChoice {
    /// A trial's folder, e.g. reports/cifar/trials/KEY, or a run folder, of which --only picks the trial.
    #[arg(value_name = "TRIAL")]
    path: PathBuf,
    /// Which trial of a run folder: its key or the beginning of it, a label, or KEY=VALUE,... such as method=ghost,seed=0.
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
}

impl TrialChoice {
    /// The network of the one trial that is meant.
    ///
    /// # Errors
    /// No trial, or several; those of [`FinishedNetwork::open`].
    pub fn open(&self) -> Result<FinishedNetwork> {
        let (folder, key) = self.find()?;
        FinishedNetwork::open(&folder, &key)
    }

    fn find(&self) -> Result<(RunFolder, String)> {
        if self.path.join("trial.json").is_file() {
            let path = self.path.canonicalize().with_context(|| format!("{}: cannot be read", self.path.display()))?;
            if let (Some(name), Some(root)) = (path.file_name(), path.parent().and_then(Path::parent)) {
                return Ok((RunFolder::open(root)?, name.to_string_lossy().into_owned()));
            }
        }
        let folder = RunFolder::open(&self.path)?;
        let mut done = folder.collected()?.done;
        done.retain(|record| record.measures().is_some());
        let key = self.pick(&done)?;
        Ok((folder, key))
    }

    /// The key of the one trial that fits.
    fn pick(&self, done: &[TrialRecord]) -> Result<String> {
        let fitting: Vec<&TrialRecord> = match &self.only {
            None => done.iter().collect(),
            Some(filter) => {
                let called = |record: &&TrialRecord| record.trial.label == *filter;
                let keyed = |record: &&TrialRecord| filter.len() >= 4 && record.trial.key.starts_with(&**filter);
                let exact: Vec<&TrialRecord> = done.iter().filter(|record| called(record) || keyed(record)).collect();
                let loose = || done.iter().filter(|record| fits_record(filter, record)).collect();
                if exact.is_empty() { loose() } else { exact }
            }
        };
        let list = |records: &[&TrialRecord]| -> String {
            let line = |record: &&TrialRecord| {
                let trial = &record.trial;
                format!("\n    {}  {} seed={}", trial.key, trial.label, trial.config.seed)
            };
            let more = records.len().saturating_sub(SHOWN);
            let shown: String = records.iter().take(SHOWN).map(line).collect();
            if more > 0 { format!("{shown}\n    and {more} more") } else { shown }
        };
        let path = self.path.display();
        match (&fitting[..], &self.only) {
            ([one], _) => Ok(one.trial.key.clone()),
            ([], Some(filter)) if !done.is_empty() => {
                let all: Vec<&TrialRecord> = done.iter().collect();
                bail!("{path}: `{filter}` fits no trained trial\n  accepted: --only with one of{}", list(&all))
            }
            ([], _) => bail!("{path}: has no trained trial; run its experiment first"),
            (several, _) => bail!(
                "{path}: {} trained trials fit\n  accepted: --only with what fits one alone, such as its key{}",
                several.len(),
                list(several)
            ),
        }
    }
}

fn fits_record(filter: &str, record: &TrialRecord) -> bool {
    let trial = &record.trial;
    let labels: Vec<&str> = trial.aliases.iter().chain([&trial.label]).map(String::as_str).collect();
    fits(filter, &labels, trial.config.seed, |key| trial.config.get(key))
}
