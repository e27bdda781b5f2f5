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

const GOOD: [&str; 6] =
    ["plain.pth", "legacy.pth", "nested.pth", "legacy_nested.pth", "parameters.pth", "plain.safetensors"];

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
        let shapes: Vec<_> = file.shapes().collect();
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
fn what_is_no_state_dict_is_said_to_be_what_it_is() {
    assert!(error("module.pth").contains("whole `torch.nn.modules.linear.Linear`"), "{}", error("module.pth"));
    assert!(error("list.pth").contains("holds a list"), "{}", error("list.pth"));
    assert!(error("missing.pth").contains("cannot be read"));
    for bytes in [&b""[..], b"PK", b"hello, weights", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."] {
        assert!(GivenWeights::parse(bytes.to_vec()).is_err());
    }
}

/// Reads all that a file says it has, as long as it says that it is small.
fn read_all(bytes: Vec<u8>) {
    let Ok(file) = GivenWeights::parse(bytes) else { return };
    for (name, shape) in file.shapes() {
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

    let strangers = file(&from, |ours| Some(format!("x.{ours}")));
    let text = format!("{:#}", Start::of(&strangers, &partial, &*network, &to).unwrap_err());
    assert!(text.contains("none of its tensors"), "{text}");
}
