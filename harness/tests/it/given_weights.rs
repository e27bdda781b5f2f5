//! Networks that start from given weights: logits of torchvision's, and trials from a first one's results to a report.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use conv_core::{Backend, ParamStore};
use harness::backbones;
use harness::config::{BackboneConfig, InitConfig};
use harness::data::Geometry;
use harness::weights::names::TorchNames;
use harness::weights::start::Start;
use harness::weights::{WeightsFile, values};

use super::support::uniform;

/// As `parameter` of `goldens/given.py`.
fn parameter(name: &str, shape: &[usize]) -> Tensor {
    let scaled = |v: f64| match shape {
        _ if name.ends_with("running_var") => 1.0 + 0.5 * v,
        [_, i, h, w] => v * (6.0 / (i * h * w) as f64).sqrt(),
        [_, i] => v * (1.0 / *i as f64).sqrt(),
        _ if name.ends_with("weight") => 0.5 * (1.0 + 0.25 * v),
        _ => 0.1 * v,
    };
    let all: Vec<f32> = uniform(name, shape.iter().product()).into_iter().map(|value| scaled(value) as f32).collect();
    Tensor::from_vec(all, shape, &Device::Cpu).unwrap()
}

#[test]
fn a_file_with_torchvisions_names_gives_torchvisions_logits() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/given/logits.safetensors");
    let goldens = candle_core::safetensors::load(goldens, &Device::Cpu).unwrap();
    let shape = (3, 64, 64);
    let dir = tempfile::tempdir().unwrap();
    for name in ["resnet18", "resnet50"] {
        let config = BackboneConfig { name: name.to_owned(), ..BackboneConfig::default() };
        let backbone = backbones::by_name(&config, &Geometry { shape, classes: 10 }, 1.0).unwrap();
        let store = ParamStore::new(0, &Device::Cpu);
        let network = backbone.build(&baselines::Vanilla {}, store.builder()).unwrap();
        let names = TorchNames::of(&*backbone).unwrap();
        let tensors: HashMap<String, Tensor> = (store.named().into_iter())
            .map(|(ours, var)| {
                let theirs = names.theirs(&ours).unwrap();
                let tensor = parameter(&theirs, var.dims());
                (theirs, tensor)
            })
            .collect();
        let path = dir.path().join("weights");
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let init = InitConfig { file: Some(path.to_str().unwrap().to_owned()), ..InitConfig::default() };
        Start::read(&init, &*backbone, &store).unwrap().give(&store).unwrap();
        let pixels: Vec<f32> = uniform("image", 3 * 64 * 64).into_iter().map(|value| value as f32).collect();
        let image = Tensor::from_vec(pixels, (1, 3, 64, 64), &Device::Cpu).unwrap();
        let logits = network.inference(Backend::default()).forward(&image).unwrap().flatten_all().unwrap();
        let (found, expected) = (logits.to_vec1::<f32>().unwrap(), goldens[name].flatten_all().unwrap());
        let expected = expected.to_vec1::<f64>().unwrap();
        let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4 * largest, "{name}: {found} {expected}");
        }
    }
}

/// An experiment on a few made images, as `harness` runs it; returns stdout's end and the folder.
fn run(dir: &Path, name: &str, rest: &str, args: &[&str]) -> (bool, String, PathBuf) {
    let file = dir.join(format!("{name}.toml"));
    let text = format!(
        "name = '{name}'\n[dataset]\nname = 'synthetic'\nsources = ['synthetic:96+32']\n[backbone]\nname = 'resnet20'\n\
         width = 0.25\n[protocol]\nvalidation = 16\ncontrols = []\n[run]\nmeasure = false\n{rest}"
    );
    fs::write(&file, text).unwrap();
    let mut command = assert_cmd::Command::cargo_bin("harness").unwrap();
    let output = command.current_dir(dir).arg("run").arg(&file).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text, dir.join("reports").join(name))
}

fn weights(folder: &Path) -> PathBuf {
    let trials = fs::read_dir(folder.join("trials")).unwrap();
    let mut found = trials.map(|trial| trial.unwrap().path().join("weights.safetensors")).filter(|path| path.exists());
    found.next().unwrap()
}

#[test]
fn a_trained_network_is_fine_tuned_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = "[recipe]\nepochs = 2\nbatch = 16\nlr = 0.05\n";
    let (done, text, first) = run(dir.path(), "first", recipe, &[]);
    assert!(done, "{text}");
    let given = weights(&first);
    let rest = "[recipe]\nepochs = 1\nbatch = 16\nlr = 1e-3\noptimizer = 'adamw'\nfinetune_lr = 1e-3\n[[grid]]\n\
        method.name = ['vanilla', 'pruned', 'magnitude', 'thin']\n[[grid]]\nmethod.name = 'pruned'\n\
        method.weights = 'scratch'\n[[grid]]\nmethod.name = 'lowrank'\nmethod.from = 'trained'\n";
    let (done, text, tuned) = run(dir.path(), "tuned", rest, &["--init", given.to_str().unwrap()]);
    assert!(done, "{text}");
    let readme = fs::read_to_string(tuned.join("README.md")).unwrap();
    let caption = readme.lines().find(|line| line.contains("**Given weights**")).unwrap_or_else(|| panic!("{readme}"));
    for (row, starts) in [("vanilla", true), ("magnitude", true), ("lowrank", true), ("thin", false)] {
        assert_eq!(caption.contains(row), starts, "{row}: {caption}");
    }
    assert!(readme.contains("pruned starts from given weights, is"), "{readme}");
    assert!(readme.contains("AdamW (betas 0.9 and 0.999, eps 1e-8)"), "{readme}");

    // Other weights are other trials; the same ones are the same, wherever they lie.
    let keys = |folder: &Path| {
        let mut keys: Vec<String> = (fs::read_dir(folder.join("trials")).unwrap())
            .map(|trial| trial.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        keys.sort();
        keys
    };
    let only = ["--only", "vanilla", "--output"];
    let moved = dir.path().join("moved");
    fs::copy(&given, &moved).unwrap();
    let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let again = |file: &Path, output: &str| {
        let output = folder(output);
        let args = [&only[..], &[&output, "--init", file.to_str().unwrap()]].concat();
        let (done, text, _) = run(dir.path(), "tuned", rest, &args);
        assert!(done, "{text}");
        keys(Path::new(&output))
    };
    let same = again(&moved, "same");
    assert!(keys(&tuned).contains(&same[0]), "{same:?}");
    let other = again(&weights(Path::new(&folder("same"))), "other");
    assert_ne!(other, same);
}

#[test]
fn what_cannot_start_from_the_weights_says_which_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let (done, text, first) = run(dir.path(), "first", "[recipe]\nepochs = 1\nbatch = 16\nlr = 0.05\n", &[]);
    assert!(done, "{text}");
    let given = weights(&first);
    let ghost = "[recipe]\nepochs = 1\nbatch = 16\nlr = 0.01\n[method]\nname = 'ghost'\n";
    let (done, text, folder) = run(dir.path(), "ghost", ghost, &["--init", given.to_str().unwrap()]);
    assert!(!done, "{text}");
    let trial = fs::read_dir(folder.join("trials")).unwrap().next().unwrap().unwrap().path();
    let failed = fs::read_to_string(trial.join("failed.json")).unwrap();
    assert!(failed.contains("missing: `layer1.0.conv1.") && failed.contains("init.partial = true"), "{failed}");
    let (done, text, folder) =
        run(dir.path(), "ghost", ghost, &["--init", given.to_str().unwrap(), "--set", "init.partial=true"]);
    assert!(done, "{text}");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("starts from given weights") && readme.contains("fresh"), "{readme}");
    let (done, text, _) = run(dir.path(), "ghost", ghost, &["--init", "nowhere.pth"]);
    assert!(!done && text.contains("nowhere.pth") && text.contains("init.file"), "{text}");
    let digest = format!("init.digest='{}'", "0".repeat(64));
    let (done, text, _) = run(dir.path(), "ghost", ghost, &["--set", &digest]);
    assert!(!done && text.contains("`init.digest` is given, and no `init.file`"), "{text}");
}

#[test]
fn a_plan_and_an_export_know_given_weights_as_a_run_does() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = "[recipe]\nepochs = 1\nbatch = 16\nlr = 0.05\n";
    let (done, text, first) = run(dir.path(), "first", recipe, &[]);
    assert!(done, "{text}");
    let harness = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("harness").unwrap();
        let output = command.current_dir(dir.path()).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let (done, text) = harness(&["plan", "first.toml", "--init", "nowhere.pth"]);
    assert!(!done && text.contains("nowhere.pth") && text.contains("init.file"), "{text}");
    let own = weights(&first);
    let (done, text) = harness(&["plan", "first.toml", "--init", own.to_str().unwrap()]);
    assert!(done && text.contains("vanilla"), "{text}");
    let methods =
        ["plan", "first.toml", "--init", own.to_str().unwrap(), "--set", "method.name=['thin','ghost','spconv']"];
    let (done, text) = harness(&methods);
    assert!(
        !done
            && text.contains("a run would refuse this: ghost: init.file")
            && text.contains("nor can another network start"),
        "{text}"
    );
    assert!(text.contains("missing: `layer1.0.conv1.") && text.contains("init.partial = true"), "{text}");
    let (done, text) = harness(&[&methods[..], &["--set", "init.partial=true"]].concat());
    assert!(done, "{text}");
    // What leaves the harness comes back; such a rate changes no weight of a convolution.
    for format in ["pytorch", "safetensors"] {
        let (done, text) = harness(&["export", "reports/first", "--format", format, "--output", "out"]);
        assert!(done, "{text}");
    }
    let still = "[recipe]\nepochs = 1\nbatch = 16\nlr = 1e-30\nweight_decay = 0.0\n";
    let convolutions = |path: &Path| {
        let file = WeightsFile::read(&fs::read(path).unwrap()).unwrap();
        let convolutions = file.tensors.into_iter().filter(|(_, tensor)| tensor.rank() == 4);
        convolutions.map(|(name, tensor)| (name, values(&tensor).unwrap())).collect::<Vec<_>>()
    };
    for file in ["out/weights.pth", "out/weights.safetensors"] {
        let name = file.replace(['/', '.'], "_");
        let (done, text, folder) = run(dir.path(), &name, still, &["--init", file]);
        assert!(done, "{text}");
        assert!(convolutions(&weights(&folder)) == convolutions(&own), "{file}");
    }
}
