//! A network in training in bfloat16 against PyTorch's: convolutions, norms, a residual, poolings, the linear layer and the loss.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::safetensors::load;
use candle_core::{DType, Device, Result, Tensor};
use conv_core::layers::{BatchNorm2d, Conv2d, Linear};
use conv_core::{Backend, ConvSpec, Graph, Network, ParamStore, Precision};

fn network(store: &ParamStore) -> Result<Network> {
    let mut graph = Graph::new();
    let conv = |name: &str, inputs| Conv2d::new(ConvSpec::same(inputs, 8, 3, 1), store.builder().pp(name));
    let norm = |name: &str| BatchNorm2d::new(8, store.builder().pp(name).pp("bn"));
    let x = graph.input(3);
    let x = graph.conv(&conv("a", 3)?, x)?;
    let x = graph.finish(x, Some(&norm("a")?), None, true)?;
    let pooled = graph.max_pool(x, 2, 2, 0);
    let y = graph.conv(&conv("b", 8)?, pooled)?;
    let y = graph.finish(y, Some(&norm("b")?), Some(pooled), true)?;
    let y = graph.global_avg_pool(y);
    let logits = graph.linear(&Linear::new(8, 5, store.builder().pp("fc"))?, y)?;
    Ok(Network::new(graph, logits))
}

/// `|got - want| / |want|` of all values together.
fn distance(got: &Tensor, want: &Tensor) -> Result<f32> {
    let norm = |x: &Tensor| x.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
    Ok(norm(&(got - want)?)? / norm(want)?)
}

/// Both round what every layer comes to. Where that moves a value across a ReLU's edge, or another pixel becomes the largest, a gradient
/// goes another way altogether: so they are a few percent from each other, and from what nothing was rounded for. Ours is to be no
/// further from that than PyTorch's.
#[test]
fn a_training_step_is_that_of_pytorch() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/bf16_network.safetensors");
    let goldens = load(path, &Device::Cpu)?;
    let of = |part: &str| -> BTreeMap<String, Tensor> {
        let named = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(part)?.to_owned(), tensor.clone()));
        goldens.iter().filter_map(named).collect()
    };
    let store = ParamStore::new(0, &Device::Cpu);
    let network = network(&store)?;
    store.assign(&of("before/"))?;
    let labels = goldens["labels"].to_dtype(DType::U32)?;
    let step = network.training_in(Backend::default(), Precision::Bf16)?.step(&goldens["images"], &labels, 0.1)?;
    let mut ours = BTreeMap::from([
        ("logits".to_owned(), step.logits),
        ("loss".to_owned(), Tensor::new(step.loss as f32, &Device::Cpu)?),
    ]);
    for (name, var) in store.named() {
        let value = step.gradients.get(&var).unwrap_or_else(|| var.as_tensor());
        ours.insert(name, value.clone());
    }
    let (theirs, exact) = (of("bf16/"), of("exact/"));
    assert!(ours.keys().eq(theirs.keys()) && ours.keys().eq(exact.keys()) && ours.len() == 14, "{:?}", ours.keys());
    for (name, got) in &ours {
        let [far, as_far] = [got, &theirs[name]].map(|of| distance(of, &exact[name]));
        let (far, as_far, apart) = (far?, as_far?, distance(got, &theirs[name])?);
        assert!(far <= 1.25 * as_far + 1.0 / 256.0, "{name} is {far} from what it should be, PyTorch's {as_far}");
        assert!(
            apart <= 2.0 * as_far + 1.0 / 256.0,
            "{name} is {apart} from PyTorch's, which is {as_far} from what it should be"
        );
    }
    Ok(())
}
