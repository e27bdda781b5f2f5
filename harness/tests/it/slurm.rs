//! Trials on a real Slurm of one node, started for the test: submitted, followed, killed with their node, finished.
//!
//! Skipped, with a reason, where Slurm is not installed; with `REQUIRE_SLURM` set that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{text, without_times};

/// The cluster, ended when dropped.
struct Cluster(PathBuf);

impl Cluster {
    /// None: it cannot be had here, and that is allowed.
    fn start(dir: &Path) -> Option<Self> {
        let tools = ["slurmctld", "slurmd", "munged", "sbatch"];
        let there = |name: &str| {
            let find = format!("PATH=$PATH:/usr/sbin:/sbin command -v {name}");
            Command::new("sh").args(["-c", &find]).output().is_ok_and(|found| found.status.success())
        };
        let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
        let missing: Vec<&str> = tools.into_iter().filter(|name| !there(name)).collect();
        if !root || !missing.is_empty() {
            let why = format!("needs root and Slurm; missing: {}", missing.join(", "));
            assert!(std::env::var_os("REQUIRE_SLURM").is_none(), "REQUIRE_SLURM is set: {why}");
            eprintln!("skipped: {why}");
            return None;
        }
        let cluster = Self(dir.join("cluster"));
        cluster.script("start");
        Some(cluster)
    }

    fn script(&self, command: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/cluster");
        // So few tasks an array that four trials need two.
        let run = Command::new(script).arg(command).arg(&self.0).env("MAX_ARRAY_SIZE", "4").output().unwrap();
        assert!(run.status.success(), "cluster {command}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", self.0.join("slurm.conf"));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("scancel").args(["-u", "root"]).output();
        self.script("stop");
    }
}

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:400+100"]
[backbone]
name = "resnet20"
[recipe]
epochs = 2
batch = 20
subset = 200
[protocol]
seeds = [0, 1]
validation = 40
[run]
measure = false
threads = 1
checkpoint_every = "200ms"
[[grid]]
method.name = ["vanilla", "ghost"]
"#;

/// The folder's table without the columns that depend on the clock.
fn table(folder: &Path) -> String {
    let csv = std::fs::read_to_string(folder.join("results.csv")).unwrap();
    without_times(&csv)
}

#[test]
fn trials_survive_their_node_and_end_as_they_would_have_here() {
    let dir = TempDir::new().unwrap();
    let Some(cluster) = Cluster::start(dir.path()) else { return };
    let at = dir.path();
    std::fs::write(at.join("tiny.toml"), FILE).unwrap();
    let harness = |arguments: &[&str]| {
        cluster.command(env!("CARGO_BIN_EXE_harness")).current_dir(at).args(arguments).output().unwrap()
    };
    let rows = |folder: &str| -> Vec<Vec<String>> {
        let status = harness(&["status", folder, "--format", "csv"]);
        assert!(status.status.success(), "{}", text(&status));
        let lines = String::from_utf8_lossy(&status.stdout).into_owned();
        lines.lines().skip(1).map(|line| line.split(',').map(String::from).collect()).collect()
    };
    let wait_in = |what: &str, folder: &str, done: &dyn Fn(&[Vec<String>]) -> bool| {
        let started = Instant::now();
        loop {
            let now = rows(folder);
            if done(&now) {
                return now;
            }
            assert!(started.elapsed() < Duration::from_secs(400), "{what} never came: {now:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let wait = |what: &str, done: &dyn Fn(&[Vec<String>]) -> bool| wait_in(what, "reports/tiny", done);

    let submitted = harness(&["submit", "tiny.toml", "--engine", "slurm", "--", "--comment=mine"]);
    assert!(submitted.status.success(), "{}", text(&submitted));
    let said = text(&submitted);
    assert!(said.contains("4 submitted, 0 in the queue before"), "{said}");
    assert_eq!(said.matches("array job").count(), 2, "arrays hold three tasks here: {said}");
    // What is in the queue is not submitted twice.
    let again = harness(&["submit", "tiny.toml"]);
    assert!(text(&again).contains("0 submitted, 4 in the queue before"), "{}", text(&again));
    // What was launched is frozen: nobody trains this.
    std::fs::write(at.join("tiny.toml"), FILE.replace("epochs = 2", "epochs = 3")).unwrap();

    // The node dies while a trial has an epoch, or at least a checkpoint, behind it.
    let checkpoint = |row: &[String]| at.join("reports/tiny/trials").join(&row[2]).join("checkpoint").exists();
    wait("a checkpoint", &|rows| rows.iter().any(|row| row[4] == "running" && checkpoint(row)));
    cluster.script("kill-node");
    cluster.script("start-node");
    // Slurm lets what it requeues wait for two minutes; nobody needs that here.
    let finished = |rows: &[Vec<String>]| {
        let update = |row: &Vec<String>| {
            if row[4] == "pending" {
                let job = format!("JobId={}", row[3]);
                let _ = cluster.command("scontrol").args(["update", &job, "StartTime=now"]).output();
            }
        };
        rows.iter().for_each(update);
        rows.iter().all(|row| row[4] == "done")
    };
    let rows = wait("the end", &finished);
    assert_eq!(rows.len(), 4);
    let logs: Vec<String> = rows.iter().map(|row| std::fs::read_to_string(at.join(&row[7])).unwrap()).collect();
    assert!(
        logs.iter().any(|log| log.matches("goes on from").count() > 0),
        "a trial goes on from its checkpoint: {logs:?}"
    );

    std::fs::write(at.join("tiny.toml"), FILE).unwrap();
    // A later run anywhere sees the results, and they are those of a run without a cluster.
    let run = harness(&["tiny.toml"]);
    assert!(text(&run).contains("0 trained, 4 done before"), "{}", text(&run));
    let alone = harness(&["tiny.toml", "--output", "alone", "--jobs", "2"]);
    assert!(alone.status.success(), "{}", text(&alone));
    assert_eq!(table(&at.join("reports/tiny")), table(&at.join("alone")));

    tuned(at, &harness, &|what, folder| {
        wait_in(what, folder, &finished);
    });

    // Nothing is left to be cancelled; a new seed is a new submission, and cancelled it is gone.
    let longer = ["submit", "tiny.toml", "--set", "protocol.seeds=[5]", "--set", "recipe.epochs=500"];
    let submitted = harness(&longer);
    assert!(text(&submitted).contains("2 submitted"), "{}", text(&submitted));
    wait("a running trial", &|rows| rows.iter().any(|row| row[4] == "running"));
    let cancelled = harness(&["cancel", "reports/tiny"]);
    assert!(text(&cancelled).contains("2 cancelled"), "{}", text(&cancelled));
    let rows = wait("the cancelling", &|rows| rows.iter().all(|row| row[4] == "done" || row[4] == "gone"));
    assert_eq!(rows.iter().filter(|row| row[4] == "gone").count(), 2);
}

/// Where settings are tuned their tries are submitted first, and then what they chose.
fn tuned(at: &Path, harness: &dyn Fn(&[&str]) -> Output, finished: &dyn Fn(&str, &str)) {
    let tries = FILE.replace(
        "[[grid]]",
        "[tune]\ntries = 2\nseed = 1\nepochs = 1\nrecipe.lr = { log_uniform = [0.01, 0.5] }\n[[grid]]",
    );
    std::fs::write(at.join("tuned.toml"), tries.replace("tiny", "tuned")).unwrap();
    let submit = || {
        let done = harness(&["submit", "tuned.toml"]);
        assert!(done.status.success(), "{}", text(&done));
        text(&done)
    };
    let said = submit();
    assert!(said.contains("4 submitted") && said.contains("tries of settings that are tuned"), "{said}");
    // They are in the queue: nothing is chosen yet, and nothing submitted twice.
    let said = submit();
    assert!(said.contains("0 submitted, ") && said.contains("tries of settings that are tuned"), "{said}");
    finished("the tries", "reports/tuned/tuning");
    let said = submit();
    assert!(said.contains("4 submitted") && !said.contains("tries of settings"), "{said}");
    finished("what they chose", "reports/tuned");
    assert!(submit().contains("0 submitted, 0 in the queue before, 4 done before"));

    let said = text(&harness(&["tuned.toml"]));
    assert!(said.contains("0 trained, 4 done before, 0 failed\n0 trained, 4 done before"), "{said}");
    let alone = harness(&["tuned.toml", "--jobs", "2", "--output", "tuned-alone"]);
    assert!(alone.status.success(), "{}", text(&alone));
    assert_eq!(table(&at.join("reports/tuned")), table(&at.join("tuned-alone")));
}

/// A site that takes preempted tasks out of its queue, as far as its commands tell.
#[cfg(unix)]
#[test]
fn what_was_preempted_is_said_to_be_and_is_submitted_again() {
    use std::os::unix::fs::PermissionsExt;

    let dir = TempDir::new().unwrap();
    let (at, tools) = (dir.path(), dir.path().join("tools"));
    std::fs::create_dir(&tools).unwrap();
    for (name, script) in [
        ("squeue", "exit 0"),
        ("scontrol", "echo 'MaxArraySize = 1001'"),
        ("sbatch", "echo 4242"),
        ("sacct", "printf '4242_0|PREEMPTED\\n4242_1|CANCELLED by 0\\n'"),
    ] {
        let path = tools.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(at.join("tiny.toml"), FILE).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let harness = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(at).env("PATH", &path).args(arguments).output().unwrap()
    };
    let submit = || text(&harness(&["submit", "tiny.toml"]));
    let said = submit();
    assert!(said.contains("4 submitted"), "{said}");
    let status = text(&harness(&["status", "reports/tiny", "--format", "csv"]));
    let states: Vec<&str> = status.lines().skip(1).filter_map(|line| line.split(',').nth(4)).collect();
    assert_eq!(states, ["preempted", "gone", "gone", "gone"], "{status}");
    let said = submit();
    assert!(said.contains("4 submitted, 0 in the queue before"), "{said}");
}
