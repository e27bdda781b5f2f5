//! Whether a run folder is as it was written, every byte of it.

use std::path::PathBuf;

use anyhow::Result;
use rayon::prelude::*;

use super::checksums::{Checksums, Damage};
use super::{RunFolder, TrialState};

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Finished trials whose files are all as written.
    pub sound: usize,
    /// Trials without a result, failed ones included: nothing of them is summed yet.
    pub open: usize,
    /// Files that are not as written.
    pub damaged: Vec<Damage>,
}

/// Reads every file that has a checksum, of every trial and of the report.
///
/// # Errors
/// Files that are there and cannot be read.
pub fn verify(folder: &RunFolder) -> Result<Findings> {
    let mut findings = Findings::default();
    if let Some(sums) = Checksums::read(folder.root())? {
        for name in sums.names() {
            findings.damaged.extend(sums.check(folder.root(), name)?);
        }
    }
    findings.damaged.extend(folder.damaged_measured()?);
    let keys = folder.keys()?;
    let checked: Vec<Option<Vec<Damage>>> = keys.par_iter().map(|key| trial(folder, key)).collect::<Result<_>>()?;
    for damage in checked {
        match damage {
            None => findings.open += 1,
            Some(damage) if damage.is_empty() => findings.sound += 1,
            Some(damage) => findings.damaged.extend(damage),
        }
    }
    Ok(findings)
}

/// None: it has no result.
fn trial(folder: &RunFolder, key: &str) -> Result<Option<Vec<Damage>>> {
    let dir = folder.trial_dir(key);
    let Some(sums) = Checksums::read(&dir)? else {
        let result = dir.join("result.json");
        return Ok(result.exists().then(|| vec![Damage { path: result, what: "has no checksum" }]));
    };
    if let TrialState::Open | TrialState::Failed(_) = folder.state(key)? {
        return Ok(None);
    }
    let mut damaged = Vec::new();
    for name in sums.names().chain((!sums.names().any(|name| name == "result.json")).then_some("result.json")) {
        damaged.extend(sums.check(&dir, name)?);
    }
    if damaged.is_empty() && matches!(folder.state(key)?, TrialState::Damaged(_)) {
        damaged.push(Damage { path: PathBuf::from(&dir), what: "cannot be read as a result" });
    }
    Ok(Some(damaged))
}
