//! Results of other experiments that share a trial: copied, checksums and all, instead of being made again.

use std::fs;

use anyhow::{Context, Result};

use super::checksums::{CHECKSUMS, Checksums};
use super::{RunFolder, TrialState};
use crate::files::write_atomic;

impl RunFolder {
    /// Copies a finished trial from another run folder, if it is there and every file of it is as it was written; whether
    /// it was. The trial must be claimed.
    ///
    /// # Errors
    /// Files that cannot be copied.
    pub fn reuse(&self, other: &RunFolder, key: &str) -> Result<bool> {
        let (from, to) = (other.trial_dir(key), self.trial_dir(key));
        if !matches!(other.state(key), Ok(TrialState::Done(_))) {
            return Ok(false);
        }
        let Some(sums) = Checksums::read(&from)? else { return Ok(false) };
        for name in sums.names() {
            if sums.check(&from, name)?.is_some() {
                return Ok(false);
            }
        }
        self.make_trial_dir(key)?;
        // The result comes last: without it the trial is not done.
        let (last, rest): (Vec<&str>, Vec<&str>) = sums.names().partition(|name| *name == "result.json");
        for name in rest.into_iter().chain([CHECKSUMS]).chain(last) {
            let bytes = fs::read(from.join(name)).with_context(|| format!("{}: cannot be read", from.display()))?;
            write_atomic(&to.join(name), &bytes)?;
        }
        Ok(true)
    }
}
