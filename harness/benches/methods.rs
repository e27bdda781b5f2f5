//! CompConv beside its rivals at equal shapes: `cargo bench -p harness --bench methods`.

#[path = "../../conv-core/benches/common/mod.rs"]
mod common;

use baselines::{Depthwise, Ghost, Vanilla};
use candle_core::{Device, Result, Var};
use common::{Group, Side};
use compconv::{CompConv, CompConvOptions};
use conv_core::{ConvMethod, ConvSpec, ParamStore, Role, UnitSpec};
use criterion::{Criterion, criterion_group, criterion_main};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 32;

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

/// A 3x3 unit with batch norm and ReLU: forward at inference, or forward in training with the gradients of everything.
fn group(channels: usize, size: usize, train: bool) -> Result<Group> {
    let spec = UnitSpec::conv_bn_relu(ConvSpec::same(channels, channels, 3, 1), Role::Spatial);
    let x = Var::randn(0f32, 1.0, (BATCH, channels, size, size), &Device::Cpu)?;
    let side = |(name, method): (String, Box<dyn ConvMethod>)| {
        let unit = method.build(&spec, ParamStore::new(0, &Device::Cpu).builder())?;
        let x = x.clone();
        let run = move || -> Result<()> {
            let y = unit.forward_t(&x, None, train)?;
            if train {
                y.backward()?;
            }
            Ok(())
        };
        Ok(Side::new(name, BATCH, move || run().expect("a unit of a sound shape")))
    };
    let what = if train { "forward + backward" } else { "inference" };
    let sides = methods()?.into_iter().map(side).collect::<Result<_>>()?;
    Ok((format!("3x3 {channels}->{channels} {size}x{size}, {what}"), sides))
}

fn compare(criterion: &mut Criterion) {
    let cases = [(64, 16, false), (64, 16, true), (128, 8, false), (128, 8, true)];
    let groups: Result<Vec<_>> =
        cases.into_iter().map(|(channels, size, train)| group(channels, size, train)).collect();
    common::compare(criterion, &groups.expect("methods with sound options"));
}

criterion_group! { name = benches; config = common::short(); targets = compare }
criterion_main!(benches);
