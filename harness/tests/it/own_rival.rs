//! A rival of somebody else's crate, in a binary of their own: listed, priced, trained in processes of that binary, reported.

use std::path::PathBuf;
use std::process::{Command, Output};

/// An example's binary, which `cargo test` builds beside the tests (but not where `--test it` asks for these alone).
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let binary = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "there is no {}: cargo build -p harness --example {name}", binary.display());
    binary
}

fn run(arguments: &[&str]) -> Output {
    Command::new(example("own_rival")).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    printed_by("own_rival", arguments)
}

fn printed_by(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(example(name)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_is_listed_with_its_options() {
    let text = printed(&["methods"]);
    assert!(text.contains("shuffled: a convolution in groups, then a channel shuffle (ShuffleNet's way)"), "{text}");
    assert!(
        text.contains("an integer of at least 2") && text.contains("Groups of channels convolved apart."),
        "{text}"
    );
    assert!(text.find("compconv:") < text.find("shuffled:"), "behind those that come with the harness: {text}");
    let slip = run(&["cost", "--backbone", "resnet20", "--method", "shufled"]);
    assert!(String::from_utf8_lossy(&slip.stderr).contains("did you mean \"shuffled\"?"), "{slip:?}");
}

#[test]
fn it_is_priced() {
    let csv = printed(&["cost", "--backbone", "resnet20", "--method", "shuffled", "--format", "csv"]);
    let layer = |name: &str| csv.lines().find(|line| line.starts_with(&format!("{name},"))).unwrap().to_owned();
    // 16 -> 16 in two groups at 32 x 32, with a batch norm; the stem stays vanilla.
    assert!(layer("layer1.0.conv1").starts_with("layer1.0.conv1,1184,1179648,16384"), "{csv}");
    assert!(layer("conv1").starts_with("conv1,464,442368,16384"), "{csv}");
}

fn experiment(method: &str) -> String {
    format!(
        "name = 'own'\n[dataset]\nname = 'synthetic'\n[backbone]\nname = 'resnet20'\n[recipe]\nepochs = 1\nbatch = 16\n\
         subset = 32\n[protocol]\nvalidation = 20\ntest = false\n[[grid]]\nmethod.name = ['vanilla', '{method}']\n"
    )
}

#[test]
fn it_trains_in_processes_of_its_own_binary_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("own.toml"), folder.path().join("own"));
    std::fs::write(&file, experiment("shuffled")).unwrap();
    printed(&[file.to_str().unwrap(), "--output", output.to_str().unwrap(), "--progress", "plain"]);
    let table = std::fs::read_to_string(output.join("results.csv")).unwrap();
    assert!(table.contains("shuffled"), "{table}");
    let report = std::fs::read_to_string(output.join("README.md")).unwrap();
    assert!(report.contains("shuffled") && !report.contains("failed"), "{report}");
}

/// Rows and reports never show its images/s as if they were the engine's.
#[test]
fn an_idea_of_candle_functions_is_marked_wherever_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("own.toml"), folder.path().join("own"));
    let (file, output) = (file.to_str().unwrap(), output.to_str().unwrap());
    std::fs::write(file, experiment("clipped")).unwrap();
    let why = "operation by operation";
    let plan = printed_by("own_idea", &["plan", file, "--format", "csv"]);
    let row = |text: &str, name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row(&plan, "clipped").contains(why) && !row(&plan, "vanilla").contains(why), "{plan}");
    let arguments = [file, "--output", output, "--progress", "plain"];
    let sweep = Command::new(example("own_idea")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&sweep.stderr);
    assert!(sweep.status.success(), "{told}");
    for line in told.lines().filter(|line| line.contains("img/s")) {
        assert_eq!(line.contains('†'), line.contains("clipped"), "{told}");
    }
    let table = std::fs::read_to_string(format!("{output}/results.csv")).unwrap();
    assert!(row(&table, "clipped").contains("a custom operation is part of it"), "{table}");
    assert!(!row(&table, "vanilla").contains(why), "{table}");
    let report = std::fs::read_to_string(format!("{output}/README.md")).unwrap();
    assert!(report.contains(" †") && report.contains("† Not on the engine**: clipped"), "{report}");
}
