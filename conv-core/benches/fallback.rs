//! What runs off the engine beside what could replace it: `cargo bench --profile dev -p conv-core --bench fallback`. `flat` is
//! `ops::conv2d` by the kernels of flat planes, `engine` a network of this one convolution, `candle` candle's own operations.
//! It prints the table of docs/performance/README.md: times of the others over those of `flat`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use conv_core::layers::{BatchNorm2d, Conv2d};
use conv_core::{Backend, ConvSpec, Graph, Network, SMALLEST_BATCH, Value, ops};

const BATCHES: [usize; 6] = [1, 2, 4, 7, 8, 64];

fn builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}

fn images(batch: usize, channels: usize, size: usize) -> Result<Var> {
    Var::randn(0f32, 1.0, (batch, channels, size, size), &Device::Cpu)
}

type Side = Box<dyn Fn()>;

/// Calls `operation`, and asks for all gradients if `x` is tracked.
fn side(x: Tensor, operation: impl Fn(&Tensor) -> Result<Tensor> + 'static) -> Side {
    let call = move || -> Result<()> {
        let y = operation(&x)?;
        if x.track_op() {
            y.backward()?;
        }
        Ok(())
    };
    Box::new(move || call().expect("an operation of a sound shape"))
}

fn convolution(spec: ConvSpec, size: usize, batch: usize, train: bool) -> Result<Vec<Side>> {
    let ConvSpec { in_channels, stride, padding, groups, .. } = spec;
    let parameters = builder();
    let layer = Conv2d::new(spec, parameters.clone())?;
    let weight = parameters.get(&spec.weight_shape(), "weight")?;
    let engine = Network::build(in_channels, |graph, x| graph.conv(&layer, x))?;
    let of = |batch: usize| -> Result<Tensor> {
        let x = images(batch, in_channels, size)?;
        Ok(if train { x.as_tensor().clone() } else { x.as_detached_tensor() })
    };
    let x = of(batch)?;
    let (ours, theirs) = (weight.clone(), weight);
    Ok(vec![
        // Its blocks hold 16, so fewer images than it takes would take as long.
        side(of(batch.max(SMALLEST_BATCH))?, move |x| engine.forward_t(x, train)),
        side(x.clone(), move |x| ops::composed(|| ops::conv2d(x, &theirs, stride, padding, groups))),
        side(x, move |x| ops::conv2d(x, &ours, stride, padding, groups)),
    ])
}

/// Three normed convolutions, dense and depthwise, and a custom operation.
fn custom(graph: &mut Graph, x: Value) -> Result<Value> {
    let mut y = x;
    for spec in [ConvSpec::same(3, 32, 3, 1), ConvSpec::same(32, 32, 3, 1).grouped(32), ConvSpec::same(32, 32, 1, 1)] {
        y = graph.conv(&Conv2d::new(spec, builder())?, y)?;
        y = graph.finish(y, Some(&BatchNorm2d::new(32, builder())?), None, true)?;
    }
    let y = graph.custom(&[y], &[], 32, Arc::new(|inputs, _| inputs[0].sqr()));
    Ok(graph.global_avg_pool(y))
}

fn network(batch: usize, train: bool) -> Result<Vec<Side>> {
    let network: &'static Network = Box::leak(Box::new(Network::build(3, custom)?));
    let x = images(batch, 3, 32)?.as_detached_tensor();
    let labels = Tensor::zeros(batch, DType::U32, &Device::Cpu)?;
    let side = |backend: Backend| -> Side {
        let (x, labels) = (x.clone(), labels.clone());
        let call = move || match train {
            true => network.training(backend).step(&x, &labels, 0.0).map(drop),
            false => network.inference(backend).forward(&x).map(drop),
        };
        Box::new(move || call().expect("a network of sound shapes"))
    };
    Ok(vec![side(Backend::Candle), side(Backend::default())])
}

/// What each side takes, over what the last one takes: medians over rounds in which all take turns, so that whatever else the
/// machine does meets all of them.
fn ratios(sides: &[Side], rounds: usize, time: Duration) -> Vec<f64> {
    let mut ratios = vec![Vec::new(); sides.len() - 1];
    let start = Instant::now();
    // The first round is not counted.
    for round in 0.. {
        if round > rounds && start.elapsed() > time {
            break;
        }
        let times: Vec<f64> = sides
            .iter()
            .map(|side| {
                let start = Instant::now();
                side();
                start.elapsed().as_secs_f64()
            })
            .collect();
        if round > 0 {
            ratios.iter_mut().zip(&times).for_each(|(ratios, time)| ratios.push(time / times[times.len() - 1]));
        }
    }
    let median = |mut ratios: Vec<f64>| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    ratios.into_iter().map(median).collect()
}

fn main() {
    // `cargo test --benches` only tries whether everything runs.
    let (rounds, time) = match std::env::args().any(|argument| argument == "--bench") {
        true => (9, Duration::from_millis(400)),
        false => (1, Duration::ZERO),
    };
    let row = |what: &str, sides: &dyn Fn(usize) -> Result<Vec<Side>>| {
        let cells = BATCHES.map(|batch| {
            let ratios = ratios(&sides(batch).expect("sides of sound shapes"), rounds, time);
            ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" / ")
        });
        println!("| {what} | {} |", cells.join(" | "));
    };
    let convolutions = [
        ("3x3 16->16 32x32", ConvSpec::same(16, 16, 3, 1), 32),
        ("3x3 64->64 8x8", ConvSpec::same(64, 64, 3, 1), 8),
        ("1x1 64->64 16x16", ConvSpec::same(64, 64, 1, 1), 16),
        ("3x3 depthwise 64 16x16", ConvSpec::same(64, 64, 3, 1).grouped(64), 16),
        ("3x3 stride 2 16->32 32x32", ConvSpec::same(16, 32, 3, 2), 32),
        ("3x3 3->16 32x32", ConvSpec::same(3, 16, 3, 1), 32),
    ];
    for train in [false, true] {
        let passes = if train { "forward + backward" } else { "forward" };
        println!("| {passes}, engine / candle over flat | {} |", BATCHES.map(|batch| batch.to_string()).join(" | "));
        for (name, spec, size) in &convolutions {
            row(name, &|batch| convolution(*spec, *size, batch, train));
        }
        row("network with a custom operation, candle over flat", &|batch| network(batch, train));
    }
}
