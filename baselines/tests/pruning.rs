//! A pruned network is the original with the removed filters' outputs taken away, and costs what Li et al. print.

use std::collections::BTreeMap;

use baselines::Vanilla;
use baselines::pruning::{Coupling, Evidence, Importance, Place, Pruned, Ratio, Selection, widths_of};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use conv_core::layers::Linear;
use conv_core::{ConvSpec, Cost, Layer, ParamStore, Role, UnitSpec, describe, forward_unit, normal_stream, ops};

type Weights = BTreeMap<String, Tensor>;

fn noise(name: &str, shape: &[usize]) -> Tensor {
    let values = normal_stream(3, name, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// The only cut there is, on these weights.
fn select(pruned: &Pruned, couplings: &[Coupling], weights: &Weights) -> candle_core::Result<Selection> {
    let evidence = Evidence { weights, importance: &Importance::default(), seed: 0 };
    pruned.select(couplings, couplings, 1, &evidence)
}

fn half() -> Pruned {
    Pruned { ratio: Ratio::Uniform(0.5), ..Pruned::default() }
}

/// A vanilla unit, to be run alone.
struct Dense {
    spec: UnitSpec,
    vb: VarBuilder<'static>,
}

impl Dense {
    fn new(spec: UnitSpec, vb: VarBuilder<'static>) -> Self {
        Layer::new(&Vanilla {}, &spec, vb.clone()).unwrap();
        Self { spec, vb }
    }

    /// In inference mode.
    fn forward(&self, x: &Tensor, residual: Option<&Tensor>) -> Tensor {
        forward_unit(&Vanilla {}, &self.spec, self.vb.clone(), x, residual, false).unwrap()
    }
}

/// conv1 (biased, batch norm, ReLU) -> conv2 (batch norm, ReLU) -> 2 x 2 pixels per channel, flattened -> linear: a small VGG.
struct Net {
    store: ParamStore,
    units: [Dense; 2],
    classifier: Linear,
}

impl Net {
    fn new(widths: [usize; 2]) -> Self {
        let store = ParamStore::new(5, &Device::Cpu);
        let vb = store.builder();
        let first = ConvSpec { bias: true, ..ConvSpec::same(3, widths[0], 3, 1) };
        let units = [("conv1", first), ("conv2", ConvSpec::same(widths[0], widths[1], 3, 2))]
            .map(|(name, conv)| Dense::new(UnitSpec::conv_bn_relu(conv, Role::Spatial), vb.pp(name)));
        let classifier = Linear::new(widths[1] * 4, 10, vb.pp("fc")).unwrap();
        Self { store, units, classifier }
    }

    /// Every tensor random, running statistics and batch norms included: nothing is an identity by accident.
    fn scramble(&self) {
        for (name, var) in self.store.named() {
            let value = noise(&name, var.dims());
            let value = if name.ends_with("running_var") { (value.abs().unwrap() + 0.5).unwrap() } else { value };
            var.set(&value).unwrap();
        }
    }

    /// In inference mode; `masks` multiply the channels that the two convolutions put out.
    fn forward(&self, x: &Tensor, masks: [&Tensor; 2]) -> Tensor {
        let mut y = x.clone();
        for (unit, mask) in self.units.iter().zip(masks) {
            y = unit.forward(&y, None);
            y = y.broadcast_mul(&mask.reshape((1, (), 1, 1)).unwrap()).unwrap();
        }
        self.classifier.forward(&y.flatten_from(1).unwrap()).unwrap()
    }
}

/// 1 where a channel is kept, 0 elsewhere.
fn mask(width: usize, kept: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..width).map(|channel| f32::from(u8::from(kept.contains(&channel)))).collect();
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn the_smaller_network_is_the_large_one_without_the_removed_outputs() {
    let couplings = [Coupling::plain("conv1", &["conv2"], 9, 1, 1), Coupling::plain("conv2", &["fc"], 6, 2, 1)];
    let large = Net::new([9, 6]);
    large.scramble();
    let weights = large.store.snapshot().unwrap();
    let selection = select(&half(), &couplings, &weights).unwrap();
    assert_eq!(selection.widths(), BTreeMap::from([("conv1".to_owned(), 4), ("conv2".to_owned(), 3)]));

    let small = Net::new([4, 3]);
    small.store.assign(&Pruned::narrow(&couplings, &selection, &weights).unwrap()).unwrap();

    let x = noise("x", &[2, 3, 4, 4]);
    let (one, all) = (&selection.kept["conv1"], &selection.kept["conv2"]);
    let masked = large.forward(&x, [&mask(9, one), &mask(6, all)]);
    let ours = small.forward(&x, [&mask(4, &[0, 1, 2, 3]), &mask(3, &[0, 1, 2])]);
    let gap = (ours - &masked).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let scale = masked.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(gap <= 1e-5 * scale.max(1.0), "{gap} at outputs up to {scale}");

    // And the mask does something: the whole network's output is another.
    let whole = large.forward(&x, [&mask(9, &(0..9).collect::<Vec<_>>()), &mask(6, &(0..6).collect::<Vec<_>>())]);
    assert!((whole - masked).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.1);
}

#[test]
fn narrowing_takes_the_chosen_slices_and_leaves_the_rest() {
    let large = Net::new([3, 2]);
    large.scramble();
    let weights = large.store.snapshot().unwrap();
    let couplings = [Coupling::plain("conv1", &["conv2"], 3, 1, 1), Coupling::plain("conv2", &["fc"], 2, 2, 1)];
    let selection =
        Selection { kept: BTreeMap::from([("conv1".to_owned(), vec![0, 2]), ("conv2".to_owned(), vec![1])]) };
    let narrowed = Pruned::narrow(&couplings, &selection, &weights).unwrap();
    assert!(narrowed.keys().eq(weights.keys()));

    let flat = |weights: &Weights, name: &str| weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for part in ["bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"] {
        let name = format!("conv1.{part}");
        let before = flat(&weights, &name);
        assert_eq!(flat(&narrowed, &name), [before[0], before[2]], "{name}");
    }
    // conv2.weight [2, 3, 3, 3] -> [1, 2, 3, 3]: filter 1, inputs 0 and 2.
    let before = flat(&weights, "conv2.weight");
    assert_eq!(narrowed["conv2.weight"].dims(), [1, 2, 3, 3]);
    assert_eq!(flat(&narrowed, "conv2.weight"), [&before[27..36], &before[45..54]].concat());
    // fc.weight [10, 8]: channel 1's four pixels.
    assert_eq!(narrowed["fc.weight"].dims(), [10, 4]);
    assert_eq!(flat(&narrowed, "fc.weight")[..4], flat(&weights, "fc.weight")[4..8]);
    assert_eq!(flat(&narrowed, "fc.bias"), flat(&weights, "fc.bias"));
}

/// A basic block: the filters of its first convolution go, the residual addition keeps its width.
#[test]
fn a_residual_block_keeps_its_width_outside() {
    let block = |inner: usize| {
        let store = ParamStore::new(1, &Device::Cpu);
        let vb = store.builder();
        let unit = |i, o| UnitSpec::conv_bn_relu(ConvSpec::same(i, o, 3, 1), Role::Spatial);
        let units = [Dense::new(unit(5, inner), vb.pp("conv1")), Dense::new(unit(inner, 5), vb.pp("conv2"))];
        (store, units)
    };
    let x = ops::relu(&noise("x", &[2, 5, 6, 6])).unwrap();
    let (store, [first, second]) = block(7);
    let weights = store.snapshot().unwrap();
    let couplings = [Coupling::plain("conv1", &["conv2"], 7, 2, 1)];
    let selection = select(&Pruned::default(), &couplings, &weights).unwrap();
    let inner = first.forward(&x, None);
    let inner = inner.broadcast_mul(&mask(7, &selection.kept["conv1"]).reshape((1, 7, 1, 1)).unwrap()).unwrap();
    let masked = second.forward(&inner, Some(&x));

    let (store, [first, second]) = block(3);
    store.assign(&Pruned::narrow(&couplings, &selection, &weights).unwrap()).unwrap();
    let ours = second.forward(&first.forward(&x, None), Some(&x));
    let gap = (ours - masked).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(gap <= 1e-5, "{gap}");
}

#[test]
fn what_cannot_be_narrowed_is_refused() {
    let weights: Weights =
        [("a", [4, 3, 3, 3]), ("dense", [5, 4, 3, 3]), ("grouped", [4, 2, 3, 3]), ("depthwise", [4, 1, 3, 3])]
            .into_iter()
            .map(|(name, shape)| (format!("{name}.weight"), noise(name, &shape)))
            .chain([("fc.weight".to_owned(), noise("fc", &[10, 6]))])
            .collect();
    let narrow = |consumer: &str, kept: &[usize]| {
        let selection = Selection { kept: BTreeMap::from([("a".to_owned(), kept.to_vec())]) };
        Pruned::narrow(&[Coupling::plain("a", &[consumer], 4, 4, 1)], &selection, &weights)
            .map_err(|error| error.to_string())
    };
    assert_eq!(narrow("dense", &[0, 3]).unwrap()["dense.weight"].dims(), [5, 2, 3, 3]);
    for consumer in ["grouped", "depthwise"] {
        let error = narrow(consumer, &[0, 3]).unwrap_err();
        assert!(error.contains("grouped convolutions") && error.contains("put layer 4 in `skip`"), "{error}");
        // As the message says: with nothing to lose there is nothing to refuse.
        narrow(consumer, &[0, 1, 2, 3]).unwrap();
    }
    assert!(narrow("fc", &[0]).unwrap_err().contains("no multiple"));
    assert!(narrow("missing", &[0]).unwrap_err().contains("no `missing.weight`"));
    for kept in [&[][..], &[3, 0], &[1, 1], &[4]] {
        assert!(narrow("dense", kept).unwrap_err().contains("ascending indices"), "{kept:?}");
    }
    let unknown = [Coupling::plain("b", &[], 4, 1, 1)];
    assert!(select(&half(), &unknown, &weights).unwrap_err().to_string().contains("no `b.weight`"));
}

/// Two layers whose outputs are added, the second behind a shortcut that pads one channel before and one behind.
#[test]
fn channels_that_are_tied_go_together_and_zeros_stay_around_them() {
    let place = |layer: &str, channels: &[usize]| Place { layer: layer.into(), channels: channels.to_vec() };
    let couplings = [
        Coupling {
            producers: vec![place("a", &[0, 1, 2]), place("b", &[2, 3, 4])],
            consumers: vec![place("c", &[0, 1, 2]), place("d", &[2, 3, 4])],
            number: 1,
            stage: 1,
        },
        Coupling {
            producers: vec![place("b", &[0, 1, 5, 6, 7])],
            consumers: vec![place("d", &[0, 1, 5, 6, 7])],
            number: 2,
            stage: 2,
        },
    ];
    let row = |count: usize| Tensor::arange(0f32, count as f32, &Device::Cpu).unwrap();
    let weights: Weights = [
        ("a.weight", row(3).reshape((3, 1, 1, 1)).unwrap()),
        ("b.weight", row(8).reshape((8, 1, 1, 1)).unwrap()),
        ("c.weight", row(3).reshape((1, 3, 1, 1)).unwrap()),
        ("d.weight", row(16).reshape((1, 16)).unwrap()),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into();
    let kept = |tied: &[usize], own: &[usize]| {
        let kept = BTreeMap::from([("a".to_owned(), tied.to_vec()), ("b".to_owned(), own.to_vec())]);
        Pruned::narrow(&couplings, &Selection { kept }, &weights).unwrap()
    };
    let values = |weights: &Weights, name: &str| weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let all = kept(&[0, 1, 2], &[0, 1, 2, 3, 4]);
    assert!(weights.keys().all(|name| values(&all, name) == values(&weights, name)));
    // All that is left of the second coupling's own lies behind: of three, one goes before.
    let cut = kept(&[0, 2], &[2, 3, 4]);
    assert_eq!(values(&cut, "a.weight"), [0.0, 2.0]);
    assert_eq!(values(&cut, "b.weight"), [5.0, 2.0, 4.0, 6.0, 7.0]);
    assert_eq!(values(&cut, "c.weight"), [0.0, 2.0]);
    assert_eq!(values(&cut, "d.weight"), [10.0, 11.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0, 14.0, 15.0]);
    let widths =
        |weights: &Weights| widths_of(&couplings, |layer| Some(weights[&format!("{layer}.weight")].dims()[0])).unwrap();
    assert_eq!(widths(&cut), BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 3)]));
    assert_eq!(widths(&weights), BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 5)]));
}

/// Cost of a vanilla convolution with batch norm.
fn conv(inputs: usize, outputs: usize, side: usize) -> Cost {
    let spec = UnitSpec::conv_bn_relu(ConvSpec::same(inputs, outputs, 3, 1), Role::Spatial);
    describe(&Vanilla {}, &spec, (side, side)).unwrap().cost
}

/// ResNet-56 for CIFAR, option A, its blocks' first convolutions (layers 2, 4, ..., 54) pruned.
fn resnet56(pruned: &Pruned) -> Cost {
    let mut total = conv(3, 16, 32) + Linear::cost(64, 10);
    let (mut inputs, mut number) = (16, 2);
    for (stage, (width, side)) in [(16, 32), (32, 16), (64, 8)].into_iter().enumerate() {
        for _ in 0..9 {
            let kept = pruned.kept(&Coupling::plain("conv1", &["conv2"], width, number, stage + 1), 1);
            total += conv(inputs, kept, side) + conv(kept, width, side);
            (inputs, number) = (width, number + 2);
        }
    }
    total
}

#[test]
fn li_et_als_resnets_cost_what_they_print() {
    let a = Pruned { skip: vec![16, 20, 38, 54], ratio: Ratio::Uniform(0.1), ..Pruned::default() };
    let b =
        Pruned { skip: vec![16, 18, 20, 34, 38, 54], ratio: Ratio::PerStage(vec![0.6, 0.3, 0.1]), ..Pruned::default() };
    let (a, b) = (resnet56(&a), resnet56(&b));
    // Table 1 prints 7.7e5 parameters and 1.12e8 MACs for A, 7.3e5 (ours rounds to 7.4e5: batch norms count here) and
    // 9.09e7 for B.
    assert_eq!((a.params, a.macs), (773_336, 112_435_840));
    assert_eq!((b.params, b.macs), (735_712, 90_907_264));
}

#[test]
fn li_et_als_vgg_costs_what_they_print() {
    let pruned = Pruned { only: vec![1, 8, 9, 10, 11, 12, 13], ratio: Ratio::Uniform(0.5), ..Pruned::default() };
    let layers = [
        (64, 32),
        (64, 32),
        (128, 16),
        (128, 16),
        (256, 8),
        (256, 8),
        (256, 8),
        (512, 4),
        (512, 4),
        (512, 4),
        (512, 2),
        (512, 2),
        (512, 2),
    ];
    let (mut total, mut inputs) = (Cost::default(), 3);
    for (index, (width, side)) in layers.into_iter().enumerate() {
        let kept = pruned.kept(&Coupling::plain("features", &[], width, index + 1, 1), 1);
        total += conv(inputs, kept, side);
        inputs = kept;
    }
    // The mlp head, 512 -> 512 (batch norm) -> 10, reading what the last convolution keeps.
    total += Linear::cost(inputs, 512) + Linear::cost(512, 10);
    total.params += 2 * 512;
    // Table 1 prints 5.4e6 parameters and 2.06e8 MACs.
    assert_eq!((total.params, total.macs), (5_397_034, 206_279_680));
}
