//! The graph: each operation is the function it names, what does not fit is refused, and values live as long as needed.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{D, DType, Device, Module, Result, Tensor, Var};
use candle_nn::VarBuilder;
use conv_core::layers::{BatchNorm2d, Conv2d, GroupNorm, Linear};
use conv_core::{
    Activation, ConvSpec, Graph, Method, Network, ParamStore, Role, Scope, UnitSpec, Value, describe, forward_unit,
    normal_stream, ops,
};

/// Channels of the input of most tests.
const CHANNELS: usize = 6;

fn noise(name: &str, shape: &[usize]) -> Tensor {
    let values = normal_stream(11, name, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// Parameters that are none of them at a value that does nothing, as fresh biases and statistics are.
fn parameters(shapes: &[(&str, &[usize])]) -> VarBuilder<'static> {
    let tensor = |(name, shape): &(&str, &[usize])| {
        let values = noise(name, shape);
        ((*name).to_owned(), if *name == "running_var" { values.sqr().unwrap() } else { values })
    };
    let tensors: HashMap<String, Tensor> = shapes.iter().map(tensor).collect();
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

fn convolution(bias: bool) -> Conv2d {
    let spec = ConvSpec { bias, ..ConvSpec::same(CHANNELS, 4, 3, 2).grouped(2) };
    Conv2d::new(spec, parameters(&[("weight", &[4, 3, 3, 3]), ("bias", &[4])])).unwrap()
}

fn batch_norm() -> BatchNorm2d {
    let channels: &[usize] = &[CHANNELS];
    let names = ["weight", "bias", "running_mean", "running_var"].map(|name| (name, channels));
    BatchNorm2d::new(CHANNELS, parameters(&names)).unwrap()
}

fn fully_connected() -> Linear {
    Linear::new(CHANNELS, 3, parameters(&[("weight", &[3, CHANNELS]), ("bias", &[3])])).unwrap()
}

#[track_caller]
fn assert_same(got: &Tensor, want: &Tensor, what: &str) {
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    assert_eq!(got.dims(), want.dims(), "{what}");
    assert!(bits(got).eq(bits(want)), "{what}");
}

/// Runs what `write` writes over `x` and over a second input of the same shape, in both modes; it has to be `direct`.
#[track_caller]
fn check(
    what: &str,
    x: &Tensor,
    write: impl Fn(&mut Graph, Value, Value) -> Result<Value>,
    direct: impl Fn(&Tensor, &Tensor, bool) -> Result<Tensor>,
) {
    let other = noise("other", x.dims());
    let mut graph = Graph::new();
    let inputs = [graph.input(CHANNELS), graph.input(CHANNELS)];
    let output = write(&mut graph, inputs[0], inputs[1]).unwrap();
    for train in [false, true] {
        let (got, want) = (graph.interpret(&[x, &other], output, train).unwrap(), direct(x, &other, train).unwrap());
        assert_same(&got, &want, &format!("{what}, training: {train}"));
        assert_eq!(graph.channels(output), got.dim(1).unwrap(), "{what}");
    }
}

#[test]
fn every_operation_is_the_function_it_names() {
    let x = noise("x", &[2, CHANNELS, 5, 7]);
    for bias in [false, true] {
        check("conv", &x, |g, x, _| g.conv(&convolution(bias), x), |x, _, _| convolution(bias).forward(x));
    }
    let bias = noise("bias", &[CHANNELS]);
    let shaped = bias.reshape((1, CHANNELS, 1, 1)).unwrap();
    check("bias", &x, |g, x, _| g.bias(x, &bias), |x, _, _| x.broadcast_add(&shaped));
    check("slice", &x, |g, x, _| g.slice(x, 1..4), |x, _, _| x.narrow(1, 1, 3));
    check("concat", &x, |g, x, y| g.concat(&[y, x, y]), |x, y, _| Tensor::cat(&[y, x, y], 1));
    check("shuffle", &x, |g, x, _| g.shuffle(x, 3), |x, _, _| ops::channel_shuffle(x, 3));
    check("pad", &x, |g, x, _| Ok(g.pad_channels(x, 1, 2)), |x, _, _| x.pad_with_zeros(1, 1, 2));
    check("max pool", &x, |g, x, _| Ok(g.max_pool(x, 3, 2, 1)), |x, _, _| ops::max_pool2d(x, 3, 2, 1));
    for ceil_mode in [false, true] {
        let direct = |x: &Tensor, _: &Tensor, _| ops::avg_pool2d(x, 2, 2, ceil_mode);
        check("average pool", &x, |g, x, _| Ok(g.avg_pool(x, 2, 2, ceil_mode)), direct);
    }
    check("global average", &x, |g, x, _| Ok(g.global_avg_pool(x)), |x, _, _| ops::global_avg_pool(x));
    let features = noise("features", &[4, CHANNELS]);
    check("linear", &features, |g, x, _| g.linear(&fully_connected(), x), |x, _, _| fully_connected().forward(x));
    check("product", &x, |g, x, y| g.product(x, y), |x, y, _| x * y);
    let pooled = |g: &mut Graph, x, y| {
        let mean = g.global_avg_pool(y);
        g.product(x, mean)
    };
    check("product with means", &x, pooled, |x, y, _| x.broadcast_mul(&y.mean((2, 3))?.reshape((2, CHANNELS, 1, 1))?));
    let large = (&x * 5.0).unwrap();
    check("relu6", &large, |g, x, _| Ok(g.relu6(x)), |x, _, _| x.clamp(0f32, 6f32));
    check("sigmoid", &x, |g, x, _| Ok(g.sigmoid(x)), |x, _, _| ops::sigmoid(x));
    // Products with what passes of a value, one half of the channels of either added to the other half of the other.
    let crossed = |x: &Tensor, y: &Tensor, _| {
        let gate = ops::sigmoid(y)?;
        let above = gate.gt(0.5)?;
        let own = (x * above.where_cond(&gate.ones_like()?, &gate)?)?;
        let other = (x * above.where_cond(&gate.zeros_like()?, &gate)?)?;
        let half = |t: &Tensor, at: usize| t.narrow(1, at * CHANNELS / 2, CHANNELS / 2);
        let (upper, lower) = ((half(&own, 0)? + half(&other, 1)?)?, (half(&own, 1)? + half(&other, 0)?)?);
        Tensor::cat(&[upper, lower], 1)
    };
    check("crossed gate", &x, |g, x, y| g.crossed_gate(x, y, 0.5), crossed);
    check("softmax", &x, |g, x, _| g.softmax_between(x, 2), |x, _, _| ops::softmax_between(x, 2));
    for shares in [false, true] {
        let (weight, bias) = (noise("weight", &[CHANNELS]), noise("bias", &[CHANNELS]));
        let norm =
            GroupNorm::new(3, CHANNELS, shares, parameters(&[("weight", &[CHANNELS]), ("bias", &[CHANNELS])])).unwrap();
        let direct = |x: &Tensor, _: &Tensor, _| {
            let y = ops::group_norm(x, 3, &weight, &bias, 1e-5)?;
            let share = weight.broadcast_div(&weight.sum_all()?)?.reshape((1, CHANNELS, 1, 1))?;
            if shares { y.broadcast_mul(&share) } else { Ok(y) }
        };
        if shares {
            // The shares are multiplied with the parameters first, which rounds otherwise.
            let got = norm.forward(&x).unwrap();
            let gap = (got - direct(&x, &x, false).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f32>().unwrap() < 1e-5, "{gap}");
        } else {
            check("group norm", &x, |g, x, _| g.group_norm(&norm, x), direct);
        }
    }
    check("upsample", &x, |g, x, _| Ok(g.upsample(x, 2, None)), |x, _, _| x.upsample_nearest2d(10, 14));
    let cut = |g: &mut Graph, x, y| {
        let small = g.avg_pool(x, 2, 2, true);
        Ok(g.upsample(small, 2, Some(y)))
    };
    let direct = |x: &Tensor, _: &Tensor, _| {
        ops::avg_pool2d(x, 2, 2, true)?.upsample_nearest2d(6, 8)?.narrow(2, 0, 5)?.narrow(3, 0, 7)
    };
    check("upsample, cut", &x, cut, direct);
    check(
        "shuffle of features",
        &features,
        |g, x, _| g.shuffle(x, 3),
        |x, _, _| x.reshape((4, 3, 2))?.transpose(1, 2)?.reshape((4, CHANNELS)),
    );
    let difference =
        |inputs: &[Tensor], train: bool| if train { &inputs[0] - &inputs[1] } else { inputs[1].narrow(1, 0, CHANNELS) };
    let write = |g: &mut Graph, x, y| Ok(g.custom(&[x, y], &[], CHANNELS, Arc::new(difference)));
    check("custom", &x, write, |x, y, train| difference(&[x.clone(), y.clone()], train));
}

/// Norm, residual addition and ReLU in every combination, over images and over features.
#[test]
fn finish_is_norm_then_residual_then_relu() {
    let (images, features) = (noise("x", &[2, CHANNELS, 5, 7]), noise("features", &[4, CHANNELS]));
    let cases = (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0));
    for ((norm, residual, relu), x) in cases.flat_map(|case| [(case, &images), (case, &features)]) {
        let write = |g: &mut Graph, x, y| {
            let layer = batch_norm();
            g.finish(x, norm.then_some(&layer), residual.then_some(y), relu)
        };
        let direct = |x: &Tensor, y: &Tensor, train| {
            // Features are images of one pixel.
            let image =
                |t: &Tensor| if t.rank() == 2 { t.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1) } else { Ok(t.clone()) };
            let (shape, x, y) = (x.shape(), image(x)?, image(y)?);
            let added = residual.then_some(&y);
            let z = match (norm, added) {
                (true, added) => batch_norm().forward_t(&x, added, relu, train)?,
                (false, Some(added)) => (x + added)?,
                (false, None) => x,
            };
            if relu { ops::relu(&z)?.reshape(shape) } else { z.reshape(shape) }
        };
        check(&format!("norm {norm}, residual {residual}, relu {relu}"), x, write, direct);
    }
}

#[test]
fn training_moves_the_running_statistics_of_the_layer_itself() {
    let layer = batch_norm();
    let mut graph = Graph::new();
    let x = graph.input(CHANNELS);
    let y = graph.finish(x, Some(&layer), None, false).unwrap();
    let image = noise("x", &[2, CHANNELS, 5, 7]);
    let before = layer.forward_t(&image, None, false, false).unwrap();
    let network = Network::new(graph, y);
    assert_same(&network.forward_t(&image, false).unwrap(), &before, "inference");
    network.forward_t(&image, true).unwrap();
    let after = network.forward_t(&image, false).unwrap();
    assert_same(&after, &layer.forward_t(&image, None, false, false).unwrap(), "the same layer");
    assert!((after - before).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 1e-3);
}

#[test]
fn what_changes_nothing_is_no_operation() {
    let mut graph = Graph::new();
    let x = graph.input(CHANNELS);
    assert_eq!(graph.slice(x, 0..CHANNELS).unwrap(), x);
    assert_eq!(graph.concat(&[x]).unwrap(), x);
    assert_eq!(graph.shuffle(x, 1).unwrap(), x);
    assert_eq!(graph.pad_channels(x, 0, 0), x);
    assert_eq!(graph.avg_pool(x, 1, 1, true), x);
    assert_eq!(graph.upsample(x, 1, None), x);
    assert_eq!(graph.finish(x, None, None, false).unwrap(), x);
    let image = noise("x", &[1, CHANNELS, 2, 2]);
    assert_same(&graph.interpret(&[&image], x, true).unwrap(), &image, "the input is the output");
}

#[test]
fn channels_that_do_not_fit_are_refused_as_they_are_written() {
    let mut graph = Graph::new();
    let (x, narrow) = (graph.input(CHANNELS), graph.input(4));
    let says = |result: Result<Value>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    says(graph.conv(&convolution(true), narrow), "a convolution of 6 channels was given 4");
    says(graph.bias(narrow, &noise("bias", &[6])), "4 channels meet a bias of [6]");
    says(graph.bias(x, &noise("bias", &[1, 6])), "6 channels meet a bias of [1, 6]");
    says(graph.finish(narrow, Some(&batch_norm()), None, true), "norm of Some(6)");
    says(graph.finish(x, None, Some(narrow), false), "residual of Some(4)");
    says(graph.slice(x, 4..7), "channels 4..7 of 6");
    says(graph.slice(x, 3..3), "channels 3..3 of 6");
    says(graph.concat(&[]), "nothing to concatenate");
    says(graph.shuffle(x, 4), "4 groups do not divide 6 channels");
    says(graph.shuffle(x, 0), "0 groups");
    says(graph.linear(&fully_connected(), narrow), "a linear layer of 6 features was given 4");
    // What was refused left nothing behind.
    assert_eq!(format!("{graph:?}"), "Graph of 2 operations");
}

#[test]
fn what_only_shows_when_it_runs_is_refused_then() {
    let mut graph = Graph::new();
    let (x, y) = (graph.input(CHANNELS), graph.input(CHANNELS));
    let sum = graph.finish(x, None, Some(y), false).unwrap();
    let (image, small) = (noise("x", &[1, CHANNELS, 3, 3]), noise("y", &[1, CHANNELS, 2, 2]));
    let fails = |inputs: &[&Tensor], words: &str| {
        let error = graph.interpret(inputs, sum, false).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    fails(&[&image], "it has 2 inputs and was given 1");
    fails(&[&image; 3], "it has 2 inputs and was given 3");
    fails(&[&image, &noise("z", &[1, 5, 3, 3])], "6 channels were announced, [1, 5, 3, 3] came");
    fails(&[&image, &small], "shape mismatch");

    let liar = graph.custom(&[x], &[], CHANNELS, Arc::new(|inputs, _| inputs[0].narrow(1, 0, 2)));
    let error = graph.interpret(&[&image, &image], liar, false).unwrap_err().to_string();
    assert!(error.contains("6 channels were announced, [1, 2, 3, 3] came"), "{error}");
    let elsewhere = graph.clone().input(1);
    assert!(graph.interpret(&[&image, &image], elsewhere, false).unwrap_err().to_string().contains("no such output"));
}

/// Every value of a graph can be its output: also one that later operations read, and the last one to do so.
#[test]
fn values_live_until_their_last_reader() {
    let mut graph = Graph::new();
    let x = graph.input(CHANNELS);
    let relu = graph.finish(x, None, None, true).unwrap();
    // Read twice by one operation, then never again; `x` outlives other readers.
    let twice = graph.finish(relu, None, Some(relu), false).unwrap();
    let both = graph.concat(&[twice, twice]).unwrap();
    let sum = graph.finish(x, None, Some(twice), false).unwrap();
    let image = noise("x", &[2, CHANNELS, 3, 3]);
    let run = |output| graph.interpret(&[&image], output, false).unwrap();

    let positive = ops::relu(&image).unwrap();
    let double = (&positive + &positive).unwrap();
    assert_same(&run(x), &image, "x");
    assert_same(&run(relu), &positive, "relu");
    assert_same(&run(twice), &double, "twice");
    assert_same(&run(both), &Tensor::cat(&[&double, &double], 1).unwrap(), "both");
    assert_same(&run(sum), &(&image + &double).unwrap(), "sum");
}

/// Inputs may be made at any point; they are given in the order in which they were made.
#[test]
fn inputs_are_given_in_their_order() {
    let mut graph = Graph::new();
    let x = graph.input(CHANNELS);
    let first = graph.slice(x, 0..2).unwrap();
    let y = graph.input(1);
    let output = graph.concat(&[y, first]).unwrap();
    let (x, y) = (noise("x", &[1, CHANNELS, 2, 2]), noise("y", &[1, 1, 2, 2]));
    let expected = Tensor::cat(&[&y, &x.narrow(1, 0, 2).unwrap()], 1).unwrap();
    assert_same(&graph.interpret(&[&x, &y], output, false).unwrap(), &expected, "y before a part of x");
}

conv_core::options! {
    /// The convolution as it is.
    Plain = "plain", "" {}
}

impl Method for Plain {
    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        net.unit("", unit, x, residual)
    }
}

#[test]
fn a_unit_runs_alone_as_inside_a_network() {
    let conv = ConvSpec::same(CHANNELS, CHANNELS, 3, 1);
    let spec = UnitSpec { conv, role: Role::Spatial, norm: true, activation: Some(Activation::Relu) };
    let store = ParamStore::new(0, &Device::Cpu);
    let mut graph = Graph::new();
    let input = graph.input(CHANNELS);
    let mut net = Scope::build(&mut graph, store.builder());
    let once = net.make("", &Plain {}, &spec, input, None).unwrap();
    let twice = net.make("", &Plain {}, &spec, once, Some(input)).unwrap();
    drop(net);
    let network = Network::new(graph, twice);
    let run = |x: &Tensor, residual: Option<&Tensor>, train| {
        forward_unit(&Plain {}, &spec, store.builder(), x, residual, train)
    };

    let x = Var::from_tensor(&noise("x", &[2, CHANNELS, 4, 3])).unwrap();
    let gradients = |y: &Tensor| {
        let found = (y * noise("loss", y.dims())).unwrap().sum_all().unwrap().backward().unwrap();
        let vars = store.trainable().into_iter().map(|(_, var)| var).chain([x.clone()]);
        vars.map(|var| found.get(&var).unwrap().clone()).collect::<Vec<_>>()
    };
    for train in [true, false] {
        let alone = run(&x, None, train).unwrap();
        let alone = run(&alone, Some(&x), train).unwrap();
        let inside = network.forward_t(&x, train).unwrap();
        assert_same(&inside, &alone, "output");
        for (inside, alone) in gradients(&inside).iter().zip(&gradients(&alone)) {
            assert_same(inside, alone, "gradient");
        }
    }
    let error = run(&noise("narrow", &[1, 2, 4, 3]), None, false).unwrap_err().to_string();
    assert!(error.contains("a convolution of 6 channels was given 2"), "{error}");
}

/// However the unit is made, its ReLU is clipped behind all of it; the description says so, and counts nothing more.
#[test]
fn a_relu6_is_a_relu_that_is_clipped() {
    let conv = ConvSpec::same(CHANNELS, CHANNELS, 3, 1);
    let plain = UnitSpec::conv_bn_relu(conv, Role::Spatial);
    let clipped = UnitSpec { activation: Some(Activation::Relu6), ..plain };
    let (x, added) = (noise("x", &[2, CHANNELS, 4, 3]), (noise("y", &[2, CHANNELS, 4, 3]) * 20.0).unwrap());
    let store = ParamStore::new(0, &Device::Cpu);
    let run = |spec: &UnitSpec| forward_unit(&Plain {}, spec, store.builder(), &x, Some(&added), true).unwrap();
    let (free, six) = (run(&plain), run(&clipped));
    let values = free.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values.iter().any(|value| *value > 6.0) && values.iter().any(|value| *value > 0.0 && *value < 6.0));
    assert_same(&six, &free.clamp(0f32, 6f32).unwrap(), "clipped");
    let [plain, clipped] = [plain, clipped].map(|spec| describe(&Plain {}, &spec, (4, 3)).unwrap());
    assert_eq!((plain.cost, plain.vanilla, clipped.vanilla), (clipped.cost, true, true));
    assert_ne!(plain.signature, clipped.signature);
    assert!(clipped.signature.contains("relu6"), "{}", clipped.signature);
}
