//! Every backbone is what its list of layers says: parameters, executed multiplications, names, widths, cutting.

use std::collections::{BTreeMap, BTreeSet};

use baselines::Vanilla;
use baselines::pruning::{Pruned, Ratio};
use candle_core::{Device, Tensor};
use conv_core::{Cost, ParamStore, Role, meter, normal_stream};
use harness::backbones::{Backbone, LayerKind, all, by_name, network_cost};
use harness::config::{BackboneConfig, Head, Replace};
use harness::data::Geometry;

fn config(name: &str, head: Head) -> BackboneConfig {
    BackboneConfig { name: name.to_owned(), head, replace: Replace::default() }
}

fn backbone(name: &str, head: Head, shape: (usize, usize, usize), classes: usize, width: f64) -> Box<dyn Backbone> {
    by_name(&config(name, head), &Geometry { shape, classes }, width).unwrap()
}

fn images(n: usize, (c, h, w): (usize, usize, usize)) -> Tensor {
    let pixels = normal_stream(1, "images", n * c * h * w).into_iter().map(|v| v as f32).collect();
    Tensor::from_vec(pixels, (n, c, h, w), &Device::Cpu).unwrap()
}

/// Builds and runs it once: the parameters that are there and the work of the operations that ran are what its price says.
fn assert_costs(backbone: &dyn Backbone, shape: (usize, usize, usize), classes: usize) {
    let name = backbone.name();
    let expected = network_cost(backbone, &Vanilla {}).unwrap();
    let store = ParamStore::new(0, &Device::Cpu);
    let network = backbone.build(&Vanilla {}, store.builder()).unwrap();
    assert_eq!(store.params(), expected.params, "{name}: parameters");
    let (logits, executed) = meter::measure(|| network.forward_t(&images(1, shape), false).unwrap());
    assert_eq!(logits.dims(), [1, classes], "{name}: logits");
    assert_eq!(Cost { params: expected.params, ..executed }, expected, "{name}: executed work");

    let layers = backbone.layers();
    let unique: BTreeSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(unique.len(), layers.len(), "{name}: names of layers repeat");
    let owners: BTreeSet<String> = (store.named().iter())
        .map(|(parameter, _)| {
            let owner = parameter.rsplit_once('.').unwrap().0;
            owner.strip_suffix(".bn").unwrap_or(owner).to_owned()
        })
        .collect();
    assert_eq!(owners, unique.iter().map(|name| (*name).to_owned()).collect(), "{name}: owners of parameters");
}

#[test]
fn closed_forms_are_what_is_built_and_executed() {
    for info in all() {
        let (shape, classes) = if info.dataset == "imagenet" { ((3, 112, 112), 100) } else { ((3, 32, 32), 10) };
        assert_costs(&*backbone(info.name, Head::Linear, shape, classes, 0.5), shape, classes);
    }
    assert_costs(&*backbone("vgg16", Head::Mlp, (3, 32, 32), 10, 1.0), (3, 32, 32), 10);
}

#[test]
fn other_geometries() {
    for (name, shape, classes) in [
        ("resnet20", (1, 28, 28), 10),
        ("resnet20", (3, 33, 47), 100),
        ("resnet18", (1, 28, 28), 10),
        ("resnet50", (3, 75, 65), 3),
        ("vgg16", (1, 32, 50), 10),
        ("vgg16", (3, 96, 96), 2),
    ] {
        assert_costs(&*backbone(name, Head::Linear, shape, classes, 0.25), shape, classes);
    }
}

#[test]
fn widths_scale_rounded_and_stay_at_least_one() {
    let widths = |width| -> Vec<usize> {
        let thin = backbone("vgg16", Head::Mlp, (3, 32, 32), 10, width);
        thin.layers()
            .iter()
            .map(|layer| match layer.kind {
                LayerKind::Unit(unit) => unit.conv.out_channels,
                LayerKind::Linear { outputs, .. } => outputs,
            })
            .collect()
    };
    assert_eq!(widths(0.3), [19, 19, 38, 38, 77, 77, 77, 154, 154, 154, 154, 154, 154, 154, 10]);
    assert_eq!(widths(0.001)[..9], [1; 9]);
}

#[test]
fn roles() {
    let count = |name: &str, role| {
        let layers = backbone(name, Head::Linear, (3, 64, 64), 10, 1.0).layers();
        layers.iter().filter(|layer| matches!(layer.kind, LayerKind::Unit(unit) if unit.role == role)).count()
    };
    let all = |name| [Role::Stem, Role::Spatial, Role::Pointwise, Role::Shortcut].map(|role| count(name, role));
    assert_eq!(all("vgg16"), [1, 12, 0, 0]);
    assert_eq!(all("resnet56"), [1, 54, 0, 0]);
    assert_eq!(all("resnet18"), [1, 16, 0, 3]);
    assert_eq!(all("resnet50"), [1, 16, 32, 4]);
}

#[test]
fn numbers_as_in_pruning_papers() {
    let of = |name: &str| {
        let couplings = backbone(name, Head::Linear, (3, 64, 64), 10, 1.0).prunable();
        let numbers: Vec<usize> = couplings.iter().map(|coupling| coupling.number).collect();
        let stages: Vec<usize> = couplings.iter().map(|coupling| coupling.stage).collect();
        (numbers, stages, couplings)
    };
    let (numbers, stages, couplings) = of("resnet56");
    assert_eq!(numbers, (2..=54).step_by(2).collect::<Vec<_>>());
    assert_eq!([stages[8], stages[9], stages[17], stages[18]], [1, 2, 2, 3]);
    assert_eq!(
        (couplings[9].producer.as_str(), &*couplings[9].consumers),
        ("layer2.0.conv1", &["layer2.0.conv2".to_owned()][..])
    );
    let (numbers, stages, couplings) = of("vgg16");
    assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    assert_eq!(stages, [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
    assert_eq!(
        (couplings[12].producer.as_str(), &*couplings[12].consumers),
        ("features.12", &["classifier".to_owned()][..])
    );
    // Bottlenecks: the first two of three; projections take no number.
    assert_eq!(of("resnet50").0[..5], [2, 3, 5, 6, 8]);
}

#[test]
fn with_widths_narrows_exactly_what_is_named() {
    let full = backbone("resnet50", Head::Linear, (3, 64, 64), 10, 0.25);
    let widths = BTreeMap::from([("layer2.0.conv1".to_owned(), 5), ("layer4.2.conv2".to_owned(), 7)]);
    let cut = full.with_widths(&widths).unwrap();
    for (before, after) in full.layers().iter().zip(cut.layers()) {
        let (LayerKind::Unit(before_unit), LayerKind::Unit(after_unit)) = (&before.kind, &after.kind) else {
            assert_eq!(*before, after);
            continue;
        };
        let (before, after_conv) = (before_unit.conv, after_unit.conv);
        let (reads, writes) = match after.name.as_str() {
            "layer2.0.conv1" => (before.in_channels, 5),
            "layer2.0.conv2" => (5, before.out_channels),
            "layer4.2.conv2" => (before.in_channels, 7),
            "layer4.2.conv3" => (7, before.out_channels),
            _ => (before.in_channels, before.out_channels),
        };
        assert_eq!((after_conv.in_channels, after_conv.out_channels), (reads, writes), "{}", after.name);
    }
    assert_costs(&*cut, (3, 64, 64), 10);

    let refused = |name: &str, width| {
        full.with_widths(&BTreeMap::from([(name.to_owned(), width)])).err().map(|error| error.to_string()).unwrap()
    };
    assert!(refused("layer1.0.conv3", 4).contains("`layer1.0.conv3` cannot be removed"));
    assert!(refused("layer1.0.conv1", 0).contains("at least 1"));
}

#[test]
fn unusable_configurations_say_what_would_do() {
    let refused = |name: &str, head, shape, width| {
        let error = by_name(&config(name, head), &Geometry { shape, classes: 10 }, width).err().unwrap();
        format!("{error:#}")
    };
    let cifar = (3, 32, 32);
    assert!(refused("resnet-56", Head::Linear, cifar, 1.0).contains("Did you mean \"resnet56\"?"));
    assert!(refused("alexnet", Head::Linear, cifar, 1.0).contains("Known: vgg16, resnet20"));
    assert!(!refused("alexnet", Head::Linear, cifar, 1.0).contains("Did you mean"));
    assert!(refused("resnet20", Head::Mlp, cifar, 1.0).contains("only vgg16 has"));
    assert!(refused("vgg16", Head::Linear, (1, 28, 28), 1.0).contains("at least 32 x 32"));
    assert!(refused("resnet20", Head::Linear, cifar, 0.0).contains("must be a positive number"));
    assert!(refused("resnet20", Head::Linear, (3, 0, 32), 1.0).contains("at least 1"));
}

/// A cut network computes what the full one does with the removed filters' outputs at zero: their batch norms scaled and
/// shifted to nothing, which the ReLU after them keeps at 0.
fn assert_cut_equals_zeroed(name: &str, head: Head, shape: (usize, usize, usize), width: f64) {
    let full = backbone(name, head, shape, 10, width);
    let couplings = full.prunable();
    let store = ParamStore::new(3, &Device::Cpu);
    let network = full.build(&Vanilla {}, store.builder()).unwrap();
    // One pass in training, so that running statistics differ from filter to filter.
    network.forward_t(&images(4, shape), true).unwrap();
    let weights = store.snapshot().unwrap();
    let pruned = Pruned { ratio: Ratio::Uniform(0.4), ..Pruned::default() };
    let selection = pruned.select(&couplings, &weights).unwrap();
    let narrowed = Pruned::narrow(&couplings, &selection, &weights).unwrap();

    let cut = full.with_widths(&selection.widths()).unwrap();
    let small_store = ParamStore::new(0, &Device::Cpu);
    let small = cut.build(&Vanilla {}, small_store.builder()).unwrap();
    small_store.assign(&narrowed).unwrap();
    assert!(small_store.params() < store.params());

    let mut zeroed = weights.clone();
    for coupling in &couplings {
        let kept = &selection.kept[&coupling.producer];
        assert!(
            kept.len() < weights[&format!("{}.weight", coupling.producer)].dims()[0],
            "{}: nothing was removed",
            coupling.producer
        );
        for parameter in ["bn.weight", "bn.bias"] {
            let key = format!("{}.{parameter}", coupling.producer);
            let values = zeroed[&key].to_vec1::<f32>().unwrap();
            let values = values.iter().enumerate().map(|(i, v)| if kept.contains(&i) { *v } else { 0.0 });
            zeroed.insert(key, Tensor::from_iter(values, &Device::Cpu).unwrap());
        }
    }
    let x = images(2, shape);
    let original = network.forward_t(&x, false).unwrap();
    store.assign(&zeroed).unwrap();
    let expected = network.forward_t(&x, false).unwrap();
    let got = small.forward_t(&x, false).unwrap();
    let largest = |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let difference = largest(&(&got - &expected).unwrap());
    assert!(difference <= 1e-4 * largest(&expected), "{name}: off by {difference}");
    assert!(largest(&(&got - &original).unwrap()) > 1e-2 * largest(&original), "{name}: the cut changed nothing");
}

#[test]
fn cut_networks_equal_zeroed_ones() {
    assert_cut_equals_zeroed("resnet20", Head::Linear, (3, 32, 32), 1.0);
    assert_cut_equals_zeroed("resnet50", Head::Linear, (3, 64, 64), 0.25);
    assert_cut_equals_zeroed("vgg16", Head::Linear, (3, 32, 32), 0.25);
    assert_cut_equals_zeroed("vgg16", Head::Mlp, (3, 32, 32), 0.25);
}
