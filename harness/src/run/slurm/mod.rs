//! Trials as a Slurm array job: [`submit`], and [`status`] and [`cancel`], which read Slurm's own tools.
//!
//! ```text
//! slurm/N/keys       a line a trial: array index i, counted from 0, is line i + 1, for good
//! slurm/N/job.sh     the job script
//! slurm/N/jobs       a line an array job: its number, the line before its first trial, its number of trials
//! slurm/N/out/       output of the script of each task
//! ```
//!
//! A submission is never changed: trials that come later get a submission, and so indices, of their own. A task trains one
//! trial, which it claims as any process does, so that local runs, other submissions and requeued tasks never meet on it.

mod queue;
mod script;
mod status;
mod submit;

pub use status::{Cancelled, SubmittedTrial, TaskState, cancel, status};
pub use submit::{Submission, submit};

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::results::RunFolder;

/// An array job, as a submission wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ArrayJob {
    /// Slurm's number of it.
    id: u64,
    /// The trials of its indices 0, 1, ..
    keys: Vec<String>,
    /// Folder of the submission.
    dir: PathBuf,
}

impl ArrayJob {
    /// Where the script of a task writes.
    fn output(&self, index: usize) -> PathBuf {
        self.dir.join("out").join(format!("{}_{index}.txt", self.id))
    }
}

fn root(folder: &RunFolder) -> PathBuf {
    folder.root().join("slurm")
}

/// Every array job of every submission, the oldest first.
fn jobs(folder: &RunFolder) -> Result<Vec<ArrayJob>> {
    let mut all = Vec::new();
    for number in 1.. {
        let dir = root(folder).join(number.to_string());
        if !dir.is_dir() {
            break;
        }
        let read = |name: &str| read_lines(&dir.join(name));
        let keys = read("keys")?;
        for line in read("jobs")? {
            let mut numbers = line.split(' ').map(str::parse::<u64>);
            let (Some(Ok(id)), Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next())
            else {
                // Cut short by a crash: sbatch's answer was never whole.
                continue;
            };
            let keys = keys.iter().skip(first as usize).take(count as usize).cloned().collect();
            all.push(ArrayJob { id, keys, dir: dir.clone() });
        }
    }
    Ok(all)
}

/// A file's lines; none where there is no file.
fn read_lines(path: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => {
            let text = text.with_context(|| format!("{}: cannot be read", path.display()))?;
            Ok(text.lines().map(String::from).collect())
        }
    }
}
