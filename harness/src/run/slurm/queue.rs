//! What Slurm says: its commands, and their answers taken apart.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A task that Slurm still knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    /// Slurm's word, e.g. `RUNNING`, `PENDING`.
    pub state: String,
    /// Why it waits, if it does.
    pub reason: String,
    /// Time since it started, as Slurm writes it.
    pub time: String,
    /// Where it runs.
    pub nodes: String,
}

/// Runs one of Slurm's commands; what it prints.
///
/// # Errors
/// A command that is not there, or fails: with what it said.
pub(super) fn command<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Result<String> {
    let output = Command::new(name).args(arguments).output().with_context(|| {
        format!("`{name}` cannot be started: Slurm's commands have to be on this machine's PATH for --engine slurm")
    })?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Every task in the queue of this user's, by array job and index.
///
/// # Errors
/// Those of `squeue`.
pub(super) fn queued() -> Result<HashMap<(u64, usize), Queued>> {
    let user = command("id", ["-un"])?;
    Ok(parse(&command("squeue", ["-h", "-r", "-u", &user, "-o", "%F|%K|%T|%r|%M|%N"])?))
}

fn parse(text: &str) -> HashMap<(u64, usize), Queued> {
    let task = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        let job = fields.next()?.parse().ok()?;
        // Jobs that are no arrays are none of ours.
        let index = fields.next()?.parse().ok()?;
        let mut next = || fields.next().unwrap_or_default().to_owned();
        let (state, reason, time, nodes) = (next(), next(), next(), next());
        Some(((job, index), Queued { state, reason, time, nodes }))
    };
    text.lines().filter_map(task).collect()
}

/// Those tasks of array jobs that Slurm stopped to make room for others, by its accounting. None where a site keeps no accounts: then
/// such tasks are just gone.
pub(super) fn preempted(jobs: &[u64]) -> HashSet<(u64, usize)> {
    let list: Vec<String> = jobs.iter().map(u64::to_string).collect();
    let said = command("sacct", ["-n", "-X", "-P", "-j", &list.join(","), "-o", "JobID,State"]);
    said.map(|text| parse_preempted(&text)).unwrap_or_default()
}

fn parse_preempted(text: &str) -> HashSet<(u64, usize)> {
    let task = |line: &str| {
        let (task, state) = line.trim().split_once('|')?;
        let (job, index) = task.split_once('_')?;
        let task = (job.parse().ok()?, index.parse().ok()?);
        state.starts_with("PREEMPTED").then_some(task)
    };
    text.lines().filter_map(task).collect()
}

/// The number of the job that `sbatch --parsable` has made of a script: on a line of its own, before the cluster's name on a
/// federation. Sites let it print banners around that.
pub(super) fn job_number(answer: &str) -> Option<u64> {
    let alone = |line: &str| line.split(';').next()?.trim().parse().ok();
    // What a wrapper says that drops the option.
    let told = |line: &str| line.trim().strip_prefix("Submitted batch job ")?.split_whitespace().next()?.parse().ok();
    answer.lines().rev().find_map(alone).or_else(|| answer.lines().rev().find_map(told))
}

/// Most tasks of one array job, and most jobs that the controller holds at all.
///
/// # Errors
/// Those of `scontrol`.
pub(super) fn limits() -> Result<(usize, usize)> {
    let config = command("scontrol", ["show", "config"])?;
    let value = |name: &str, default: usize| {
        let line = config.lines().find(|line| line.split('=').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split('=').nth(1)?.trim().parse().ok()).unwrap_or(default)
    };
    // Indices are below MaxArraySize; the defaults are Slurm's.
    Ok((value("MaxArraySize", 1001).saturating_sub(1).max(1), value("MaxJobCount", 10_000).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_among_what_a_site_has_to_say() {
        for answer in [
            "4242",
            "4242;north",
            "--- Maintenance on 24 December 2026 ---\nYou have used 3 of 100 hours.\n4242\n",
            "4242\nHave a nice day",
            "Checking your account... 17 projects\nSubmitted batch job 4242 on cluster north",
        ] {
            assert_eq!(job_number(answer), Some(4242), "{answer}");
        }
        for answer in ["", "queue 7 is closed", "sbatch: 12 warnings"] {
            assert_eq!(job_number(answer), None, "{answer}");
        }
    }

    #[test]
    fn tasks_that_made_room_for_others_are_found_among_the_accounts() {
        let found = parse_preempted("7_0|PREEMPTED\n7_1|CANCELLED by 0\n7_[2-9]|PENDING\n8|PREEMPTED\nnonsense\n");
        assert_eq!(found, [(7, 0)].into());
    }

    #[test]
    fn tasks_are_told_from_other_jobs() {
        let found =
            parse("7|0|RUNNING|None|0:08|node1\n7|1|PENDING|Resources|0:00|\n9|N/A|RUNNING|None|1:00|x\nnonsense\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[&(7, 1)].reason, "Resources");
        assert_eq!((found[&(7, 0)].state.as_str(), found[&(7, 0)].nodes.as_str()), ("RUNNING", "node1"));
    }
}
