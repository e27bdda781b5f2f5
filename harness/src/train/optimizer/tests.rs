//! Steps by hand, masks, threads and what is kept over an interruption.

use candle_core::{DType, Device};

use super::rule::CHUNK;
use super::*;
use crate::config::UpdateRule;

fn recipe(nesterov: bool) -> Recipe {
    Recipe { momentum: 0.5, nesterov, weight_decay: 0.1, decay_norm_and_bias: false, ..Recipe::default() }
}

/// The gradient of `loss` to `var`.
fn gradient(loss: &Tensor, vars: &[&Var]) -> Gradients {
    let store = loss.backward().unwrap();
    let mut gradients = Gradients::default();
    gradients.extend(vars.iter().map(|var| (var.as_tensor().clone(), store.get(var).unwrap().clone())));
    gradients
}

/// Steps on the loss `sum(x * slope)`, whose gradient is `slope`.
fn two_steps(nesterov: bool) -> (Vec<f32>, Vec<f32>) {
    let weight = Var::new(&[[1f32, -2.0]], &Device::Cpu).unwrap();
    let bias = Var::new(&[1f32, -2.0], &Device::Cpu).unwrap();
    let slope = Tensor::new(&[1f32, 3.0], &Device::Cpu).unwrap();
    let mut sgd =
        Optimizer::new(vec![("weight".into(), weight.clone()), ("bias".into(), bias.clone())], &recipe(nesterov));
    for _ in 0..2 {
        let loss = weight.broadcast_mul(&slope).unwrap().sum_all().unwrap();
        let loss = (loss + (bias.as_tensor() * &slope).unwrap().sum_all().unwrap()).unwrap();
        sgd.step(&gradient(&loss, &[&weight, &bias]), 0.1).unwrap();
    }
    (weight.flatten_all().unwrap().to_vec1().unwrap(), bias.to_vec1().unwrap())
}

fn assert_close(found: &[f32], expected: &[f64]) {
    for (f, e) in found.iter().zip(expected) {
        assert!((f64::from(*f) - e).abs() < 1e-6, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn two_steps_by_hand() {
    // Heavy ball. Bias (spared): v = 1, then 1.5; p = 1 - 0.1 - 0.15. Weight: g = 1 + 0.1 p = 1.1, p = 0.89;
    // then g = 1.089, v = 0.55 + 1.089 = 1.639.
    let (weight, bias) = two_steps(false);
    assert_close(&bias, &[0.75, -2.75]);
    assert_close(&weight, &[0.89 - 0.1639, -2.28 - 0.1 * (1.4 + 3.0 - 0.228)]);
    // Nesterov. Bias: g + 0.5 v = 1.5, then 1 + 0.75 = 1.75. Weight: 1.1 + 0.55 = 1.65, p = 0.835; then g = 1.0835,
    // v = 0.55 + 1.0835, step 1.0835 + 0.5 v.
    let (weight, bias) = two_steps(true);
    assert_close(&bias, &[1.0 - 0.15 - 0.175, -2.0 - 0.45 - 0.525]);
    assert_close(&weight[..1], &[0.835 - 0.1 * (1.0835 + 0.5 * 1.6335)]);
}

#[test]
fn a_penalty_pulls_scales_of_batch_norms_towards_zero() {
    let var = |values: [f32; 3]| Var::new(&values, &Device::Cpu).unwrap();
    let (scale, shift) = (var([1.0, -1.0, 0.0]), var([1.0, -1.0, 0.0]));
    let params = vec![("a.bn.weight".into(), scale.clone()), ("a.bn.bias".into(), shift.clone())];
    let recipe = Recipe { momentum: 0.0, nesterov: false, weight_decay: 0.0, ..Recipe::default() };
    let mut sgd = Optimizer::new(params, &recipe).with_penalty(0.5);
    let loss = ((scale.as_tensor() + shift.as_tensor()).unwrap().sum_all().unwrap() * 0.25).unwrap();
    sgd.step(&gradient(&loss, &[&scale, &shift]), 1.0).unwrap();
    assert_eq!(scale.to_vec1::<f32>().unwrap(), [0.25, -0.75, -0.25]);
    assert_eq!(shift.to_vec1::<f32>().unwrap(), [0.75, -1.25, -0.25]);
}

#[test]
fn what_is_masked_stays_0_and_gathers_no_momentum() {
    let many = CHUNK + 5; // Two tasks.
    let values: Vec<f32> = (0..many).map(|index| if index % 3 == 0 { 0.0 } else { 1.0 }).collect();
    let free = Tensor::from_slice(&values, many, &Device::Cpu).unwrap();
    let masks = Masks::from_tensors(&[("w".to_owned(), free)].into()).unwrap();
    let [masked, plain] = [0, 1].map(|_| Var::from_slice(&values, many, &Device::Cpu).unwrap());
    let mut sgd = Optimizer::new(vec![("w".into(), masked.clone())], &recipe(true)).with_masks(Some(&masks)).unwrap();
    let mut other = Optimizer::new(vec![("w".into(), plain.clone())], &recipe(true));
    for _ in 0..3 {
        for (var, sgd) in [(&masked, &mut sgd), (&plain, &mut other)] {
            let loss = var.as_tensor().sum_all().unwrap();
            sgd.step(&gradient(&loss, &[var]), 0.1).unwrap();
        }
    }
    let bits = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let (buffers, others) = (sgd.state().unwrap(), other.state().unwrap());
    for (left, all) in [(bits(&masked), bits(&plain)), (bits(&buffers["w"]), bits(&others["w"]))] {
        for (index, (left, all)) in left.into_iter().zip(all).enumerate() {
            assert_eq!(left, if index % 3 == 0 { 0 } else { all }, "{index}");
        }
    }
    let short = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
    assert!(Optimizer::new(vec![("w".into(), short)], &recipe(true)).with_masks(Some(&masks)).is_err());
}

#[test]
fn bits_do_not_depend_on_threads_or_gradient_layout() {
    let side = 300; // 90,000 values: three chunks, the last one partial
    let values = conv_core::normal_stream(1, "p", side * side).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let train = |threads: usize| {
        let var = Var::from_vec(values.clone(), (side, side), &Device::Cpu).unwrap();
        let mut sgd = Optimizer::new(vec![("p".into(), var.clone())], &recipe(true));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            for _ in 0..3 {
                // The transposed factor makes the gradient arrive transposed.
                let slope = Tensor::arange(0f32, (side * side) as f32, &Device::Cpu).unwrap();
                let slope = (slope.reshape((side, side)).unwrap() / 1e5).unwrap();
                let loss = (var.t().unwrap() * slope).unwrap().sum_all().unwrap();
                sgd.step(&gradient(&loss, &[&var]), 0.1).unwrap();
            }
        });
        var.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let one = train(1);
    assert_eq!(one, train(3));
    // Against the transposed order of the same values: p[0][1] has slope[1][0].
    let slope = side as f32 / 1e5;
    let (mut p, mut v) = (values[1], 0.0);
    for _ in 0..3 {
        let g = slope + 0.1 * p;
        v = 0.5 * v + g;
        p -= 0.1 * (g + 0.5 * v);
    }
    assert!((f32::from_bits(one[1]) - p).abs() < 1e-5);
}

#[test]
fn buffers_round_trip_and_refuse_strangers() {
    let var = Var::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    let mut sgd = Optimizer::new(vec![("w".into(), var.clone())], &recipe(false));
    let slope = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
    let loss = (var.as_tensor() * slope).unwrap().sum_all().unwrap();
    sgd.step(&gradient(&loss, &[&var]), 0.1).unwrap();
    let buffers = sgd.state().unwrap();
    assert_eq!(buffers["w"].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);

    let mut other = Optimizer::new(vec![("w".into(), var)], &recipe(false));
    other.set_state(&buffers).unwrap();
    assert_eq!(other.state().unwrap()["w"].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
    let strangers = [("v".to_owned(), buffers["w"].clone())].into();
    assert!(other.set_state(&strangers).unwrap_err().to_string().contains("`v`"));
    let wrong = [("w".to_owned(), buffers["w"].flatten_all().unwrap())].into();
    assert!(other.set_state(&wrong).is_err());
}

#[test]
fn what_is_remembered_is_as_much_as_is_said() {
    for (rule, expected) in [(None, 1), (Some(UpdateRule::Adam), 2), (Some(UpdateRule::AdamW), 2)] {
        let recipe = Recipe { optimizer: rule, ..recipe(true) };
        let var = Var::zeros((3, 5), DType::F32, &Device::Cpu).unwrap();
        let state = Optimizer::new(vec![("w".into(), var.clone())], &recipe).state().unwrap();
        let values: usize = state.values().filter(|tensor| tensor.rank() > 0).map(Tensor::elem_count).sum();
        assert_eq!((remembered(&recipe), values), (expected, 15 * expected as usize));
    }
}

/// Three steps of `torch.optim.Adam` and `AdamW` at the gradients 1, -3 and 0.5, from 1, with decay: by hand in double precision.
#[test]
fn adams_steps_by_hand() {
    for rule in [UpdateRule::Adam, UpdateRule::AdamW] {
        let recipe = Recipe { optimizer: Some(rule), beta1: Some(0.5), beta2: Some(0.75), ..recipe(true) };
        let var = Var::new(&[[1f32]], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(vec![("w".into(), var.clone())], &recipe);
        let (mut p, mut m, mut s) = (1f64, 0f64, 0f64);
        for (step, slope) in [1.0, -3.0, 0.5].into_iter().enumerate() {
            let loss = (var.as_tensor() * slope).unwrap().sum_all().unwrap();
            optimizer.step(&gradient(&loss, &[&var]), 0.01).unwrap();
            let mut g = slope;
            match rule {
                UpdateRule::AdamW => p -= 0.01 * 0.1 * p,
                _ => g += 0.1 * p,
            }
            (m, s) = (0.5 * m + 0.5 * g, 0.75 * s + 0.25 * g * g);
            let taken = [0.5f64, 0.75].map(|beta| 1.0 - beta.powi(step as i32 + 1));
            p -= 0.01 * (m / taken[0]) / ((s / taken[1]).sqrt() + 1e-8);
            assert_close(&var.flatten_all().unwrap().to_vec1().unwrap(), &[p]);
        }
    }
}

#[test]
fn adam_goes_on_from_its_state_to_the_bit_and_refuses_another_rules() {
    let recipe = Recipe { optimizer: Some(UpdateRule::AdamW), ..recipe(true) };
    let start = [1f32, -2.0, 0.5];
    let slopes = Tensor::new(&[0.3f32, -0.7, 1e-3], &Device::Cpu).unwrap();
    let mask = Tensor::new(&[1f32, 1.0, 0.0], &Device::Cpu).unwrap();
    let masks = Masks::from_tensors(&[("w".to_owned(), mask)].into()).unwrap();
    let train = |var: &Var, steps: usize, state: Option<&BTreeMap<String, Tensor>>| {
        let mut optimizer = Optimizer::new(vec![("w".into(), var.clone())], &recipe).with_masks(Some(&masks)).unwrap();
        if let Some(state) = state {
            optimizer.set_state(state).unwrap();
        }
        for _ in 0..steps {
            let loss = (var.as_tensor().sqr().unwrap() * &slopes).unwrap().sum_all().unwrap();
            optimizer.step(&gradient(&loss, &[var]), 0.1).unwrap();
        }
        optimizer.state().unwrap()
    };
    let bits = |tensor: &Tensor| {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let whole = Var::new(&start, &Device::Cpu).unwrap();
    let expected = train(&whole, 7, None);
    let parts = Var::new(&start, &Device::Cpu).unwrap();
    let halfway = train(&parts, 3, None);
    assert_eq!(halfway.keys().collect::<Vec<_>>(), ["w.exp_avg", "w.exp_avg_sq", "w.step"]);
    let found = train(&parts, 4, Some(&halfway));
    assert_eq!(bits(&parts), bits(&whole));
    assert_eq!(bits(&whole)[2], 0, "what is masked stays 0");
    for (name, tensor) in &expected {
        assert_eq!(bits(&found[name]), bits(tensor), "{name}");
        assert_eq!(bits(tensor).get(2).copied().unwrap_or_default(), 0, "{name} remembers nothing of it");
    }
    assert_eq!(bits(&expected["w.step"]), [7f32.to_bits()]);
    let sgd = Recipe { optimizer: None, ..recipe.clone() };
    let other = Optimizer::new(vec![("w".into(), parts.clone())], &sgd).set_state(&expected).unwrap_err();
    assert!(other.to_string().contains("`w.exp_avg`"), "{other}");
    let without: BTreeMap<_, _> = expected.into_iter().filter(|(name, _)| name != "w.step").collect();
    assert!(Optimizer::new(vec![("w".into(), parts)], &recipe).set_state(&without).is_err());
}
