//! What gates are made of, and shared parameters, on the engine: against candle's own ops, for every batch, in both regimes,
//! wherever they stand.

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use common::{Builder, close, tensor};
use conv_core::{Backend, ConvSpec, Network, ParamStore, Value, ops};

/// Channels of the images.
const CHANNELS: usize = 3;

/// What stands in the middle of a network: of a value of 6 channels, one of any.
type Middle = fn(&mut Builder, Value) -> Result<Value>;

/// A pooled value of `x`, as gates read it.
fn pooled(b: &mut Builder, x: Value) -> Value {
    let pooled = b.graph.global_avg_pool(x);
    b.linear(pooled, 6)
}

/// SCConv's gate: a group norm whose channels are weighed by their shares, and two halves crossed by what it says.
fn spatial_gate(b: &mut Builder, x: Value) -> Result<Value> {
    let normed = b.group_norm(x, 3, true);
    b.graph.crossed_gate(x, normed, 0.5)
}

/// SPConv's fusion: two branches, weighed by a softmax between their means.
fn fusion(b: &mut Builder, x: Value) -> Result<Value> {
    let branches = [b.conv(x, ConvSpec::same(6, 5, 3, 1)), b.conv(x, ConvSpec::same(6, 5, 1, 1))];
    let branches = branches.map(|branch| b.finish(branch, None, false));
    let means = branches.map(|branch| b.graph.global_avg_pool(branch));
    let all = b.graph.concat(&means)?;
    let weights = b.graph.softmax_between(all, 2)?;
    let weights = [b.slice(weights, 0..5), b.slice(weights, 5..10)];
    let parts = [b.graph.product(branches[0], weights[0])?, b.graph.product(branches[1], weights[1])?];
    b.graph.finish(parts[0], None, Some(parts[1]), false)
}

/// Every operation by itself, and as rivals put them together.
const MIDDLES: [(&str, Middle); 18] = [
    ("relu6", |b, x| {
        // Cubes, of which some are beyond either end.
        let square = b.graph.product(x, x)?;
        let cube = b.graph.product(square, x)?;
        Ok(b.graph.relu6(cube))
    }),
    ("sigmoid", |b, x| Ok(b.graph.sigmoid(x))),
    ("crossed gate, all above", |b, x| {
        let gate = b.conv(x, ConvSpec::same(6, 6, 1, 1));
        b.graph.crossed_gate(x, gate, -1.0)
    }),
    ("crossed gate, none above", |b, x| {
        let gate = b.conv(x, ConvSpec::same(6, 6, 3, 1));
        let crossed = b.graph.crossed_gate(x, gate, 2.0)?;
        // A channel of it nobody reads, and both values are read again.
        let crossed = b.slice(crossed, 0..5);
        b.graph.concat(&[crossed, gate, x])
    }),
    ("crossed gate of channels of zeros and pooled values", |b, x| {
        let (some, gate) = (b.slice(x, 1..5), b.conv(x, ConvSpec::same(6, 5, 1, 1)));
        let (some, gate) = (b.graph.pad_channels(some, 0, 2), b.graph.pad_channels(gate, 1, 0));
        let (crossed, gates) = (b.graph.crossed_gate(some, gate, 0.6)?, [pooled(b, x), pooled(b, x)]);
        let by = b.graph.crossed_gate(gates[0], gates[1], 0.6)?;
        b.graph.product(crossed, by)
    }),
    ("product of maps", |b, x| {
        let by = b.conv(x, ConvSpec::same(6, 6, 1, 1));
        b.graph.product(x, by)
    }),
    ("a square", |b, x| b.graph.product(x, x)),
    ("sums of products", |b, x| {
        // By values of the size, by pooled ones, and by what one of them is added to.
        let by = [b.conv(x, ConvSpec::same(6, 6, 1, 1)), b.conv(x, ConvSpec::same(6, 6, 3, 1))];
        let products = [b.graph.product(x, by[0])?, b.graph.product(by[1], x)?];
        let sum = b.graph.finish(products[0], None, Some(products[1]), false)?;
        let means = [pooled(b, x), pooled(b, sum)];
        let products = [b.graph.product(sum, means[0])?, b.graph.product(x, means[1])?];
        let sum = b.graph.finish(products[1], None, Some(products[0]), false)?;
        let product = b.graph.product(sum, by[0])?;
        b.graph.finish(product, None, Some(sum), false)
    }),
    ("product with pooled values", |b, x| {
        let by = pooled(b, x);
        b.graph.product(x, by)
    }),
    ("product of pooled values", |b, x| {
        let (one, other) = (pooled(b, x), pooled(b, x));
        let product = b.graph.product(one, other)?;
        b.graph.product(x, product)
    }),
    ("channels of zeros", |b, x| {
        // Read, multiplied and multiplied with, some of a value and all of it.
        let padded = b.graph.pad_channels(x, 2, 1);
        let zeros = b.slice(padded, 0..2);
        let gate = b.graph.sigmoid(padded);
        let by_zeros = b.graph.product(gate, padded)?;
        let some = b.slice(x, 0..2);
        let (none, nothing) = (b.graph.product(some, zeros)?, b.graph.sigmoid(zeros));
        let (mean, flat) = (b.graph.global_avg_pool(zeros), b.graph.product(zeros, nothing)?);
        let last = b.graph.product(some, mean)?;
        let normed = b.group_norm(by_zeros, 3, false);
        b.graph.concat(&[normed, none, flat, last])
    }),
    ("softmax of maps", |b, x| {
        let y = b.graph.softmax_between(x, 3)?;
        // A part of it nobody reads.
        Ok(b.slice(y, 1..5))
    }),
    ("group norm", |b, x| Ok(b.group_norm(x, 3, false))),
    ("group norm of pooled values, and shares", |b, x| {
        let by = pooled(b, x);
        let normed = b.group_norm(by, 2, false);
        let y = b.graph.product(x, normed)?;
        Ok(b.group_norm(y, 1, true))
    }),
    ("upsample", |b, x| {
        let small = b.graph.avg_pool(x, 2, 2, true);
        let small = b.conv(small, ConvSpec::same(6, 6, 3, 1));
        let large = b.graph.upsample(small, 2, Some(x));
        let larger = b.graph.upsample(large, 3, None);
        let back = b.graph.avg_pool(larger, 3, 3, false);
        b.graph.finish(back, None, Some(x), false)
    }),
    ("spatial gate", spatial_gate),
    ("fusion", fusion),
    ("pooled values, chosen and moved", |b, x| {
        let mean = b.graph.global_avg_pool(x);
        let mean = b.graph.bias(mean, &tensor(&[6], 3))?;
        let mean = b.graph.shuffle(mean, 3)?;
        let (tail, head) = (b.slice(mean, 2..6), b.slice(mean, 0..2));
        let turned = b.graph.concat(&[tail, head])?;
        let gate = b.graph.sigmoid(turned);
        b.graph.product(x, gate)
    }),
];

/// A network with that in its middle.
fn network(middle: Middle, normed: bool) -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(CHANNELS);
    let x = b.conv(x, ConvSpec { bias: true, ..ConvSpec::same(CHANNELS, 6, 3, 1) });
    let x = if normed { b.finish(x, None, true) } else { x };
    let x = middle(&mut b, x)?;
    let x = b.conv(x, ConvSpec::same(b.graph.channels(x), 4, 3, 2));
    let x = b.graph.global_avg_pool(x);
    let output = b.linear(x, 3);
    Ok(b.network(output))
}

/// That it runs on the engine, in training and in both regimes of inference.
fn assert_on_engine(what: &str, network: &Network, (h, w): (usize, usize)) -> Result<()> {
    for (images, train) in [(8, true), (8, false), (3, false)] {
        let why = network.engine_layers(Backend::default(), [images, CHANNELS, h, w], train)?.err();
        assert!(why.is_none(), "{what}: {images} images, training {train}: {why:?}");
    }
    Ok(())
}

/// A training step and inference, on the engine and by candle's own ops.
fn check(what: &str, network: &Network, store: &ParamStore, n: usize, (h, w): (usize, usize)) -> Result<()> {
    let what = format!("{what}: {n} images of {h} x {w}");
    let x = tensor(&[n, CHANNELS, h, w], 99);
    let before = store.snapshot()?;
    if n >= 8 {
        let labels = Tensor::from_iter((0..n).map(|i| (i % 3) as u32), &Device::Cpu)?;
        let want = network.training(Backend::Candle).step(&x, &labels, 0.1)?;
        store.assign(&before)?;
        let got = network.training(Backend::default()).step(&x, &labels, 0.1)?;
        close(&format!("{what}: logits"), &got.logits, &want.logits, 1e-4);
        for (name, var) in store.trainable() {
            let (Some(got), Some(want)) = (got.gradients.get(&var), want.gradients.get(&var)) else {
                panic!("{what}: no gradient for {name}");
            };
            close(&format!("{what}: gradient of {name}"), got, want, 5e-4);
        }
    }
    let want = network.inference(Backend::Candle).forward(&x)?;
    let mut inference = network.inference(Backend::default());
    // Twice: nothing depends on what was there before.
    for _ in 0..2 {
        close(&format!("{what}: inference"), &inference.forward(&x)?, &want, 1e-4);
    }
    store.assign(&before)
}

#[test]
fn every_gate_runs_whole_on_the_engine_for_any_batch_and_size() -> Result<()> {
    for (what, middle) in MIDDLES {
        let (network, store) = network(middle, true)?;
        assert_on_engine(what, &network, (7, 5))?;
        for n in (1..=20).chain([33]) {
            check(what, &network, &store, n, (7, 5))?;
        }
        for size in [(1, 1), (2, 3), (8, 8), (9, 18), (5, 33)] {
            for n in [2, 9, 16] {
                check(what, &network, &store, n, size)?;
            }
        }
    }
    Ok(())
}

/// Where the gradient of the images is wanted too, as of a layer of a candle network.
#[test]
fn gates_hand_the_gradient_of_their_input_on() -> Result<()> {
    for (what, middle) in MIDDLES {
        let mut b = Builder::new();
        let input = b.graph.input(6);
        let output = middle(&mut b, input)?;
        let (network, store) = b.network(output);
        let x = Var::from_tensor(&tensor(&[11, 6, 5, 7], 1))?;
        let run = || -> Result<Vec<Tensor>> {
            let y = network.forward_t(x.as_tensor(), true)?;
            let gradients = (&y * tensor(y.dims(), 17))?.sum_all()?.backward()?;
            let vars = store.trainable().into_iter().map(|(_, var)| var).chain([x.clone()]);
            Ok(vars.map(|var| gradients.get(&var).unwrap().clone()).chain([y.detach()]).collect())
        };
        let before = store.snapshot()?;
        let want = ops::composed(run)?;
        store.assign(&before)?;
        for (got, want) in run()?.iter().zip(&want) {
            close(what, got, want, 5e-4);
        }
    }
    Ok(())
}

/// The engine's gradient is the slope of what the engine computes, whatever candle says.
#[test]
fn the_engines_gradient_is_its_slope() -> Result<()> {
    for (what, middle) in MIDDLES {
        let (network, store) = network(middle, false)?;
        let x = tensor(&[9, CHANNELS, 5, 6], 5);
        let weights = tensor(&[9, 3], 6);
        let loss = || -> Result<Tensor> { (network.forward_t(&x, true)? * &weights)?.sum_all() };
        let gradients = loss()?.backward()?;
        for (seed, (name, var)) in store.trainable().into_iter().enumerate() {
            let direction = tensor(var.dims(), 100 + seed as u64);
            let start = var.as_tensor().copy()?;
            let sum = |t: Tensor| t.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
            let slope = sum((gradients.get(&var).unwrap() * &direction)?)?;
            // A step small enough for all but the thresholds, which jump: those are in `scope.rs`.
            let step = 2e-3;
            let at = |step: f64| -> Result<f64> {
                var.set(&(&start + (&direction * step)?)?)?;
                sum((network.forward_t(&x, true)? * &weights)?)
            };
            let measured = (at(step)? - at(-step)?) / (2.0 * step);
            var.set(&start)?;
            let jumps = what == "spatial gate" || what.starts_with("crossed gate of");
            let tolerance = 2e-2 * slope.abs().max(1.0);
            assert!(jumps || (measured - slope).abs() < tolerance, "{what}: {name}: {measured} measured, {slope} said");
        }
    }
    Ok(())
}

/// An image that has something in it that is no number spoils its own outputs and those of no other.
#[test]
fn nan_stays_nan_and_in_its_image() -> Result<()> {
    for (what, middle) in MIDDLES {
        // A threshold keeps NaN; batch norms would spread it to all images.
        if what == "fusion" {
            continue;
        }
        let (network, _) = network(middle, false)?;
        let images = 19;
        let x = tensor(&[images, CHANNELS, 5, 7], 8);
        let bad = 13;
        let mut values = x.flatten_all()?.to_vec1::<f32>()?;
        values[bad * CHANNELS * 35 + 40] = f32::NAN;
        let spoilt = Tensor::from_vec(values, x.shape(), &Device::Cpu)?;
        let rows = |x: &Tensor, few: bool| -> Result<Vec<Vec<f32>>> {
            let mut inference = network.inference(Backend::default());
            if !few {
                return inference.forward(x)?.to_vec2();
            }
            let each = (0..images).map(|i| inference.forward(&x.narrow(0, i, 1)?)?.squeeze(0)?.to_vec1());
            each.collect()
        };
        for few in [false, true] {
            for (image, (row, whole)) in rows(&spoilt, few)?.iter().zip(rows(&x, few)?).enumerate() {
                let told = format!("{what}, few {few}, image {image}: {row:?}");
                if image == bad {
                    assert!(row.iter().all(|value| value.is_nan()), "{told}");
                } else {
                    assert_eq!(*row, whole, "{told}");
                }
            }
        }
        let labels = Tensor::from_iter((0..images).map(|i| (i % 3) as u32), &Device::Cpu)?;
        let step = network.training(Backend::default()).step(&spoilt, &labels, 0.0)?;
        assert!(step.loss.is_nan(), "{what}: a loss of {}", step.loss);
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_threads() -> Result<()> {
    for middle in [spatial_gate as Middle, fusion] {
        let (network, store) = network(middle, true)?;
        let (x, labels) = (tensor(&[70, 3, 6, 6], 1), Tensor::from_iter((0..70).map(|i| i % 3), &Device::Cpu)?);
        let before = store.snapshot()?;
        let run = |threads: usize| -> Result<Vec<Vec<f32>>> {
            store.assign(&before)?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let step = network.training(Backend::default()).step(&x, &labels, 0.0)?;
                let one = network.inference(Backend::default()).forward(&x.narrow(0, 0, 1)?)?;
                let gradients = store.trainable().into_iter().map(|(_, var)| step.gradients.get(&var).unwrap().clone());
                gradients.chain([step.logits, one]).map(|tensor| tensor.flatten_all()?.to_vec1()).collect()
            })
        };
        let one = run(1)?;
        assert_eq!(one, run(2)?);
        assert_eq!(one, run(5)?);
    }
    Ok(())
}

/// One convolution over maps of two sizes, whose weights' gradients are made by two kernels, and in a row.
#[test]
fn a_convolution_in_several_places_has_one_weight_and_the_sum_of_gradients() -> Result<()> {
    for (groups, bias) in [(1, true), (1, false), (2, true), (6, false)] {
        let mut b = Builder::new();
        let x = b.graph.input(CHANNELS);
        let x = b.conv(x, ConvSpec::same(CHANNELS, 12, 3, 1));
        let x = b.finish(x, None, true);
        let (one, other) = (b.slice(x, 0..6), b.slice(x, 6..12));
        let small = b.graph.avg_pool(other, 2, 2, true);
        let small = b.graph.avg_pool(small, 2, 2, true);
        let spec = ConvSpec { bias, ..ConvSpec::same(6, 6, 3, 1).grouped(groups) };
        let tied = b.tied(spec, &[one, other, small]);
        let again = b.graph.upsample(tied[2], 4, Some(x));
        let all = b.graph.concat(&[tied[0], tied[1], again])?;
        // Norms of their own follow.
        let all = b.finish(all, None, true);
        let pooled = b.graph.global_avg_pool(all);
        let output = b.linear(pooled, 3);
        let (network, store) = b.network(output);
        let tied = spec.params();
        assert_eq!(store.params(), 12 * 27 + 24 + tied + 2 * 18 + 18 * 3 + 3, "counted once");
        let what = format!("{groups} groups, bias {bias}");
        // 117 pixels and 12; 1056 and 72: one kernel and the other, and twice the same.
        for size in [(9, 13), (33, 32), (5, 5)] {
            assert_on_engine(&what, &network, size)?;
            for n in [3, 8, 20, 40] {
                check(&what, &network, &store, n, size)?;
            }
        }
    }
    Ok(())
}
