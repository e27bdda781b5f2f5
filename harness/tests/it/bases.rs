//! A trained network that trials of two processes begin with: one trains it, the other waits, and takes over from one that is killed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{children, signal, text, without_times};

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:200+50"]
[backbone]
name = "resnet20"
[recipe]
epochs = 9
batch = 20
subset = 100
finetune_epochs = 1
[protocol]
validation = 20
controls = []
[run]
measure = false
threads = 1
checkpoint_every = "20ms"
[[grid]]
method.name = "pruned"
method.ratio = [0.5, 0.7]
"#;

/// A process that trains one of the two trials, and what it has said.
struct Sweep {
    process: Child,
    said: std::path::PathBuf,
}

impl Sweep {
    fn start(dir: &Path, output: &str, ratio: &str) -> Self {
        let said = dir.join(format!("{output}-{ratio}.txt"));
        let to = File::create(&said).unwrap();
        let only = format!("ratio={ratio}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(dir).args(["tiny.toml", "--progress", "plain", "--output", output, "--only", &only]);
        let process = command.stdout(to.try_clone().unwrap()).stderr(to).spawn().unwrap();
        Self { process, said }
    }

    fn waits(&self) -> bool {
        fs::read_to_string(&self.said).unwrap().contains("waits for base")
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn finish(&mut self) {
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(&self.said).unwrap());
    }

    fn kill(&mut self) {
        children(self.process.id()).iter().chain([&self.process.id()]).for_each(|&process| signal("KILL", process));
        self.process.wait().unwrap();
    }
}

/// The table without the clock's part, and every trial's weights, by key.
fn results(root: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    let table = without_times(&fs::read_to_string(root.join("results.csv")).unwrap());
    let mut weights: Vec<(String, Vec<u8>)> = fs::read_dir(root.join("trials"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|trial| (trial.display().to_string(), fs::read(trial.join("weights.safetensors")).unwrap()))
        .map(|(trial, weights)| (trial.rsplit('/').next().unwrap_or_default().to_owned(), weights))
        .collect();
    weights.sort();
    (table, weights)
}

#[test]
#[cfg(unix)]
fn two_processes_train_one_base_and_the_death_of_either_is_no_harm() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    fs::write(path.join("tiny.toml"), FILE).unwrap();
    let whole = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        let run = command.current_dir(path).args(["tiny.toml", "--progress", "plain", "--output", output]).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{}", text(&run));
        text(&run)
    };
    whole("alone");
    let expected = results(&path.join("alone"));
    assert_eq!(expected.1.len(), 2);

    // Nobody is killed, who waits is killed, who trains is killed.
    for fault in ["none", "waiting", "training"] {
        let start = || ["0.5", "0.7"].map(|ratio| Sweep::start(path, fault, ratio));
        let (mut sweeps, started) = (start(), Instant::now());
        let waiting = loop {
            if let Some(waiting) = sweeps.iter().position(Sweep::waits) {
                break waiting;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{fault}: neither waits for the other");
            // Where one was done before the other looked, they did not meet, and begin anew.
            if sweeps.iter_mut().all(Sweep::has_ended) {
                fs::remove_dir_all(path.join(fault)).unwrap();
                sweeps = start();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let [first, second] = &mut sweeps;
        let (waiting, training) = if waiting == 0 { (first, second) } else { (second, first) };
        match fault {
            "waiting" => waiting.kill(),
            "training" => training.kill(),
            _ => {}
        }
        if fault != "waiting" {
            waiting.finish();
        }
        if fault != "training" {
            training.finish();
        }
        let said = whole(fault);
        assert!(
            said.contains(if fault == "none" { "0 trained, 2 done before" } else { "1 trained, 1 done before" }),
            "{said}"
        );
        assert!(results(&path.join(fault)) == expected, "{fault}: other results than by one process");
    }
}
