//! What gates are made of, and shared parameters: the functions by finite differences, what does not fit, and what a scope
//! counts of them.

use candle_core::{DType, Device, ModuleT, Result, Tensor, Var};
use conv_core::layers::GroupNorm;
use conv_core::{
    ConvSpec, Graph, Layer, Method, Network, ParamStore, Role, Scope, UnitSpec, Value, describe, forward_unit,
    normal_stream, ops,
};

/// Normal noise.
fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let values = normal_stream(seed, "x", shape.iter().product()).into_iter().map(|v| v as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// By central differences in doubles, every argument in a random direction.
#[test]
fn functions_have_the_slopes_they_say() -> Result<()> {
    type Function = fn(&[Tensor]) -> Result<Tensor>;
    let cases: Vec<(&str, Function, Vec<Vec<usize>>)> = vec![
        ("product", |a| ops::product(&a[0], &a[1]), vec![vec![2, 6, 3, 5], vec![2, 6, 3, 5]]),
        ("product with one value", |a| ops::product(&a[0], &a[1]), vec![vec![2, 6, 3, 5], vec![2, 6]]),
        ("product with one pixel", |a| ops::product(&a[0], &a[1]), vec![vec![2, 6, 3, 5], vec![2, 6, 1, 1]]),
        ("relu6", |a| ops::relu6(&(&a[0] * 5.0)?), vec![vec![2, 6, 3, 5]]),
        ("sigmoid", |a| ops::sigmoid(&a[0]), vec![vec![2, 6, 3, 5]]),
        ("crossed gate", |a| ops::crossed_gate(&a[0], &a[1], 0.6), vec![vec![2, 6, 3, 5], vec![2, 6, 3, 5]]),
        ("crossed gate of features", |a| ops::crossed_gate(&a[0], &a[1], 0.4), vec![vec![4, 6], vec![4, 6]]),
        ("softmax", |a| ops::softmax_between(&a[0], 3), vec![vec![2, 6, 3, 5]]),
        ("softmax of pooled values", |a| ops::softmax_between(&a[0], 2), vec![vec![2, 6]]),
        ("group norm", |a| ops::group_norm(&a[0], 2, &a[1], &a[2], 1e-5), vec![vec![2, 6, 3, 5], vec![6], vec![6]]),
        ("upsample", |a| ops::upsample(&a[0], 3, Some((8, 13))), vec![vec![2, 6, 3, 5]]),
    ];
    for (what, function, shapes) in cases {
        let double = |shape: &[usize], seed: u64| tensor(shape, seed).to_dtype(DType::F64);
        let args: Vec<Var> =
            (0..).zip(&shapes).map(|(seed, shape)| Var::from_tensor(&double(shape, seed)?)).collect::<Result<_>>()?;
        let run = |args: &[Tensor]| -> Result<Tensor> {
            let y = function(args)?;
            (&y * double(y.dims(), 50)?)?.sum_all()
        };
        let tensors: Vec<Tensor> = args.iter().map(|arg| arg.as_tensor().clone()).collect();
        let gradients = run(&tensors)?.backward()?;
        for (which, arg) in args.iter().enumerate() {
            let direction = double(arg.dims(), 70 + which as u64)?;
            let slope = (gradients.get(arg).unwrap() * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let at = |step: f64| -> Result<f64> {
                let mut moved = tensors.clone();
                moved[which] = (&moved[which] + (&direction * step)?)?;
                run(&moved)?.to_scalar()
            };
            let measured = (at(1e-6)? - at(-1e-6)?) / 2e-6;
            assert!(
                (measured - slope).abs() < 1e-6 * slope.abs().max(1.0),
                "{what}: {measured} measured, {slope} said"
            );
        }
    }
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let x = |shape: &[usize]| tensor(shape, 1);
    let says = |result: Result<Tensor>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    says(ops::product(&x(&[2, 3, 4, 4]), &x(&[2, 4])), "a product of [2, 3, 4, 4] and [2, 4]; accepted");
    says(ops::product(&x(&[2, 3, 4, 4]), &x(&[2, 3, 1, 4])), "accepted: equal shapes");
    says(
        ops::crossed_gate(&x(&[2, 4, 3, 3]), &x(&[2, 4, 1, 1]), 0.5),
        "is gated by [2, 4, 1, 1]; accepted: equal shapes",
    );
    says(ops::crossed_gate(&x(&[2, 3]), &x(&[2, 3]), 0.5), "3 channels are gated crosswise; accepted: an even number");
    says(ops::softmax_between(&x(&[2, 6]), 4), "4 parts do not divide 6 channels");
    says(ops::group_norm(&x(&[2, 6, 1, 1]), 4, &x(&[6]), &x(&[6]), 1e-5), "4 groups do not divide 6");
    says(ops::group_norm(&x(&[2, 6, 1, 1]), 3, &x(&[6]), &x(&[5]), 1e-5), "bias [5]");
    says(ops::upsample(&x(&[1, 1, 2, 2]), 0, None), "0 times");
    says(ops::upsample(&x(&[1, 1, 2, 2]), 2, Some((4, 5))), "are not (4, 5)");
    says(ops::upsample(&x(&[1, 1, 2, 2]), 2, Some((2, 4))), "are not (2, 4)");
    let mut graph = Graph::new();
    let (wide, narrow) = (graph.input(6), graph.input(4));
    let says = |result: Result<Value>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    says(graph.product(wide, narrow), "6 channels are multiplied by 4");
    says(graph.crossed_gate(wide, narrow, 0.5), "6 channels are gated by 4");
    let odd = graph.slice(wide, 0..3).unwrap();
    says(graph.crossed_gate(odd, odd, 0.5), "3 channels are gated crosswise");
    says(graph.softmax_between(wide, 0), "0 parts");
    let norm = GroupNorm::new(2, 4, false, ParamStore::new(0, &Device::Cpu).builder()).unwrap();
    says(graph.group_norm(&norm, wide), "6 channels meet a group norm of 4");
    // Sizes show when it runs: on the engine as off it.
    type By = fn(&mut Graph, Value, Value) -> Result<Value>;
    let gates: [(By, [&str; 2]); 2] = [
        (|graph, x, by| graph.product(x, by), ["a product of", "(2, 2) pixels are multiplied"]),
        (|graph, x, by| graph.crossed_gate(x, by, 0.5), ["is gated by", "(2, 2) pixels are gated"]),
    ];
    for (gate, words) in gates {
        let write = |graph: &mut Graph, x: Value| {
            let small = graph.avg_pool(x, 2, 2, false);
            gate(graph, x, small)
        };
        let network = Network::build(4, write).unwrap();
        for (images, words) in [2, 8].into_iter().zip(words) {
            let error = network.forward_t(&x(&[images, 4, 4, 4]), false).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

conv_core::options! {
    /// Everything that a scope can write of gates.
    Gated = "gated", "" {}
}

impl Method for Gated {
    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let channels = unit.conv.in_channels;
        let normed = net.group_norm("norm", 2, true, x)?;
        let gate = net.sigmoid(normed)?;
        let x = net.product(x, gate)?;
        let x = net.crossed_gate(x, normed, 0.5)?;
        let halves = [net.slice(x, 0..channels / 2)?, net.slice(x, channels / 2..channels)?];
        let half = ConvSpec { in_channels: channels / 2, out_channels: unit.conv.out_channels / 2, ..unit.conv };
        let y = net.tied_conv("tied", half, &halves)?;
        let means = [net.global_avg_pool(y[0])?, net.global_avg_pool(y[1])?];
        let weights = net.softmax_between(&means)?;
        let y = [net.product(y[0], weights[0])?, net.product(y[1], weights[1])?];
        let y = net.concat(&y)?;
        let small = net.avg_pool(y, 2, 2, true)?;
        let large = net.upsample(small, 2, Some(y))?;
        let y = net.add(y, large)?;
        net.finish(unit, y, residual)
    }
}

#[test]
fn a_scope_counts_parameters_once_multiplications_every_time_and_gates_not_at_all() -> Result<()> {
    let conv = ConvSpec { bias: true, ..ConvSpec::same(8, 12, 3, 2) };
    let unit = UnitSpec::conv_bn_relu(conv, Role::Spatial);
    let made = describe(&Gated {}, &unit, (9, 7))?;
    let (weights, pixels) = (4 * 6 * 9, 5 * 4);
    assert_eq!(made.cost.params, 16 + weights + 6 + 24, "group norm, weights, biases, batch norm");
    assert_eq!((made.cost.macs, made.cost.activations), (2 * pixels * weights, pixels * 12));
    assert_eq!(
        made.signature,
        "x of 8 channels; #2 = group norm 2 shares=true of x as norm; #3 = sigmoid of #2; \
         #4 = product of x, #3; #5 = crossed gate above 0.5 of #4, #2; #6 = slice 0..4 of #5; #7 = slice 4..8 of #5; \
         #8 = conv 4->6 k3 s2 p1 g1 bias=true norm=false act=None of #6 as tied; \
         #9 = conv 4->6 k3 s2 p1 g1 bias=true tied to #8 of #7; #10 = global average of #8; #11 = global average of #9; \
         #12 = concat of #10, #11; #13 = softmax of 2 of #12; #14 = slice 0..6 of #13; #15 = slice 6..12 of #13; \
         #16 = product of #8, #14; #17 = product of #9, #15; #18 = concat of #16, #17; \
         #19 = average pool k2 s2 ceil=true of #18; #20 = upsample 2 of #19, #18; \
         #21 = finish norm=false add=true act=None of #18, #20; #22 = finish norm=true add=false act=Some(Relu) of #21 as bn; \
         #22"
    );
    // Built, it has these parameters and runs; a residual comes last.
    let store = ParamStore::new(3, &Device::Cpu);
    let x = tensor(&[9, 8, 9, 7], 1);
    let layer = Layer::new(&Gated {}, &unit, store.builder())?;
    assert_eq!(store.params(), made.cost.params);
    let names: Vec<String> = store.trainable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bn.bias", "bn.weight", "norm.bias", "norm.weight", "tied.bias", "tied.weight"]);
    let y = layer.forward_t(&x, false)?;
    assert_eq!(y.dims(), [9, 12, 5, 4]);
    let gap = (y - forward_unit(&Gated {}, &unit, store.builder(), &x, None, false)?)?.abs()?.max_all()?;
    assert!(gap.to_scalar::<f32>()? < 1e-4, "{gap}");
    Ok(())
}

conv_core::options! {
    /// A gate of fewer pixels than what it is for.
    Coarse = "coarse", "" {}
}

impl Method for Coarse {
    fn write(&self, _: &UnitSpec, net: &mut Scope<'_>, x: Value, _: Option<Value>) -> Result<Value> {
        let small = net.avg_pool(x, 2, 2, true)?;
        net.crossed_gate(x, small, 0.5)
    }
}

#[test]
fn a_scope_refuses_what_does_not_fit_built_or_counted() {
    type Write = fn(&mut Scope<'_>, Value) -> Result<Value>;
    let cases: [(Write, &str); 8] = [
        (|net, x| net.group_norm("norm", 3, false, x), "3 groups do not divide 4 channels"),
        (|net, _| Ok(net.softmax_between(&[])?[0]), "between no values"),
        (|net, _| Ok(net.tied_conv("tied", ConvSpec::same(4, 4, 3, 1), &[])?[0]), "a convolution of no values"),
        (
            |net, x| Ok(net.tied_conv("tied", ConvSpec::same(2, 4, 3, 1), &[x])?[0]),
            "a convolution of 2 channels was given 4",
        ),
        (
            |net, x| {
                let half = net.slice(x, 0..2)?;
                Ok(net.softmax_between(&[x, half])?[0])
            },
            "a softmax between 4 and 2 channels",
        ),
        (
            |net, x| {
                let half = net.slice(x, 0..2)?;
                net.product(x, half)
            },
            "4 channels are multiplied by 2",
        ),
        (
            |net, x| {
                let half = net.slice(x, 0..2)?;
                net.crossed_gate(x, half, 0.5)
            },
            "4 channels are gated by 2",
        ),
        (
            |net, x| {
                let odd = net.slice(x, 1..4)?;
                net.crossed_gate(odd, odd, 0.5)
            },
            "3 channels are gated crosswise",
        ),
    ];
    for (write, words) in cases {
        let mut graph = Graph::new();
        let x = graph.input(4);
        let store = ParamStore::new(0, &Device::Cpu);
        let error = write(&mut Scope::build(&mut graph, store.builder()), x).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let unit = UnitSpec::plain(ConvSpec::same(4, 4, 3, 1));
    let error = describe(&Coarse {}, &unit, (9, 7)).unwrap_err().to_string();
    assert!(error.contains("(9, 7) pixels meet (5, 4)"), "{error}");
}
