//! Files as PyTorch wrote them (`tests/goldens/given.py`), damaged and forged ones, and networks that they fit or not.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use conv_core::ParamStore;

use super::given::GivenWeights;
use super::names::TorchNames;
use super::start::Start;
use crate::backbones::{self, Backbone};
use crate::config::{BackboneConfig, GivenClassifier, InitConfig};
use crate::data::Geometry;

const GOOD: [&str; 11] = [
    "plain.pth",
    "legacy.pth",
    "nested.pth",
    "legacy_nested.pth",
    "parameters.pth",
    "plain.safetensors",
    "name_of_21_characters.pth",
    "beside.pth",
    "both.pth",
    "unread.pth",
    "legacy_unread.pth",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/given").join(name)
}

fn error(name: &str) -> String {
    format!("{:#}", GivenWeights::read(&golden(name)).unwrap_err())
}

#[test]
fn every_form_of_a_state_dict_gives_the_same() {
    for name in GOOD {
        let file = GivenWeights::read(&golden(name)).unwrap();
        let shapes: Vec<_> = file.tensors().filter_map(|(name, given)| Some((name, given.shape()?))).collect();
        let expected: [(&str, &[usize]); 4] =
            [("a.weight", &[2, 3]), ("b.weight", &[2]), ("c.bias", &[3]), ("d.weight", &[1])];
        assert_eq!(shapes, expected, "{name}: counts are left out");
        assert_eq!(file.tensor("a.weight").unwrap().to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        let values = |tensor: &str| file.tensor(tensor).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values("b.weight"), [0.5, -1.5], "{name}");
        assert_eq!(values("c.bias"), [1.0, 2.0, 3.0], "{name}");
        assert_eq!(values("d.weight"), [-2.0], "{name}");
        assert_eq!(file.converted(), Some("f64"));
    }
}

#[test]
fn a_choice_between_two_state_dicts_is_told() {
    let remarks = |name: &str| GivenWeights::read(&golden(name)).unwrap().remarks().to_vec();
    assert_eq!(remarks("both.pth"), ["those under `state_dict` and not those under `model`"]);
    assert!(remarks("beside.pth").is_empty());
}

#[test]
fn tensors_of_types_that_are_not_read_are_there_with_their_types() {
    let unread = |name: &str| {
        let file = GivenWeights::read(&golden(name)).unwrap();
        let unread = file.tensors().filter_map(|(name, given)| Some(format!("{name} {}", given.unread()?)));
        unread.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        unread("unread.pth"),
        "bn.num_batches_tracked i64, complex complex64, count i64, float8 float8_e4m3fn, meta meta, without values, quantised \
         quantised, sparse sparse"
    );
    assert_eq!(unread("legacy_unread.pth"), "bn.num_batches_tracked i64, complex complex64");
    let file = GivenWeights::read(&golden("unread.pth")).unwrap();
    let text = format!("{:#}", file.tensor("float8").unwrap_err());
    assert!(text.contains("`float8` is float8_e4m3fn; accepted: f32, f64, f16 or bf16"), "{text}");
}

#[test]
fn what_is_no_state_dict_is_said_to_be_what_it_is() {
    assert!(error("module.pth").contains("whole `torch.nn.modules.linear.Linear`"), "{}", error("module.pth"));
    assert!(error("legacy_module.pth").contains("whole `given.Whole`"), "{}", error("legacy_module.pth"));
    let nested = error("nested_module.pth");
    assert!(nested.contains("whole `torch.nn.modules.linear.Linear` under `model`"), "{nested}");
    let whole = std::fs::read(golden("plain.pth")).unwrap();
    let text = format!("{:#}", GivenWeights::parse(whole[..whole.len() / 2].to_vec()).unwrap_err());
    assert!(text.contains("is cut short"), "{text}");
    assert!(error("list.pth").contains("holds a list"), "{}", error("list.pth"));
    assert!(error("missing.pth").contains("cannot be read"));
    for bytes in [&b""[..], b"PK", b"hello, weights", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."] {
        assert!(GivenWeights::parse(bytes.to_vec()).is_err());
    }
}

/// Reads all that a file says it has, as long as it says that it is small.
fn read_all(bytes: Vec<u8>) {
    let Ok(file) = GivenWeights::parse(bytes) else { return };
    for (name, given) in file.tensors() {
        let Some(shape) = given.shape() else { continue };
        if shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side)).is_some_and(|count| count < 10_000) {
            drop(file.tensor(name));
        }
    }
}

#[test]
fn cut_or_flipped_anywhere_it_is_an_error_or_something_else_and_never_a_panic() {
    for name in GOOD {
        let whole = std::fs::read(golden(name)).unwrap();
        for length in 0..whole.len() {
            read_all(whole[..length].to_vec());
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_all(flipped);
        }
    }
}

#[test]
fn a_small_file_does_not_ask_for_all_of_memory() {
    // One number, seen as 2^40 of them.
    let header = br#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}"#;
    let mut forged = (header.len() as u64).to_le_bytes().to_vec();
    forged.extend(header);
    forged.extend([0; 4]);
    assert!(GivenWeights::parse(forged).is_err());
    let longer = [&u64::MAX.to_le_bytes()[..], b"{"].concat();
    assert!(GivenWeights::parse(longer).is_err());
}

fn backbone(name: &str, classes: usize) -> Box<dyn Backbone> {
    let config = BackboneConfig { name: name.to_owned(), ..BackboneConfig::default() };
    backbones::by_name(&config, &Geometry { shape: (3, 32, 32), classes }, 0.25).unwrap()
}

fn store(backbone: &dyn Backbone, seed: u64) -> ParamStore {
    let store = ParamStore::new(seed, &Device::Cpu);
    backbone.build(&baselines::Vanilla {}, store.builder()).unwrap();
    store
}

/// A safetensors file of a network's tensors under other names; those without one are left out.
fn file(store: &ParamStore, name: impl Fn(&str) -> Option<String>) -> GivenWeights {
    let named = store.named().into_iter().filter_map(|(ours, var)| Some((name(&ours)?, var.as_tensor().clone())));
    file_of(named)
}

fn file_of(named: impl Iterator<Item = (String, Tensor)>) -> GivenWeights {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    candle_core::safetensors::save(&named.collect::<std::collections::HashMap<_, _>>(), &path).unwrap();
    GivenWeights::read(&path).unwrap()
}

fn same(a: &ParamStore, b: &ParamStore) -> bool {
    let values =
        |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    a.named().iter().zip(b.named()).all(|((_, a), (_, b))| values(a) == values(&b))
}

#[test]
fn names_of_this_harness_of_torchvision_and_of_cifar_implementations_are_understood() {
    for name in ["resnet20", "resnet18", "resnet50", "vgg16", "mobilenet_v2_cifar"] {
        let network = backbone(name, 10);
        let torch = TorchNames::of(&*network).unwrap();
        let from = store(&*network, 1);
        let theirs = |ours: &str| torch.theirs(ours);
        let cifar = |ours: &str| {
            let theirs = torch.theirs(ours)?;
            Some(theirs.replacen("fc.", "linear.", 1).replacen(".downsample.", ".shortcut.", 1))
        };
        for file in [file(&from, |ours| Some(ours.to_owned())), file(&from, theirs), file(&from, cifar)] {
            let to = store(&*network, 2);
            let start =
                Start::of(&file, &InitConfig::default(), &*network, &to).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(start.fresh.is_empty() && start.unused.is_empty() && start.converted.is_none());
            assert!(!same(&from, &to));
            start.give(&to).unwrap();
            assert!(same(&from, &to), "{name}");
        }
    }
}

#[test]
fn all_that_does_not_fit_is_listed_and_passed_over_only_when_asked() {
    let (network, other) = (backbone("resnet20", 10), backbone("resnet20", 7));
    let (from, to) = (store(&*network, 1), store(&*other, 2));
    let torch = TorchNames::of(&*network).unwrap();
    let whole = file(&from, |ours| torch.theirs(ours));
    let text = format!("{:#}", Start::of(&whole, &InitConfig::default(), &*other, &to).unwrap_err());
    assert!(text.contains("`fc.weight` is [10, 16], expected [7, 16]"), "{text}");
    assert!(text.contains("init.classifier = \"new\""), "{text}");
    let new = InitConfig { classifier: GivenClassifier::New, ..InitConfig::default() };
    let start = Start::of(&whole, &new, &*other, &to).unwrap();
    assert_eq!(start.fresh, ["fc.bias", "fc.weight"]);
    assert!(start.remark(&new).contains("2 tensors of"), "{}", start.remark(&new));

    let part = file(&from, |ours| match ours.strip_prefix("layer1.") {
        Some(rest) => Some(format!("stage.{rest}")),
        None => torch.theirs(ours),
    });
    let text = format!("{:#}", Start::of(&part, &InitConfig::default(), &*network, &to).unwrap_err());
    assert!(text.contains("missing: `layer1.0.bn1.bias`") && text.contains("30 in all"), "{text}");
    assert!(text.contains("not of this network: `stage.0.conv1.bn.bias`"), "{text}");
    assert!(text.contains("init.partial = true"), "{text}");
    let partial = InitConfig { partial: true, ..InitConfig::default() };
    let start = Start::of(&part, &partial, &*network, &store(&*network, 3)).unwrap();
    assert_eq!((start.fresh.len(), start.unused.len()), (30, 30));

    let strangers = file(&from, |ours| Some(format!("{}.{ours}", if ours.ends_with("bias") { "x" } else { "y" })));
    let text = format!("{:#}", Start::of(&strangers, &partial, &*network, &to).unwrap_err());
    assert!(text.contains("none of its tensors"), "{text}");
}

#[test]
fn what_wrappers_put_before_names_is_left_out() {
    let network = backbone("resnet20", 10);
    let (from, torch) = (store(&*network, 1), TorchNames::of(&*network).unwrap());
    let read = |file: &GivenWeights| {
        let to = store(&*network, 2);
        let start = Start::of(file, &InitConfig::default(), &*network, &to).unwrap();
        start.give(&to).unwrap();
        assert!(same(&from, &to) && start.unused.is_empty());
        start.remark(&InitConfig::default())
    };
    let prefixed = |prefix: &str| file(&from, |ours| Some(format!("{prefix}{}", torch.theirs(ours)?)));
    for prefix in ["module.", "_orig_mod.module.", "module._orig_mod.", "module.module._orig_mod."] {
        let remark = read(&prefixed(prefix));
        assert!(!remark.contains("without"), "{remark}");
    }
    // One layer in a wrapper, as scripts do that compute a part in parallel.
    read(&file(&from, |ours| Some(torch.theirs(ours)?.replacen("layer1.", "layer1.module.", 1))));
    let remark = read(&prefixed("net.backbone.module."));
    assert!(remark.contains("names without their `net.backbone.`"), "{remark}");
    let value = || Tensor::new(&[1f32], &Device::Cpu).unwrap();
    let twice = ["module.fc.bias", "fc.bias"].map(|name| (name.to_owned(), value()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twice");
    candle_core::safetensors::save(&std::collections::HashMap::from(twice), &path).unwrap();
    let text = format!("{:#}", GivenWeights::read(&path).unwrap_err());
    assert!(text.contains("holds both `fc.bias` and `module.fc.bias`"), "{text}");
}

/// Images that show whether two networks are one.
fn logits(network: &conv_core::Network) -> Vec<f32> {
    let pixels = conv_core::normal_stream(3, "images", 2 * 3 * 32 * 32).into_iter().map(|value| value as f32).collect();
    let images = Tensor::from_vec(pixels, (2, 3, 32, 32), &Device::Cpu).unwrap();
    let logits = network.inference(conv_core::Backend::default()).forward(&images).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// torchvision's and other VGGs have biases that a batch norm takes away again: `y + b` has the mean `m + b`.
#[test]
fn biases_before_a_batch_norm_are_taken_off_its_mean() {
    let network = backbone("vgg16", 10);
    let (from, torch) = (ParamStore::new(1, &Device::Cpu), TorchNames::of(&*network).unwrap());
    let first = network.build(&baselines::Vanilla {}, from.builder()).unwrap();
    let biases = |ours: &str, tensor: &Tensor| {
        let layer = ours.strip_suffix(".bn.running_mean")?;
        let values = conv_core::normal_stream(7, layer, tensor.elem_count()).into_iter().map(|value| value as f32);
        Some((format!("{layer}.bias"), Tensor::from_vec(values.collect(), tensor.shape(), &Device::Cpu).unwrap()))
    };
    let tensors = from.named().into_iter().flat_map(|(ours, var)| {
        let (theirs, tensor) = (torch.theirs(&ours).unwrap(), var.as_tensor().clone());
        match biases(&ours, &tensor) {
            Some((bias, values)) => {
                vec![(theirs, (tensor + &values).unwrap()), (torch.theirs(&bias).unwrap(), values)]
            }
            None => vec![(theirs, tensor)],
        }
    });
    let file = file_of(tensors);
    let to = ParamStore::new(2, &Device::Cpu);
    let second = network.build(&baselines::Vanilla {}, to.builder()).unwrap();
    let start = Start::of(&file, &InitConfig::default(), &*network, &to).unwrap();
    assert!(start.fresh.is_empty() && start.unused.is_empty());
    let remark = start.remark(&InitConfig::default());
    assert!(remark.contains("13 biases of convolutions taken off the means"), "{remark}");
    start.give(&to).unwrap();
    let (expected, found) = (logits(&first), logits(&second));
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for (expected, found) in expected.iter().zip(&found) {
        assert!((expected - found).abs() < 1e-4 * largest, "{expected} {found}");
    }
}

/// torchvision's VGG-16 has a classifier of three layers.
#[test]
fn a_classifier_of_other_layers_is_made_anew_when_asked() {
    let network = backbone("vgg16", 10);
    let (from, to) = (store(&*network, 1), store(&*network, 2));
    let torch = TorchNames::of(&*network).unwrap();
    let file = file(&from, |ours| Some(torch.theirs(ours)?.replacen("classifier.", "classifier.6.", 1)));
    let text = format!("{:#}", Start::of(&file, &InitConfig::default(), &*network, &to).unwrap_err());
    assert!(text.contains("not of this network: `classifier.6.bias`"), "{text}");
    assert!(text.contains("init.classifier = \"new\""), "{text}");
    let new = InitConfig { classifier: GivenClassifier::New, ..InitConfig::default() };
    let start = Start::of(&file, &new, &*network, &to).unwrap();
    assert_eq!((start.fresh.len(), start.unused.len()), (2, 0));
}

#[test]
fn a_tensor_of_another_type_or_without_finite_values_is_told_from_a_missing_one() {
    let network = backbone("resnet20", 10);
    let (from, to) = (store(&*network, 1), store(&*network, 2));
    let torch = TorchNames::of(&*network).unwrap();
    let changed = |name: &str, change: fn(&Tensor) -> candle_core::Result<Tensor>| {
        file_of(from.named().into_iter().map(|(ours, var)| {
            let theirs = torch.theirs(&ours).unwrap().replacen("fc.", "linear.", 1);
            let tensor = var.as_tensor().clone();
            let tensor = if theirs == name { change(&tensor).unwrap() } else { tensor };
            (theirs, tensor)
        }))
    };
    let error =
        |file: &GivenWeights, init: &InitConfig| format!("{:#}", Start::of(file, init, &*network, &to).unwrap_err());
    let whole_numbers = changed("linear.weight", |tensor| tensor.to_dtype(DType::I64));
    let text = error(&whole_numbers, &InitConfig::default());
    assert!(text.contains("of a type that is not read: `linear.weight` is i64") && !text.contains("missing"), "{text}");
    let partial = InitConfig { partial: true, ..InitConfig::default() };
    let remark = Start::of(&whole_numbers, &partial, &*network, &to).unwrap().remark(&partial);
    assert!(remark.contains("1 tensors of") && remark.contains("1 of a type that is not read"), "{remark}");
    for change in [|tensor: &Tensor| tensor * f64::NAN, |tensor: &Tensor| tensor + f64::INFINITY] {
        let text = error(&changed("linear.weight", change), &partial);
        assert!(text.contains("infinite or no numbers") && text.contains("in `linear.weight`"), "{text}");
    }
    // A missing tensor is called as the file calls its neighbours.
    let cut = file(&from, |ours| {
        torch.theirs(ours).filter(|theirs| theirs != "fc.weight").map(|name| name.replacen("fc.", "linear.", 1))
    });
    let text = error(&cut, &InitConfig::default());
    assert!(text.contains("missing: `linear.weight`\n"), "{text}");
}
