//! CompConv beside its rivals at equal shapes: `cargo bench -p harness --bench methods`. On the engine, as networks are
//! trained and used, and op by op on candle tensors.

#[path = "../../conv-core/benches/common/mod.rs"]
mod common;

use std::cell::RefCell;

use baselines::{Depthwise, Ghost, Vanilla};
use candle_core::{DType, Device, Result, Tensor};
use common::{Group, Side};
use compconv::{CompConv, CompConvOptions};
use conv_core::{ConvMethod, ConvSpec, Graph, Kernels, Network, ParamStore, Role, UnitSpec, ops};
use criterion::{Criterion, criterion_group, criterion_main};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
/// Units in a row. The first one's input needs no gradient, as that of a network's stem.
const UNITS: usize = 4;

/// Every method, the one that the others are compared with last.
fn methods() -> Result<Vec<(String, Box<dyn ConvMethod>)>> {
    let mut methods: Vec<(String, Box<dyn ConvMethod>)> = Vec::new();
    for depth in 1..=3 {
        methods.push((format!("compconv d={depth}"), Box::new(CompConv::new(CompConvOptions::fixed(depth))?)));
    }
    methods.push(("ghost".into(), Box::new(Ghost::default())));
    methods.push(("depthwise".into(), Box::new(Depthwise {})));
    methods.push(("vanilla".into(), Box::new(Vanilla {})));
    Ok(methods)
}

/// Units of 3x3, batch norm and ReLU, and the mean over pixels, which stands for logits.
fn network(method: &dyn ConvMethod, channels: usize) -> Result<&'static Network> {
    let spec = UnitSpec::conv_bn_relu(ConvSpec::same(channels, channels, 3, 1), Role::Spatial);
    let store = ParamStore::new(0, &Device::Cpu);
    let mut graph = Graph::new();
    let mut x = graph.input(channels);
    for unit in 0..UNITS {
        x = method.build(&spec, store.builder().pp(unit))?.emit(&mut graph, x, None)?;
    }
    let pooled = graph.global_avg_pool(x);
    // Sides run until the process ends.
    Ok(Box::leak(Box::new(Network::new(graph, pooled))))
}

/// What a side repeats: inference, or a training step without the update.
fn work(network: &'static Network, x: Tensor, train: bool, engine: bool) -> Result<Box<dyn Fn() -> Result<()>>> {
    let labels = Tensor::zeros(x.dim(0)?, DType::U32, &Device::Cpu)?;
    let training = RefCell::new(network.training(Kernels::Own));
    let inference = RefCell::new(network.inference(Kernels::Own));
    Ok(match (engine, train) {
        (true, true) => Box::new(move || training.borrow_mut().step(&x, &labels, 0.0).map(drop)),
        (true, false) => Box::new(move || inference.borrow_mut().forward(&x).map(drop)),
        (false, true) => {
            Box::new(move || ops::cross_entropy(&network.forward_t(&x, true)?, &labels, 0.0)?.backward().map(drop))
        }
        (false, false) => Box::new(move || network.forward_t(&x, false).map(drop)),
    })
}

fn group(channels: usize, size: usize, train: bool, engine: bool) -> Result<Group> {
    let x = Tensor::randn(0f32, 1.0, (BATCH, channels, size, size), &Device::Cpu)?;
    let side = |(name, method): (String, Box<dyn ConvMethod>)| {
        let run = work(network(&*method, channels)?, x.clone(), train, engine)?;
        Ok(Side::new(name, BATCH, move || run().expect("units of sound shapes")))
    };
    let what = if train { "forward + backward" } else { "inference" };
    let on = if engine { "engine" } else { "op by op" };
    let sides = methods()?.into_iter().map(side).collect::<Result<_>>()?;
    Ok((format!("{UNITS} units 3x3 {channels}->{channels} {size}x{size}, {what}, {on}"), sides))
}

fn compare(criterion: &mut Criterion) {
    let groups = || -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        for (channels, size) in [(64, 16), (128, 8)] {
            for (train, engine) in [(false, true), (false, false), (true, true), (true, false)] {
                groups.push(group(channels, size, train, engine)?);
            }
        }
        Ok(groups)
    };
    common::compare(criterion, &groups().expect("methods with sound options"));
}

criterion_group! { name = benches; config = common::short(); targets = compare }
criterion_main!(benches);
