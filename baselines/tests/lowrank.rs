//! The factors of a trained convolution: nothing is lost at full rank, and below it what the discarded singular values say.

use std::collections::BTreeMap;

use baselines::{Factors, LowRank, Origin, Vanilla};
use candle_core::{DType, Device, Tensor};
use conv_core::{ConvSpec, Method, ParamStore, Role, UnitSpec, forward_unit, normal_stream};

fn trained(form: Factors, ratio: f64) -> LowRank {
    LowRank { form, ratio, from: Origin::Trained }
}

fn noise(name: &str, shape: &[usize]) -> Tensor {
    let values = normal_stream(3, name, shape.iter().product()).into_iter().map(|value| value as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A vanilla unit as training might leave it, norm and bias among it.
fn vanilla(unit: &UnitSpec, x: &Tensor) -> ParamStore {
    let store = ParamStore::new(1, &Device::Cpu);
    forward_unit(&Vanilla {}, unit, store.builder(), x, None, true).unwrap();
    let rough = |(name, tensor): (String, Tensor)| {
        let tensor = if tensor.rank() == 1 { noise(&name, tensor.dims()).abs().unwrap() } else { tensor };
        (name, tensor)
    };
    store.assign(&store.snapshot().unwrap().into_iter().map(rough).collect()).unwrap();
    store
}

/// The unit that is made of it.
fn factored(method: &LowRank, unit: &UnitSpec, x: &Tensor, vanilla: &ParamStore) -> ParamStore {
    let store = ParamStore::new(2, &Device::Cpu);
    forward_unit(method, unit, store.builder(), x, None, false).unwrap();
    store.assign(&method.approximates().unwrap().unit(unit, &vanilla.snapshot().unwrap()).unwrap()).unwrap();
    store
}

#[test]
fn at_full_rank_nothing_is_lost() {
    let shapes = [(3, 16, 3, 1), (16, 32, 3, 2), (24, 20, 5, 2), (8, 40, 1, 1), (40, 8, 1, 2), (5, 64, 3, 1)];
    for (inputs, outputs, kernel, stride) in shapes {
        for (form, bias) in [(Factors::Tucker2, false), (Factors::Tucker2, true), (Factors::Svd, true)] {
            let method = trained(form, 1.0);
            let conv = ConvSpec { bias, ..ConvSpec::same(inputs, outputs, kernel, stride) };
            let unit = UnitSpec::conv_bn_relu(conv, Role::Spatial);
            if method.declines(&unit).is_some() {
                continue;
            }
            let x = noise("x", &[2, inputs, 9, 7]);
            let before = vanilla(&unit, &x);
            let after = factored(&method, &unit, &x, &before);
            let run = |method: &dyn Method, store: &ParamStore| {
                values(&forward_unit(method, &unit, store.builder(), &x, None, false).unwrap())
            };
            let (expected, made) = (run(&Vanilla {}, &before), run(&method, &after));
            let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
            for (expected, made) in expected.iter().zip(&made) {
                assert!((expected - made).abs() <= 1e-5 * largest, "{method:?} {conv}: {made}, not {expected}");
            }
            // What follows the convolution follows the last factor, bit for bit.
            let (before, after) = (before.snapshot().unwrap(), after.snapshot().unwrap());
            for (name, tensor) in before.iter().filter(|(name, _)| *name != "weight") {
                assert_eq!(values(&after[&format!("last.{name}")]), values(tensor), "{name}");
            }
        }
    }
}

/// Singular values, descending, of a matrix of so many columns: by rotations that make its rows orthogonal (one-sided Jacobi),
/// another way than the factors are found.
fn singular_values(matrix: &[f64], columns: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = matrix.chunks_exact(columns).map(<[f64]>::to_vec).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..40 {
        for i in 0..rows.len() {
            for j in i + 1..rows.len() {
                let (a, b, c) = (dot(&rows[i], &rows[i]), dot(&rows[j], &rows[j]), dot(&rows[i], &rows[j]));
                if c.abs() > 1e-15 * (a * b).sqrt() {
                    let angle = 0.5 * (2.0 * c).atan2(a - b);
                    let (sine, cosine) = angle.sin_cos();
                    let (first, second) = rows.split_at_mut(j);
                    for (x, y) in first[i].iter_mut().zip(&mut second[0]) {
                        (*x, *y) = (cosine * *x + sine * *y, cosine * *y - sine * *x);
                    }
                }
            }
        }
    }
    let mut values: Vec<f64> = rows.iter().map(|row| dot(row, row).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// Energy that is lost: sum of the squared discarded singular values.
fn discarded(values: &[f64], rank: usize) -> f64 {
    values.iter().skip(rank).map(|value| value * value).sum()
}

/// The kernel that the factors multiply out to, `[out][in][tap]`.
fn product(factors: &BTreeMap<String, Tensor>) -> Vec<f64> {
    let last = factors["last.weight"].squeeze(3).unwrap().squeeze(2).unwrap();
    let core = &factors["core.weight"];
    let (made, read, k, _) = core.dims4().unwrap();
    let mut kernel = last.matmul(&core.reshape((made, read * k * k)).unwrap()).unwrap();
    if let Some(first) = factors.get("first.weight") {
        let (outputs, inputs) = (last.dim(0).unwrap(), first.dim(1).unwrap());
        let core = kernel.reshape((outputs, read, k * k)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
        let core = core.reshape((outputs * k * k, read)).unwrap();
        let whole = core.matmul(&first.reshape((read, inputs)).unwrap()).unwrap();
        kernel = whole.reshape((outputs, k * k, inputs)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
    }
    values(&kernel)
}

fn factor(method: &LowRank, unit: &UnitSpec, weight: &Tensor) -> BTreeMap<String, Tensor> {
    let trained = BTreeMap::from([("weight".to_owned(), weight.clone())]);
    method.approximates().unwrap().unit(unit, &trained).unwrap()
}

fn lost(kernel: &[f64], made: &[f64]) -> f64 {
    kernel.iter().zip(made).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[test]
fn below_full_rank_as_much_is_lost_as_the_discarded_singular_values_say() {
    for (inputs, outputs, kernel) in [(12, 20, 3), (20, 12, 3), (6, 40, 1), (2, 30, 3)] {
        let conv = ConvSpec::same(inputs, outputs, kernel, 1);
        let unit = UnitSpec::conv_bn_relu(conv, Role::Spatial);
        let weight = noise("weight", &conv.weight_shape());
        let whole = values(&weight);
        // What rounding to single precision loses of all of it.
        let rounding = 1e-7 * whole.iter().map(|value| value * value).sum::<f64>();
        let by_output = singular_values(&whole, inputs * kernel * kernel);
        let swapped = weight.transpose(0, 1).unwrap().contiguous().unwrap();
        let by_input = singular_values(&values(&swapped), outputs * kernel * kernel);
        for ratio in [0.1, 0.25, 0.5, 0.8] {
            // The best that there is (Eckart and Young).
            let svd = trained(Factors::Svd, ratio);
            let least = discarded(&by_output, svd.ranks(&conv).1);
            let error = lost(&whole, &product(&factor(&svd, &unit, &weight)));
            assert!((error - least).abs() <= 1e-5 * least + rounding, "{conv} {ratio}: {error}, not {least}");
            if kernel == 1 {
                continue;
            }
            // At least what either mode loses, at most what both do (De Lathauwer et al., "A multilinear singular value
            // decomposition", property 10).
            let tucker = trained(Factors::Tucker2, ratio);
            let (read, made) = tucker.ranks(&conv);
            let (a, b) = (discarded(&by_input, read), discarded(&by_output, made));
            let error = lost(&whole, &product(&factor(&tucker, &unit, &weight)));
            assert!(error + rounding >= a.max(b) && error <= a + b + rounding, "{ratio}: {error}, {a}, {b}");
        }
    }
}

#[test]
fn a_kernel_of_low_rank_is_found_whatever_its_scale() {
    let conv = ConvSpec::same(16, 24, 3, 1);
    let unit = UnitSpec::conv_bn_relu(conv, Role::Spatial);
    let tucker = trained(Factors::Tucker2, 0.25);
    assert_eq!(tucker.ranks(&conv), (4, 6));
    for scale in [1f64, 1e-12, 1e12] {
        let last = (noise("last", &[24, 6, 1, 1]) * scale).unwrap();
        let parts = [("first", noise("first", &[4, 16, 1, 1])), ("core", noise("core", &[6, 4, 3, 3])), ("last", last)];
        let parts = parts.into_iter().map(|(name, tensor)| (format!("{name}.weight"), tensor)).collect();
        let kernel = product(&parts);
        let weight =
            Tensor::from_slice(&kernel, &conv.weight_shape(), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        let energy: f64 = kernel.iter().map(|value| value * value).sum();
        for method in [&tucker, &trained(Factors::Svd, 0.25)] {
            let error = lost(&kernel, &product(&factor(method, &unit, &weight)));
            assert!(error <= 1e-12 * energy, "{method:?} at {scale}: {error} of {energy}");
        }
    }
    // Nothing at all is of low rank too.
    let nothing = Tensor::zeros(&conv.weight_shape(), DType::F32, &Device::Cpu).unwrap();
    for method in [&tucker, &trained(Factors::Svd, 0.25)] {
        assert!(product(&factor(method, &unit, &nothing)).iter().all(|&value| value == 0.0), "{method:?}");
    }
}

#[test]
fn weights_that_are_no_kernel_are_refused() {
    let unit = UnitSpec::conv_bn_relu(ConvSpec::same(4, 4, 3, 1), Role::Spatial);
    let refused = |weight: &[(&str, Tensor)]| {
        let tensors = weight.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
        let method = trained(Factors::Svd, 0.5);
        method.approximates().unwrap().unit(&unit, &tensors).unwrap_err().to_string()
    };
    assert!(refused(&[]).contains("without a weight"));
    assert!(refused(&[("weight", noise("w", &[4, 4, 1, 1]))]).contains("[4, 4, 3, 3] is expected"));
    let diverged = (noise("w", &[4, 4, 3, 3]) * f64::NAN).unwrap();
    assert!(refused(&[("weight", diverged)]).contains("has diverged"));
    assert!(LowRank::default().approximates().is_none(), "fresh by default");
}
