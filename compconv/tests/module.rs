//! The built module against the plan: parameters counted, multiplications executed, signatures, the plug.

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{Conv2dConfig, VarBuilder, VarMap};
use compconv::{CompConv2dT, CompConvOptions, Downsample, InnerNorm, Plan, Tail, compconv2d, compconv2d_no_bias};
use conv_core::options::Described;
use conv_core::{
    Activation, ConvSpec, Cost, Description, Layer, Method, ParamStore, Role, UnitSpec, describe, forward_unit, meter,
    normal_stream,
};
use proptest::prelude::*;

fn image(shape: (usize, usize, usize, usize)) -> Tensor {
    let (n, c, h, w) = shape;
    let values: Vec<f32> = normal_stream(1, "image", n * c * h * w).into_iter().map(|v| v as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn options() -> impl Strategy<Value = CompConvOptions> {
    let depth = prop_oneof![
        (0usize..=6).prop_map(|depth| (Some(depth), None)),
        (1usize..=16).prop_map(|c0| (None, Some(c0))),
        (0usize..=6, 1usize..=16).prop_map(|(depth, c0)| (Some(depth), Some(c0))),
    ];
    let tail = prop_oneof![
        (Just(Tail::Depthwise), prop::sample::select(vec![None, Some(1), Some(3), Some(5)])),
        (Just(Tail::Full), prop::sample::select(vec![None, Some(1), Some(3), Some(5)])),
        (Just(Tail::Pointwise), prop::sample::select(vec![None, Some(1)])),
    ];
    let downsample = prop::sample::select(vec![Downsample::Average, Downsample::Slice]);
    let inner_norm = prop::sample::select(vec![InnerNorm::None, InnerNorm::Bn, InnerNorm::BnRelu]);
    (depth, 1usize..=4, tail, downsample, inner_norm, any::<bool>(), any::<bool>()).prop_map(
        |((depth, c0), shuffle, (tail, tail_kernel), downsample, inner_norm, identity, integration)| CompConvOptions {
            depth,
            c0,
            shuffle,
            tail,
            tail_kernel,
            downsample,
            inner_norm,
            identity,
            integration,
        },
    )
}

fn unit() -> impl Strategy<Value = UnitSpec> {
    let kernel = prop::sample::select(vec![1usize, 3, 5]);
    let activation = prop::sample::select(vec![None, Some(Activation::Relu)]);
    (1usize..=70, 1usize..=70, kernel, 1usize..=3, any::<bool>(), any::<bool>(), activation).prop_map(
        |(c_in, c_out, kernel, stride, bias, norm, activation)| UnitSpec {
            conv: ConvSpec { bias, ..ConvSpec::same(c_in, c_out, kernel, stride) },
            role: Role::Spatial,
            norm,
            activation,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The closed form is what is built and what is executed, whatever the shape and the switches.
    #[test]
    fn the_closed_form_is_what_is_built_and_executed(spec in unit(), options in options(), h in 1usize..=7, w in 1usize..=7) {
        let store = ParamStore::new(3, &Device::Cpu);
        let out = spec.conv.output_size((h, w)).unwrap();
        let x = image((2, spec.conv.in_channels, h, w));
        let run = |spec: &UnitSpec, residual, train| forward_unit(&options, spec, store.builder(), &x, residual, train);
        let (y, executed) = meter::measure(|| run(&spec, None, true));
        let y = y.unwrap();
        prop_assert_eq!(y.dims(), [2, spec.conv.out_channels, out.0, out.1]);
        let cost = describe(&options, &spec, (h, w)).unwrap().cost;
        // The plan's closed form, on its own.
        let norm = if spec.norm { 2 * spec.conv.out_channels as u64 } else { 0 };
        let plan = Plan::new(&spec.conv, &options).unwrap().cost(out);
        prop_assert_eq!(cost, plan + Cost { params: norm, ..Cost::default() });
        prop_assert_eq!(store.params(), cost.params);
        prop_assert_eq!(executed.macs, 2 * cost.macs);
        prop_assert_eq!(executed.activations, 2 * cost.activations);
        // The residual is added before the activation.
        let residual = image((2, spec.conv.out_channels, out.0, out.1));
        let added = run(&spec, Some(&residual), false).unwrap();
        let linear = run(&UnitSpec { activation: None, ..spec }, None, false).unwrap();
        let mut expected = (linear + residual).unwrap();
        if spec.activation.is_some() {
            expected = expected.relu().unwrap();
        }
        let off = (added - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        prop_assert!(off < 1e-4, "off by {}", off);
    }

    /// Equal signatures, equal functions.
    #[test]
    fn equal_signatures_are_equal_layers(spec in unit(), a in options(), b in options()) {
        let x = image((1, spec.conv.in_channels, 4, 5));
        let run = |options: CompConvOptions| -> Result<_> {
            let store = ParamStore::new(5, &Device::Cpu);
            let y = forward_unit(&options, &spec, store.builder(), &x, None, false)?.flatten_all()?.to_vec1::<f32>()?;
            Ok((describe(&options, &spec, (4, 5))?.signature, store.params(), y))
        };
        // Neighbours: few of two random settings agree, many that differ in one switch do.
        let near = [
            CompConvOptions { depth: b.depth, c0: b.c0, ..a },
            CompConvOptions { shuffle: b.shuffle, ..a },
            CompConvOptions { tail: b.tail, tail_kernel: b.tail_kernel, ..a },
            CompConvOptions { downsample: b.downsample, ..a },
            CompConvOptions { inner_norm: b.inner_norm, ..a },
            CompConvOptions { identity: b.identity, ..a },
            CompConvOptions { integration: b.integration, ..a },
        ];
        let (signature, params, y) = run(a).unwrap();
        for other in near {
            let (other_signature, other_params, other_y) = run(other).unwrap();
            if signature == other_signature {
                prop_assert_eq!(params, other_params);
                prop_assert_eq!(&y, &other_y);
            }
        }
    }
}

fn signature(spec: &UnitSpec, options: CompConvOptions) -> String {
    describe(&options, spec, (8, 8)).unwrap().signature
}

conv_core::options! {
    /// What CompConv is at depth 0.
    Plain = "plain", "" {}
}

impl Method for Plain {
    fn write(
        &self,
        unit: &UnitSpec,
        net: &mut conv_core::Scope<'_>,
        x: conv_core::Value,
        residual: Option<conv_core::Value>,
    ) -> Result<conv_core::Value> {
        net.unit("", unit, x, residual)
    }
}

#[test]
fn settings_that_give_one_layer_give_one_signature() {
    let narrow = UnitSpec::conv_bn_relu(ConvSpec::same(32, 32, 3, 1), Role::Spatial);
    let one = CompConvOptions::fixed(1);
    let base = signature(&narrow, one);
    let same = [
        CompConvOptions::adaptive(64),
        CompConvOptions::default(),
        CompConvOptions { depth: Some(1), c0: Some(1), ..one },
        CompConvOptions { identity: false, ..one },
        CompConvOptions { integration: false, ..one },
        CompConvOptions { downsample: Downsample::Slice, ..one },
        CompConvOptions { tail_kernel: Some(3), ..one },
    ];
    for options in same {
        assert_eq!(signature(&narrow, options), base, "{options:?}");
    }
    let two = CompConvOptions::fixed(2);
    let others = [
        two,
        CompConvOptions { shuffle: 1, ..one },
        CompConvOptions { shuffle: 4, ..one },
        CompConvOptions { tail: Tail::Full, ..one },
        CompConvOptions { tail_kernel: Some(5), ..one },
        CompConvOptions { inner_norm: InnerNorm::Bn, ..one },
        CompConvOptions { inner_norm: InnerNorm::BnRelu, ..one },
        CompConvOptions { identity: false, ..two },
        CompConvOptions { integration: false, ..two },
    ];
    let mut all: Vec<String> = others.iter().map(|options| signature(&narrow, *options)).collect();
    all.push(base);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:#?}");

    // Depth 4 does not fit 16 channels, 2 does.
    let thin = UnitSpec::conv_bn_relu(ConvSpec::same(16, 16, 3, 1), Role::Spatial);
    assert_eq!(signature(&thin, CompConvOptions::fixed(4)), signature(&thin, two));
    // Two groups do not divide 31 channels; 31 groups of 31 channels stay in place.
    let odd = UnitSpec::conv_bn_relu(ConvSpec::same(31, 31, 3, 1), Role::Spatial);
    let off = signature(&odd, CompConvOptions { shuffle: 1, ..two });
    assert_eq!(signature(&odd, two), off);
    assert_eq!(signature(&odd, CompConvOptions { shuffle: 31, ..two }), off);
    // A full 1 x 1 tail and the pointwise one.
    let full = CompConvOptions { tail: Tail::Full, tail_kernel: Some(1), ..two };
    assert_eq!(signature(&narrow, full), signature(&narrow, CompConvOptions { tail: Tail::Pointwise, ..two }));
    // Downsampling matters at stride 2 only.
    let strided = UnitSpec { conv: ConvSpec { stride: 2, ..narrow.conv }, ..narrow };
    let slice = CompConvOptions { downsample: Downsample::Slice, ..two };
    assert_eq!(signature(&narrow, two), signature(&narrow, slice));
    assert_ne!(signature(&strided, two), signature(&strided, slice));
    // What follows the convolution counts.
    let bare = UnitSpec { norm: false, ..narrow };
    assert_ne!(signature(&narrow, two), signature(&bare, two));
}

#[test]
fn depth_zero_is_vanilla_in_name_and_parameters() {
    let spec = UnitSpec::conv_bn_relu(ConvSpec { bias: true, ..ConvSpec::same(6, 10, 3, 2) }, Role::Spatial);
    let grouped = UnitSpec { conv: ConvSpec { padding: 0, ..spec.conv.grouped(2) }, ..spec };
    let single = UnitSpec::conv_bn(ConvSpec::same(6, 1, 3, 1), Role::Spatial);
    let normed = CompConvOptions { inner_norm: InnerNorm::Bn, ..CompConvOptions::fixed(0) };
    for (spec, options) in [(spec, normed), (grouped, CompConvOptions::fixed(3)), (single, CompConvOptions::fixed(2))] {
        let (made, plain) = (describe(&options, &spec, (8, 10)).unwrap(), describe(&Plain {}, &spec, (8, 10)).unwrap());
        assert_eq!((made.signature, made.cost), (plain.signature, plain.cost));
        let (ours, theirs) = (ParamStore::new(9, &Device::Cpu), ParamStore::new(9, &Device::Cpu));
        let x = image((1, 6, 8, 10));
        forward_unit(&options, &spec, ours.builder(), &x, None, false).unwrap();
        forward_unit(&Plain {}, &spec, theirs.builder(), &x, None, false).unwrap();
        let names = |store: &ParamStore| store.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs));
    }
}

#[test]
fn layout_reports_depth_and_remarks() {
    let spec = UnitSpec::conv_bn_relu(ConvSpec::same(16, 16, 3, 1), Role::Spatial);
    let Description { depth, remarks, signature, .. } = describe(&CompConvOptions::fixed(3), &spec, (8, 8)).unwrap();
    let depth = depth.unwrap();
    assert_eq!((depth.requested, depth.effective), (3, 2));
    assert_eq!(remarks, ["depth lowered from 3 to 2: A_0 would have no channel"]);
    assert!(signature.starts_with("compconv layout 1 16->16 k3 s1 bias=false:"), "{signature}");
    assert!(signature.ends_with("shuffle 2, inner norm None norm=true act=Some(Relu)"), "{signature}");
    assert!(CompConvOptions::fixed(7).check_options().is_err());
    assert!(describe(&CompConvOptions::fixed(7), &spec, (8, 8)).is_err());
    // An even and an absurd kernel, far beyond what can be counted.
    for kernel in [4, usize::MAX, usize::MAX - 1] {
        let options = CompConvOptions { tail_kernel: Some(kernel), ..CompConvOptions::fixed(1) };
        assert!(describe(&options, &spec, (8, 8)).is_err(), "{kernel}");
    }
    let grouped = UnitSpec { conv: spec.conv.grouped(4), ..spec };
    let grouped = describe(&CompConvOptions::fixed(3), &grouped, (8, 8)).unwrap();
    assert_eq!(grouped.remarks, ["stays vanilla: it is grouped already"]);
}

#[test]
fn parameters_have_their_names() {
    let names = |options: CompConvOptions, bias: bool| -> Vec<String> {
        let spec = UnitSpec::conv_bn(ConvSpec { bias, ..ConvSpec::same(28, 28, 3, 1) }, Role::Spatial);
        let store = ParamStore::new(0, &Device::Cpu);
        Layer::new(&options, &spec, store.builder()).unwrap();
        store.trainable().into_iter().map(|(name, var)| format!("{name} {:?}", var.dims())).collect()
    };
    assert_eq!(
        names(CompConvOptions::fixed(3), true),
        [
            "bias [28]",
            "bn.bias [28]",
            "bn.weight [28]",
            "inner.0.weight [2, 28, 3, 3]",
            "inner.1.weight [4, 4, 3, 3]",
            "inner.2.weight [8, 8, 3, 3]",
            "tail.weight [8, 1, 3, 3]",
        ]
    );
    let all = CompConvOptions { inner_norm: InnerNorm::Bn, identity: false, ..CompConvOptions::fixed(2) };
    assert_eq!(
        names(all, false),
        [
            "bn.bias [28]",
            "bn.weight [28]",
            "inner.0.bn.bias [5]",
            "inner.0.bn.weight [5]",
            "inner.0.weight [5, 28, 3, 3]",
            "inner.1.bn.bias [10]",
            "inner.1.bn.weight [10]",
            "inner.1.weight [10, 10, 3, 3]",
            "side.0.bn.bias [5]",
            "side.0.bn.weight [5]",
            "side.0.weight [5, 1, 3, 3]",
            "tail.weight [8, 1, 3, 3]",
        ]
    );
}

/// Where a channel of the concatenated parts is after the shuffle.
fn place(plan: &Plan, channel: usize) -> usize {
    let block = plan.spec.out_channels / plan.shuffle;
    (channel % block) * plan.shuffle + channel / block
}

/// Input channels are found again, unchanged, at their places in the output.
#[test]
fn identity_channels_are_handed_on() {
    let spec = ConvSpec::same(28, 28, 3, 1);
    let plan = Plan::new(&spec, &CompConvOptions::fixed(3)).unwrap();
    let layer =
        CompConv2dT::new(&spec, &CompConvOptions::fixed(3), ParamStore::new(0, &Device::Cpu).builder()).unwrap();
    let x = image((1, 28, 3, 4));
    let y = layer.forward_t(&x, false).unwrap();
    let channel = |t: &Tensor, c: usize| t.narrow(1, c, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // A_2 is x[0..2] at 2..4 before the shuffle, A_1 x[2..6] at 8..12.
    for (input, before) in [(0, 2), (1, 3), (2, 8), (3, 9), (4, 10), (5, 11)] {
        assert_eq!(channel(&y, place(&plan, before)), channel(&x, input));
    }
}

/// A non-contiguous input gives what its contiguous copy gives.
#[test]
fn strides_of_the_input_do_not_matter() {
    for stride in [1, 2] {
        let options = CompConvOptions::fixed(2);
        let layer =
            CompConv2dT::new(&ConvSpec::same(9, 14, 3, stride), &options, ParamStore::new(0, &Device::Cpu).builder());
        let layer = layer.unwrap();
        let x = image((2, 9, 5, 7)).transpose(2, 3).unwrap();
        let (a, b) = (layer.forward_t(&x, false).unwrap(), layer.forward_t(&x.contiguous().unwrap(), false).unwrap());
        let off = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-6, "{off}");
    }
}

#[test]
fn stands_where_a_candle_convolution_stood() {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    let same = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let options = CompConvOptions::fixed(2);
    let net = candle_nn::seq()
        .add(compconv2d(4, 12, 3, same, &options, vb.pp("a")).unwrap())
        .add(candle_nn::Activation::Relu)
        .add(compconv2d_no_bias(12, 6, 3, Conv2dConfig { stride: 2, ..same }, &options, vb.pp("b")).unwrap());
    let x = Var::from_tensor(&image((2, 4, 6, 6))).unwrap();
    let y = net.forward(&x).unwrap();
    assert_eq!(y.dims(), [2, 6, 3, 3]);
    let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(varmap.all_vars().iter().all(|var| grads.get(var).is_some()) && grads.get(&x).is_some());
    assert!(varmap.data().lock().unwrap().contains_key("a.bias"));
    assert!(!varmap.data().lock().unwrap().contains_key("b.bias"));

    let message = |config, options| compconv2d(4, 12, 3, config, &options, vb.pp("c")).err().unwrap().to_string();
    assert!(message(Conv2dConfig::default(), options).contains("padding 0 cannot be replaced"));
    assert!(message(Conv2dConfig { dilation: 2, ..same }, options).contains("dilation = 2"));
    assert!(message(same, CompConvOptions { inner_norm: InnerNorm::Bn, ..options }).contains("CompConv2dT"));
    // These would stay plain convolutions, in silence.
    let single = ConvSpec::same(5, 1, 3, 1);
    let error = CompConv2dT::new(&single, &CompConvOptions::fixed(2), vb.pp("f")).err().unwrap().to_string();
    assert!(error.contains("does not replace conv 5->1") && error.contains("depth lowered from 2 to 0"), "{error}");
    let unit = UnitSpec::plain(single);
    let error = Layer::new(&CompConvOptions::fixed(2), &unit, vb.pp("g")).err().unwrap().to_string();
    assert!(error.contains("no depth fits its channels"), "{error}");
    // This one is asked for.
    assert!(Layer::new(&CompConvOptions::fixed(0), &unit, vb.pp("h")).is_ok());
    assert!(CompConv2dT::new(&single, &CompConvOptions::fixed(0), vb.pp("i")).is_ok());
    for groups in [2, 4] {
        let error = message(Conv2dConfig { groups, ..same }, options);
        assert!(error.contains(&format!("g{groups}")) && error.contains("groups stays vanilla"), "{error}");
        let spec = ConvSpec { bias: true, ..ConvSpec::same(4, 12, 3, 1).grouped(groups) };
        assert!(CompConv2dT::new(&spec, &options, vb.pp("d")).is_err());
        assert!(Layer::new(&options, &UnitSpec::plain(spec), vb.pp("e")).is_err());
    }
}
