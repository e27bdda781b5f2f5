//! Trials as processes: limits, failures as rows, policies; and trials as contents: what is shared is not made twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use harness::results::{FailureKind, RunFolder, TrialRecord};
use tempfile::TempDir;

use crate::support::{children, signal, text};

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:120+40"]
[backbone]
name = "resnet20"
[recipe]
epochs = 2
batch = 20
subset = 60
[protocol]
validation = 20
[run]
measure = false
threads = 1
checkpoint_every = "20ms"
[[grid]]
method.name = ["vanilla", "ghost"]
"#;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tiny.toml"), FILE).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(self.0.path()).args(["tiny.toml", "--progress", "plain", "--output", "out"]).args(more);
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn failures(&self) -> Vec<TrialRecord> {
        RunFolder::open(&self.path("out")).unwrap().collected().unwrap().failed
    }
}

#[test]
fn limits_are_failures_with_their_reason_and_may_be_tried_again() {
    let bench = Bench::new();
    for (set, kind, part) in [
        ("run.memory=20MiB", FailureKind::OutOfMemory, "run.memory allows 20 MiB"),
        ("run.time_limit=1s", FailureKind::OutOfTime, "longer than run.time_limit = 1 s"),
    ] {
        // Long enough that a limit is met, whatever the machine.
        let long = ["--set", "recipe.epochs=3000", "--only", "ghost", "--set", set, "--set", "run.on_failure=retry(1)"];
        let run = bench.run(&long);
        assert_eq!(run.status.code(), Some(1), "{}", text(&run));
        assert!(text(&run).contains(part), "{}", text(&run));
        let failure = bench.failures()[0].failure().unwrap().clone();
        assert_eq!((failure.kind, failure.attempts), (kind, 2), "{failure:?}");
        assert!(failure.reason.contains(part), "{failure:?}");
        let log = bench.path("out/trials").join(&bench.failures()[0].trial.key).join("log.txt");
        assert!(fs::read_to_string(log).unwrap().contains(part));
    }
}

#[test]
fn a_failure_is_a_row_and_stops_the_others_if_asked_to() {
    let bench = Bench::new();
    let diverging = ["--set", "recipe.lr=[1e30, 0.1]", "--only", "vanilla"];
    let stopped = bench.run(&[&diverging[..], &["--set", "run.on_failure=stop"]].concat());
    assert_eq!(stopped.status.code(), Some(1), "{}", text(&stopped));
    assert!(text(&stopped).contains("1 still open") && text(&stopped).contains("run.on_failure"), "{}", text(&stopped));
    // A divergence would diverge again.
    let run = bench.run(&[&diverging[..], &["--set", "run.on_failure=retry(3)"]].concat());
    assert!(text(&run).contains("1 trained, 0 done before, 1 failed"), "{}", text(&run));
    assert_eq!(bench.failures()[0].failure().map(|failure| failure.attempts), Some(1));
    let csv = fs::read_to_string(bench.path("out/results.csv")).unwrap();
    assert!(csv.lines().any(|line| line.contains("FAILED") && line.contains("diverged")), "{csv}");
    let page = fs::read_to_string(bench.path("out/README.md")).unwrap();
    assert!(page.contains("## Trials that failed") && page.contains("**diverged**"), "{page}");
    assert!(page.contains("> **Unfinished**: 1 of 4 trials are done, 1 failed and 2 are open; "), "{page}");
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The checkpoint of the only trial.
fn checkpoint(bench: &Bench) -> PathBuf {
    wait_for(&bench.path("out/trials"));
    let started = Instant::now();
    loop {
        let trials = fs::read_dir(bench.path("out/trials")).unwrap().flatten();
        if let Some(found) = trials.map(|entry| entry.path().join("checkpoint")).find(|path| path.exists()) {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[cfg(unix)]
fn a_process_that_is_killed_is_a_failure_and_goes_on_when_tried_again() {
    let bench = Bench::new();
    let more = ["--only", "ghost", "--set", "recipe.epochs=8", "--set", "run.on_failure=retry(1)"];
    let mut command = bench.command(&more);
    let sweep = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    checkpoint(&bench);
    children(sweep.id()).into_iter().for_each(|child| signal("KILL", child));
    let done = sweep.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains("signal 9"), "{}", text(&done));
    let folder = RunFolder::open(&bench.path("out")).unwrap();
    let log = fs::read_to_string(folder.log(&folder.collected().unwrap().done[0].trial.key)).unwrap();
    assert!(log.contains("goes on from epoch"), "{log}");
}

#[test]
#[cfg(all(unix, target_arch = "x86_64"))]
fn another_kernel_path_is_refused_until_it_is_allowed_and_then_marked() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        eprintln!("skipped: this processor has one kernel path only");
        return;
    }
    let bench = Bench::new();
    let more = ["--only", "ghost", "--set", "recipe.epochs=12"];
    let mut sweep = bench.command(&more).env("CONV_PATH", "portable").spawn().unwrap();
    checkpoint(&bench);
    signal("INT", sweep.id());
    assert_eq!(sweep.wait().unwrap().code(), Some(3));
    let on = |more: &[&str]| bench.command(more).env("CONV_PATH", "avx2").output().unwrap();
    let refused = on(&more);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("--allow-path-change"), "{}", text(&refused));
    let allowed = on(&[&more[..], &["--allow-path-change"]].concat());
    assert!(allowed.status.success(), "{}", text(&allowed));
    let record = RunFolder::open(&bench.path("out")).unwrap().collected().unwrap().done.remove(0);
    assert!(
        record.network.remarks.iter().any(|remark| remark.contains("portable, then avx2")),
        "{:?}",
        record.network.remarks
    );
}

#[test]
fn what_is_there_is_not_made_again_here_or_elsewhere() {
    let bench = Bench::new();
    assert!(text(&bench.run(&["--only", "ghost"])).contains("1 trained, 0 done before"));
    assert!(text(&bench.run(&[])).contains("1 trained, 1 done before"));
    let more = text(&bench.run(&["--set", "protocol.seeds=[0, 1]", "--jobs", "2"]));
    assert!(more.contains("2 trained, 2 done before"), "{more}");
    // Another name, title and folder: the same trials, and one that is new.
    let other =
        FILE.replace("\"tiny\"", "\"other\"").replace("[\"vanilla\", \"ghost\"]", "[\"vanilla\", \"ghost\", \"thin\"]");
    fs::write(bench.path("tiny.toml"), other).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(bench.0.path()).args(["tiny.toml", "--reuse", "out", "--progress", "none"]);
    let run = command.output().unwrap();
    assert!(text(&run).contains("1 trained, 0 done before, 0 failed, 2 taken from elsewhere"), "{}", text(&run));
    let (here, there) =
        (RunFolder::open(&bench.path("reports/other")).unwrap(), RunFolder::open(&bench.path("out")).unwrap());
    let known: Vec<TrialRecord> = there.collected().unwrap().done;
    let shared = here.collected().unwrap().done.into_iter().filter(|record| known.contains(record)).count();
    assert_eq!(shared, 2, "stamp, times and all");
}
