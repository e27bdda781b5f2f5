//! CompConv beside its rivals at equal shapes: `cargo bench -p harness --bench methods`. As one network, which is how they are
//! trained and used here, and as layers of a candle network, each an operation of its own.

#[path = "../../conv-core/benches/common/mod.rs"]
mod common;

use std::cell::RefCell;

use baselines::{Depthwise, Ghost, Vanilla};
use candle_core::{DType, Device, ModuleT, Result, Tensor};
use common::{Group, Side};
use compconv::CompConvOptions;
use conv_core::{Backend, ConvSpec, Graph, Layer, Method, Network, ParamStore, Role, Scope, UnitSpec, Value, ops};
use criterion::{Criterion, criterion_group, criterion_main};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
/// Units in a row. The first one's input needs no gradient, as that of a network's stem.
const UNITS: usize = 4;

/// Every method, the one that the others are compared with last.
fn methods() -> Result<Vec<(String, Box<dyn Method>)>> {
    let mut methods: Vec<(String, Box<dyn Method>)> = Vec::new();
    for depth in 1..=3 {
        methods.push((format!("compconv d={depth}"), Box::new(CompConvOptions::fixed(depth))));
    }
    methods.push(("ghost".into(), Box::new(Ghost::default())));
    methods.push(("depthwise".into(), Box::new(Depthwise {})));
    methods.push(("vanilla".into(), Box::new(Vanilla {})));
    Ok(methods)
}

/// A unit of 3x3, batch norm and ReLU.
fn unit(channels: usize) -> UnitSpec {
    UnitSpec::conv_bn_relu(ConvSpec::same(channels, channels, 3, 1), Role::Spatial)
}

type Work = Box<dyn Fn() -> Result<()>>;

/// What a side repeats, inference or a training step without the update: all units one network, with the mean over pixels
/// for logits.
fn as_network(method: &dyn Method, x: Tensor, train: bool) -> Result<Work> {
    let write = |graph: &mut Graph, x: Value| {
        let (unit, store) = (unit(graph.channels(x)), ParamStore::new(0, &Device::Cpu));
        let mut net = Scope::build(graph, store.builder());
        let y = (0..UNITS).try_fold(x, |x, number| net.make(&number.to_string(), method, &unit, x, None))?;
        net.global_avg_pool(y)
    };
    // Sides run until the process ends.
    let network: &'static Network = Box::leak(Box::new(Network::build(x.dim(1)?, write)?));
    let labels = Tensor::zeros(x.dim(0)?, DType::U32, &Device::Cpu)?;
    let training = RefCell::new(network.training(Backend::default()));
    let inference = RefCell::new(network.inference(Backend::default()));
    Ok(match train {
        true => Box::new(move || training.borrow_mut().step(&x, &labels, 0.0).map(drop)),
        false => Box::new(move || inference.borrow_mut().forward(&x).map(drop)),
    })
}

/// The same with every unit an operation of candle's autograd.
fn as_layers(method: &dyn Method, x: Tensor, train: bool) -> Result<Work> {
    let (unit, store) = (unit(x.dim(1)?), ParamStore::new(0, &Device::Cpu));
    let layers = (0..UNITS).map(|number| Layer::new(method, &unit, store.builder().pp(number)));
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let labels = Tensor::zeros(x.dim(0)?, DType::U32, &Device::Cpu)?;
    Ok(Box::new(move || {
        let y = layers.iter().try_fold(x.clone(), |x, layer| layer.forward_t(&x, train))?;
        let logits = ops::global_avg_pool(&y)?;
        if train {
            ops::cross_entropy(&logits, &labels, 0.0)?.backward()?;
        }
        Ok(())
    }))
}

fn group(channels: usize, size: usize, train: bool, together: bool) -> Result<Group> {
    let x = Tensor::randn(0f32, 1.0, (BATCH, channels, size, size), &Device::Cpu)?;
    let side = |(name, method): (String, Box<dyn Method>)| {
        let work = if together { as_network } else { as_layers };
        let run = work(&*method, x.clone(), train)?;
        Ok(Side::new(name, BATCH, move || run().expect("units of sound shapes")))
    };
    let what = if train { "forward + backward" } else { "inference" };
    let on = if together { "one network" } else { "layers" };
    let sides = methods()?.into_iter().map(side).collect::<Result<_>>()?;
    Ok((format!("{UNITS} units 3x3 {channels}->{channels} {size}x{size}, {what}, {on}"), sides))
}

fn compare(criterion: &mut Criterion) {
    let groups = || -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        for (channels, size) in [(64, 16), (128, 8)] {
            for (train, together) in [(false, true), (false, false), (true, true), (true, false)] {
                groups.push(group(channels, size, train, together)?);
            }
        }
        Ok(groups)
    };
    common::compare(criterion, &groups().expect("methods with sound options"));
}

criterion_group! { name = benches; config = common::short(); targets = compare }
criterion_main!(benches);
