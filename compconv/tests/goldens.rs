//! The module against PyTorch: output, input gradient and every parameter's gradient (`goldens/make.py` makes the file).

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use candle_core::{Device, ModuleT, Tensor, Var};
use compconv::{CompConv2dT, CompConvOptions, InnerNorm, Plan};
use conv_core::{ConvSpec, ParamStore, is_running_statistic};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    c_in: usize,
    c_out: usize,
    k: usize,
    stride: usize,
    bias: bool,
    options: CompConvOptions,
}

const FILE: &[u8] = include_bytes!("goldens/goldens.safetensors");

/// The cases' specifications, from the header that starts a safetensors file.
fn cases() -> Result<Vec<Case>, Box<dyn Error>> {
    let length = u64::from_le_bytes(FILE[..8].try_into()?) as usize;
    let header: serde_json::Value = serde_json::from_slice(&FILE[8..8 + length])?;
    let cases = header["__metadata__"]["cases"].as_str().ok_or("no cases in the metadata")?;
    // The image size is not part of the specification.
    Ok(serde_json::from_str(cases)?)
}

/// Largest difference, relative to the largest value expected.
fn difference(found: &Tensor, expected: &Tensor) -> candle_core::Result<f32> {
    assert_eq!(found.dims(), expected.dims());
    let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?.max(1e-3);
    Ok((found - expected)?.abs()?.max_all()?.to_scalar::<f32>()? / scale)
}

fn check(number: usize, case: &Case, tensors: &HashMap<String, Tensor>) -> Result<usize, Box<dyn Error>> {
    let Case { c_in, c_out, k, stride, bias, options } = *case;
    let spec = ConvSpec { bias, ..ConvSpec::same(c_in, c_out, k, stride) };
    let plan = Plan::new(&spec, &options)?;
    assert_eq!(plan.depth.requested, plan.depth.effective, "case {number} would not test its depth: {plan}");
    let store = ParamStore::new(0, &Device::Cpu);
    let layer = CompConv2dT::from_plan(plan, store.builder())?;

    let of = |prefix: String| -> BTreeMap<String, Tensor> {
        tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.clone()))).collect()
    };
    let get = |name: &str| tensors.get(&format!("{number}.{name}")).ok_or(format!("{number}.{name} is missing"));
    // What trains comes from the file; running statistics start as they are.
    let mut weights = of(format!("{number}.param."));
    weights.extend(store.snapshot()?.into_iter().filter(|(name, _)| is_running_statistic(name)));
    store.assign(&weights)?;

    let mut compared = 0;
    let mut close = |what: &str, found: &Tensor, expected: &Tensor| -> candle_core::Result<()> {
        let off = difference(found, expected)?;
        assert!(off < 1e-4, "case {number} ({}), {what}: off by {off}", layer.plan());
        compared += 1;
        Ok(())
    };
    let x = Var::from_tensor(get("x")?)?;
    let y = layer.forward_t(&x, true)?;
    close("y", &y, get("y")?)?;
    let grads = (&y * get("grad_y")?)?.sum_all()?.backward()?;
    close("grad x", grads.get(&x).ok_or("no input gradient")?, get("grad_x")?)?;
    let expected = of(format!("{number}.grad."));
    let trainable = store.trainable();
    assert_eq!(trainable.len(), expected.len());
    for (name, var) in trainable {
        let grad = grads.get(&var).ok_or(format!("no gradient of {name}"))?;
        close(&name, grad, &expected[&name])?;
    }
    if options.inner_norm != InnerNorm::None {
        for (name, after) in of(format!("{number}.after.")) {
            let Some((_, var)) = store.named().into_iter().find(|(known, _)| *known == name) else {
                return Err(format!("no {name}").into());
            };
            close(&name, &var, &after)?;
        }
        close("eval", &layer.forward_t(&x, false)?, get("eval")?)?;
    }
    Ok(compared)
}

#[test]
fn module_matches_pytorch() -> Result<(), Box<dyn Error>> {
    let tensors = candle_core::safetensors::load_buffer(FILE, &Device::Cpu)?;
    let mut compared = 0;
    for (number, case) in cases()?.iter().enumerate() {
        compared += check(number, case, &tensors)?;
    }
    assert!(compared > 150, "only {compared} tensors were compared");
    Ok(())
}
