//! Whole runs through the binary: what a user types, on a synthetic set of a few images.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use polars::prelude::{ParquetReader, SerReader};
use tempfile::TempDir;

const FILE: &str = r#"
name = "tiny"

[dataset]
name = "synthetic"
sources = ["synthetic:120+40"]

[backbone]
name = "resnet20"

[recipe]
epochs = 1
batch = 32
subset = 64
lr = 0.1

[protocol]
seeds = [0]
validation = 40

[run]
measure = false

[[grid]]
method.name = ["vanilla", "ghost"]
"#;

fn harness(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), FILE).unwrap();
    folder
}

#[test]
fn a_run_a_second_run_and_the_report_alone() {
    let folder = folder();
    let run = harness(folder.path(), &["tiny.toml"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let reports = folder.path().join("reports/tiny");
    for file in ["README.md", "results.csv", "results.parquet", "experiment.toml"] {
        assert!(reports.join(file).is_file(), "{file}");
    }
    let plots: Vec<String> = std::fs::read_dir(reports.join("plots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(["svg", "png"].iter().all(|kind| plots.iter().any(|plot| plot.ends_with(kind))), "{plots:?}");
    let frame = ParquetReader::new(File::open(reports.join("results.parquet")).unwrap()).finish().unwrap();
    let methods = frame.column("method").unwrap().str().unwrap();
    let ghost = methods.iter().position(|method| method == Some("ghost")).unwrap();
    let cell = |column: &str| frame.column(column).unwrap().get(ghost).unwrap().to_string();
    // What was not set as well.
    assert_eq!((cell("option_ratio"), cell("option_cheap_kernel")), ("2".into(), "3".into()));
    assert_eq!(cell("recipe_kernels"), "\"own\"");

    let again = harness(folder.path(), &["tiny.toml"]);
    let said = text(&again.stderr) + &text(&again.stdout);
    assert!(again.status.success() && said.contains("0 trained, 2 done before"), "{said}");

    std::fs::remove_file(reports.join("README.md")).unwrap();
    let report = harness(folder.path(), &["report", "reports/tiny"]);
    assert!(report.status.success() && reports.join("README.md").is_file(), "{}", text(&report.stderr));
}

#[test]
fn a_folder_without_weights_is_as_good_as_one_with_them() {
    let folder = folder();
    let command = ["tiny.toml", "--set", "run.keep_weights=false"];
    let first = harness(folder.path(), &command);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let trials = std::fs::read_dir(folder.path().join("reports/tiny/trials")).unwrap();
    for trial in trials.map(|trial| trial.unwrap().path()) {
        assert!(trial.join("result.json").exists() && !trial.join("weights.safetensors").exists(), "{trial:?}");
    }
    let verified = harness(folder.path(), &["results", "verify", "reports/tiny"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    // Weights are no part of what a trial is.
    let second = harness(folder.path(), &["tiny.toml"]);
    let said = text(&second.stderr) + &text(&second.stdout);
    assert!(said.contains("0 trained, 2 done before"), "{said}");
}

#[test]
fn seeds_come_one_after_the_other_and_a_report_says_what_is_open() {
    let folder = folder();
    let run = |more: &[&str]| {
        let seeds = ["tiny.toml", "--progress", "plain", "--set", "protocol.seeds=[7, 3]"];
        let run = harness(folder.path(), &[&seeds, more].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        text(&run.stderr) + &text(&run.stdout)
    };
    let page = || std::fs::read_to_string(folder.path().join("reports/tiny/README.md")).unwrap();
    let open = "2 of 4 trials are done and 2 are open; without any result: ghost";
    let said = run(&["--only", "vanilla"]);
    assert!(said.contains(&format!("Unfinished: {open}\n")), "{said}");
    assert!(page().contains(&format!("> **Unfinished**: {open}.")), "{}", page());
    let report = harness(folder.path(), &["report", "reports/tiny"]);
    assert!(text(&report.stderr).contains(open) && !text(&report.stdout).contains(open));

    // Half of a setting is open, and none is without a result.
    let said = run(&["--only", "ghost,seed=3"]);
    assert!(said.contains("Unfinished: 3 of 4 trials are done and 1 is open\n"), "{said}");
    let said = run(&[]);
    assert!(!said.contains("Unfinished") && !page().contains("Unfinished"), "{said}{}", page());

    let said = run(&["--output", "all"]);
    let starts: Vec<&str> = said.lines().filter_map(|line| line.strip_suffix(": starts, 1 epoch")).collect();
    let trial = |number, what| format!("[{number}/4] resnet20 {what}");
    let expected =
        [trial(1, "vanilla seed 7"), trial(2, "ghost seed 7"), trial(3, "vanilla seed 3"), trial(4, "ghost seed 3")];
    assert_eq!(starts, expected, "{said}");
    let status = harness(folder.path(), &["status", "all"]);
    assert_eq!(text(&status.stdout), "no trial of all was ever submitted\n");
    let status = harness(folder.path(), &["status", "all", "--format", "json"]);
    assert_eq!(text(&status.stdout), "[]\n");
}

#[test]
fn nobody_has_to_read_what_a_run_says() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder.path()).args(["tiny.toml", "--only", "vanilla"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((run.stdout.take(), run.stderr.take()));
    assert!(run.wait().unwrap().success());
    assert!(folder.path().join("reports/tiny/README.md").is_file());
}

#[test]
fn a_folder_that_is_not_this_experiments_is_left_alone() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "mine").unwrap();
    std::fs::create_dir(path("foreign")).unwrap();
    std::fs::write(path("foreign/notes.txt"), "mine").unwrap();
    assert!(harness(folder.path(), &["tiny.toml", "--output", "made", "--only", "method=vanilla"]).status.success());
    let other = FILE.replace("name = \"tiny\"", "name = \"other\"");
    std::fs::write(path("other.toml"), other).unwrap();
    let made = std::fs::read(path("made/results.csv")).unwrap();
    for (file, output) in [("tiny.toml", "file"), ("tiny.toml", "foreign"), ("other.toml", "made")] {
        let run = harness(folder.path(), &[file, "--output", output]);
        assert_eq!(run.status.code(), Some(2), "{file} to {output}: {}", text(&run.stderr));
        assert!(text(&run.stderr).contains(output), "{}", text(&run.stderr));
    }
    assert_eq!(std::fs::read(path("made/results.csv")).unwrap(), made);
    assert_eq!(std::fs::read_to_string(path("foreign/notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(path("foreign")).unwrap().count(), 1);
}

#[test]
fn a_method_for_some_layers() {
    let folder = folder();
    for (backbone, pattern, expected) in
        [("resnet20", "layer3.*", 6), ("vgg16", "features.2|features.3", 2), ("vgg16", "features.1*", 4)]
    {
        let text = format!(
            "name = \"some\"\n[dataset]\nname = \"cifar10\"\n[backbone]\nname = \"{backbone}\"\n[recipe]\nepochs = 0\n\
             [method]\nname = \"vanilla\"\n[[layer]]\nmatch = \"{pattern}\"\nmethod.name = \"ghost\"\n"
        );
        std::fs::write(folder.path().join("some.toml"), text).unwrap();
        let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
            let run = harness(folder.path(), &[&["cost", "--format", "csv"], arguments].concat());
            assert!(run.status.success(), "{}", self::text(&run.stderr));
            self::text(&run.stdout).lines().map(|line| line.split(',').map(String::from).collect()).collect()
        };
        let mixed = rows(&["some.toml"]);
        let plan = harness(folder.path(), &["plan", "some.toml"]);
        assert!(
            self::text(&plan.stdout).contains(&format!("vanilla + ghost in {pattern} ")),
            "it is no vanilla network"
        );
        let (vanilla, ghost) = (rows(&["--backbone", backbone]), rows(&["--backbone", backbone, "--method", "ghost"]));
        let mut replaced = 0;
        for ((mixed, vanilla), ghost) in
            mixed.iter().zip(&vanilla).zip(&ghost).skip(1).filter(|((row, _), _)| row[0] != "total")
        {
            let of = harness::methods::matches(pattern, &mixed[0]);
            assert_eq!(mixed[1..4], if of { ghost } else { vanilla }[1..4], "{backbone} {pattern}: {}", mixed[0]);
            replaced += usize::from(of && ghost[2] != vanilla[2]);
        }
        assert_eq!(replaced, expected, "{backbone} {pattern}");
    }
}

/// What a later paper's table prints of drop-ins in ResNet-56 fits one reading for some rows and the other for the rest.
#[test]
fn layers_to_be_replaced_can_be_named_by_place_stage_and_name() {
    let folder = TempDir::new().unwrap();
    let total = |backbone: &str, layers: &str| -> Result<String, String> {
        let set = format!("backbone.replace.layers={layers}");
        let arguments = ["cost", "--backbone", backbone, "--method", "ghost", "--set", &set, "--format", "csv"];
        let run = harness(folder.path(), &arguments);
        let row = self::text(&run.stdout).lines().rfind(|line| line.starts_with("total,")).map(str::to_owned);
        row.map(|row| row.split(',').nth(2).unwrap_or_default().to_owned()).ok_or_else(|| self::text(&run.stderr))
    };
    assert_eq!(total("resnet56", "[layer1,layer2,layer3]").as_deref(), Ok("65286784"));
    assert_eq!(total("resnet56", "['second of each block']").as_deref(), Ok("94796416"));
    assert_eq!(total("resnet56", "['*.conv2']"), total("resnet56", "['second of each block']"));
    assert_ne!(total("resnet56", "[layer3.0]"), total("resnet56", "[layer3.0.conv1]"));
    for (backbone, layers) in
        [("resnet56", "[layer4]"), ("vgg16", "['second of each block']"), ("resnet56", "[layer1,x]")]
    {
        let error = total(backbone, layers).unwrap_err();
        assert!(error.contains("no layer is called") && error.contains("accepted: layer names"), "{error}");
    }
    assert!(total("resnet56", "[]").unwrap_err().contains("is empty"));
}
