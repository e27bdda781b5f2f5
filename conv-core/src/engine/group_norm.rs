//! What a group norm multiplies with and adds, and its parameters' gradients from those.

use super::layers::GroupNorm;

/// By channel: what is multiplied with the normalised value, and what is added. `parameters`: see [`super::parameters`].
pub(super) fn affine(norm: &GroupNorm, parameters: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
    let (weight, bias) = (&parameters[norm.weight], &parameters[norm.bias]);
    if !norm.shares {
        return (weight.clone(), bias.clone());
    }
    let total = total(weight);
    let shared = |values: &[f32]| -> Vec<f32> {
        let pairs = values.iter().zip(weight);
        pairs.map(|(&value, &weight)| (f64::from(value) * f64::from(weight) / total) as f32).collect()
    };
    (shared(weight), shared(bias))
}

/// The gradients of weight and bias, each with the parameter's index, from those of what [`affine`] gives.
pub(super) fn gradients(norm: &GroupNorm, parameters: &[Vec<f32>], sums: &[(f64, f64)]) -> [(usize, Vec<f32>); 2] {
    let (weight, bias) = (&parameters[norm.weight], &parameters[norm.bias]);
    let channels = || weight.iter().zip(bias).zip(sums).map(|((&w, &b), &sums)| (f64::from(w), f64::from(b), sums));
    let (of_weight, of_bias) = if norm.shares {
        // Of `w w / total` and `b w / total`, where the total is a sum of weights too.
        let total = total(weight);
        let through_total = channels().map(|(w, b, (scale, shift))| w * (scale * w + shift * b)).sum::<f64>() / total;
        let of_channel = |(w, b, (scale, shift))| {
            let of_weight = (scale * 2.0 * w + shift * b - through_total) / total;
            (of_weight as f32, (shift * w / total) as f32)
        };
        channels().map(of_channel).unzip()
    } else {
        sums.iter().map(|&(scale, shift)| (scale as f32, shift as f32)).unzip()
    };
    [(norm.weight, of_weight), (norm.bias, of_bias)]
}

fn total(weight: &[f32]) -> f64 {
    weight.iter().map(|&weight| f64::from(weight)).sum()
}
