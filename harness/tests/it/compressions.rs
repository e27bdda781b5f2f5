//! What makes another network of a trained one, as a user types it: plan, run, results and report.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use polars::prelude::{AnyValue, DataFrame, ParquetReader, SerReader};
use tempfile::TempDir;

const FILE: &str = r#"
name = "tiny"

[dataset]
name = "synthetic"
sources = ["synthetic:120+40"]

[backbone]
name = "resnet20"

[recipe]
epochs = 2
batch = 32
subset = 64
lr = 0.1
finetune_epochs = 1

[protocol]
seeds = [0]
validation = 40

[[grid]]
method.name = ["vanilla", "pruned"]

[[grid]]
method.name = "lowrank"
method.from = ["scratch", "trained"]

[[grid]]
method.name = "magnitude"
method.ratio = 0.9
method.ranking = ["global", "layer"]
"#;

fn harness(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn folder(file: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), file).unwrap();
    folder
}

/// Columns of a plan, by setting.
fn planned(plan: &str, label: &str, column: &str) -> String {
    let mut rows = plan.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = rows.next().unwrap().iter().position(|title| *title == column).unwrap();
    rows.find(|row| row[0] == label).unwrap_or_else(|| panic!("{label}: {plan}"))[at].to_owned()
}

fn cell(frame: &DataFrame, label: &str, column: &str) -> Option<u64> {
    let row = frame.column("label").unwrap().str().unwrap().iter().position(|own| own == Some(label)).unwrap();
    match frame.column(column).unwrap().get(row).unwrap() {
        AnyValue::UInt64(count) => Some(count),
        AnyValue::Null => None,
        other => panic!("{label}, {column}: {other}"),
    }
}

#[test]
fn a_run_of_all_of_them_says_what_it_did() {
    let folder = folder(FILE);
    let (global, layer) = ("magnitude ratio=0.9 ranking=global", "magnitude ratio=0.9 ranking=layer");
    let [scratch, trained] = ["lowrank from=scratch", "lowrank from=trained"];
    let (done, plan, err) = harness(folder.path(), &["plan", "tiny.toml", "--format", "csv"]);
    assert!(done, "{err}");
    let count = |label: &str, column: &str| planned(&plan, label, column).parse::<u64>().ok();
    let work = |label: &str| planned(&plan, label, "training_macs").parse::<f64>().unwrap();
    // Half of the epochs are vanilla's.
    let halves = (work("vanilla") + work(scratch)) / 2.0;
    assert!((work(trained) - halves).abs() < 1e-6 * halves, "{} is not {halves}", work(trained));
    assert_eq!(work(global), work("vanilla"));
    assert_eq!(count(trained, "params"), count(scratch, "params"));
    assert_eq!((count(global, "macs"), count(global, "macs_nonzero")), (count("vanilla", "macs"), None));
    assert!(count(layer, "macs_nonzero") < count(layer, "macs"), "{plan}");

    let (done, out, err) = harness(folder.path(), &["tiny.toml"]);
    assert!(done, "{out}{err}");
    let reports = folder.path().join("reports/tiny");
    let frame = ParquetReader::new(File::open(reports.join("results.parquet")).unwrap()).finish().unwrap();
    for label in [global, layer] {
        assert_eq!(cell(&frame, label, "macs"), cell(&frame, "vanilla", "macs"));
        assert_eq!(cell(&frame, label, "params_nonzero"), count(label, "params_nonzero"));
        assert!(cell(&frame, label, "macs_nonzero").is_some_and(|macs| Some(macs) < cell(&frame, label, "macs")));
    }
    assert_eq!(cell(&frame, layer, "macs_nonzero"), count(layer, "macs_nonzero"));
    assert_eq!((cell(&frame, "vanilla", "params_nonzero"), cell(&frame, trained, "macs_nonzero")), (None, None));
    assert_eq!(cell(&frame, trained, "macs"), cell(&frame, scratch, "macs"));
    let report = std::fs::read_to_string(reports.join("README.md")).unwrap();
    for part in [
        "| nonzero params | nonzero MACs |",
        "Masks save no executed multiplication",
        "**Masked**: magnitude ratio=0.9 ranking=global trains for 1 of its 2 epochs, is masked, and trains for the last 1",
        "**Approximated**: lowrank from=trained trains for 1 of its 2 epochs, is approximated by its factors, and",
        "**Cut**: pruned trains for 1 of its 2 epochs, is cut, and",
        "none replaced; weights set to 0 after training in every convolution but the stem",
        "begin with the same trained network",
    ] {
        assert!(report.contains(part), "{part}:\n{report}");
    }
    assert!(!report.contains("**Approximated**: lowrank from=scratch"), "{report}");
}

#[test]
fn a_layer_may_have_factors_of_its_own() {
    let file = FILE.split("[[grid]]").next().unwrap().to_owned()
        + "[[grid]]\nmethod.name = 'lowrank'\nmethod.from = 'trained'\n[[layer]]\nmatch = 'layer1.*'\nmethod.name = 'lowrank'\n\
           method.from = 'trained'\nmethod.ratio = 0.25\n[[layer]]\nmatch = 'layer2.*'\nmethod.name = 'vanilla'\n";
    let folder = folder(&file);
    let (done, out, err) = harness(folder.path(), &["tiny.toml"]);
    assert!(done, "{out}{err}");
    let frame =
        ParquetReader::new(File::open(folder.path().join("reports/tiny/results.parquet")).unwrap()).finish().unwrap();
    let label = "lowrank from=trained + lowrank from=trained ratio=0.25 in layer1.* + vanilla in layer2.*";
    assert!(cell(&frame, label, "macs").is_some_and(|macs| macs < 40_551_040));
}

#[test]
fn two_ways_to_compress_one_network_are_refused() {
    let file = FILE.split("[[grid]]").next().unwrap().to_owned()
        + "[[grid]]\nmethod.name = 'magnitude'\n[[layer]]\nmatch = 'layer1.*'\nmethod.name = 'lowrank'\nmethod.from = 'trained'\n";
    let folder = folder(&file);
    let (done, _, err) = harness(folder.path(), &["plan", "tiny.toml"]);
    assert!(
        !done && err.contains("each make another network of the trained one") && err.contains("accepted:"),
        "{err}"
    );
    let none = FILE.split("[[grid]]").next().unwrap().to_owned()
        + "[[grid]]\nmethod.name = 'magnitude'\nbackbone.replace = { spatial = false, pointwise = false, shortcut = false }\n";
    std::fs::write(folder.path().join("tiny.toml"), none).unwrap();
    let (done, _, err) = harness(folder.path(), &["plan", "tiny.toml"]);
    assert!(!done && err.contains("no weights could be set to 0"), "{err}");
}
