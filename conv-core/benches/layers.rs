//! Our layers beside candle's own: `cargo bench -p conv-core --bench layers`. `engine` is what networks run on, `ops` the same
//! layer on candle tensors, by the kernels of this crate.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};
use common::{Group, Side};
use conv_core::layers::{BatchNorm2d, Conv2d};
use conv_core::{Backend, ConvSpec, Graph, Network, Value, ops};
use criterion::{Criterion, criterion_group, criterion_main};

const BATCH: usize = 64;

type Op = Rc<dyn Fn(&Tensor) -> Result<Tensor>>;

/// The same function three times, for an input of `[BATCH, channels, size, size]`.
struct Layer {
    name: &'static str,
    channels: usize,
    size: usize,
    engine: &'static Network,
    ops: Op,
    candle: Op,
}

/// A network of one layer. Before it stands a bias, so that the gradient of its input is asked for as well; behind it the
/// mean over pixels, which stands for logits. So the engine does a little more than the other sides.
fn network(channels: usize, layer: impl FnOnce(&mut Graph, Value) -> Result<Value>) -> Result<&'static Network> {
    let bias = Var::zeros(channels, DType::F32, &Device::Cpu)?;
    let network = Network::build(channels, |graph, x| {
        let x = graph.bias(x, bias.as_tensor())?;
        let y = layer(graph, x)?;
        Ok(graph.global_avg_pool(y))
    })?;
    // Sides run until the process ends.
    Ok(Box::leak(Box::new(network)))
}

fn builder() -> VarBuilder<'static> {
    VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu)
}

fn convolution(name: &'static str, spec: ConvSpec, size: usize) -> Result<Layer> {
    let ConvSpec { in_channels: channels, stride, padding, groups, .. } = spec;
    let builder = builder();
    let conv = Conv2d::new(spec, builder.clone())?;
    let weight = builder.get(&spec.weight_shape(), "weight")?;
    let same = weight.clone();
    let engine = network(channels, |graph, x| graph.conv(&conv, x))?;
    let ops = Rc::new(move |x: &Tensor| ops::conv2d(x, &weight, stride, padding, groups));
    let candle = Rc::new(move |x: &Tensor| x.conv2d(&same, padding, stride, 1, groups));
    Ok(Layer { name, channels, size, engine, ops, candle })
}

fn max_pool() -> Result<Layer> {
    let engine = network(64, |graph, x| Ok(graph.max_pool(x, 2, 2, 0)))?;
    let ops = Rc::new(|x: &Tensor| ops::max_pool2d(x, 2, 2, 0));
    let candle = Rc::new(|x: &Tensor| x.max_pool2d(2));
    Ok(Layer { name: "max pool 2x2 64 16x16", channels: 64, size: 16, engine, ops, candle })
}

/// In training with the statistics of the batch, and the update of the running ones.
fn batch_norm_relu(train: bool) -> Result<Layer> {
    let (norm, theirs) = (BatchNorm2d::new(64, builder())?, candle_nn::batch_norm(64, 1e-5, builder())?);
    let engine = network(64, |graph, x| graph.finish(x, Some(&norm), None, true))?;
    let ops = Rc::new(move |x: &Tensor| norm.forward_t(x, None, true, train));
    let candle = Rc::new(move |x: &Tensor| theirs.forward_t(x, train)?.relu());
    Ok(Layer { name: "batch norm + relu 64 16x16", channels: 64, size: 16, engine, ops, candle })
}

/// Forward at inference, or in training with the gradients of input and parameters (of the sum over the output; in the engine
/// of a loss).
fn group(layer: &Layer, train: bool) -> Result<Group> {
    let x = Var::randn(0f32, 1.0, (BATCH, layer.channels, layer.size, layer.size), &Device::Cpu)?;
    let candle = (layer.candle)(&x)?;
    let largest = |gap: Tensor| gap.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    let gap = largest(((layer.ops)(&x)? - &candle)?)?;
    assert!(gap < 1e-3, "{}: ours and candle's differ by {gap}", layer.name);
    let side = |name: &str, op: &Op| {
        let (op, x) = (op.clone(), x.clone());
        let run = move || -> Result<()> {
            let y = op(&x)?;
            if train {
                y.backward()?;
            }
            Ok(())
        };
        Side::new(name, BATCH, move || run().expect("a layer that ran once"))
    };
    let others = [side("ops", &layer.ops), side("candle", &layer.candle)];
    let images = x.as_tensor().detach();
    let engine = if train {
        let training = RefCell::new(layer.engine.training(Backend::default()));
        let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu)?;
        let run = move || training.borrow_mut().step(&images, &labels, 0.0);
        Side::new("engine", BATCH, move || drop(run().expect("a layer of a sound shape")))
    } else {
        let mut inference = layer.engine.inference(Backend::default());
        let gap = largest((inference.forward(&images)? - ops::global_avg_pool(&candle)?)?)?;
        assert!(gap < 1e-3, "{}: the engine and candle differ by {gap}", layer.name);
        let inference = RefCell::new(inference);
        let run = move || inference.borrow_mut().forward(&images);
        Side::new("engine", BATCH, move || drop(run().expect("a layer that ran once")))
    };
    let what = if train { "forward + backward" } else { "forward" };
    Ok((format!("{}, {what}", layer.name), [engine].into_iter().chain(others).collect()))
}

fn layers(train: bool) -> Result<[Layer; 8]> {
    Ok([
        convolution("3x3 16->16 32x32", ConvSpec::same(16, 16, 3, 1), 32)?,
        convolution("3x3 64->64 8x8", ConvSpec::same(64, 64, 3, 1), 8)?,
        convolution("3x3 stride 2 16->32 32x32", ConvSpec::same(16, 32, 3, 2), 32)?,
        convolution("1x1 64->128 16x16", ConvSpec::same(64, 128, 1, 1), 16)?,
        convolution("3x3 depthwise 64 16x16", ConvSpec::same(64, 64, 3, 1).grouped(64), 16)?,
        convolution("3x3 in 4 groups 64->64 16x16", ConvSpec::same(64, 64, 3, 1).grouped(4), 16)?,
        max_pool()?,
        batch_norm_relu(train)?,
    ])
}

fn compare(criterion: &mut Criterion) {
    let groups = || -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        for (forward, both) in layers(false)?.iter().zip(&layers(true)?) {
            groups.extend([group(forward, false)?, group(both, true)?]);
        }
        Ok(groups)
    };
    common::compare(criterion, &groups().expect("layers of sound shapes"));
}

criterion_group! { name = benches; config = common::short(); targets = compare }
criterion_main!(benches);
