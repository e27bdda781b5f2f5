//! What each rival costs, in the integers that papers print; what it leaves vanilla; its options and its bare layer.

mod common;

use std::fs;

use baselines::{
    BsConv, Depthwise, Factors, Ghost, Grouped, HetConv, LowRank, OctConv, PConv, RepVgg, SpConv, Thin, Vanilla,
};
use candle_core::{Device, ModuleT, Tensor};
use common::{VGG16, cost, unit};
use conv_core::layers::Linear;
use conv_core::options::Described;
use conv_core::{ConvSpec, Cost, Layer, Method, ParamStore, Role, UnitSpec, describe, forward_unit};

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
    let nothing_smaller = "stays vanilla: a 1 x 1 kernel has nothing smaller beside it";
    let unpadded = ConvSpec { padding: 0, ..ConvSpec::same(8, 8, 3, 1) };
    let no_size = "stays vanilla: its padding does not keep the size";
    let (pconv, hetconv, lowrank) = (PConv::default(), HetConv::default(), LowRank::default());
    let cases: [(&dyn Method, ConvSpec, &str); 20] = [
        (&Depthwise {}, pointwise, no_part),
        (&Depthwise {}, grouped, grouped_already),
        (&Ghost::default(), grouped, grouped_already),
        (&Grouped::default(), grouped, grouped_already),
        (&Grouped { groups: 3 }, pointwise, "stays vanilla: its channels cannot be divided into the groups"),
        (&hetconv, grouped, grouped_already),
        (&hetconv, pointwise, nothing_smaller),
        (&hetconv, unpadded, no_size),
        (
            &HetConv { parts: 3 },
            ConvSpec::same(8, 9, 3, 1),
            "stays vanilla: its channels cannot be divided into the parts",
        ),
        (&pconv, grouped, grouped_already),
        (&pconv, pointwise, no_part),
        (&pconv, unpadded, no_size),
        (&pconv, ConvSpec::same(3, 8, 3, 1), "stays vanilla: it has fewer channels than parts"),
        (&BsConv {}, pointwise, no_part),
        (&lowrank, grouped, grouped_already),
        (&lowrank, pointwise, "stays vanilla: a 1 x 1 convolution is a matrix, without a core to factor"),
        (&RepVgg {}, pointwise, nothing_smaller),
        (&RepVgg {}, unpadded, no_size),
        (&SpConv::default(), unpadded, no_size),
        (&OctConv::default(), unpadded, no_size),
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
    let methods: [&dyn Method; 6] =
        [&Depthwise {}, &Ghost::default(), &PConv::default(), &BsConv {}, &LowRank::default(), &RepVgg {}];
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

/// All that shapes them, as keys are made of it; with what is added to a residual's unit.
#[test]
fn units_are_wired_as_documented() {
    let wiring = |method: &dyn Method, spec: &UnitSpec| describe(method, spec, (8, 8)).unwrap().signature;
    let spec = unit(ConvSpec { bias: true, ..ConvSpec::same(8, 8, 3, 1) });
    let finish = "finish norm=true add=false act=Some(Relu)";
    assert_eq!(
        wiring(&Grouped::default(), &spec),
        format!(
            "x of 8 channels; #2 = conv 8->8 k3 s1 p1 g2 bias=true norm=false act=None of x as grouped; \
             #3 = shuffle 2 of #2; #4 = {finish} of #3 as bn; #4"
        )
    );
    assert_eq!(
        wiring(&HetConv::default(), &spec),
        format!(
            "x of 8 channels; #2 = conv 8->8 k3 s1 p1 g4 bias=true norm=false act=None of x as wide; \
             #3 = conv 8->8 k1 s1 p0 g1 bias=false norm=false act=None of x as narrow; \
             #4 = finish norm=false add=true act=None of #2, #3; #5 = {finish} of #4 as bn; #5"
        )
    );
    let strided = unit(ConvSpec { bias: true, ..ConvSpec::same(8, 6, 3, 2) });
    assert_eq!(
        wiring(&PConv::default(), &strided),
        "x of 8 channels; #2 = slice 0..2 of x; #3 = conv 2->2 k3 s2 p1 g1 bias=false norm=false act=None of #2 as partial; \
         #4 = slice 2..8 of x; #5 = average pool k1 s2 ceil=false of #4; #6 = concat of #3, #5; \
         #7 = conv 8->6 k1 s1 p0 g1 bias=true norm=true act=Some(Relu) of #6 as pointwise; #7"
    );
    assert_eq!(
        wiring(&BsConv {}, &strided),
        "x of 8 channels; #2 = conv 8->6 k1 s1 p0 g1 bias=false norm=false act=None of x as pointwise; \
         #3 = conv 6->6 k3 s2 p1 g6 bias=true norm=true act=Some(Relu) of #2 as depthwise; #3"
    );
    assert_eq!(
        wiring(&LowRank::default(), &strided),
        "x of 8 channels; #2 = conv 8->4 k1 s1 p0 g1 bias=false norm=false act=None of x as first; \
         #3 = conv 4->3 k3 s2 p1 g1 bias=false norm=false act=None of #2 as core; \
         #4 = conv 3->6 k1 s1 p0 g1 bias=true norm=true act=Some(Relu) of #3 as last; #4"
    );
    assert_eq!(
        wiring(&RepVgg {}, &spec),
        "x of 8 channels; #2 = conv 8->8 k3 s1 p1 g1 bias=true norm=true act=None of x as wide; \
         #3 = conv 8->8 k1 s1 p0 g1 bias=false norm=true act=None of x, #2 as narrow; \
         #4 = finish norm=true add=false act=None of x as identity.bn; \
         #5 = finish norm=false add=true act=None of #3, #4; #6 = finish norm=false add=false act=Some(Relu) of #5; #6"
    );
}

/// `(MACs, parameters without norms)` for 10 x 6 pixels at stride 2, from 8 to 12 channels.
#[test]
fn the_others_cost_their_documented_closed_forms() {
    let spec = UnitSpec { norm: false, ..unit(ConvSpec { bias: true, ..ConvSpec::same(8, 12, 3, 2) }) };
    let (input, output) = (60, 15);
    let (tucker2, svd) = (
        LowRank { ratio: 0.25, ..LowRank::default() },
        LowRank { form: Factors::Svd, ratio: 0.25, ..LowRank::default() },
    );
    // Ranks: a quarter of 8 and of 12; a quarter of 12, the lesser of 12 and 72.
    assert_eq!((tucker2.ranks(&spec.conv), svd.ranks(&spec.conv)), ((2, 3), (8, 3)));
    let cases: [(&dyn Method, u64, u64, u64); 7] = [
        (&Grouped { groups: 4 }, output * 9 * 8 * 12 / 4, 9 * 8 * 12 / 4, output * 12),
        (&HetConv::default(), output * (9 * 8 * 12 / 4 + 8 * 12), 9 * 8 * 12 / 4 + 8 * 12, output * 2 * 12),
        (&PConv::default(), output * (9 * 2 * 2 + 8 * 12), 9 * 2 * 2 + 8 * 12, output * (2 + 12)),
        (&BsConv {}, input * 8 * 12 + output * 9 * 12, 8 * 12 + 9 * 12, (input + output) * 12),
        (&tucker2, input * 8 * 2 + output * (9 * 2 * 3 + 3 * 12), 8 * 2 + 9 * 2 * 3 + 3 * 12, input * 2 + output * 15),
        (&svd, output * (9 * 8 * 3 + 3 * 12), 9 * 8 * 3 + 3 * 12, output * 15),
        (&RepVgg {}, output * (9 + 1) * 8 * 12, (9 + 1) * 8 * 12, output * 2 * 12),
    ];
    for (method, macs, weights, activations) in cases {
        let expected = Cost { params: weights + 12, macs, activations };
        assert_eq!(cost(method, &spec, (10, 6)), expected, "{method:?}");
        let normed = UnitSpec { norm: true, ..spec };
        // RepVGG has a norm for each of two branches here.
        let norms = if method.name() == "repvgg" { 2 * 2 * 12 } else { 2 * 12 };
        assert_eq!(cost(method, &normed, (10, 6)).params, expected.params + norms, "{method:?}");
    }
}

#[test]
fn ranks_are_shares_of_the_full_ones_and_at_least_1() {
    let ranks = |form, ratio, conv: ConvSpec| LowRank { form, ratio, ..LowRank::default() }.ranks(&conv);
    let stem = ConvSpec::same(3, 64, 3, 1);
    // A 64 x 27 matrix has rank 27.
    assert_eq!(ranks(Factors::Svd, 1.0, stem), (3, 27));
    assert_eq!(ranks(Factors::Svd, 0.5, stem), (3, 14));
    assert_eq!(ranks(Factors::Tucker2, 1.0, stem), (3, 64));
    assert_eq!(ranks(Factors::Tucker2, 0.01, stem), (1, 1));
}

#[test]
fn equal_widths_cost_the_shares_that_papers_state() {
    let spec = UnitSpec::plain(ConvSpec::same(64, 64, 3, 1));
    let share = |method: &dyn Method| cost(method, &spec, (8, 8)).macs as f64 / spec.cost((8, 8)).unwrap().macs as f64;
    // FasterNet: a partial ratio of 1/4 takes 1/16 of the convolution; 1/9 for the 1 x 1 convolution come to it: 17.4 %.
    assert_eq!(share(&PConv::default()), 1.0 / 16.0 + 1.0 / 9.0);
    // HetConv: 1/P + (1 - 1/P)/9, and 1/(9 P) for the taps that it leaves out.
    assert_eq!(share(&HetConv { parts: 8 }), 1.0 / 8.0 + (1.0 - 1.0 / 8.0) / 9.0 + 1.0 / 72.0);
    // BSConv-U: 1/9 + 1/C, as MobileNet's.
    assert_eq!(share(&BsConv {}), 1.0 / 9.0 + 1.0 / 64.0);
    assert_eq!(share(&BsConv {}), share(&Depthwise {}));
}

#[test]
fn hetconv_vgg16_costs_what_its_definition_says() {
    // MACs on CIFAR-10 with a vanilla stem and a linear head, and what the paper prints, in millions. It prints for its own count,
    // which leaves out the 1 x 1 taps under a k x k kernel, h w C_in C_out / P of them: with these taken off, and the head
    // 512 -> 512 -> 10 in place of 512 -> 10, its figures are met to 0.24 M. It does not say what else it counts; the convolutions'
    // biases would be 0.28 M. P = 1 is vanilla.
    let printed = [
        (1, 313_201_664, 313.7),
        (2, 192_091_136, 175.2),
        (4, 114_234_368, 106.0),
        (8, 75_305_984, 71.4),
        (16, 55_841_792, 54.0),
        (32, 46_109_696, 45.4),
        (64, 41_243_648, 41.1),
    ];
    for (parts, exact, printed) in printed {
        let (mut macs, mut covered) = (512 * 10, 0);
        for (place, &(i, o, side)) in VGG16.iter().enumerate() {
            let spec = unit(ConvSpec::same(i, o, 3, 1));
            let is_vanilla = place == 0 || parts == 1;
            let method: &dyn Method = if is_vanilla { &Vanilla {} } else { &HetConv { parts } };
            macs += cost(method, &spec, (side, side)).macs;
            covered += if is_vanilla { 0 } else { (side * side * i * o / parts) as u64 };
        }
        assert_eq!(macs, exact, "P = {parts}");
        let apart = printed - (macs - covered + 512 * 512) as f64 / 1e6;
        assert!((0.0..0.24).contains(&apart), "P = {parts}: {apart}");
    }
}

/// `(in, out, side of the output, stride)` of RepVGG-A0's convolutions on ImageNet.
fn repvgg_a0() -> Vec<(usize, usize, usize, usize)> {
    let mut layers = vec![];
    let mut inputs = 3;
    for (width, side, count) in [(48, 112, 1), (48, 56, 2), (96, 28, 4), (192, 14, 14), (1280, 7, 1)] {
        for place in 0..count {
            layers.push((inputs, width, side, if place == 0 { 2 } else { 1 }));
            inputs = width;
        }
    }
    layers
}

#[test]
fn repvgg_a0_costs_what_the_paper_prints() {
    // The paper prints 8.30 M parameters and 1.4 B MACs for the fused network, stem and linear layer 1280 -> 1000 included:
    // 8.309 M here, cut where it prints two places.
    let whole = |method: &dyn Method| -> Cost {
        let units = repvgg_a0().into_iter().map(|(i, o, side, stride)| {
            let input = (side * stride, side * stride);
            cost(method, &unit(ConvSpec::same(i, o, 3, stride)), input)
        });
        units.sum::<Cost>() + Linear::cost(1280, 1000)
    };
    let (trained, fused) = (whole(&RepVgg {}), whole(&*RepVgg {}.fused().unwrap().method));
    assert_eq!((fused.params, fused.macs), (8_309_384, 1_361_451_008));
    assert_eq!(trained.params, 9_108_968);
    // Vanilla's, but for norms: these are twice as many parameters as the biases that they become.
    let vanilla = whole(&Vanilla {});
    let channels: usize = repvgg_a0().iter().map(|layer| layer.1).sum();
    assert_eq!(Cost { params: fused.params + channels as u64, ..fused }, vanilla);
}

/// By hand: one channel, so that every kernel is a few numbers.
#[test]
fn repvgg_folds_its_norms_into_one_kernel() {
    let spec = unit(ConvSpec { bias: true, ..ConvSpec::same(1, 1, 3, 1) });
    let tensor = |shape: &[usize], values: &[f32]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
    let mut trained = std::collections::BTreeMap::from([
        ("wide.weight".to_owned(), tensor(&[1, 1, 3, 3], &[1., 2., 3., 4., 5., 6., 7., 8., 9.])),
        ("wide.bias".to_owned(), tensor(&[1], &[0.5])),
        ("narrow.weight".to_owned(), tensor(&[1, 1, 1, 1], &[3.0])),
    ]);
    // Scale weight / sqrt(variance) and shift bias - scale mean: 2 and 1 - 2 * 0.25, -0.5 and 0.25, 4 and 1.
    let norms =
        [("wide", [4.0, 1.0, 0.25, 4.0]), ("narrow", [-1.0, 0.75, -1.0, 4.0]), ("identity", [4.0, 1.0, 0.0, 1.0])];
    for (branch, values) in norms {
        for (name, value) in ["weight", "bias", "running_mean", "running_var"].iter().zip(values) {
            trained.insert(format!("{branch}.bn.{name}"), tensor(&[1], &[value]));
        }
    }
    let fused = RepVgg {}.fused().unwrap();
    let made = fused.unit(&spec, &trained).unwrap();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["bias", "weight"]);
    let values = |name: &str| made[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let close = |got: Vec<f32>, want: &[f32]| got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-4);
    // In the centre 2 * 5 - 0.5 * 3 + 4 * 1; the bias 2 * 0.5 + 0.5, then 0.75 - 0.5 and 1.
    assert!(close(values("weight"), &[2., 4., 6., 8., 12.5, 12., 14., 16., 18.]), "{:?}", values("weight"));
    assert!(close(values("bias"), &[1.5 + 0.25 + 1.0]), "{:?}", values("bias"));

    // A declined unit's stay as they are; what is missing is said.
    let declined = unit(ConvSpec::same(1, 1, 1, 1));
    assert_eq!(fused.unit(&declined, &trained).unwrap().len(), trained.len());
    trained.remove("identity.bn.weight");
    let error = fused.unit(&spec, &trained).unwrap_err().to_string();
    assert!(error.contains("identity.bn.weight"), "{error}");
}
