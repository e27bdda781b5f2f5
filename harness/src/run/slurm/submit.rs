//! `harness submit`: missing trials into the queue.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::queue::{self, command, job_number};
use super::script::{Job, script};
use super::{jobs, root};
use crate::experiment::Experiment;
use crate::files::write_atomic;
use crate::results::{RunFolder, TrialState};
use crate::run::RunOptions;
use crate::run::tuned::prepare_next;

/// What was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// Slurm's numbers of the array jobs, with the number of tasks of each.
    pub jobs: Vec<(u64, usize)>,
    /// The run folder of what was submitted: the experiment's, or that of its tries.
    pub output: PathBuf,
    /// The submission's folder; none where nothing was to be submitted.
    pub dir: Option<PathBuf>,
    /// Trials that are done.
    pub done: usize,
    /// Missing trials that are in the queue, or running, already.
    pub queued: usize,
    /// Missing trials that the queue has no room for: to be submitted later.
    pub beyond: usize,
}

/// Submits the experiment's missing trials (where it is tuned: its missing tries, or, once there are none, the trials) as array
/// jobs of one task a trial, as many as Slurm's limits let through.
/// `options` go to `sbatch` as they are, after the script's own, which they override; `at_once`: most tasks that run at a
/// time.
///
/// # Errors
/// Those of preparing a run; Slurm's commands that are not there or refuse.
pub fn submit(
    experiment: &Experiment,
    run: &RunOptions,
    options: &[String],
    at_once: Option<usize>,
) -> Result<Submission> {
    let (per_array, in_all) = queue::limits()?;
    let sweep = prepare_next(experiment, run)?;
    let folder = absolute(&sweep.folder)?;
    let summary = &sweep.summary;
    let mut submission = Submission {
        done: summary.skipped + summary.reused + summary.trained,
        output: sweep.folder.root().to_owned(),
        ..Submission::default()
    };
    // Two submissions at a time would submit the same trials.
    let _lock = folder.lock()?;
    let queued = queue::queued()?;
    let mut live: HashSet<String> = HashSet::new();
    for job in jobs(&folder)? {
        let tasks = job.keys.into_iter().enumerate();
        live.extend(tasks.filter(|(index, _)| queued.contains_key(&(job.id, *index))).map(|(_, key)| key));
    }
    let mut keys = Vec::new();
    for (frozen, _) in &sweep.missing {
        if live.contains(&frozen.key) {
            submission.queued += 1;
        } else if matches!(folder.state(&frozen.key)?, TrialState::Done(_)) {
            // It ended, and left the queue, after the results were looked at.
            submission.done += 1;
        } else {
            folder.freeze(frozen)?;
            keys.push(frozen.key.as_str());
        }
    }
    let room = in_all.saturating_sub(queued.len() + 1);
    submission.beyond = keys.len().saturating_sub(room);
    keys.truncate(room);
    if keys.is_empty() {
        return Ok(submission);
    }

    let number = (1..).find(|number: &u64| !root(&folder).join(number.to_string()).exists()).unwrap_or(1);
    let dir = root(&folder).join(number.to_string());
    fs::create_dir_all(dir.join("out")).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
    write_atomic(&dir.join("keys"), (keys.join("\n") + "\n").as_bytes())?;
    let working_dir = std::env::current_dir().context("the working directory")?;
    let job = Job {
        name: &sweep.name,
        program: &run.program,
        folder: folder.root(),
        dir: &dir,
        working_dir: &working_dir,
        settings: &run.settings,
        allow_path_change: run.allow_path_change,
    };
    let path = dir.join("job.sh");
    write_atomic(&path, script(&job).as_bytes())?;
    submission.dir = Some(dir.clone());

    let mut written = fs::File::create(dir.join("jobs")).context("writing the jobs of the submission")?;
    for first in (0..keys.len()).step_by(per_array) {
        let count = per_array.min(keys.len() - first);
        let limit = at_once.map_or(String::new(), |most| format!("%{most}"));
        let mut arguments = vec![
            "--parsable".to_owned(),
            format!("--array=0-{}{limit}", count - 1),
            format!("--output={}/out/%A_%a.txt", dir.display()),
        ];
        arguments.extend(options.iter().cloned());
        arguments.extend([path.display().to_string(), first.to_string()]);
        let answer = command("sbatch", &arguments)?;
        let id = job_number(&answer).with_context(|| {
            format!(
                "sbatch said `{answer}`, in which no job's number is: a job of {count} tasks may be in the queue all the same\n  \
                 help: `squeue --me` shows it; cancel it before submitting again"
            )
        })?;
        writeln!(written, "{id} {first} {count}").and_then(|()| written.sync_all()).context("writing a job down")?;
        submission.jobs.push((id, count));
    }
    Ok(submission)
}

/// The folder by a path that holds on every node.
fn absolute(folder: &RunFolder) -> Result<RunFolder> {
    let root = folder.root().canonicalize().with_context(|| format!("{}: cannot be found", folder.root().display()))?;
    RunFolder::open(&root)
}
