//! Bad input: one clear error that names place, key, finding and remedy; exit code 2.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The binary in that folder, without data sets of this machine.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).env_remove("HARNESS_DATA");
    command
}

fn harness(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).output().unwrap()
}

/// Runs it, expects exit code 2 and every part in a message that fits a screen.
pub fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) -> String {
    assert_refused(harness(folder, arguments), &arguments.join(" "), parts)
}

/// Expects exit code 2 and every part in a message that fits a screen.
pub fn assert_refused(output: Output, what: &str, parts: &[&str]) -> String {
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{what}: {message}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{message}");
    assert!(message.lines().count() <= 12, "{message}");
    for part in parts {
        assert!(message.contains(part), "{what} should say {part:?}:\n{message}");
    }
    message
}

/// A valid file: name 1, dataset 2-3, backbone 4-5, recipe 6-7, grid 8-10.
const LINES: [&str; 10] = [
    "name = 'x'",
    "[dataset]",
    "name = 'synthetic'",
    "[backbone]",
    "name = 'resnet20'",
    "[recipe]",
    "epochs = 1",
    "[[grid]]",
    "method.name = 'compconv'",
    "method.depth = [1, 2]",
];

#[test]
fn every_slip_in_a_file_is_found_where_it_is() {
    for (line, text, parts) in [
        (1, "name = 'a/b'", &["`name` names a folder", "a/b", "letters, digits"][..]),
        (1, "nmae = 'x'", &["unknown key `nmae`", "did you mean `name`?"]),
        (1, "name = 7", &["`name`", "7 (an integer)", "name = \"...\""]),
        (1, "name = x", &["TOML"]),
        (2, "[datset]", &["unknown section `datset`", "did you mean `dataset`?"]),
        (3, "name = 'cifar11'", &["cifar11", "cifar10, cifar100, fashion-mnist", "did you mean \"cifar10\"?"]),
        (5, "name = 'resnet21'", &["resnet21", "did you mean \"resnet20\"?"]),
        (5, "name = ['resnet20']", &["wrong type", "[[grid]]"]),
        (5, "nam = 'resnet20'", &["unknown key `backbone.nam`", "did you mean `backbone.name`?"]),
        (7, "epochs = -1", &["`recipe.epochs` is out of range", "-1 (an integer)", "an integer of at least 0"]),
        (7, "epochs = 'ten'", &["`recipe.epochs` has the wrong type", "\"ten\" (a text)", "an integer"]),
        (7, "epohcs = 1", &["unknown key `recipe.epohcs`", "did you mean `recipe.epochs`?"]),
        (7, "batch = 0", &["recipe.batch", "an integer of at least 1"]),
        (7, "lr = 0.0", &["recipe.lr", "a number above 0"]),
        (7, "lr = nan", &["recipe.lr", "a number above 0"]),
        (7, "momentum = 1.0", &["recipe.momentum", "a number in [0, 1)"]),
        (7, "label_smoothing = -0.1", &["recipe.label_smoothing", "a number in [0, 1)"]),
        (7, "schedule = 'cosin'", &["recipe.schedule", "did you mean \"cosine\"?"]),
        (7, "milestones = 0.5", &["recipe.milestones", "a list"]),
        (7, "warmup_epochs = 20", &["recipe.warmup_epochs", "at most recipe.epochs = 10"]),
        (9, "method.name = 'compcon'", &["compcon", "did you mean \"compconv\"?"]),
        (9, "method.name = []", &["the axis `method.name` is empty"]),
        (9, "method.name = 'thin'", &["unknown option of thin `depth`", "width"]),
        (
            9,
            "method.name = ['vanilla', 'compconv']",
            &["unknown option of vanilla `depth`", "[[grid]] block of their own"],
        ),
        (10, "method.dept = 1", &["unknown option of compconv `dept`", "did you mean `depth`?"]),
        (10, "method.depth = [1, 7]", &["`method.depth` is out of range", "7 (an integer)", "from 0 to 6"]),
        (10, "method.depth = [1, 2.5]", &["method.depth", "2.5 (a number)", "an integer from 0 to 6"]),
        (10, "method.depth = []", &["the axis `method.depth` is empty"]),
        (10, "method.tail_kernel = 2", &["method.tail_kernel", "an odd integer"]),
        (10, "run.threads = [1, 2]", &["`run.threads` cannot vary"]),
        (10, "dataset.name = ['cifar10', 'caltech']", &["caltech", "fashion-mnist"]),
    ] {
        let mut lines = LINES;
        lines[line - 1] = text;
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.toml"), lines.join("\n")).unwrap();
        // An option that its method has not is blamed where the option stands.
        let at = if line == 9 && text.contains("thin") || text.contains("'vanilla'") { 10 } else { line };
        let place = format!("x.toml:{at}: ");
        let message = refused(folder.path(), &["plan", "x.toml"], &[&[place.as_str()], parts].concat());
        assert!(message.contains(lines[at - 1]), "the line itself is shown:\n{message}");
    }
}

#[test]
fn what_is_missing_or_fits_no_network_is_named() {
    let whole = LINES.join("\n");
    for (text, parts) in [
        (LINES[1..].join("\n"), &["x.toml: ", "the key `name` is missing"][..]),
        (
            LINES[..5].join("\n").replace("[dataset]\nname = 'synthetic'", ""),
            &["`dataset.name` is missing", "harness datasets"],
        ),
        (LINES[..3].join("\n"), &["`backbone.name` is missing", "resnet20"]),
        (format!("{whole}\n[[grid]]\n"), &["x.toml:11: ", "[[grid]] is empty"]),
        (format!("grid = []\n{}", LINES[..7].join("\n")), &["x.toml:1: ", "`grid` is empty"]),
        (
            format!("{whole}\n[[layer]]\nmatch = 'layer9.*'\nmethod.name = 'ghost'"),
            &["x.toml:12: ", "no layer is called `layer9.*`"],
        ),
        (format!("{whole}\n[[layer]]\nmatch = 'layer1.*'"), &["x.toml:11: ", "`method.name`"]),
        (
            format!("{whole}\n[[layer]]\nmatch = 'fc'\nmethod.name = 'ghost'\nmethod.rato = 2"),
            &["x.toml:14: ", "did you mean `ratio`?"],
        ),
        (format!("{whole}\n[[layer]]\nmatch = 'layer1.*'\nmethod.name = 'thin'"), &["`thin` works on whole networks"]),
        (
            format!(
                "{}\n[[grid]]\nmethod.name = 'pruned'\n[[layer]]\nmatch = 'layer1.*'\nmethod.name = 'ghost'",
                LINES[..7].join("\n")
            ),
            &["x.toml:9: ", "pruned cuts vanilla convolutions", "`layer1.0.conv1`"],
        ),
        (
            format!("{}\nfinetune_epochs = 1\n[[grid]]\nmethod.name = 'pruned'", LINES[..7].join("\n")),
            &["x.toml:8: ", "`recipe.finetune_epochs` leaves no epoch", "less than recipe.epochs = 1"],
        ),
        (
            format!(
                "{}\nepochs = 9\nfinetune_epochs = 2\n[[grid]]\nmethod.name = 'pruned'\nmethod.steps = 3",
                LINES[..6].join("\n")
            ),
            &["`recipe.finetune_epochs` has not one epoch for each", "at least 3, and less than recipe.epochs = 9"],
        ),
        (
            format!("{}\n[[grid]]\nmethod.name = 'pruned'\nmethod.ranking = 'globl'", LINES[..7].join("\n")),
            &["x.toml:10: ", "one of layer, global"],
        ),
        (
            format!("{}\n[[grid]]\nmethod.name = 'pruned'\nmethod.ratio = [1.0]", LINES[..7].join("\n")),
            &["x.toml:10: ", "[0, 1)"],
        ),
        (
            format!("{}\n[[grid]]\nmethod.name = 'pruned'\nmethod.ratio = [[0.1, 0.2]]", LINES[..7].join("\n")),
            &["3 stages"],
        ),
        (
            format!("{}\n[[grid]]\nmethod.name = 'ghost'\nmethod.ratio = 1", LINES[..7].join("\n")),
            &["x.toml:10: ", "at least 2"],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.toml"), text).unwrap();
        refused(folder.path(), &["plan", "x.toml"], parts);
    }
}

#[test]
fn the_command_line_is_checked_like_a_file() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("x.toml"), LINES.join("\n")).unwrap();
    for (arguments, parts) in [
        (
            &["plan", "x.toml", "--set", "recipe.epohcs=1"][..],
            &["--set recipe.epohcs=1", "did you mean `recipe.epochs`?"][..],
        ),
        (&["x.toml", "--set", "recipe.epochs=-1"], &["--set recipe.epochs=-1", "an integer of at least 0"]),
        (&["x.toml", "--threads", "100000"], &["--threads", "1..=1024"]),
        (&["x.toml", "--set", "recipe.epochs"], &["no `=` found", "KEY=VALUE"]),
        (&["x.toml", "--set", "method.dept=1"], &["--set method.dept=1", "did you mean `depth`?"]),
        (&["plan", "x.toml", "--only", "depth=5"], &["--only depth=5", "compconv depth=1"]),
        (&["plan", "nothing.toml"], &["nothing.toml: ", "cannot be read", "harness init"]),
        (&["plna"], &["did you mean `plan`?"]),
        // Not the hidden `trial`.
        (&["trian"], &["`trian` is neither a file nor a command", "FILE.toml, or one of run, plan, report"]),
        (
            &["eval", "x.toml"],
            &[
                "`eval` is neither a file nor a command",
                "run, plan, report, reproduce, compare, diff, export, evaluate, predict, measure, results, submit",
            ],
        ),
        (&["gauge", "--jobs", "2"], &["`gauge` is neither", "cost, keys, methods, datasets, backbones, init"]),
        (&["runs/x.toml"], &["runs/x.toml: ", "cannot be read"]),
        (&["cost", "--backbone", "vgg17"], &["--backbone vgg17", "did you mean \"vgg16\"?"]),
        (&["cost", "--backbone", "vgg16", "--method", "gost"], &["--method gost", "did you mean \"ghost\"?"]),
        (
            &["cost", "--backbone", "vgg16", "--method", "thin", "--set", "method.width=2"],
            &["--set method.width=2", "(0, 1]"],
        ),
        (
            &["cost", "--backbone", "vgg16", "--method", "thin", "--set", "method.c0=2"],
            &["unknown option of thin `c0`", "width"],
        ),
        (&["cost"], &["--backbone"]),
        (&["report", "nowhere"], &["nowhere"]),
        (&["compare", "nowhere", "ghost"], &["one method is missing", "FOLDER FOLDER --label A"]),
    ] {
        refused(folder.path(), arguments, parts);
    }
}

#[test]
fn a_refused_run_writes_nothing() {
    for (from, to, parts) in [
        ("[1, 2]", "[1, 9]", &["x.toml:10: "][..]),
        // Data that is not there.
        ("'synthetic'", "'cifar10'\nsources = ['nowhere']", &["no data found", "tried nowhere"]),
        // More images than there are.
        ("epochs = 1", "epochs = 1\nbatch = 5001", &["x.toml:8: `recipe.batch` is more", "5001", "1 to 5000"]),
        ("epochs = 1", "epochs = 1\nsubset = 5001", &["x.toml:8: `recipe.subset` is more", "5001", "1 to 5000"]),
        (
            "[recipe]",
            "[protocol]\nvalidation = 10_000\n[recipe]",
            &["x.toml:7: `protocol.validation` leaves no", "10000", "0 to 9999"],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("x.toml"), LINES.join("\n").replace(from, to)).unwrap();
        refused(folder.path(), &["x.toml"], parts);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["x.toml"], "{parts:?}");
    }
}

/// How many images a folder holds is known once it was read, by a plan as by a run.
#[test]
fn an_image_folder_that_is_too_small_is_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    for image in ["train/a/0", "train/a/1", "train/b/0", "train/b/1", "test/a/0", "test/b/0"] {
        let path = folder.path().join(format!("pets/{image}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(16, 16).save(path).unwrap();
    }
    let text = LINES.join("\n").replace("'synthetic'", "'images'\nsources = ['pets']");
    for (rest, parts) in [
        ("", &["x.toml:4: `protocol.validation` leaves no", "5000 (the default)", "images has 4 training images"][..]),
        ("[protocol]\nvalidation = 1", &["x.toml:13: `recipe.batch`", "128 (the default)", "1 to 3: "]),
        ("[protocol]\nvalidation = 4", &["x.toml:13: `protocol.validation` leaves no", "0 to 3: "]),
    ] {
        std::fs::write(folder.path().join("x.toml"), format!("{text}\n{rest}")).unwrap();
        for arguments in [&["plan", "x.toml"][..], &["x.toml"]] {
            let output = harness(folder.path(), arguments);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
        }
        assert!(!folder.path().join("reports").exists(), "{parts:?}");
    }
}
