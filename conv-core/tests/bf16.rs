//! Inference and training in bfloat16, against f32.

#[allow(dead_code, reason = "other tests share this file")]
mod common;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use common::{Builder, tensor};
use conv_core::{Backend, ConvSpec, Network, ParamStore, Precision, Step, Value};

fn infer(network: &Network, x: &Tensor, precision: Precision) -> Result<Vec<f32>> {
    network.inference_in(Backend::default(), precision)?.forward(x)?.flatten_all()?.to_vec1()
}

/// Slices at odd channels, a shuffle, groups, depthwise, a residual, poolings, upsampling, padded channels.
fn network() -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 17, 3, 1));
    let x = b.finish(x, None, true);
    let cut = b.slice(x, 3..8);
    let rest = b.slice(x, 9..16);
    let deep = b.conv(cut, ConvSpec::same(5, 5, 3, 1).grouped(5));
    let deep = b.finish(deep, None, true);
    let y = b.graph.concat(&[rest, deep])?;
    let y = b.graph.shuffle(y, 3)?;
    let y = b.conv(y, ConvSpec::same(12, 21, 1, 1));
    let y = b.finish(y, None, false);
    let shortcut = b.graph.pad_channels(x, 1, 3);
    let y = b.finish(y, Some(shortcut), true);
    let y = b.conv(y, ConvSpec { bias: true, ..ConvSpec::same(21, 6, 3, 2).grouped(3) });
    let y = b.graph.max_pool(y, 3, 2, 1);
    let y = b.graph.avg_pool(y, 2, 2, true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 4);
    Ok(b.network(output))
}

/// Every layer that goes over several values of f32: gates of all kinds, a group norm, a softmax, upsampling.
fn gates() -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 6, 3, 1));
    let x = b.graph.relu6(x);
    let normed = b.group_norm(x, 3, true);
    let x = b.graph.crossed_gate(x, normed, 0.5)?;
    let small = b.graph.avg_pool(x, 2, 2, true);
    let small = b.conv(small, ConvSpec::same(6, 6, 3, 1).grouped(2));
    let large = b.graph.upsample(small, 2, Some(x));
    let gate = b.graph.sigmoid(large);
    let y = b.graph.product(x, gate)?;
    let pooled = b.graph.global_avg_pool(y);
    let shares = b.linear(pooled, 6);
    let shares = b.graph.softmax_between(shares, 2)?;
    let y = b.graph.product(y, shares)?;
    let y = b.finish(y, None, true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 4);
    Ok(b.network(output))
}

fn by_one_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(candle_core::Error::wrap)?.install(work)
}

fn labels(images: usize) -> Result<Tensor> {
    Tensor::from_iter((0..images).map(|image| (image % 4) as u32), &Device::Cpu)
}

fn step(network: &Network, x: &Tensor, precision: Precision) -> Result<Step> {
    network.training_in(Backend::default(), precision)?.step(x, &labels(x.dim(0)?)?, 0.1)
}

/// `|got - want| / |want|` of all values together.
fn distance(got: &Tensor, want: &Tensor) -> Result<f32> {
    let norm = |x: &Tensor| x.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
    Ok(norm(&(got - want)?)? / norm(want)?)
}

/// Logits and running statistics within 2 %, and the gradients of all parameters together within 8 %, of those of f32: rounding
/// moves values across a ReLU's or a maximum's edge, whose gradient then goes another way.
#[test]
fn gradients_are_those_of_f32_but_for_rounding_and_the_same_for_any_number_of_threads() -> Result<()> {
    for (name, network) in [("layers", network as fn() -> _), ("gates", gates)] {
        let (network, store) = network()?;
        for images in [5, 16, 37] {
            let what = format!("{name}, {images} images");
            let x = tensor(&[images, 3, 13, 9], 5);
            let before = store.snapshot()?;
            // Few images of f32 run operation by operation.
            let want = step(&network, &x, Precision::F32)?;
            let statistics = store.snapshot()?;
            store.assign(&before)?;
            let got = step(&network, &x, Precision::Bf16)?;
            assert!((got.loss - want.loss).abs() <= 0.02 * want.loss, "{what}: {} for {}", got.loss, want.loss);
            let logits = distance(&got.logits, &want.logits)?;
            assert!(logits > 0.0 && logits <= 0.02, "{what}: logits differ by {logits}");
            let all = |step: &Step| {
                let of = |(_, var): (String, candle_core::Var)| step.gradients.get(&var)?.flatten_all().ok();
                Tensor::cat(&store.trainable().into_iter().filter_map(of).collect::<Vec<_>>(), 0)
            };
            let gradients = distance(&all(&got)?, &all(&want)?)?;
            assert!(gradients > 0.0 && gradients <= 0.08, "{what}: gradients differ by {gradients}");
            for (name, var) in store.named() {
                let moved = distance(&var, &statistics[&name])?;
                assert!(moved <= 0.02, "{what}: {name} differs by {moved} afterwards");
            }
            store.assign(&before)?;
            let alone = by_one_thread(|| step(&network, &x, Precision::Bf16))?;
            assert_eq!(alone.loss, got.loss, "{what} by one thread");
            assert_eq!(all(&alone)?.to_vec1::<f32>()?, all(&got)?.to_vec1::<f32>()?, "{what} by one thread");
            store.assign(&before)?;
        }
    }
    Ok(())
}

/// What no layer reads has a gradient of zero, and what is read twice the sum of both.
#[test]
fn gradients_of_what_is_read_twice_or_never() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 8, 3, 1));
    let x = b.finish(x, None, true);
    let used = b.slice(x, 0..7);
    let convs = [ConvSpec::same(7, 7, 3, 1), ConvSpec::same(7, 7, 1, 1), ConvSpec::same(7, 7, 3, 1).grouped(7)];
    let mut sum = used;
    for spec in convs {
        let y = b.conv(used, spec);
        sum = b.graph.finish(y, None, Some(sum), false)?;
    }
    let padded = b.graph.pad_channels(sum, 2, 0);
    let y = b.conv(padded, ConvSpec::same(9, 12, 3, 2));
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 4);
    let (network, store) = b.network(output);
    let x = tensor(&[24, 3, 8, 8], 3);
    let (want, got) = (step(&network, &x, Precision::F32)?, step(&network, &x, Precision::Bf16)?);
    for (name, var) in store.trainable() {
        let (Some(got), Some(want)) = (got.gradients.get(&var), want.gradients.get(&var)) else {
            panic!("no gradient for {name}");
        };
        let differ = distance(got, want)?;
        assert!(differ <= 0.04, "{name} differs by {differ}");
        if name.starts_with("layer1.") {
            let unread = got.narrow(0, 7, 1)?.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert_eq!(unread, 0.0, "{name}: the channel that nothing reads");
        }
    }
    Ok(())
}

/// Four classes of noisy stripes, 300 steps of gradient descent with momentum: both end as low.
#[test]
fn a_training_comes_as_low_as_in_f32() -> Result<()> {
    let train = |precision| -> Result<f64> {
        let (network, store) = network()?;
        let mut training = network.training_in(Backend::default(), precision)?;
        let parameters: Vec<_> = store.trainable().into_iter().map(|(_, var)| var).collect();
        let mut speeds = parameters.iter().map(|var| var.zeros_like()).collect::<Result<Vec<_>>>()?;
        let stripes = Tensor::from_iter(
            (0..32 * 3 * 13 * 9).map(|at| {
                let (class, row, column) = (at / (3 * 13 * 9) % 4, at / 9 % 13, at % 9);
                let phase = [row, column, row + column, row + 12 - column][class];
                if phase % 4 < 2 { 1f32 } else { -1.0 }
            }),
            &Device::Cpu,
        )?;
        let stripes = stripes.reshape((32, 3, 13, 9))?;
        let (mut last, labels) = (0.0, labels(32)?);
        for at in 0..300 {
            let x = (&stripes + (tensor(&[32, 3, 13, 9], at) * 1.5)?)?;
            let step = training.step(&x, &labels, 0.0)?;
            for (var, speed) in parameters.iter().zip(&mut speeds) {
                let Some(gradient) = step.gradients.get(var) else { continue };
                *speed = ((&*speed * 0.9)? + gradient)?;
                var.set(&(var.as_tensor() - (&*speed * 0.01)?)?)?;
            }
            if at >= 250 {
                last += step.loss / 50.0;
            }
        }
        Ok(last)
    };
    let (single, half) = (train(Precision::F32)?, train(Precision::Bf16)?);
    assert!(single < 0.5, "f32 does not learn it: {single}");
    assert!(half <= 1.1 * single + 0.02, "{half} in bf16, {single} in f32");
    Ok(())
}

#[test]
fn layers_are_told_and_timed() -> Result<()> {
    let (network, _) = network()?;
    let mut training = network.training_in(Backend::default(), Precision::Bf16)?;
    training.time_layers();
    training.step(&tensor(&[16, 3, 13, 9], 1), &labels(16)?, 0.0)?;
    let layers = training.layers().unwrap_or_default();
    let works = || layers.iter().flat_map(|layer| &layer.passes);
    assert!(works().any(|work| work.kernel == "bf16 product") && works().any(|work| work.kernel == "depthwise"));
    assert!(works().all(|work| work.kernel != "winograd" && work.time.is_some()));
    Ok(())
}

#[test]
fn it_is_f32_but_for_rounding_and_the_same_for_any_number_of_threads() -> Result<()> {
    let (network, _) = network()?;
    for images in [1, 7, 16, 37] {
        let x = tensor(&[images, 3, 13, 9], 5);
        let want = infer(&network, &x, Precision::F32)?;
        let got = infer(&network, &x, Precision::Bf16)?;
        let largest = want.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 0.02 * largest, "{images} images: {got} for {want} of {largest}");
        }
        assert!(got != want, "it was not rounded");
        assert!(got.iter().all(|value| value.to_bits() & 0xffff == 0), "outputs are bf16");
        assert_eq!(by_one_thread(|| infer(&network, &x, Precision::Bf16))?, got, "{images} images by one thread");
    }
    Ok(())
}

#[test]
fn what_would_be_f32_is_refused_by_name() -> Result<()> {
    let custom = Network::build(4, |graph, x| {
        Ok(graph.custom(&[x], &[], 4, Arc::new(|inputs: &[Tensor], _| &inputs[0] * 2.0)))
    })?;
    let (plain, _) = network()?;
    for (network, backend, why) in [
        (&custom, Backend::default(), "a custom operation is part of it"),
        (&plain, Backend::Candle, "candle's own operations were asked for"),
    ] {
        let refused = [
            network.inference_in(backend, Precision::Bf16).err().map(|error| error.to_string()),
            network.training_in(backend, Precision::Bf16).err().map(|error| error.to_string()),
        ];
        for refused in refused {
            assert!(refused.as_ref().is_some_and(|said| said.contains(why) && said.contains("bf16")), "{refused:?}");
        }
    }
    let doubles = tensor(&[8, 3, 13, 9], 1).to_dtype(candle_core::DType::F64)?;
    assert!(infer(&plain, &doubles, Precision::Bf16).is_err());
    assert!(plain.training_in(Backend::default(), Precision::Bf16)?.step(&doubles, &labels(8)?, 0.0).is_err());
    Ok(())
}

/// A convolution of ResNet-20.
type Conv = fn(&mut Builder, Value, ConvSpec) -> Result<Value>;

/// Half of the channels by a convolution, the others from those, each by itself.
fn ghost(b: &mut Builder, x: Value, spec: ConvSpec) -> Result<Value> {
    let half = spec.out_channels / 2;
    let primary = b.conv(x, ConvSpec { out_channels: half, ..spec });
    let primary = b.finish(primary, None, true);
    let cheap = b.conv(primary, ConvSpec::same(half, half, 3, 1).grouped(half));
    b.graph.concat(&[primary, cheap])
}

/// ResNet-20 for images of 32 x 32, its shortcuts padded.
fn resnet20(conv: Conv) -> Result<Network> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 16, 3, 1));
    let mut x = b.finish(x, None, true);
    let mut inputs = 16;
    for (width, stride) in [(16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)] {
        let y = conv(&mut b, x, ConvSpec::same(inputs, width, 3, stride))?;
        let y = b.finish(y, None, true);
        let y = conv(&mut b, y, ConvSpec::same(width, width, 3, 1))?;
        let mut shortcut = x;
        if stride > 1 {
            shortcut = b.graph.avg_pool(shortcut, 1, 2, false);
            shortcut = b.graph.pad_channels(shortcut, (width - inputs) / 2, (width - inputs) / 2);
        }
        x = b.finish(y, Some(shortcut), true);
        inputs = width;
    }
    let pooled = b.graph.global_avg_pool(x);
    let output = b.linear(pooled, 10);
    Ok(b.network(output).0)
}

/// `cargo test -p conv-core --test bf16 -- --ignored --nocapture`, with `CONV_PATH` for another path than the fastest.
#[test]
#[ignore = "measures: prints medians of both precisions in turns"]
fn times() -> Result<()> {
    let x = tensor(&[128, 3, 32, 32], 1);
    let labels = labels(128)?;
    for (name, conv) in [("vanilla", (|b, x, spec| Ok(b.conv(x, spec))) as Conv), ("ghost", ghost)] {
        let network = resnet20(conv)?;
        let both = [Precision::F32, Precision::Bf16];
        let mut inference = both.map(|precision| network.inference_in(Backend::default(), precision));
        let mut training = both.map(|precision| network.training_in(Backend::default(), precision));
        let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        for _ in 0..21 {
            for at in 0..2 {
                let started = std::time::Instant::now();
                inference[at].as_mut().unwrap().forward(&x)?;
                times[0][at].push(started.elapsed().as_secs_f64() * 1e3);
                let started = std::time::Instant::now();
                training[at].as_mut().unwrap().step(&x, &labels, 0.0)?;
                times[1][at].push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        for (work, times) in ["inference", "training step"].iter().zip(&mut times) {
            let [single, half] = times.each_mut().map(|times| {
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            });
            let path = inference[1].as_ref().unwrap().kernel_path();
            println!("{name}, {work}: f32 {single:.2} ms, bf16 on {path} {half:.2} ms, {:.2} times", single / half);
        }
        let mut timed = network.training_in(Backend::default(), Precision::Bf16)?;
        timed.time_layers();
        (0..5).try_for_each(|_| timed.step(&x, &labels, 0.0).map(drop))?;
        let mut by_kernel = std::collections::BTreeMap::new();
        for work in timed.layers().iter().flatten().flat_map(|layer| &layer.passes) {
            *by_kernel.entry((work.kernel, work.pass.name())).or_insert(0.0) +=
                work.time.map_or(0.0, |time| time.as_secs_f64() * 1e3 / 5.0);
        }
        println!("{name}, ms a step of bf16: {by_kernel:.2?}");
    }
    Ok(())
}
