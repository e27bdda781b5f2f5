//! Faults, many of them: whatever happens to a sweep, running the same command until it is done leaves the tables, weights
//! and curves of a sweep that nothing happened to, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
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
epochs = 3
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
method.name = ["ghost", "pruned"]
[[grid]]
method.name = "compconv"
method.depth = 2
"#;

/// A folder to work in, and what an undisturbed sweep leaves.
struct Bench {
    dir: TempDir,
    expected: Vec<(String, Vec<u8>)>,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tiny.toml"), FILE).unwrap();
        let mut bench = Self { dir, expected: vec![] };
        let run = bench.run("undisturbed", &[]);
        assert!(run.status.success(), "{}", text(&run));
        bench.expected = bench.results("undisturbed");
        assert_eq!(bench.expected.iter().filter(|(name, _)| name.ends_with("weights.safetensors")).count(), 3);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, output: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(self.dir.path()).args(["tiny.toml", "--progress", "plain", "--output", output]).args(more);
        command
    }

    fn run(&self, output: &str, more: &[&str]) -> Output {
        self.command(output, more).output().unwrap()
    }

    fn start(&self, output: &str) -> Child {
        self.command(output, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Everything of a folder that must not depend on what happened: by name, the clock's part left out.
    fn results(&self, output: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.path(output);
        let mut found = vec![(
            "results.csv".to_owned(),
            without_times(&fs::read_to_string(root.join("results.csv")).unwrap()).into_bytes(),
        )];
        let mut trials: Vec<PathBuf> =
            fs::read_dir(root.join("trials")).unwrap().map(|entry| entry.unwrap().path()).collect();
        trials.retain(|trial| !trial.to_string_lossy().contains("damaged"));
        trials.sort();
        for trial in trials {
            let key = trial.file_name().unwrap().to_string_lossy().into_owned();
            for name in ["weights.safetensors", "predictions.parquet", "costs.csv", "config.toml", "trial.json"] {
                found.push((format!("{key}/{name}"), fs::read(trial.join(name)).unwrap()));
            }
            let log = fs::read_to_string(trial.join("epochs.jsonl")).unwrap();
            let epochs: String =
                log.lines().map(|line| format!("{}\n", line.split(",\"seconds\"").next().unwrap())).collect();
            found.push((format!("{key}/epochs.jsonl"), epochs.into_bytes()));
            assert!(!trial.join("checkpoint").exists(), "{key}: done, and its checkpoint is still there");
        }
        found
    }

    /// Runs until the end, and compares.
    fn finish(&self, output: &str, what: &str) {
        let run = self.run(output, &[]);
        assert!(run.status.success(), "{what}: {}", text(&run));
        self.compare(output, what);
    }

    fn compare(&self, output: &str, what: &str) {
        let found = self.results(output);
        assert_eq!(names(&found), names(&self.expected), "{what}");
        for ((name, found), (_, expected)) in found.iter().zip(&self.expected) {
            assert!(
                found == expected,
                "{what}: {name} differs\n{}\n{}",
                String::from_utf8_lossy(&found[..found.len().min(4000)]),
                String::from_utf8_lossy(&expected[..expected.len().min(4000)])
            );
        }
        let verified = self.verify(output);
        assert!(verified.status.success(), "{what}: {}", text(&verified));
    }

    fn verify(&self, output: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(self.dir.path()).args(["results", "verify", output]).output().unwrap()
    }

    /// A copy of the undisturbed folder to be damaged.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        let copied = Command::new("cp").arg("-r").arg(self.path("undisturbed")).arg(&to).status().unwrap();
        assert!(copied.success());
        to
    }
}

fn names(results: &[(String, Vec<u8>)]) -> Vec<&str> {
    results.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
#[cfg(unix)]
fn a_campaign_of_faults() {
    let bench = Bench::new();
    kills(&bench);
    stops(&bench);
    two_writers(&bench);
    damage(&bench);
    clocks(&bench);
    full_disk(&bench);
}

/// SIGKILL at random instants: to everyone, to the sweep alone, to a trial alone.
fn kills(bench: &Bench) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..12 {
        let mut sweep = bench.start("killed");
        std::thread::sleep(Duration::from_millis(50 + rng.next_u64() % 900));
        let trials = children(sweep.id());
        match round % 3 {
            0 => trials.iter().chain([&sweep.id()]).for_each(|&process| signal("KILL", process)),
            1 => signal("KILL", sweep.id()),
            _ => {
                trials.iter().for_each(|&process| signal("KILL", process));
                std::thread::sleep(Duration::from_millis(100));
                signal("KILL", sweep.id());
            }
        }
        sweep.wait().unwrap();
    }
    bench.finish("killed", "killed twelve times");
}

/// Asked to stop: by Ctrl-C, by a deadline; everything goes on from where it was.
fn stops(bench: &Bench) {
    for wait in [300, 700, 1100] {
        let mut sweep = bench.start("stopped");
        std::thread::sleep(Duration::from_millis(wait));
        signal("INT", sweep.id());
        let code = sweep.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 3)), "stopped after {wait} ms: {code:?}");
    }
    bench.finish("stopped", "stopped three times");

    let run = bench.run("late", &["--deadline", "2s", "--set", "recipe.epochs=2000"]);
    assert_eq!(run.status.code(), Some(3), "{}", text(&run));
    assert!(text(&run).contains("deadline"), "{}", text(&run));
}

/// Two sweeps in one folder: each trial is trained once, and both end with all of them.
fn two_writers(bench: &Bench) {
    let (first, second) = (bench.start("shared"), bench.command("shared", &[]).output().unwrap());
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success() && second.status.success(), "{}", text(&second));
    bench.compare("shared", "written by two");
    let trials = fs::read_dir(bench.path("shared/trials")).unwrap().count();
    assert_eq!(trials, 3);
    // What one trained the other found.
    let said = text(&second);
    let number = |word: &str| -> usize {
        let before = said.split(word).next().unwrap();
        before.rsplit([' ', '\n']).find(|part| !part.is_empty()).unwrap().parse().unwrap()
    };
    assert_eq!(number(" trained,") + number(" done before"), 3, "{said}");
}

/// Files that are cut, flipped or gone: made anew where tables are made of them, and always noticed.
fn damage(bench: &Bench) {
    type Fault = fn(&Path);
    let faults: [(&str, Fault); 3] = [
        ("cut", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("flipped", |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(path, bytes).unwrap();
        }),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    let names = [
        "result.json",
        "checksums",
        "epochs.jsonl",
        "costs.csv",
        "predictions.parquet",
        "weights.safetensors",
        "config.toml",
    ];
    for name in names {
        for (how, fault) in faults {
            let what = format!("{name} {how}");
            let folder = bench.copy(&what);
            let trial = fs::read_dir(folder.join("trials")).unwrap().next().unwrap().unwrap().path();
            fault(&trial.join(name));
            let verified = bench.verify(&what);
            // Without its last file a trial is not finished, which is no damage.
            if what != "result.json gone" {
                assert_eq!(verified.status.code(), Some(1), "{what}: {}", text(&verified));
                assert!(text(&verified).contains("damaged"), "{what}: {}", text(&verified));
            }
            // Nothing in the tables comes from these: they are for the person who looks after the folder.
            let kept = matches!(name, "weights.safetensors" | "config.toml") && how != "gone";
            if kept {
                fs::remove_dir_all(&trial).unwrap();
            }
            bench.finish(&what, &what);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    // And outside of the trials.
    for name in ["trials.json", "results.csv", "results.parquet", "README.md", "experiment.toml"] {
        for (how, fault) in faults {
            let what = format!("{name} {how}");
            let folder = bench.copy(&what);
            fault(&folder.join(name));
            bench.finish(&what, &what);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}

/// Files from the future and from long ago, in the middle of a sweep.
fn clocks(bench: &Bench) {
    for (round, seconds) in [4_000_000_000, 86_400, 4_000_000_000].into_iter().enumerate() {
        let mut sweep = bench.start("clocks");
        std::thread::sleep(Duration::from_millis(600));
        children(sweep.id()).iter().chain([&sweep.id()]).for_each(|&process| signal("KILL", process));
        sweep.wait().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for file in files(&bench.path("clocks")) {
            // A file that a write was killed in may be gone with its process.
            let opened = fs::File::options().write(true).open(&file);
            opened.and_then(|file| file.set_modified(time)).unwrap_or_else(|error| panic!("{round}: {error}"));
        }
    }
    bench.finish("clocks", "clocks that jump");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A disk that fills up in the middle of a sweep, and later has room again.
fn full_disk(bench: &Bench) {
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disk);
        command.output().is_ok_and(|done| done.status.success())
    };
    if !mount("size=3500k") {
        eprintln!("skipped: a small file system can only be mounted by root");
        return;
    }
    let run = bench.run("disk/out", &[]);
    let said = text(&run);
    let resized = mount("remount,size=200m");
    let finished = resized.then(|| bench.run("disk/out", &[]));
    let results = finished.as_ref().filter(|run| run.status.success()).map(|_| bench.results("disk/out"));
    let _ = Command::new("umount").arg(&disk).status();
    assert!(!run.status.success() && (said.contains("disk is full") || said.contains("No space left")), "{said}");
    assert!(resized, "the disk could not be made larger");
    let results = results.unwrap_or_else(|| panic!("{}", finished.map_or_else(String::new, |run| text(&run))));
    assert!(results == bench.expected, "after a full disk");
}
