//! The documents: what they list is what there is, and every command that they show is one that works.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::results::RunFolder;

/// The documents whose commands are run; the guide for a new rival is followed word for word elsewhere.
const DOCUMENTS: [&str; 11] = [
    "README.md",
    "reports/README.md",
    "docs/running.md",
    "docs/data.md",
    "docs/sweeps.md",
    "docs/pruning.md",
    "docs/performance/README.md",
    "docs/results.md",
    "docs/export.md",
    "docs/findings.md",
    "docs/weights.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(dir: &Path, args: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(dir).args(args).output().unwrap()
}

/// Lists in `docs/reference/` are what these commands print; with `UPDATE_DOCS=1` they are written.
#[test]
fn reference_lists_are_what_the_commands_print() {
    for (file, title, command) in [
        ("keys.md", "Keys of an experiment", "keys"),
        ("backbones.md", "Backbones, and the keys of their section", "backbones"),
        ("datasets.md", "Data sets, and the keys of their section", "datasets"),
        ("columns.md", "Columns of the results", "results columns"),
    ] {
        let args: Vec<String> = command.split(' ').chain(["--format", "markdown"]).map(String::from).collect();
        let output = run(&root(), &args);
        assert!(output.status.success(), "{output:?}");
        let list = String::from_utf8(output.stdout).unwrap();
        let text = format!("# {title}\n\nAs `harness {command} --format markdown` prints it.\n\n{list}");
        let path = root().join("docs/reference").join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "docs/reference/{file} is not what `harness {command}` prints: run the test with UPDATE_DOCS=1"
        );
    }
}

/// The words of a command line, as a shell takes them apart.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), None);
    for letter in line.chars() {
        match (letter, quoted) {
            (quote, Some(open)) if quote == open => quoted = None,
            ('\'' | '"', None) => quoted = Some(letter),
            (' ', None) => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            ('#', None) if word.is_empty() => break,
            (letter, _) => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words.split(|word| word == "&&").next().unwrap_or_default().to_vec()
}

/// Every command of the harness in a document.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    const START: &str = "cargo run -p harness -- ";
    let after = text.match_indices(START).map(|(at, _)| &text[at + START.len()..]);
    let lines = after.map(|rest| rest.lines().next().unwrap_or_default());
    lines.map(|line| words(line.split('`').next().unwrap_or_default())).collect()
}

#[test]
fn every_command_of_the_documents_is_one_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        fs::create_dir_all(dir.path().join(from)).unwrap();
        for file in fs::read_dir(root().join(from)).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, dir.path().join(from).join(path.file_name().unwrap())).unwrap();
        }
    };
    copy("experiments");
    for name in ["FILE.toml", "experiments/NAME.toml"] {
        fs::copy(root().join("experiments/quick.toml"), dir.path().join(name)).unwrap();
    }
    // The main experiment, as small as it gets: what the other commands are about.
    let small = "experiments/cifar.toml --set recipe.epochs=1 --set recipe.finetune_epochs=0 --set recipe.warmup_epochs=0 \
                 --set recipe.subset=16 --set recipe.batch=8 --set protocol.validation=10 --set protocol.seeds=[0,1] \
                 --set protocol.controls=[] --set run.measure=false --set dataset.sources=[\"synthetic\"] --progress plain";
    let made = run(dir.path(), &small.split_whitespace().map(String::from).collect::<Vec<_>>());
    assert!(made.status.success(), "{made:?}");
    // A trained network, by whatever name.
    let trials = RunFolder::open(&dir.path().join("reports/cifar")).unwrap().collected().unwrap();
    let vanilla = trials.done.iter().find(|record| record.trial.label == "vanilla").unwrap();
    let weights = format!("reports/cifar/trials/{}/weights.safetensors", vanilla.trial.key);
    fs::copy(dir.path().join(weights), dir.path().join("resnet20.pth")).unwrap();
    for name in ["cifar_full", "NAME", "new", "old"] {
        fs::create_dir_all(dir.path().join("reports")).unwrap();
        let copied = Command::new("cp")
            .args(["-r", "reports/cifar"])
            .arg(format!("reports/{name}"))
            .current_dir(dir.path())
            .status();
        assert!(copied.unwrap().success());
    }
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        for mut args in commands(&text) {
            let shown = args.join(" ");
            let Some(first) = args.first().cloned() else { continue };
            // What takes long is cut short in a way that still reads all that it was given.
            match first.as_str() {
                file if file.ends_with(".toml") => args.push("--dry-run".into()),
                "bench" if args.get(1).is_none_or(|word| word.starts_with("--")) => {
                    args.extend(["--rounds", "1"].map(String::from))
                }
                "measure" => args.extend(["--rounds", "1"].map(String::from)),
                "reproduce" if args.len() > 1 && !shown.contains("--print") => args.push("--print".into()),
                _ => {}
            }
            let output = run(dir.path(), &args);
            let said = String::from_utf8_lossy(&output.stderr);
            seen += 1;
            match first.as_str() {
                // Where there is no cluster, it says so; what it was given it has read before.
                "submit" | "status" | "cancel" | "bench" if first != "bench" || args[1] == "gate" => {
                    assert!(!said.contains("Usage:") && !said.contains("unexpected"), "{document}: {shown}\n{said}");
                }
                // Its exit code is its verdict.
                "compare" => assert!([0, 1, 4].contains(&output.status.code().unwrap()), "{document}: {shown}\n{said}"),
                _ => assert!(output.status.success(), "{document}: {shown}\n{said}"),
            }
        }
    }
    assert!(seen > 20, "{seen} commands");
}
