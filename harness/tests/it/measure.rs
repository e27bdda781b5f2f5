//! What networks cost to run, measured after a sweep and by hand, through the binary. No time is judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::results::{Measured, RunFolder, collect};
use tempfile::TempDir;

use crate::support::{children, signal, text};

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:60+10"]
[backbone]
name = "resnet20"
[recipe]
epochs = 1
batch = 8
subset = 16
[protocol]
validation = 20
[run]
threads = 1
measure_rounds = 2
[[grid]]
method.name = ["ghost", "repvgg"]
"#;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tiny.toml"), FILE).unwrap();
        Self(dir)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn harness(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        output
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("reports/tiny").join(name)
    }

    fn folder(&self) -> RunFolder {
        RunFolder::open(&self.path("")).unwrap()
    }

    fn measured(&self) -> Measured {
        self.folder().measured().unwrap().expect("it was measured")
    }
}

/// What training alone told the widths of is measured as what it came to, and layers take no longer than the whole.
#[test]
fn a_globally_ranked_network_is_measured_as_it_came_out() {
    let bench = Bench::new();
    let blocks = "[[grid]]\nmethod.name = 'pruned'\nmethod.ratio = 0.5\nmethod.ranking = 'global'\nmethod.criterion = 'slimming'\n";
    let file = FILE.split("[[grid]]").next().unwrap().replace("epochs = 1", "epochs = 2\nfinetune_epochs = 1") + blocks;
    let file = file.replace("validation = 20", "validation = 20\ncontrols = []");
    fs::write(bench.0.path().join("tiny.toml"), file).unwrap();
    bench.harness(&["tiny.toml", "--progress", "none"]);
    let (measured, record) = (bench.measured(), bench.folder().collected().unwrap().done.remove(0));
    let network = measured.network(&record.trial.key).expect("it was measured");
    assert!(!record.network.widths.is_empty());
    assert_eq!((network.macs, network.problem.clone()), (record.network.cost.macs, None));
    let many = network.many.as_ref().unwrap();
    assert_eq!(many.macs_executed, record.network.cost.macs);
    let names: Vec<&str> = many.layers_ms.iter().map(|(name, _)| name.as_str()).collect();
    for layer in ["conv1", "layer1.0.conv1", "layer3.2.conv2", "fc"] {
        assert!(names.contains(&layer), "{layer} is not among {names:?}");
    }
    assert!(many.layers_ms.iter().all(|(_, ms)| *ms > 0.0), "{:?}", many.layers_ms);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_sweep_is_measured_once_it_is_over_and_only_then_anew_when_it_has_other_networks() {
    let bench = Bench::new();
    bench.harness(&["tiny.toml", "--progress", "none"]);
    let measured = bench.measured();
    assert_eq!((measured.rounds, measured.environment.threads, measured.ends.len()), (2, 1, 2));
    // Vanilla is there although nobody trained it, and RepVGG as what it was fused into.
    let labels: Vec<&str> = measured.networks.iter().map(|network| network.label.as_str()).collect();
    assert_eq!(labels, ["vanilla", "ghost", "repvgg"]);
    let trials: Vec<usize> = measured.networks.iter().map(|network| network.trials.len()).collect();
    assert_eq!(trials, [0, 1, 1]);
    assert_eq!(measured.trainings.len(), 2);
    for network in &measured.networks {
        assert_eq!((network.images, &network.problem), (8, &None), "{network:?}");
        for used in [network.one.as_ref().unwrap(), network.many.as_ref().unwrap()] {
            assert_eq!(used.macs_executed, network.macs);
            assert!(0.0 < used.ms[0] && used.ms[0] <= used.ms[1] && used.ms[1] <= used.ms[2], "{used:?}");
            assert!(
                used.off_engine.is_none() && used.memory_analytic_mib.is_some_and(|memory| memory > 0.5),
                "{used:?}"
            );
        }
        let many = network.many.as_ref().unwrap();
        assert!(many.multiplications_executed < many.macs_executed, "Winograd's form saves some");
    }
    let rounds = |at: usize| measured.networks[at].one.as_ref().unwrap().rounds_ms.len();
    assert_eq!((rounds(0), rounds(1)), (4, 2), "vanilla is measured at both ends of a round");

    // They are columns like any other.
    let frame = collect(&bench.folder()).unwrap();
    let value = |name: &str, row: usize| frame.column(name).unwrap().get(row).unwrap().to_string();
    for row in 0..2 {
        assert_eq!(value("macs_executed", row), value("macs", row));
        assert_eq!(value("infer_batch", row), "8");
        assert!(value("infer_bN_ms_p50", row).parse::<f64>().unwrap() > 0.0);
    }
    let page = read(&bench.path("README.md"));
    for part in ["Speed-up by MACs", "b1 (ms)", "b8 (ms)", "Memory (MiB)", "**Measured with** ", "### Measured costs"] {
        assert!(page.contains(part), "{part}");
    }
    let head = read(&bench.path("results.csv")).lines().next().unwrap().to_owned();
    assert!(head.contains(",infer_b1_ms_p99,") && head.contains(",train_memory_measured_mib,"), "{head}");

    // Nothing new: nothing is measured. A seed more is of networks that are known.
    let file = bench.path("measured/measured.json");
    let before = read(&file);
    bench.harness(&["tiny.toml", "--progress", "none"]);
    assert_eq!(read(&file), before);
    bench.harness(&["tiny.toml", "--progress", "none", "--set", "protocol.seeds=[0, 1]"]);
    let known = bench.measured();
    let trials: Vec<usize> = known.networks.iter().map(|network| network.trials.len()).collect();
    assert_eq!(trials, [0, 2, 2]);
    assert_eq!(known.networks[1].one, measured.networks[1].one);
    // Damage is measured over, and so is everything where there is a network more.
    fs::write(&file, "{}").unwrap();
    let verified = bench.command(&["results", "verify", "reports/tiny"]).output().unwrap();
    assert!(text(&verified).contains("measured.json: is not what was written"), "{}", text(&verified));
    bench.harness(&["tiny.toml", "--progress", "none", "--set", "run.measure_rounds=1"]);
    assert_eq!(bench.measured().rounds, 1);
    let set = ["--set", "method.name=[\"ghost\", \"depthwise\"]", "--set", "run.measure_rounds=1"];
    bench.harness(&[&["tiny.toml", "--progress", "none"], &set[..]].concat());
    assert_eq!(bench.measured().networks.len(), 4);
    let verified = bench.harness(&["results", "verify", "reports/tiny"]);
    assert!(text(&verified).contains("nothing is damaged"), "{}", text(&verified));
}

#[test]
fn what_is_not_to_be_measured_is_not_and_can_be_by_hand() {
    let bench = Bench::new();
    bench.harness(&["tiny.toml", "--progress", "none", "--only", "ghost", "--set", "run.measure=false"]);
    assert!(!bench.path("measured/measured.json").exists());
    assert!(!read(&bench.path("README.md")).contains("b8 (ms)"));
    bench.harness(&["measure", "reports/tiny", "--rounds", "1", "--batch", "3"]);
    let measured = bench.measured();
    assert_eq!((measured.rounds, measured.networks[0].images), (1, 3));
    assert_eq!(measured.networks[1].noisy(), None, "one round tells nothing of noise");
    assert!(read(&bench.path("README.md")).contains("b3 (ms)"));

    // Killed and interrupted, it leaves what was there.
    let before = read(&bench.path("measured/measured.json"));
    for how in ["KILL", "INT"] {
        let mut running = bench.command(&["measure", "reports/tiny", "--rounds", "500"]).spawn().unwrap();
        while children(running.id()).is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        signal(how, running.id());
        let status = running.wait().unwrap();
        if how == "INT" {
            assert_eq!(status.code(), Some(3), "the same command measures");
        }
        assert_eq!(read(&bench.path("measured/measured.json")), before);
    }
    bench.harness(&["measure", "reports/tiny", "--rounds", "1"]);
    assert_eq!(bench.measured().networks[0].images, 8);
}

#[test]
fn costs_alone_are_measured_where_that_is_asked_for() {
    let bench = Bench::new();
    let costs = ["tiny.toml", "--only", "ghost", "--set", "recipe.epochs=0", "--set", "run.measure_rounds=1"];
    bench.harness(&costs);
    assert!(!bench.path("measured/measured.json").exists());
    bench.harness(&[&costs[..], &["--set", "run.measure=true"]].concat());
    let measured = bench.measured();
    assert_eq!((measured.networks.len(), measured.trainings.len()), (2, 0));
    assert!(read(&bench.path("README.md")).contains("b1 (ms)"));
}
