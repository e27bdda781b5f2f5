//! Every rival runs whole on the engine, and computes there what it does operation by operation on candle.

use baselines::Registry;
use candle_core::{Device, Result, Tensor};
use conv_core::options::Described;
use conv_core::{Backend, ConvSpec, Graph, Method, Network, ParamStore, Role, Scope, UnitSpec, normal_stream};

/// Units of every kind one after the other: a stem, a residual block of equal widths, and a wider one at a stride.
fn network(method: &dyn Method, store: &ParamStore) -> Result<Network> {
    let mut graph = Graph::new();
    let x = graph.input(3);
    let mut net = Scope::build(&mut graph, store.builder());
    let unit = |conv| UnitSpec::conv_bn_relu(conv, Role::Spatial);
    let stem = net.make("stem", method, &unit(ConvSpec::same(3, 16, 3, 1)), x, None)?;
    let y = net.make("first", method, &unit(ConvSpec::same(16, 16, 3, 1)), stem, None)?;
    let y = net.make("second", method, &unit(ConvSpec::same(16, 16, 3, 1)), y, Some(stem))?;
    let y = net.make("wider", method, &unit(ConvSpec { bias: true, ..ConvSpec::same(16, 32, 3, 2) }), y, None)?;
    let y = net.make("pointwise", method, &unit(ConvSpec::same(32, 32, 1, 1)), y, None)?;
    let y = net.make("last", method, &unit(ConvSpec::same(32, 32, 5, 1)), y, Some(y))?;
    let y = net.global_avg_pool(y)?;
    let y = net.linear("head", 3, y)?;
    drop(net);
    Ok(Network::new(graph, y))
}

fn noise(shape: &[usize]) -> Tensor {
    let values = normal_stream(3, "images", shape.iter().product()).into_iter().map(|value| value as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Each value within `tolerance` of the largest.
fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f32) -> Result<()> {
    let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
    let (got, want) = (flat(got)?, flat(want)?);
    let scale = want.iter().fold(5e-2f32, |scale, value| scale.max(value.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= tolerance * scale, "{what}: {got} for {want} (largest {scale})");
    }
    Ok(())
}

struct Whole;

impl Registry for Whole {
    fn add<M: Method + Described>(&mut self) {
        check(&M::default()).unwrap();
    }
}

fn check(method: &dyn Method) -> Result<()> {
    let name = method.name();
    let store = ParamStore::new(1, &Device::Cpu);
    let network = network(method, &store)?;
    let (images, size) = (19, [9, 11]);
    for (images, train) in [(images, true), (images, false), (2, false)] {
        let why = network.engine_layers(Backend::default(), [images, 3, size[0], size[1]], train)?.err();
        assert!(why.is_none(), "{name}: {why:?}");
    }
    let x = noise(&[images, 3, size[0], size[1]]);
    let labels = Tensor::from_iter((0..images).map(|i| (i % 3) as u32), &Device::Cpu)?;
    let before = store.snapshot()?;
    let want = network.training(Backend::Candle).step(&x, &labels, 0.1)?;
    store.assign(&before)?;
    let got = network.training(Backend::default()).step(&x, &labels, 0.1)?;
    close(&format!("{name}: logits"), &got.logits, &want.logits, 1e-4)?;
    for (parameter, var) in store.trainable() {
        let (got, want) = (got.gradients.get(&var).unwrap(), want.gradients.get(&var).unwrap());
        close(&format!("{name}: gradient of {parameter}"), got, want, 2e-3)?;
    }
    let want = network.inference(Backend::Candle).forward(&x)?;
    let mut inference = network.inference(Backend::default());
    close(&format!("{name}: inference"), &inference.forward(&x)?, &want, 1e-4)?;
    close(&format!("{name}: inference of few"), &inference.forward(&x.narrow(0, 0, 2)?)?, &want.narrow(0, 0, 2)?, 1e-4)
}

#[test]
fn every_rival_runs_whole_on_the_engine() {
    baselines::rivals(&mut Whole);
}
