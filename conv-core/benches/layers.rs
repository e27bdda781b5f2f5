//! Our layers beside candle's own: `cargo bench -p conv-core --bench layers`.

mod common;

use std::rc::Rc;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};
use common::{Group, Side};
use conv_core::layers::BatchNorm2d;
use conv_core::{ConvSpec, ops};
use criterion::{Criterion, criterion_group, criterion_main};

const BATCH: usize = 16;

type Op = Rc<dyn Fn(&Tensor) -> Result<Tensor>>;

/// The same function twice, for an input of `[BATCH, channels, size, size]`.
struct Pair {
    name: &'static str,
    channels: usize,
    size: usize,
    ours: Op,
    candle: Op,
}

fn convolution(name: &'static str, spec: ConvSpec, size: usize) -> Result<Pair> {
    let ConvSpec { in_channels: channels, stride, padding, groups, .. } = spec;
    let weight = Var::randn(0f32, 0.1, &spec.weight_shape(), &Device::Cpu)?;
    let same = weight.clone();
    let ours = Rc::new(move |x: &Tensor| ops::conv2d(x, &weight, stride, padding, groups));
    let candle = Rc::new(move |x: &Tensor| x.conv2d(&same, padding, stride, 1, groups));
    Ok(Pair { name, channels, size, ours, candle })
}

fn max_pool() -> Pair {
    let ours = Rc::new(|x: &Tensor| ops::max_pool2d(x, 2, 2, 0));
    let candle = Rc::new(|x: &Tensor| x.max_pool2d(2));
    Pair { name: "max pool 2x2 64 16x16", channels: 64, size: 16, ours, candle }
}

/// With the statistics of the batch, and the update of the running ones.
fn batch_norm_relu() -> Result<Pair> {
    let builder = || {
        let variables = VarMap::new();
        VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu)
    };
    let (norm, theirs) = (BatchNorm2d::new(64, builder())?, candle_nn::batch_norm(64, 1e-5, builder())?);
    let ours = Rc::new(move |x: &Tensor| norm.forward_t(x, None, true, true));
    let candle = Rc::new(move |x: &Tensor| theirs.forward_t(x, true)?.relu());
    Ok(Pair { name: "batch norm + relu 64 16x16", channels: 64, size: 16, ours, candle })
}

/// Forward alone, and with the gradients of input and parameters (those of the sum over the output).
fn groups(pair: &Pair) -> Result<[Group; 2]> {
    let x = Var::randn(0f32, 1.0, (BATCH, pair.channels, pair.size, pair.size), &Device::Cpu)?;
    let gap = ((pair.ours)(&x)? - (pair.candle)(&x)?)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    assert!(gap < 1e-3, "{}: ours and candle's differ by {gap}", pair.name);
    let side = |name: &str, op: &Op, backward: bool| {
        let (op, x) = (op.clone(), x.clone());
        let run = move || -> Result<()> {
            let y = op(&x)?;
            if backward {
                y.backward()?;
            }
            Ok(())
        };
        Side::new(name, BATCH, move || run().expect("a layer that ran once"))
    };
    let sides = |backward| vec![side("ours", &pair.ours, backward), side("candle", &pair.candle, backward)];
    Ok([(format!("{}, forward", pair.name), sides(false)), (format!("{}, forward + backward", pair.name), sides(true))])
}

fn layers(criterion: &mut Criterion) {
    let groups = || -> Result<Vec<Group>> {
        let pairs = [
            convolution("3x3 16->16 32x32", ConvSpec::same(16, 16, 3, 1), 32)?,
            convolution("3x3 64->64 8x8", ConvSpec::same(64, 64, 3, 1), 8)?,
            convolution("3x3 stride 2 16->32 32x32", ConvSpec::same(16, 32, 3, 2), 32)?,
            convolution("1x1 64->128 16x16", ConvSpec::same(64, 128, 1, 1), 16)?,
            convolution("3x3 depthwise 64 16x16", ConvSpec::same(64, 64, 3, 1).grouped(64), 16)?,
            convolution("3x3 in 4 groups 64->64 16x16", ConvSpec::same(64, 64, 3, 1).grouped(4), 16)?,
            max_pool(),
            batch_norm_relu()?,
        ];
        Ok(pairs.iter().map(groups).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    common::compare(criterion, &groups().expect("layers of sound shapes"));
}

criterion_group! { name = benches; config = common::short(); targets = layers }
criterion_main!(benches);
