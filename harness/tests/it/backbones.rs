//! Every backbone is what its list of layers says: parameters, executed multiplications, names, widths, cutting.

use std::collections::{BTreeMap, BTreeSet};

use baselines::Vanilla;
use baselines::pruning::{Coupling, Evidence, Importance, Place, Pruned, Ratio};
use candle_core::{Device, Tensor};
use conv_core::{Activation, Backend, Cost, ParamStore, Role, UnitSpec, meter, normal_stream};
use harness::backbones::{Backbone, LayerKind, all, by_name, network_cost};
use harness::config::{BackboneConfig, Head};
use harness::data::Geometry;

fn config(name: &str, head: Head) -> BackboneConfig {
    BackboneConfig { name: name.to_owned(), head, ..Default::default() }
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
        // Down to a single pixel, and with rows that poolings leave out.
        ("airbench94", (3, 8, 8), 10),
        ("airbench94", (1, 15, 41), 3),
        ("resnet20", (1, 28, 28), 10),
        ("resnet20", (3, 33, 47), 100),
        ("resnet18", (1, 28, 28), 10),
        ("resnet50", (3, 75, 65), 3),
        ("vgg16", (1, 32, 50), 10),
        ("vgg16", (3, 96, 96), 2),
        ("mobilenet_v1", (1, 33, 50), 10),
        ("mobilenet_v2", (3, 75, 65), 3),
        ("mobilenet_v2_cifar", (1, 28, 28), 10),
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
    // Depthwise and 1 x 1; of V2's 17 blocks the first has nothing to expand, and a last 1 x 1 stands behind them.
    assert_eq!(all("mobilenet_v1"), [1, 13, 13, 0]);
    assert_eq!(all("mobilenet_v2"), [1, 17, 34, 0]);
}

#[test]
fn numbers_as_in_pruning_papers() {
    let of = |name: &str| {
        let couplings = backbone(name, Head::Linear, (3, 64, 64), 10, 1.0).prunable(false);
        let numbers: Vec<usize> = couplings.iter().map(|coupling| coupling.number).collect();
        let stages: Vec<usize> = couplings.iter().map(|coupling| coupling.stage).collect();
        (numbers, stages, couplings)
    };
    let (numbers, stages, couplings) = of("resnet56");
    assert_eq!(numbers, (2..=54).step_by(2).collect::<Vec<_>>());
    assert_eq!([stages[8], stages[9], stages[17], stages[18]], [1, 2, 2, 3]);
    assert_eq!(couplings[9], Coupling::plain("layer2.0.conv1", &["layer2.0.conv2"], 32, numbers[9], 2));
    let (numbers, stages, couplings) = of("vgg16");
    assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    assert_eq!(stages, [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
    assert_eq!(couplings[12], Coupling::plain("features.12", &["classifier"], 512, 13, 5));
    // Bottlenecks: the first two of three; projections take no number.
    assert_eq!(of("resnet50").0[..5], [2, 3, 5, 6, 8]);
}

#[test]
fn residual_additions_tie_filters() {
    let tied = |name: &str| {
        let network = backbone(name, Head::Linear, (3, 64, 64), 10, 1.0);
        network.prunable(true).split_off(network.prunable(false).len())
    };
    let names = |places: &[Place]| places.iter().map(|place| place.layer.clone()).collect::<Vec<_>>();
    let padded = tied("resnet20");
    let facts = padded.iter().map(|coupling| (coupling.name(), coupling.filters(), coupling.number, coupling.stage));
    // Option A: what an earlier stage has stands in the middle of what the later ones have.
    assert_eq!(
        facts.collect::<Vec<_>>(),
        [("conv1", 16, 1, 1), ("layer2.0.conv2", 16, 9, 2), ("layer3.0.conv2", 32, 15, 3)]
    );
    assert_eq!(padded.iter().map(|coupling| coupling.producers.len()).collect::<Vec<_>>(), [10, 6, 3]);
    let last = |coupling: &Coupling| coupling.consumers.last().cloned().unwrap();
    assert_eq!(last(&padded[0]), Place { layer: "fc".into(), channels: (24..40).collect() });
    assert_eq!(last(&padded[1]).channels, (16..24).chain(40..48).collect::<Vec<_>>());
    assert_eq!(last(&padded[2]).channels, (0..16).chain(48..64).collect::<Vec<_>>());

    let projected = tied("resnet50");
    assert_eq!(projected.len(), 5);
    assert_eq!(names(&projected[0].producers), ["conv1"]);
    assert_eq!(names(&projected[0].consumers), ["layer1.0.downsample", "layer1.0.conv1"]);
    let first = ["layer1.0.downsample", "layer1.0.conv3", "layer1.1.conv3", "layer1.2.conv3"];
    assert_eq!(names(&projected[1].producers), first);
    let readers = ["layer1.1.conv1", "layer1.2.conv1", "layer2.0.downsample", "layer2.0.conv1"];
    assert_eq!(names(&projected[1].consumers), readers);
    assert_eq!((projected[1].filters(), projected[1].number, projected[4].stage), (256, 4, 4));
    assert!(tied("vgg16").is_empty());
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
fn assert_cut_equals_zeroed(name: &str, head: Head, shape: (usize, usize, usize), width: f64, residual: bool) {
    let full = backbone(name, head, shape, 10, width);
    let couplings = full.prunable(residual);
    let store = ParamStore::new(3, &Device::Cpu);
    let network = full.build(&Vanilla {}, store.builder()).unwrap();
    // One pass in training, so that running statistics differ from filter to filter; nothing is an identity by accident.
    network.forward_t(&images(4, shape), true).unwrap();
    let mut weights = store.snapshot().unwrap();
    for (name, tensor) in
        weights.iter_mut().filter(|(name, _)| name.ends_with("bn.weight") || name.ends_with("bn.bias"))
    {
        let values = normal_stream(7, name, tensor.elem_count()).into_iter();
        *tensor = Tensor::from_iter(values.map(|v| 1.0 + 0.3 * v as f32), &Device::Cpu).unwrap();
    }
    store.assign(&weights).unwrap();
    let pruned = Pruned { ratio: Ratio::Uniform(0.4), ..Pruned::default() };
    let evidence = Evidence { weights: &weights, importance: &Importance::default(), seed: 0 };
    let selection = pruned.select(&couplings, &couplings, 1, &evidence).unwrap();
    let narrowed = Pruned::narrow(&couplings, &selection, &weights).unwrap();

    let cut = full.with_widths(&selection.widths()).unwrap();
    let small_store = ParamStore::new(0, &Device::Cpu);
    let small = cut.build(&Vanilla {}, small_store.builder()).unwrap();
    small_store.assign(&narrowed).unwrap();
    assert!(small_store.params() < store.params());

    let mut zeroed = weights.clone();
    for coupling in &couplings {
        let kept = &selection.kept[coupling.name()];
        assert!(kept.len() < coupling.filters(), "{}: nothing was removed", coupling.name());
        for (place, parameter) in coupling.producers.iter().flat_map(|place| [(place, "bn.weight"), (place, "bn.bias")])
        {
            let key = format!("{}.{parameter}", place.layer);
            let mut values = zeroed[&key].to_vec1::<f32>().unwrap();
            for removed in (0..coupling.filters()).filter(|filter| !kept.contains(filter)) {
                values[place.channels[removed]] = 0.0;
            }
            zeroed.insert(key, Tensor::new(values, &Device::Cpu).unwrap());
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

/// Every backbone there is, narrow: what is tied by residual additions, padded or projected, with it and without.
#[test]
fn cut_networks_equal_zeroed_ones() {
    for info in all() {
        // These have nothing to cut.
        if info.name.starts_with("mobilenet") {
            continue;
        }
        for &head in info.heads {
            let (shape, width) = if info.dataset == "imagenet" { ((3, 64, 64), 0.125) } else { ((3, 32, 32), 0.25) };
            for residual in [false, true] {
                assert_cut_equals_zeroed(info.name, head, shape, width, residual);
            }
        }
    }
    assert_cut_equals_zeroed("resnet20", Head::Linear, (3, 32, 32), 1.0, true);
}

/// Where activations, residuals and strides are, in both forms of both versions.
#[test]
fn mobilenets_are_those_of_their_papers() {
    let units = |name: &str| -> Vec<(String, UnitSpec, (usize, usize))> {
        let layers = backbone(name, Head::Linear, (3, 32, 32), 10, 1.0).layers().into_iter();
        let unit = |layer: harness::backbones::Layer| match layer.kind {
            LayerKind::Unit(unit) => Some((layer.name, unit, layer.output)),
            LayerKind::Linear { .. } => None,
        };
        layers.filter_map(unit).collect()
    };
    for (name, activation) in [("mobilenet_v1_cifar", Activation::Relu), ("mobilenet_v2_cifar", Activation::Relu6)] {
        for (layer, unit, _) in units(name) {
            let linear = layer.ends_with("project");
            assert_eq!(unit.activation, (!linear).then_some(activation), "{name} {layer}");
            assert!(unit.norm && !unit.conv.bias, "{name} {layer}");
            let depthwise = layer.ends_with("depthwise");
            assert_eq!(unit.conv.groups, if depthwise { unit.conv.in_channels } else { 1 }, "{name} {layer}");
        }
    }
    // Sizes behind the stem and the stages.
    let sizes = |name: &str| -> Vec<usize> {
        let units = units(name);
        let ends = units.windows(2).filter(|pair| pair[0].0.split('.').next() != pair[1].0.split('.').next());
        ends.map(|pair| pair[0].2.0).collect()
    };
    assert_eq!(sizes("mobilenet_v1"), [16, 16, 8, 4, 2]);
    assert_eq!(sizes("mobilenet_v1_cifar"), [32, 32, 16, 8, 4]);
    assert_eq!(sizes("mobilenet_v2"), [16, 16, 8, 4, 2, 2, 1, 1]);
    assert_eq!(sizes("mobilenet_v2_cifar"), [32, 32, 32, 16, 8, 8, 4, 4]);
    // Residuals: of every block but the first of each stage.
    let v2 = backbone("mobilenet_v2_cifar", Head::Linear, (3, 32, 32), 10, 0.25);
    let store = ParamStore::new(0, &Device::Cpu);
    let network = v2.build(&Vanilla {}, store.builder()).unwrap();
    let layers = network.engine_layers(Backend::default(), [16, 3, 32, 32], true).unwrap().unwrap();
    let added = layers.iter().filter(|layer| layer.kind.contains("residual")).count();
    assert_eq!(added, 10);
    for (images, train) in [(16, true), (16, false), (1, false)] {
        assert!(network.engine_layers(Backend::default(), [images, 3, 32, 32], train).unwrap().is_ok());
    }
    let error = v2.with_widths(&BTreeMap::from([("layer2.0.expand".to_owned(), 5)])).err().unwrap().to_string();
    assert!(error.contains("a depthwise convolution reads them"), "{error}");
    assert!(v2.prunable(true).is_empty());
}
