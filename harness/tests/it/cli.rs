//! The commands that train nothing, as a user types them.

use tempfile::TempDir;

use super::support::{folder, harness};

const FILE: &str = "name = 'small'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n\
    [protocol]\nseeds = [0, 1]\ncontrols = []\n[[grid]]\nmethod.name = 'vanilla'\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 3]\n\
    [[grid]]\nmethod.name = 'compconv'\nmethod.c0 = 64\n[[grid]]\nmethod.name = 'pruned'\n";

#[test]
fn plan_lists_every_trial_once() {
    let folder = folder(FILE);
    let plan = harness(folder.path(), &["plan", "x.toml"]);
    assert_eq!((plan.code, plan.err.as_str()), (0, ""));
    // What is estimated from a measurement is another number every time.
    let (from, to) = (plan.out.find("estimated minutes").unwrap(), plan.out.find("aliases").unwrap());
    let estimates = plan.out.lines().skip(2).take(8).map(|line| line[from..to.min(line.len())].trim().parse::<f64>());
    assert!(estimates.clone().all(|minutes| minutes.is_ok_and(|minutes| minutes > 0.0)), "{}", plan.out);
    assert!(plan.out.lines().any(|line| line.starts_with("about ")), "{}", plan.out);
    let known = |(at, line): (usize, &str)| match at {
        ..10 => [&line[..from], line.get(to..).unwrap_or_default()].concat(),
        _ => line.to_owned(),
    };
    let here = |line: &str| ["about ", "then about ", "data: "].iter().any(|start| line.starts_with(start));
    let lines = plan.out.lines().enumerate().filter(|(_, line)| !here(line));
    let lines: Vec<String> = lines.map(|line| known(line).trim_end().to_owned()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    trial             seed   params        macs  vanilla share  depth  training macs  aliases
    ----------------  ----  -------  ----------  -------------  -----  -------------  --------------
    vanilla              0  269,722  40,551,040        100.0 %               5.47e13
    vanilla              1  269,722  40,551,040        100.0 %               5.47e13
    compconv depth=1     0  139,114  21,271,168         52.5 %      1        2.87e13  compconv c0=64
    compconv depth=1     1  139,114  21,271,168         52.5 %      1        2.87e13  compconv c0=64
    compconv depth=3     0   65,386  11,831,680         29.2 %      3        1.60e13
    compconv depth=3     1   65,386  11,831,680         29.2 %      3        1.60e13
    pruned               0  135,754  20,497,024         50.5 %               5.47e13
    pruned               1  135,754  20,497,024         50.5 %               5.47e13

    small: 8 trials, 3.08e14 multiply-accumulates of training in all (forward and backward: 3 a forward)
    a run trains seed by seed: every setting on the first seed before any on the next
    2 seeds see 11.55 times the spread of a difference between seeds at 80 % power, of a pair by itself (no result tells that spread; --spread POINTS states one)
    and 5.88 times the spread of a difference between seeds at worst, where all 6 pairs of 4 settings stand in one table
    2 trials dropped as duplicates: earlier ones train the same; labels that differ are among the aliases

    compconv depth=3
      layer1.0.conv1, layer1.0.conv2, layer1.1.conv1, layer1.1.conv2, layer1.2.conv1, layer1.2.conv2: depth lowered from 3 to 2: A_0 would have no channel
    ");
}

#[test]
fn a_plan_refuses_what_a_run_would_refuse_of_the_data() {
    let head = "name = \"x\"\n[dataset]\nname = \"images\"\nsources = [\"set\"]\n[recipe]\nepochs = 1\nbatch = 2\n\
                [backbone]\nname = \"resnet20\"\n[[grid]]\nmethod.name = \"vanilla\"\n[protocol]\n";
    for (protocol, test, refused) in [
        ("validation = 2\n", true, None),
        ("validation = 2\n", false, Some("has no test split")),
        ("validation = 2\ntest = false\n", false, None),
        ("validation = 40\n", true, Some("40")),
    ] {
        let folder = folder(&format!("{head}{protocol}"));
        let splits = ["train", "test"].into_iter().take(1 + usize::from(test));
        for (split, class) in splits.flat_map(|split| ["a", "b"].map(|class| (split, class))) {
            let class = folder.path().join("set").join(split).join(class);
            std::fs::create_dir_all(&class).unwrap();
            (0..4).for_each(|n| image::GrayImage::new(8, 8).save(class.join(format!("{n}.png"))).unwrap());
        }
        let ran = |arguments: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_harness"));
            let output = command.current_dir(folder.path()).env("HARNESS_DATA", "").args(arguments).output().unwrap();
            (output.status.code(), crate::support::text(&output))
        };
        let (code, said) = ran(&["plan", "x.toml"]);
        assert_eq!(code, Some(if refused.is_some() { 2 } else { 0 }), "{protocol} {said}");
        if let Some(refused) = refused {
            assert!(said.contains("vanilla") && said.contains(refused), "{said}");
            let (code, said) = ran(&["x.toml", "--set", "run.measure=false"]);
            assert!(code == Some(2) && said.contains(refused), "{said}");
        }
    }
}

#[test]
fn a_plan_says_which_data_is_there_and_what_it_passes_over() {
    let folder = folder(
        "name = \"x\"\n[dataset]\nname = \"cifar10\"\nsources = [\"nowhere\", \"synthetic:300+50\"]\n[recipe]\nepochs = 1\n\
         [backbone]\nname = \"resnet20\"\n[protocol]\nvalidation = 100\n[[grid]]\nmethod.name = \"vanilla\"\n",
    );
    let plan = |home: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_harness"));
        let run = command.current_dir(folder.path()).env("HARNESS_DATA", home).args(["plan", "x.toml"]).output();
        let said = crate::support::text(&run.unwrap());
        said.lines().find(|line| line.starts_with("data: ")).map(String::from).unwrap_or(said)
    };
    assert_eq!(
        plan("/no/such/home"),
        "data: SYNTHETIC, 300 training and 50 test images that stand in for real ones; passed over: nowhere: nothing at nowhere; \
         HARNESS_DATA/cifar10: nothing at /no/such/home/cifar10"
    );
    std::fs::create_dir_all(folder.path().join("home/cifar10")).unwrap();
    std::fs::write(folder.path().join("home/cifar10/anything"), "x").unwrap();
    assert_eq!(
        plan("home"),
        "data: cifar10, found at home/cifar10 (HARNESS_DATA/cifar10); passed over: nowhere: nothing at nowhere"
    );
    // A run says so, too, and knows the user's home.
    let run = |sources: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_harness"));
        let set = format!("dataset.sources={sources}");
        let more =
            ["--set", "recipe.batch=8", "--set", "recipe.subset=8", "--set", "run.measure=false", "--output", "out"];
        let run = command.current_dir(folder.path()).env("HARNESS_DATA", "").env("HOME", folder.path().join("home"));
        crate::support::text(&run.args(["x.toml", "--set", &set]).args(more).output().unwrap())
    };
    let said = run("[\"~/cifar\", \"$HOME/cifar10\", \"synthetic:300+50\"]");
    for part in [
        "data: passed over: ~/cifar: nothing at ",
        "home/cifar\n",
        "$HOME/cifar10: nothing at $HOME/cifar10; variables are not",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(run("[\"~/cifar10\"]").contains("home/cifar10: no CIFAR-10 found here (anything)"));
}

/// Also where nothing but a synthetic set is there: a clone without data or network has to be able to run them.
#[test]
fn every_experiment_has_enough_images_in_each_of_its_sources() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../experiments");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let document = harness::experiment::read(&path, &[]).unwrap();
        let experiment = harness::experiment::Experiment::from_document(&document).unwrap();
        for trial in &experiment.trials {
            for source in &trial.config.dataset.sources {
                let mut alone = trial.config.dataset.clone();
                alone.sources = vec![source.clone()];
                if let Some(images) = harness::experiment::images::most(&alone).unwrap() {
                    experiment
                        .check_images(trial, images)
                        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_dry_run_is_a_plan_and_leaves_nothing_behind() {
    let folder = folder(FILE);
    let run = harness(folder.path(), &["x.toml", "--dry-run", "--format", "csv", "--only", "method=compconv,depth=3"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let mut lines = run.out.lines();
    assert_eq!(
        lines.next(),
        Some(
            "trial,seed,params,macs,params_nonzero,macs_nonzero,vanilla_share,depth,budget,budget_mismatch,control_of,training_macs,\
             estimated_minutes,aliases,remarks,tuned,train_by_class,validation_by_class,test_by_class"
        ),
        "{}",
        run.out
    );
    assert_eq!(
        lines.map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",")).collect::<Vec<_>>(),
        ["compconv depth=3,0", "compconv depth=3,1"]
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["x.toml"]);
}

#[test]
fn plan_tells_what_conditions_and_overrides_did() {
    let text = FILE.replace("[dataset]", "exclude = ['depth = 3', 'lr > 7']\n[dataset]");
    let folder = folder(&text);
    let told = [
        "2 trials dropped by exclude = \"depth = 3\" (x.toml:2)",
        "exclude = \"lr > 7\" (x.toml:2) never holds: it drops nothing",
        "2 trials dropped as duplicates",
    ];
    let table = harness(folder.path(), &["plan", "x.toml"]);
    assert!(table.code == 0 && table.err.is_empty(), "{}", table.err);
    let csv = harness(folder.path(), &["plan", "x.toml", "--format", "csv"]);
    for told in told {
        assert!(table.out.contains(told) && csv.err.contains(told), "{told}:\n{}\n{}", table.out, csv.err);
    }
    assert_eq!(csv.out.lines().count(), 1 + 6, "pure rows");
    let set = harness(folder.path(), &["plan", "x.toml", "--set", "method.depth=2", "--set", "run.jobs=2"]);
    assert!(
        set.out.contains("--set method.depth=2 replaces an axis of 2 values in the [[grid]] at x.toml:"),
        "{}",
        set.out
    );
    assert!(set.out.contains(", by 2 trials at once on "), "{}", set.out);
}

/// `harness plan .. | head`: whoever reads may have enough.
#[test]
fn a_reader_that_leaves_is_no_error() {
    use std::io::Read;
    let folder = folder(&format!(
        "{FILE}[[draw]]\ncount = 30_000\nrecipe.lr = {{ uniform = [0.1, 1.0] }}\nrecipe.gamma = {{ uniform = [0.1, 1.0] }}\n"
    ));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_harness"))
        .current_dir(folder.path())
        .args(["plan", "x.toml", "--format", "csv"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"trial,");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
}

/// What the template has behind `#` is an experiment as well.
#[test]
fn every_example_of_the_template_can_be_planned() {
    let folder = TempDir::new().unwrap();
    harness(folder.path(), &["init"]);
    let path = folder.path().join("experiment.toml");
    let example = |line: &str| {
        let inner = line.strip_prefix("# ")?;
        let key = inner.split([' ', '=']).next()?;
        let value = inner.starts_with("[[")
            || (inner.contains(" = ")
                && (key.contains('.') || ["rows", "count", "seed", "if", "match"].contains(&key)));
        // Keys of sections stand above.
        (value && !inner.starts_with("replace") && !inner.starts_with("Any key")).then(|| inner.to_owned())
    };
    let text = std::fs::read_to_string(&path).unwrap();
    let text: Vec<String> = text.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned())).collect();
    assert!(text.iter().filter(|line| line.starts_with("[[")).count() >= 7, "{}", text.join("\n"));
    std::fs::write(&path, text.join("\n")).unwrap();
    let plan = harness(folder.path(), &["plan", "experiment.toml", "--format", "csv"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    assert!(plan.out.lines().count() > 9, "{}", plan.out);
}

#[test]
fn json_rows_are_objects() {
    let folder = folder(FILE);
    let plan = harness(folder.path(), &["plan", "x.toml", "--format", "json", "--set", "protocol.seeds=[7]"]);
    let rows: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
    assert_eq!(
        (&rows[0]["trial"], &rows[0]["seed"], &rows[0]["vanilla_share"]),
        (&"vanilla".into(), &7.into(), &1.0.into())
    );
}

#[test]
fn cost_csv_has_its_columns_and_a_total() {
    let folder = TempDir::new().unwrap();
    let cost = |arguments: &[&str]| {
        let run = harness(folder.path(), &[&["cost", "--format", "csv"], arguments].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        run.out
    };
    let vgg = cost(&["--backbone", "vgg16", "--method", "compconv", "--set", "method.c0=32"]);
    let rows: Vec<Vec<&str>> = vgg.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..6], ["layer", "params", "macs", "activations", "depth_requested", "depth"]);
    let (layers, total) = (&rows[1..rows.len() - 1], rows.last().unwrap());
    assert_eq!((layers.len(), total[0]), (14, "total"));
    for column in 1..4 {
        let sum: u64 = layers.iter().map(|row| row[column].parse::<u64>().unwrap()).sum();
        assert_eq!(sum.to_string(), total[column], "{}", rows[0][column]);
    }
    // The stem stays vanilla: 3 x 3 x 3 x 64 weights, and a scale and shift per channel (maybe a bias).
    assert!(["1856", "1920"].contains(&layers[0][1]) && layers[0][4].is_empty(), "{:?}", layers[0]);
    // 256 channels at C_0 = 32: the adaptive rule asks for 4 and caps at 3.
    let wide = layers.iter().find(|row| row[4] == "3").unwrap();
    assert_eq!(wide[5], "3");
    // ImageNet networks come with ImageNet's size: 25.56M parameters, 4.09G multiply-accumulates.
    let resnet = cost(&["--backbone", "resnet50"]);
    let total: Vec<&str> = resnet.lines().last().unwrap().split(',').collect();
    assert_eq!(total[..3], ["total", "25557032", "4089184256"]);
}

#[test]
fn cost_of_a_file_names_each_trial() {
    let folder = folder(FILE);
    let run = harness(folder.path(), &["cost", "x.toml", "--format", "csv"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let totals: Vec<&str> = run.out.lines().filter(|line| line.starts_with("total,")).collect();
    let trials: Vec<&str> = totals.iter().map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(trials, ["vanilla", "compconv depth=1", "compconv depth=3", "pruned"]);
}

#[test]
fn init_writes_a_file_that_can_be_planned_and_never_overwrites() {
    let folder = TempDir::new().unwrap();
    let first = harness(folder.path(), &["init"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let plan = harness(folder.path(), &["plan", "experiment.toml", "--format", "csv"]);
    assert_eq!((plan.code, plan.out.lines().count()), (0, 5), "{}", plan.err);
    std::fs::write(folder.path().join("experiment.toml"), "mine").unwrap();
    let again = harness(folder.path(), &["init"]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("experiment.toml exists already"), "{}", again.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("experiment.toml")).unwrap(), "mine");
}

#[test]
fn lists_show_options_with_defaults() {
    let folder = TempDir::new().unwrap();
    let list = |what: &str| harness(folder.path(), &[what, "--format", "csv"]).out;
    let methods = list("methods");
    for row in ["ghost,ratio,2,", "compconv,depth,-,an integer from 0 to 6,", "thin,width,0.5,", "pruned,skip,[],"] {
        assert!(methods.contains(row), "{row} in {methods}");
    }
    assert!(list("backbones").contains("resnet56,") && list("backbones").contains("backbone.head,\"\"\"linear\"\"\","));
    assert!(list("datasets").contains("fashion-mnist,") && list("datasets").contains("dataset.augment,true,"));
}

#[test]
fn help_names_every_command() {
    let folder = TempDir::new().unwrap();
    let help = harness(folder.path(), &["--help"]);
    for command in [
        "run",
        "plan",
        "report",
        "results",
        "submit",
        "status",
        "cancel",
        "bench",
        "cost",
        "methods",
        "datasets",
        "backbones",
        "init",
    ] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(!help.out.contains("\n  trial "), "started by the harness alone");
    // A file in the place of a command is a run.
    let help = harness(folder.path(), &["x.toml", "--help"]);
    for option in ["--set", "--only", "--jobs", "--deadline", "--reuse", "--progress"] {
        assert!(help.out.contains(option), "{option}");
    }
}
