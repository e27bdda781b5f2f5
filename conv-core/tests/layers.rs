//! The layers against PyTorch: forward and every gradient, through the kernels and through candle's own ops.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use conv_core::layers::BatchNorm2d;
use conv_core::{ConvSpec, ParamStore, is_running_statistic, normal_stream, ops};

struct Goldens(HashMap<String, Tensor>);

impl Goldens {
    fn load() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/layers.safetensors");
        Ok(Self(candle_core::safetensors::load(path, &Device::Cpu)?))
    }

    fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no golden `{name}`")).clone()
    }

    /// Runs `function` on the named inputs every way there is: on the kernels, and on candle's own ops in both number
    /// formats.
    fn check(&self, case: &str, inputs: &[&str], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
        for (dtype, by_candle) in [(DType::F32, false), (DType::F32, true), (DType::F64, true)] {
            let get = |name: &str| self.get(&format!("{case}/{name}")).to_dtype(dtype);
            let vars: Vec<Var> = inputs.iter().map(|name| Var::from_tensor(&get(name)?)).collect::<Result<_>>()?;
            let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
            let y = if by_candle { ops::composed(|| function(&tensors))? } else { function(&tensors)? };
            let way = format!("{dtype:?}{}", if by_candle { " by candle" } else { "" });
            assert_close(&format!("{case}/y {way}"), &y, &get("y")?)?;
            let gradients = (y * get("probe")?)?.sum_all()?.backward()?;
            for (name, var) in inputs.iter().zip(&vars) {
                let what = format!("{case}/d{name} {way}");
                let gradient = gradients.get(var).unwrap_or_else(|| panic!("{what}: no gradient"));
                assert_close(&what, gradient, &get(&format!("d{name}"))?)?;
            }
        }
        Ok(())
    }
}

fn assert_close(what: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let (got, want) = (got.to_dtype(DType::F64)?, want.to_dtype(DType::F64)?);
    let scale = want.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?.max(1.0);
    let error = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?;
    assert!(error <= 1e-5 * scale, "{what}: off by {error} at a scale of {scale}");
    Ok(())
}

#[test]
fn convolution() -> Result<()> {
    let goldens = Goldens::load()?;
    for (case, stride, padding, groups) in [
        ("dense", 1, 1, 1),
        ("strided", 2, 1, 1),
        ("pointwise", 1, 0, 1),
        ("projection", 2, 0, 1),
        ("grouped", 1, 1, 3),
        ("depthwise", 2, 1, 7),
        ("stem", 2, 3, 1),
    ] {
        let convolve = |t: &[Tensor]| ops::conv2d(&t[0], &t[1], stride, padding, groups);
        goldens.check(&format!("conv/{case}"), &["x", "w"], convolve)?;
    }
    Ok(())
}

#[test]
fn batch_norm_with_what_follows_it() -> Result<()> {
    let goldens = Goldens::load()?;
    let norm = |t: &[Tensor], relu| Ok(ops::batch_norm_train(&t[0], &t[1], &t[2], 1e-5, t.get(3), relu)?.0);
    goldens.check("norm/plain", &["x", "gamma", "beta"], |t| norm(t, false))?;
    goldens.check("norm/relu", &["x", "gamma", "beta"], |t| norm(t, true))?;
    goldens.check("norm/residual", &["x", "gamma", "beta", "residual"], |t| norm(t, false))?;
    goldens.check("norm/both", &["x", "gamma", "beta", "residual"], |t| norm(t, true))
}

#[test]
fn running_statistics() -> Result<()> {
    let goldens = Goldens::load()?;
    let vars = VarMap::new();
    let layer = BatchNorm2d::new(5, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    layer.forward_t(&goldens.get("norm/plain/x"), None, false, true)?;
    let data = vars.data().lock().expect("no test poisons it");
    for name in ["running_mean", "running_var"] {
        assert_close(name, data[name].as_tensor(), &goldens.get(&format!("norm/plain/{name}")))?;
    }
    Ok(())
}

#[test]
fn pooling() -> Result<()> {
    let goldens = Goldens::load()?;
    goldens.check("max_pool/ties", &["x"], |t| ops::max_pool2d(&t[0], 2, 2, 0))?;
    goldens.check("max_pool/padded", &["x"], |t| ops::max_pool2d(&t[0], 3, 2, 1))?;
    goldens.check("avg_pool/plain", &["x"], |t| ops::avg_pool2d(&t[0], 2, 2, false))?;
    goldens.check("avg_pool/ceil", &["x"], |t| ops::avg_pool2d(&t[0], 2, 2, true))?;
    goldens.check("avg_pool/global", &["x"], |t| ops::global_avg_pool(&t[0]))
}

#[test]
fn everything_else() -> Result<()> {
    let goldens = Goldens::load()?;
    goldens.check("relu", &["x"], |t| ops::relu(&t[0]))?;
    goldens.check("shuffle", &["x"], |t| ops::channel_shuffle(&t[0], 3))?;
    goldens.check("linear", &["x", "w", "b"], |t| ops::linear(&t[0], &t[1], &t[2]))?;
    let labels = goldens.get("labels").to_dtype(DType::U32)?;
    goldens.check("loss/0.0", &["x"], |t| ops::cross_entropy(&t[0], &labels, 0.0))?;
    goldens.check("loss/0.1", &["x"], |t| ops::cross_entropy(&t[0], &labels, 0.1))
}

/// Any strides can reach an op: a transposed input, and a gradient that is one number spread over a tensor.
#[test]
fn inputs_and_gradients_of_any_layout() -> Result<()> {
    let x = Var::from_tensor(&Tensor::rand(-1f32, 1f32, (2, 3, 6, 5), &Device::Cpu)?)?;
    let w = Var::from_tensor(&Tensor::rand(-1f32, 1f32, (4, 3, 3, 3), &Device::Cpu)?)?;
    let run = |x: &Tensor, w: &Tensor, stored: bool| -> Result<(Tensor, Tensor)> {
        let (x, w) = (x.transpose(2, 3)?, w.transpose(2, 3)?);
        let (x, w) = if stored { (x.contiguous()?, w.contiguous()?) } else { (x, w) };
        let y = ops::conv2d(&x, &w, 1, 1, 1)?;
        let y = ops::max_pool2d(&ops::relu(&ops::avg_pool2d(&y, 2, 1, false)?)?, 2, 2, 0)?;
        let y = ops::channel_shuffle(&y, 2)?;
        // Pooled as it comes, too: most pools stand behind a convolution, whose output lies in order.
        let pooled = ops::max_pool2d(&x, 2, 1, 0)?.sum_all()? + ops::avg_pool2d(&x, 1, 2, false)?.sum_all()?;
        // The gradient of a sum has zero strides.
        Ok((y.clone(), (y.sum_all()? + pooled?)?))
    };
    let by_candle = ops::composed(|| run(&x, &w, false))?;
    let (stored, as_is) = (run(&x, &w, true)?, run(&x, &w, false)?);
    assert_close("forward", &as_is.0, &stored.0)?;
    assert_close("forward by candle", &by_candle.0, &stored.0)?;
    let (stored, as_is, by_candle) = (stored.1.backward()?, as_is.1.backward()?, by_candle.1.backward()?);
    for var in [&x, &w] {
        assert_close("gradient", as_is.get(var).expect("tracked"), stored.get(var).expect("tracked"))?;
        assert_close("gradient by candle", by_candle.get(var).expect("tracked"), stored.get(var).expect("tracked"))?;
    }
    Ok(())
}

#[test]
fn inference_normalises_with_the_running_statistics() -> Result<()> {
    let vars = VarMap::new();
    let layer = BatchNorm2d::new(3, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let x = Tensor::rand(-1f32, 3f32, (8, 3, 4, 4), &Device::Cpu)?;
    // With a momentum of 0.1 the statistics are within 1e-4 of the batch's after 100 passes over it.
    let mut trained = x.clone();
    for _ in 0..100 {
        trained = layer.forward_t(&x, None, true, true)?;
    }
    let inferred = layer.forward_t(&x, None, true, false)?;
    let error = (trained - inferred)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    // The running variance has Bessel's correction, of 128 values: a factor of sqrt(127 / 128) on the output.
    assert!(error < 1e-2, "off by {error}");
    Ok(())
}

#[test]
fn a_norm_folds_into_the_convolution_before_it() -> Result<()> {
    let tensor = |shape: &[usize], seed: u64| {
        let values = normal_stream(seed, "x", shape.iter().product());
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    let (x, weight, bias) = (tensor(&[2, 4, 5, 6], 1)?, tensor(&[6, 2, 3, 3], 2)?, tensor(&[6], 3)?);
    let mut values = HashMap::new();
    for (seed, name) in ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
        let value = tensor(&[6], 4 + seed as u64)?;
        values.insert(name.to_owned(), if name == "running_var" { value.abs()? } else { value });
    }
    let norm = BatchNorm2d::new(6, VarBuilder::from_tensors(values, DType::F64, &Device::Cpu))?;
    let conv =
        |weight: &Tensor, bias: &Tensor| ops::conv2d(&x, weight, 2, 1, 2)?.broadcast_add(&bias.reshape((1, 6, 1, 1))?);
    let (folded_weight, folded_bias) = norm.fold(&weight, &bias)?;
    let want = norm.forward_t(&conv(&weight, &bias)?, None, false, false)?;
    assert_close("folded", &conv(&folded_weight, &folded_bias)?, &want)?;
    assert!(norm.fold(&weight, &tensor(&[5], 1)?).is_err() && norm.fold(&tensor(&[5, 2, 3, 3], 1)?, &bias).is_err());
    Ok(())
}

#[test]
fn a_centred_convolution_keeps_the_size() {
    for kernel in 1..=5 {
        for padding in 0..=3 {
            let conv = ConvSpec { padding, ..ConvSpec::same(1, 1, kernel, 1) };
            assert_eq!(conv.is_centred(), conv.output_size((9, 7)).unwrap() == (9, 7), "{conv}");
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let tensor = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu);
    let (x, w) = (tensor(&[1, 4, 5, 5])?, tensor(&[6, 4, 3, 3])?);
    assert!(ops::conv2d(&x, &w, 0, 1, 1).is_err(), "stride 0");
    assert!(ops::conv2d(&x, &w, 1, 1, 2).is_err(), "groups that the weight does not have");
    assert!(ops::conv2d(&tensor(&[1, 4, 2, 2])?, &w, 1, 0, 1).is_err(), "an input smaller than the kernel");
    assert!(ops::max_pool2d(&x, 2, 2, 2).is_err(), "a window of padding alone");
    assert!(ops::avg_pool2d(&x, 6, 1, false).is_err(), "a window larger than the input");
    assert!(ops::channel_shuffle(&x, 3).is_err(), "groups that do not divide the channels");
    let one = tensor(&[4])?;
    assert!(ops::batch_norm_train(&tensor(&[1, 4, 1, 1])?, &one, &one, 1e-5, None, false).is_err(), "a single value");
    assert!(ops::batch_norm_train(&x, &one, &one, 1e-5, Some(&tensor(&[1, 4, 5, 4])?), false).is_err(), "residual");
    Ok(())
}

/// Same seed, same bits: whatever else is in the network, and in whatever order it was built.
#[test]
fn initialisation_is_keyed_by_seed_and_name() -> Result<()> {
    let draw = |seed, names: &[&str]| -> Result<HashMap<String, Vec<f32>>> {
        let store = ParamStore::new(seed, &Device::Cpu);
        for name in names {
            conv_core::layers::Conv2d::new(conv_core::ConvSpec::same(8, 16, 3, 1), store.builder().pp(name))?;
        }
        let flat = |(name, var): (String, Var)| Ok((name, var.flatten_all()?.to_vec1::<f32>()?));
        store.named().into_iter().map(flat).collect()
    };
    let (two, one) = (draw(3, &["b", "a"])?, draw(3, &["a"])?);
    assert_eq!(two["a.weight"], one["a.weight"]);
    assert_ne!(two["a.weight"], two["b.weight"]);
    assert_ne!(draw(4, &["a"])?["a.weight"], one["a.weight"]);
    // Kaiming, fan-out, ReLU: a deviation of sqrt(2 / (16 x 9)) = 0.118, here from 1152 values.
    let weight = &one["a.weight"];
    let deviation = (weight.iter().map(|w| w * w).sum::<f32>() / weight.len() as f32).sqrt();
    assert!((deviation - 0.118).abs() < 0.01, "{deviation}");
    assert!(is_running_statistic("a.bn.running_var") && !is_running_statistic("a.bn.weight"));
    Ok(())
}
