//! What each rival costs, in the integers that papers print; what it leaves vanilla; its options and its bare layer.

use std::fs;

use baselines::{Depthwise, Ghost, Thin, Vanilla};
use candle_core::{Device, ModuleT, Tensor};
use conv_core::layers::Linear;
use conv_core::options::Described;
use conv_core::{ConvSpec, Cost, Layer, Method, ParamStore, Role, UnitSpec, describe, forward_unit};

fn unit(conv: ConvSpec) -> UnitSpec {
    UnitSpec::conv_bn_relu(conv, Role::Spatial)
}

/// For an input of that size.
fn cost(method: &dyn Method, unit: &UnitSpec, input: (usize, usize)) -> Cost {
    describe(method, unit, input).unwrap().cost
}

/// A file that nobody has registered is not even compiled: nothing else would notice.
#[test]
fn every_file_of_a_rival_has_its_line_in_the_registry() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let registry = fs::read_to_string(format!("{source}/lib.rs")).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let Some(module) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".rs")) else { continue };
        if fs::read_to_string(&path).unwrap().contains("\nimpl Method for ") {
            let line = format!("\n    {module}::");
            assert!(
                registry.contains(&line),
                "baselines/src/{module}.rs has no line in `rivals!` of baselines/src/lib.rs"
            );
        }
    }
}

#[test]
fn vanilla_cost_is_the_documented_closed_form() {
    // 5 -> 6 in one or two groups with a bias, 9 x 7 to 5 x 4 pixels.
    for groups in [1, 2] {
        let conv = ConvSpec { bias: true, ..ConvSpec::same(4, 6, 3, 2).grouped(groups) };
        let weights = (6 * 4 * 9 / groups) as u64;
        let expected = Cost { params: weights + 6 + 12, macs: 20 * weights, activations: 20 * 6 };
        assert_eq!(cost(&Vanilla {}, &unit(conv), (9, 7)), expected);
    }
}

#[test]
fn signatures_are_those_that_keys_are_made_of() {
    let signature = |method: &dyn Method, unit: &UnitSpec| describe(method, unit, (8, 8)).unwrap().signature;
    let biased = unit(ConvSpec { bias: true, ..ConvSpec::same(7, 13, 5, 2) });
    let vanilla = "conv 7->13 k5 s2 p2 g1 bias=true norm=true act=Some(Relu)";
    assert_eq!(signature(&Vanilla {}, &biased), vanilla);
    assert_eq!(signature(&Thin::default(), &biased), vanilla);
    assert_eq!(
        signature(&Depthwise {}, &biased),
        "separable [conv 7->7 k5 s2 p2 g7 bias=false norm=true act=Some(Relu)] \
         [conv 7->13 k1 s1 p0 g1 bias=true norm=true act=Some(Relu)]"
    );
    let bare = UnitSpec { norm: false, activation: None, ..biased };
    assert_eq!(
        signature(&Depthwise {}, &bare),
        "separable [conv 7->7 k5 s2 p2 g7 bias=true norm=false act=Some(Relu)] \
         [conv 7->13 k1 s1 p0 g1 bias=true norm=false act=None]"
    );
    assert_eq!(
        signature(&Ghost { ratio: 3, cheap_kernel: 3 }, &biased),
        "ghost [conv 7->5 k5 s2 p2 g1 bias=true norm=true act=Some(Relu)] \
         [conv 5->10 k3 s1 p1 g5 bias=true norm=true act=Some(Relu)] first 13"
    );
}

#[test]
fn thins_width_is_above_zero_and_at_most_one() {
    for good in [1e-3, 0.5, 1.0] {
        Thin { width: good }.check_options().unwrap();
    }
    for bad in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        let error = Thin { width: bad }.check_options().unwrap_err().to_string();
        assert!(error.contains("out of range; accepted: a number in (0, 1]"), "{error}");
        assert!(describe(&Thin { width: bad }, &unit(ConvSpec::same(4, 4, 3, 1)), (4, 4)).is_err());
    }
}

#[test]
fn thins_options_read_as_written_and_refuse_others() {
    assert_eq!(serde_json::from_str::<Thin>("{}").unwrap(), Thin { width: 0.5 });
    assert_eq!(serde_json::from_str::<Thin>(r#"{"width": 1}"#).unwrap().width(), 1.0);
    assert!(serde_json::from_str::<Thin>(r#"{"widht": 0.5}"#).is_err());
}

#[test]
fn depthwise_cost_is_the_documented_closed_form() {
    let spec = unit(ConvSpec::same(5, 7, 3, 2));
    let made = cost(&Depthwise {}, &spec, (8, 6));
    assert_eq!(made, Cost { params: 5 * (9 + 7) + 2 * (5 + 7), macs: 12 * 5 * (9 + 7), activations: 12 * (5 + 7) });
    let plain = UnitSpec { conv: ConvSpec { bias: true, ..spec.conv }, norm: false, ..spec };
    assert_eq!(cost(&Depthwise {}, &plain, (8, 6)).params, 5 * (9 + 7) + (5 + 7));
}

#[test]
fn what_stays_vanilla_is_vanillas_and_says_so() {
    let (pointwise, grouped) = (ConvSpec::same(8, 8, 1, 1), ConvSpec::same(8, 8, 3, 1).grouped(4));
    let grouped_already = "stays vanilla: it is grouped already";
    let no_part = "stays vanilla: a 1 x 1 convolution has no spatial part to separate";
    let cases: [(&dyn Method, ConvSpec, &str); 3] = [
        (&Depthwise {}, pointwise, no_part),
        (&Depthwise {}, grouped, grouped_already),
        (&Ghost::default(), grouped, grouped_already),
    ];
    for (method, conv, remark) in cases {
        let (made, vanilla) =
            (describe(method, &unit(conv), (4, 4)).unwrap(), describe(&Vanilla {}, &unit(conv), (4, 4)).unwrap());
        assert_eq!((made.signature, made.cost), (vanilla.signature, vanilla.cost));
        assert_eq!((made.remarks, vanilla.remarks), (vec![remark.to_owned()], vec![]));
    }
}

#[test]
fn a_narrow_output_costs_more_than_vanilla_and_is_remarked() {
    // 4 -> 1 at 3 x 3: vanilla 36, separable 36 + 4.
    let spec = UnitSpec::conv_bn(ConvSpec::same(4, 1, 3, 1), Role::Spatial);
    let remarks = describe(&Depthwise {}, &spec, (5, 5)).unwrap().remarks;
    assert_eq!(remarks, ["costs more than vanilla: 111 % of its MACs"]);
}

#[test]
fn ghosts_options_are_checked() {
    assert_eq!(serde_json::from_str::<Ghost>("{}").unwrap(), Ghost { ratio: 2, cheap_kernel: 3 });
    assert!(serde_json::from_str::<Ghost>(r#"{"s": 2}"#).is_err());
    for (ratio, cheap_kernel) in [(1, 3), (0, 3), (2, 4), (2, 0)] {
        let ghost = Ghost { ratio, cheap_kernel };
        assert!(ghost.check_options().unwrap_err().to_string().contains("out of range; accepted"));
        assert!(describe(&ghost, &unit(ConvSpec::same(4, 4, 3, 1)), (1, 1)).is_err());
    }
    // In their ranges, and beyond all reason: an error, no panic.
    for (ratio, cheap_kernel) in [(usize::MAX / 2, 3), (usize::MAX / 3, 3), (2, usize::MAX), (3, usize::MAX)] {
        let error = describe(&Ghost { ratio, cheap_kernel }, &unit(ConvSpec::same(4, 40, 3, 1)), (8, 8)).unwrap_err();
        assert!(error.to_string().contains("weights are too many"), "{error}");
    }
}

#[test]
fn ghost_cost_is_the_documented_closed_form_with_cut_channels_counted() {
    // s = 3 of 13 channels: m = 5, 10 ghosts, 15 made, 13 used; 4 x 6 to 2 x 3 pixels.
    let spec = unit(ConvSpec { bias: true, ..ConvSpec::same(7, 13, 5, 2) });
    let weights = 5 * (25 * 7 + 2 * 9);
    let expected = Cost { params: weights + 2 * 15 + 15, macs: 6 * weights, activations: 6 * 15 };
    assert_eq!(cost(&Ghost { ratio: 3, cheap_kernel: 3 }, &spec, (4, 6)), expected);
}

/// `(in, out, side)` of VGG-16's convolutions on CIFAR.
const VGG16: [(usize, usize, usize); 13] = [
    (3, 64, 32),
    (64, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    (512, 512, 4),
    (512, 512, 4),
    (512, 512, 2),
    (512, 512, 2),
    (512, 512, 2),
];

#[test]
fn ghost_vgg16_costs_what_the_paper_prints() {
    // The paper prints 158 / 107 / 80 / 65 M for s = 2..5 on CIFAR-10: exact when the stem is replaced too and the head
    // is linear, 512 -> 10.
    for (ratio, exact, printed) in
        [(2, 157_847_552, 158), (3, 106_977_896, 107), (4, 80_170_496, 80), (5, 65_403_152, 65)]
    {
        let ghost = Ghost { ratio, ..Ghost::default() };
        let convolutions: Cost =
            VGG16.iter().map(|&(i, o, side)| cost(&ghost, &unit(ConvSpec::same(i, o, 3, 1)), (side, side))).sum();
        let macs = convolutions.macs + 512 * 10;
        assert_eq!(macs, exact, "s = {ratio}");
        assert_eq!((macs as f64 / 1e6).round() as u64, printed, "s = {ratio}");
    }
}

#[test]
fn ghost_resnet56_costs_what_its_definition_says() {
    // The paper prints 63M / 0.43M. Its MACs leave the cheap operations out; by the definition it is 65.29M / 0.438M,
    // with a vanilla stem, option A shortcuts and the linear layer 64 -> 10.
    let mut total = cost(&Vanilla {}, &unit(ConvSpec::same(3, 16, 3, 1)), (32, 32));
    total += Linear::cost(64, 10);
    let mut inputs = 16;
    for (width, side) in [(16, 32), (32, 16), (64, 8)] {
        for _ in 0..18 {
            total += cost(&Ghost::default(), &unit(ConvSpec::same(inputs, width, 3, 1)), (side, side));
            inputs = width;
        }
    }
    assert_eq!((total.params, total.macs), (438_154, 65_286_784));
}

#[test]
fn the_bare_layer_is_the_unit_and_refuses_groups() {
    let x = Tensor::arange(0f32, 200.0, &Device::Cpu).unwrap().sin().unwrap().reshape((2, 4, 5, 5)).unwrap();
    let flat = |y: Tensor| y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let spec = unit(ConvSpec::same(4, 7, 3, 2));
    let grouped = unit(ConvSpec::same(4, 8, 3, 1).grouped(2));
    let methods: [&dyn Method; 2] = [&Depthwise {}, &Ghost::default()];
    for method in methods {
        let store = ParamStore::new(0, &Device::Cpu);
        let layer = Layer::new(method, &spec, store.builder()).unwrap();
        let y = flat(layer.forward_t(&x, true).unwrap());
        assert_eq!(y, flat(forward_unit(method, &spec, store.builder(), &x, None, true).unwrap()));
        assert!(y.iter().any(|&value| value > 0.0));
        let error = Layer::new(method, &grouped, store.builder()).err().unwrap().to_string();
        assert!(error.contains("does not replace conv 4->8 k3 s1 p1 g2") && error.contains("grouped"), "{error}");
    }
}
