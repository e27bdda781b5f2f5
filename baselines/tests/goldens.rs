//! The rivals against an independent PyTorch implementation (`goldens/make.py`, `goldens/more_rivals.py`): training and inference
//! passes, gradients of the input and every weight, running statistics after one training pass; inference once more in the
//! form that a trained unit is fused into.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use baselines::{BsConv, Depthwise, Factors, Ghost, Grouped, HetConv, LowRank, PConv, RepVgg};
use candle_core::{Device, Tensor, Var};
use conv_core::{Activation, ConvSpec, Layer, Method, ParamStore, Role, UnitSpec, forward_unit};

type Tensors = HashMap<String, Tensor>;

fn goldens() -> Tensors {
    read("rivals.safetensors")
}

fn read(file: &str) -> Tensors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(file);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (index, (a, b)) in flat(ours).into_iter().zip(flat(theirs)).enumerate() {
        assert!((a - b).abs() <= 2e-5 + 2e-5 * b.abs(), "{what}[{index}]: {a}, PyTorch {b}");
    }
}

/// Everything of one case, by kind: `before/`, `grad/`, ... and the rest of the name.
fn kind(all: &Tensors, case: &str, kind: &str) -> BTreeMap<String, Tensor> {
    let prefix = format!("{case}/{kind}/");
    all.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.clone()))).collect()
}

fn hold(all: &Tensors, case: &str, method: &dyn Method, spec: UnitSpec) {
    let [inputs, before, gradients, after, outputs] =
        ["in", "before", "grad", "after", "out"].map(|kind_of| kind(all, case, kind_of));
    assert!(!before.is_empty(), "no golden is called {case}");

    let store = ParamStore::new(0, &Device::Cpu);
    Layer::new(method, &spec, store.builder()).unwrap();
    store.assign(&before).unwrap();
    let x = Var::from_tensor(&inputs["x"]).unwrap();
    let residual = inputs.get("residual").map(|residual| Var::from_tensor(residual).unwrap());
    let added = residual.as_ref().map(Var::as_tensor);

    let y = forward_unit(method, &spec, store.builder(), &x, added, true).unwrap();
    assert_close(&format!("{case}: training"), &y, &outputs["train"]);

    let grads = (&y * &inputs["loss"]).unwrap().sum_all().unwrap().backward().unwrap();
    let mut vars = store.trainable();
    vars.push(("x".into(), x.clone()));
    vars.extend(residual.clone().map(|residual| ("residual".into(), residual)));
    assert_eq!(vars.len(), gradients.len(), "{case}: gradients");
    for (name, var) in vars {
        assert_close(&format!("{case}: gradient of {name}"), grads.get(&var).unwrap(), &gradients[&name]);
    }

    let now = store.snapshot().unwrap();
    for (name, statistic) in &after {
        assert_close(&format!("{case}: {name} after"), &now[name], statistic);
    }
    assert_eq!(after.is_empty(), !spec.norm, "{case}");
    let y = forward_unit(method, &spec, store.builder(), &x, added, false).unwrap();
    assert_close(&format!("{case}: inference"), &y, &outputs["eval"]);

    let Some(fused) = method.fused() else { return };
    let own = ParamStore::new(0, &Device::Cpu);
    Layer::new(&*fused.method, &spec, own.builder()).unwrap();
    own.assign(&fused.unit(&spec, &now).unwrap()).unwrap();
    let y = forward_unit(&*fused.method, &spec, own.builder(), &x, added, false).unwrap();
    assert_close(&format!("{case}: fused"), &y, &outputs["eval"]);
}

fn unit(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> UnitSpec {
    UnitSpec::conv_bn_relu(ConvSpec::same(inputs, outputs, kernel, stride), Role::Spatial)
}

fn without_activation(spec: UnitSpec) -> UnitSpec {
    UnitSpec { activation: None, ..spec }
}

fn biased_without_norm(spec: UnitSpec) -> UnitSpec {
    let conv = ConvSpec { bias: true, ..spec.conv };
    UnitSpec { conv, norm: false, activation: Some(Activation::Relu), ..spec }
}

#[test]
fn ghost_is_pytorchs() {
    let all = goldens();
    let two = Ghost::default();
    let three = Ghost { ratio: 3, ..Ghost::default() };
    let wide = Ghost { ratio: 3, cheap_kernel: 5 };
    hold(&all, "ghost_s2_stride1", &two, unit(6, 8, 3, 1));
    hold(&all, "ghost_s2_stride2_odd", &two, unit(5, 7, 3, 2));
    hold(&all, "ghost_s3_stride1_odd", &three, unit(4, 10, 3, 1));
    hold(&all, "ghost_s3_stride2", &wide, unit(5, 9, 5, 2));
    hold(&all, "ghost_s2_no_activation", &two, without_activation(unit(6, 7, 1, 2)));
    hold(&all, "ghost_s3_no_activation", &three, without_activation(unit(4, 8, 3, 1)));
    hold(&all, "ghost_s2_residual", &two, unit(6, 7, 3, 1));
    hold(&all, "ghost_s2_no_norm", &two, biased_without_norm(unit(6, 7, 3, 1)));
}

#[test]
fn depthwise_is_pytorchs() {
    let all = goldens();
    hold(&all, "depthwise_stride1", &Depthwise {}, unit(6, 8, 3, 1));
    hold(&all, "depthwise_stride2_odd", &Depthwise {}, unit(5, 7, 3, 2));
    hold(&all, "depthwise_k5_no_activation", &Depthwise {}, without_activation(unit(5, 9, 5, 1)));
    hold(&all, "depthwise_residual", &Depthwise {}, unit(6, 6, 3, 1));
    hold(&all, "depthwise_no_norm", &Depthwise {}, biased_without_norm(unit(5, 7, 3, 2)));
}

#[test]
fn grouped_and_hetconv_are_pytorchs() {
    let all = read("more_rivals.safetensors");
    hold(&all, "grouped", &Grouped { groups: 3 }, unit(6, 9, 3, 1));
    hold(&all, "grouped_stride2_residual", &Grouped::default(), unit(6, 8, 3, 2));
    hold(&all, "grouped_no_norm", &Grouped { groups: 4 }, biased_without_norm(unit(4, 8, 1, 1)));
    hold(&all, "hetconv", &HetConv::default(), unit(8, 12, 3, 1));
    hold(&all, "hetconv_stride2_residual", &HetConv { parts: 2 }, unit(6, 8, 5, 2));
    hold(&all, "hetconv_no_norm", &HetConv { parts: 3 }, biased_without_norm(unit(6, 9, 3, 1)));
}

#[test]
fn partial_blueprint_and_low_rank_convolutions_are_pytorchs() {
    let all = read("more_rivals.safetensors");
    hold(&all, "pconv", &PConv::default(), unit(8, 6, 3, 1));
    hold(&all, "pconv_stride2_odd_residual", &PConv { parts: 3 }, unit(7, 9, 3, 2));
    hold(&all, "pconv_no_norm", &PConv { parts: 2 }, biased_without_norm(unit(5, 7, 5, 2)));
    hold(&all, "bsconv", &BsConv {}, unit(6, 8, 3, 1));
    hold(&all, "bsconv_stride2_residual", &BsConv {}, unit(5, 7, 3, 2));
    hold(&all, "bsconv_no_norm", &BsConv {}, biased_without_norm(unit(5, 7, 5, 1)));
    let (tucker2, svd) = (LowRank::default(), LowRank { form: Factors::Svd, ..LowRank::default() });
    hold(&all, "tucker2", &tucker2, unit(6, 8, 3, 1));
    hold(&all, "tucker2_stride2_residual", &LowRank { ratio: 0.3, ..tucker2 }, unit(6, 8, 3, 2));
    hold(&all, "svd", &svd, unit(6, 8, 3, 1));
    hold(&all, "svd_no_norm", &svd, biased_without_norm(unit(5, 7, 1, 2)));
}

#[test]
fn repvgg_is_pytorchs_trained_and_fused() {
    let all = read("more_rivals.safetensors");
    hold(&all, "repvgg_identity", &RepVgg {}, unit(6, 6, 3, 1));
    hold(&all, "repvgg_identity_residual", &RepVgg {}, unit(6, 6, 5, 1));
    let biased = unit(5, 7, 3, 2);
    let biased = UnitSpec { conv: ConvSpec { bias: true, ..biased.conv }, ..without_activation(biased) };
    hold(&all, "repvgg_stride2", &RepVgg {}, biased);
    hold(&all, "repvgg_no_norm", &RepVgg {}, biased_without_norm(unit(6, 6, 3, 1)));
}
