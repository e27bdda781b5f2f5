//! Exported networks, held against the programs that they are for. What needs Python runs where the environment variable
//! `HARNESS_PYTHON` names one that has torch, safetensors, onnx and onnxruntime.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use conv_core::{Backend, ParamStore, is_running_statistic, normal_stream};
use harness::backbones::{self, Backbone};
use harness::config::{Kind, TrialConfig};
use harness::data::{Geometry, Normalization};
use harness::experiment::{Experiment, parse};
use harness::export::{Exported, Format};
use harness::methods::{self, Methods};
use harness::weights::{InputSpec, WeightsFile};

use crate::support;

const IMAGES: usize = 3;

/// A network that is exported: how it is called, its configuration, images, and other widths than the planned ones.
struct Case {
    name: String,
    config: String,
    shape: (usize, usize, usize),
    pruned: bool,
}

impl Case {
    fn new(name: impl Into<String>, config: impl Into<String>) -> Self {
        Self { name: name.into(), config: config.into(), shape: (3, 32, 32), pruned: false }
    }

    fn config(&self) -> TrialConfig {
        let file = format!("name = 'x'\n[dataset]\nname = 'cifar10'\n{}", self.config);
        let document = parse("x.toml", &file).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let experiment = Experiment::from_document(&document);
        experiment.unwrap_or_else(|error| panic!("{}: {error}", self.name)).trials.remove(0).config
    }

    /// Writes it in every format, with images and what becomes of them here.
    fn export(&self, root: &Path) {
        let config = self.config();
        let methods = Methods::new(&config).unwrap();
        let (channels, classes) = (self.shape.0, 10);
        let input = InputSpec {
            geometry: Geometry { shape: self.shape, classes },
            normalization: Normalization {
                mean: (0..channels).map(|c| 0.45 + 0.03 * c as f32).collect(),
                std: (0..channels).map(|c| 0.2 + 0.05 * c as f32).collect(),
                of: String::new(),
            },
        };
        let mut backbone = backbones::by_name(&config.backbone, &input.geometry, methods.width()).unwrap();
        if self.pruned {
            backbone = narrowed(&*backbone);
        }
        let methods = methods.fused().unwrap_or(methods);
        let store = ParamStore::new(1, &Device::Cpu);
        let network = backbone.build(&methods, store.builder()).unwrap();
        store.assign(&trained(&store)).unwrap();

        let folder = root.join(&self.name);
        let tensors = store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();
        let facts = BTreeMap::from([("label".to_owned(), "\"\"\" a label\nof two lines".to_owned())]);
        let exported = Exported::new(&network, &*backbone, &input, tensors, facts).unwrap();
        for format in [Format::Onnx, Format::Pytorch, Format::Safetensors] {
            exported.write(format, &folder).unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        }
        let (images, logits) = compute(&network, &input);
        write(&folder.join("images.f32"), &images);
        write(&folder.join("logits.f32"), &logits);
        // A gate of SCConv lets a value pass whole or in part, and which it is may hang on the last bit.
        let tolerance = if self.config.contains("scconv") { 1e-3 } else { 1e-5 };
        let vanilla = config.layers.is_empty() && ["vanilla", "thin", "repvgg"].contains(&&*config.method.name);
        let case = serde_json::json!({
            "images": images.dims(), "logits": logits.dims(), "tolerance": tolerance,
            "vanilla": vanilla && !config.backbone.name.starts_with("mobilenet_v1"),
        });
        fs::write(folder.join("case.json"), case.to_string()).unwrap();
    }
}

/// Every other filter is kept of some couplings, and one alone of the last.
fn narrowed(backbone: &dyn Backbone) -> Box<dyn Backbone> {
    let couplings = backbone.prunable(true);
    let width = |(index, coupling): (usize, &baselines::pruning::Coupling)| match index % 3 {
        0 => coupling.filters(),
        1 => coupling.filters().div_ceil(2),
        _ => 3.min(coupling.filters()),
    };
    let widths = couplings.iter().enumerate().map(|at| (at.1.name().to_owned(), width(at))).collect();
    backbone.with_widths(&widths).unwrap()
}

/// Parameters with norms, statistics and biases that training might have left.
fn trained(store: &ParamStore) -> BTreeMap<String, Tensor> {
    let mut weights = store.snapshot().unwrap();
    for (name, tensor) in &mut weights {
        let (offset, factor) = match &**name {
            _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.0, 0.1),
            _ if is_running_statistic(name) || tensor.rank() == 1 => (1.0, 0.2),
            _ => continue,
        };
        let noise = normal_stream(5, name, tensor.elem_count());
        let values = noise.into_iter().map(|value| (offset + factor * value.clamp(-2.0, 2.0)) as f32).collect();
        *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
    }
    weights
}

/// Images in [0, 1], and the logits that they have here.
fn compute(network: &conv_core::Network, input: &InputSpec) -> (Tensor, Tensor) {
    let (c, h, w) = input.geometry.shape;
    let pixels = normal_stream(9, "images", IMAGES * c * h * w);
    let pixels = pixels.into_iter().map(|value| (0.5 + 0.25 * value).clamp(0.0, 1.0) as f32).collect();
    let images = Tensor::from_vec(pixels, (IMAGES, c, h, w), &Device::Cpu).unwrap();
    let Normalization { mean, std, .. } = &input.normalization;
    let [mean, std] = [mean, std].map(|values| Tensor::new(values.clone(), &Device::Cpu).unwrap());
    let by_channel = |tensor: &Tensor| tensor.reshape((1, c, 1, 1)).unwrap();
    let standardised = images.broadcast_sub(&by_channel(&mean)).unwrap().broadcast_div(&by_channel(&std)).unwrap();
    let logits = network.inference(Backend::Engine { winograd: false }).forward(&standardised).unwrap();
    (images, logits)
}

fn write(path: &Path, tensor: &Tensor) {
    let values = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    fs::write(path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
}

/// Every method that makes networks, on each of these backbones.
fn every_method() -> Vec<Case> {
    let backbones = [
        ("resnet20", "name = 'resnet20'", (3, 32, 32)),
        ("vgg16", "name = 'vgg16'\nwidth = 0.25", (3, 32, 32)),
        ("vgg16_mlp", "name = 'vgg16'\nhead = 'mlp'\nwidth = 0.25", (3, 32, 32)),
        ("mobilenet_v2", "name = 'mobilenet_v2_cifar'\nwidth = 0.5", (3, 32, 32)),
        ("resnet50", "name = 'resnet50'\nwidth = 0.25\nreplace.stem = true", (3, 61, 45)),
    ];
    let methods: Vec<&str> =
        methods::names().into_iter().filter(|name| !["pruned", "magnitude"].contains(name)).collect();
    let cases = backbones.iter().flat_map(|(name, backbone, shape)| {
        methods.iter().map(move |method| Case {
            shape: *shape,
            ..Case::new(format!("{method} {name}"), format!("[backbone]\n{backbone}\n[method]\nname = '{method}'\n"))
        })
    });
    cases.collect()
}

/// Every choice and switch of every method, and depths of CompConv.
fn every_option() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in methods::all().iter().filter(|method| method.makes_layers()) {
        let mut values: Vec<(&str, String)> = Vec::new();
        for field in method.options {
            match field.kind {
                Kind::Choice(names) => values.extend(names().iter().map(|name| (field.key, format!("'{name}'")))),
                Kind::Flag => values.extend([true, false].map(|value| (field.key, value.to_string()))),
                _ if field.key == "depth" => values.extend((0..5).map(|depth| (field.key, depth.to_string()))),
                _ => {}
            }
        }
        for (key, value) in values {
            let name = format!("{} {key} {}", method.name, value.trim_matches('\''));
            let text = format!("[backbone]\nname = 'resnet20'\n[method]\nname = '{}'\n{key} = {value}\n", method.name);
            cases.push(Case::new(name, text));
        }
    }
    cases
}

fn others() -> Vec<Case> {
    let vanilla = |backbone: &str| format!("[backbone]\nname = '{backbone}'\n[method]\nname = 'vanilla'\n");
    let mixed = "[backbone]\nname = 'resnet18'\nwidth = 0.25\n[method]\nname = 'ghost'\n[[layer]]\nmatch = 'layer2.*'\nmethod.name = \
                 'scconv'\n[[layer]]\nmatch = 'layer3.*'\nmethod.name = 'compconv'\n";
    vec![
        Case { pruned: true, ..Case::new("pruned resnet20", vanilla("resnet20")) },
        Case { pruned: true, ..Case::new("pruned vgg16", vanilla("vgg16")) },
        Case { shape: (1, 28, 28), ..Case::new("grey mobilenet_v1", vanilla("mobilenet_v1_cifar")) },
        Case { shape: (3, 33, 47), ..Case::new("mixed resnet18", mixed) },
    ]
}

/// Skipped, and said so, where no Python is named.
#[test]
fn other_programs_compute_the_same_logits() {
    let Some(python) = std::env::var_os("HARNESS_PYTHON") else {
        eprintln!("skipped: HARNESS_PYTHON names no Python with torch, safetensors, onnx and onnxruntime");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    for case in every_method().into_iter().chain(every_option()).chain(others()) {
        case.export(root.path());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/check.py");
    let output = Command::new(python).arg(script).arg(root.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}

const EXPERIMENT: &str = "name = 'small'\n[dataset]\nname = 'synthetic'\nsources = ['synthetic:60+30']\n[backbone]\nname = 'resnet20'\n\
    width = 0.25\n[recipe]\nepochs = 2\nbatch = 8\n[protocol]\nvalidation = 12\nseeds = [0]\ncontrols = []\n[run]\nmeasure = false\n\
    [[grid]]\nmethod.name = ['vanilla', 'ghost']\n";

/// A folder where the experiment was run.
fn trained_folder() -> tempfile::TempDir {
    let folder = support::folder(EXPERIMENT);
    let run = support::harness(folder.path(), &["x.toml", "--progress", "plain"]);
    assert_eq!(run.code, 0, "{}", run.err);
    folder
}

/// From training to files, accuracy and single images, as a user types it.
#[test]
fn a_trained_network_leaves_the_harness() {
    let folder = trained_folder();
    let run = |arguments: &[&str]| support::harness(folder.path(), arguments);
    let done = |arguments: &[&str]| {
        let run = run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
        run.out
    };

    let several = run(&["export", "reports/small", "--format", "onnx"]);
    assert_eq!(several.code, 2);
    assert!(several.err.contains("2 trained trials fit") && several.err.contains("ghost"), "{}", several.err);
    let none = run(&["export", "reports/small", "--only", "pconv", "--format", "onnx"]);
    assert!(none.code == 2 && none.err.contains("`pconv` fits no trained trial"), "{}", none.err);

    let written = done(&["export", "reports/small", "--only", "ghost", "--format", "pytorch", "--output", "out"]);
    assert_eq!(written.lines().collect::<Vec<_>>(), ["out/model.py", "out/weights.pth"]);
    let written = done(&["export", "reports/small", "--only", "vanilla", "--format", "safetensors", "--output", "out"]);
    assert_eq!(written.trim_end(), "out/weights.safetensors");
    let written = WeightsFile::read(&fs::read(folder.path().join("out/weights.safetensors")).unwrap()).unwrap();
    assert!(written.tensors.contains_key("layer1.0.bn1.running_mean") && written.metadata["names"] == "pytorch");
    assert_eq!(
        written.metadata["transform"],
        "training on random crops (4 pixels of padding) and random flips; evaluation on images resized to cover 32 x 32 where they \
         do not have that size, and their centre"
    );

    let trial = fs::read_dir(folder.path().join("reports/small/trials")).unwrap().next().unwrap().unwrap().path();
    let path = trial.to_str().unwrap();
    let written = done(&["export", path, "--format", "onnx"]);
    let key = trial.file_name().unwrap().to_str().unwrap();
    assert_eq!(written.trim_end(), format!("exports/{key}/model.onnx"));

    // As the trial itself found it.
    let result: serde_json::Value = serde_json::from_slice(&fs::read(trial.join("result.json")).unwrap()).unwrap();
    let table = done(&["evaluate", path, "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&table).unwrap();
    let all = rows.last().unwrap();
    assert_eq!((all["class"].as_str(), all["images"].as_u64(), rows.len()), (Some("all"), Some(30), 11));
    assert_eq!(all["top1"], result["test"]["top1"]);
    assert!(all["low"].as_f64() <= all["top1"].as_f64() && all["top1"].as_f64() < all["high"].as_f64());
    let table = done(&["evaluate", path, "--split", "validation", "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&table).unwrap();
    assert_eq!(rows.last().unwrap()["top1"], result["validation"]["top1"]);
    let table = done(&["evaluate", path, "--confusion", "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&table).unwrap();
    assert_eq!(rows.iter().map(|row| row["images"].as_u64().unwrap()).sum::<u64>(), 30);
    let other = run(&["evaluate", path, "--data", "synthetic:60+40", "--split", "validation"]);
    assert!(other.code == 2 && other.err.contains("accepted: --split test"), "{}", other.err);

    image::RgbImage::from_fn(40, 32, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 90]))
        .save(folder.path().join("a.png"))
        .unwrap();
    let predicted = run(&["predict", path, "a.png", "--top", "3", "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&predicted.out).unwrap();
    assert_eq!(rows.len(), 3);
    let shares: Vec<f64> = rows.iter().map(|row| row["probability"].as_f64().unwrap()).collect();
    assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]) && shares.iter().sum::<f64>() <= 1.0 + 1e-6, "{shares:?}");
    assert!(predicted.err.contains("32 x 40 pixels for a network of 32 x 32: images resized"), "{}", predicted.err);
    fs::write(folder.path().join("b.png"), b"no image").unwrap();
    let broken = run(&["predict", path, "b.png"]);
    assert!(broken.code == 2 && broken.err.contains("b.png: cannot be used as an image"), "{}", broken.err);

    // Whoever may read a result may check and use its weights, too.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| fs::metadata(trial.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("weights.safetensors"), mode("result.json"));
    }

    let weights = trial.join("weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let damaged = run(&["evaluate", path]);
    assert!(damaged.code == 2 && damaged.err.contains("its checksum differs"), "{}", damaged.err);
    fs::remove_file(&weights).unwrap();
    let gone = run(&["export", path, "--format", "onnx"]);
    assert!(gone.code == 2 && gone.err.contains("weights.safetensors: is missing"), "{}", gone.err);
    done(&["x.toml", "--set", "run.keep_weights=false", "--output", "reports/none", "--progress", "plain"]);
    let dropped = run(&["export", "reports/none", "--only", "ghost", "--format", "onnx"]);
    assert!(dropped.code == 2 && dropped.err.contains("unless run.keep_weights = false"), "{}", dropped.err);

    let to = done(&["results", "tensorboard", "reports/small"]);
    let runs: Vec<_> = fs::read_dir(folder.path().join(to.trim_end())).unwrap().collect();
    assert_eq!(runs.len(), 2);
    let Some(python) = std::env::var_os("HARNESS_PYTHON") else {
        eprintln!("skipped: HARNESS_PYTHON names no Python with tensorboard");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/events.py");
    let output = Command::new(python).arg(script).arg(folder.path().join(to.trim_end())).output().unwrap();
    let said = support::text(&output);
    assert!(output.status.success() && said.contains("2 runs of 2 epochs"), "{said}");
}

/// A Python without the runtimes is told from one that is not there.
#[test]
fn runtimes_that_are_missing_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |python: &str| {
        let network = ["bench", "--backbone", "resnet20", "--method", "ghost", "--batch", "2", "--rounds", "3"];
        let more =
            ["--threads", "1", "--set", "backbone.width=0.25", "--deployed", "--format", "json", "--python", python];
        support::harness(folder.path(), &[&network[..], &more].concat())
    };
    let absent = bench("./no-such-python");
    assert!(
        absent.code == 2 && absent.err.contains("accepted: a Python with onnxruntime or openvino"),
        "{}",
        absent.err
    );
    let Some(python) = std::env::var_os("HARNESS_PYTHON") else {
        eprintln!("skipped: HARNESS_PYTHON names no Python with onnxruntime and openvino");
        return;
    };
    let measured = bench(python.to_str().unwrap());
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&measured.out).unwrap_or_else(|_| panic!("{}", measured.err));
    let runtimes: Vec<&str> = rows.iter().map(|row| row["runtime"].as_str().unwrap()).collect();
    assert_eq!(runtimes, ["harness", "onnxruntime", "openvino", "harness", "onnxruntime", "openvino"]);
    assert!(
        rows.iter().all(|row| row["p50_ms"].as_f64() > Some(0.0) && row["p50_ms"].as_f64() <= row["p99_ms"].as_f64())
    );
}
