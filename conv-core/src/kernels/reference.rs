//! The scalar twins: what the kernels must compute, as plainly as it can be written, in f64.

use super::map::Map;
use super::shape::ConvShape;

/// Calls `visit(x index, weight index, y index)` for every multiplication of the convolution.
fn each(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let ((ih, iw), (oh, ow), k) = (s.input, s.output, s.kernel);
    let (per_in, per_out) = (s.in_channels / s.groups, s.out_channels / s.groups);
    for n in 0..s.batch {
        for o in 0..s.out_channels {
            for c in 0..per_in {
                let channel = o / per_out * per_in + c;
                for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                    for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                        let (iy, ix) = (y * s.stride + ky, x * s.stride + kx);
                        if iy < s.padding || ix < s.padding || iy - s.padding >= ih || ix - s.padding >= iw {
                            continue;
                        }
                        visit(
                            ((n * s.in_channels + channel) * ih + iy - s.padding) * iw + ix - s.padding,
                            ((o * per_in + c) * k + ky) * k + kx,
                            ((n * s.out_channels + o) * oh + y) * ow + x,
                        );
                    }
                }
            }
        }
    }
}

/// How a kernel may differ from its twin where values are not finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Special {
    /// NaN and infinities are just where the twin has them.
    Same,
    /// An infinity may have become NaN, as it met another one on the way. What is finite is so in both.
    InfinityMayBeNan,
    /// As above, and what is finite in the twin may not be here: a weight that is not finite reaches further.
    Further,
}

impl Special {
    fn accepts(self, got: f32, want: f32, tolerance: f32) -> bool {
        if want.is_nan() {
            return got.is_nan();
        }
        let same = if want.is_infinite() { got == want } else { (got - want).abs() <= tolerance };
        let spoilt = match self {
            Special::Same => false,
            Special::InfinityMayBeNan => want.is_infinite() && got.is_nan(),
            Special::Further => want.is_infinite() && got.is_nan() || want.is_finite() && !got.is_finite(),
        };
        same || spoilt
    }

    /// Asserts that `got` is `want` to within rounding.
    pub(crate) fn assert(self, what: impl Fn() -> String, got: &[f32], want: &[f32]) {
        self.assert_after(|value| value, what, got, want);
    }

    /// Asserts that `got` is the ReLU of `want`.
    pub(crate) fn assert_relu(self, what: impl Fn() -> String, got: &[f32], want: &[f32]) {
        self.assert_after(relu, what, got, want);
    }

    fn assert_after(self, then: fn(f32) -> f32, what: impl Fn() -> String, got: &[f32], want: &[f32]) {
        let finite = want.iter().filter(|value| value.is_finite());
        let tolerance = 2e-5 * finite.fold(1f32, |scale, value| scale.max(value.abs()));
        assert_eq!(got.len(), want.len(), "{}", what());
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            // An infinity that became NaN before the ReLU is NaN behind it.
            let spoilt = self >= Special::InfinityMayBeNan && want.is_infinite() && got.is_nan();
            let accepted = spoilt || self.accepts(got, then(want), tolerance);
            assert!(accepted, "{} at {i}: {got} for {}", what(), then(want));
        }
    }
}

/// Values that a diverging network meets.
pub(crate) const NOT_FINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// `max(value, 0)`, but NaN stays NaN.
pub(crate) fn relu(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

/// The shape and the inputs with their padding written out: taps that meet it count as products with zero.
pub(crate) fn padded(s: &ConvShape, x: &[f32]) -> (ConvShape, Vec<f32>) {
    let (height, width) = (s.input.0 + 2 * s.padding, s.input.1 + 2 * s.padding);
    let mut all = vec![0f32; s.batch * s.in_channels * height * width];
    for (plane, x) in all.chunks_exact_mut(height * width).zip(x.chunks_exact(s.input.0 * s.input.1)) {
        for (row, x) in x.chunks_exact(s.input.1).enumerate() {
            plane[(row + s.padding) * width + s.padding..][..s.input.1].copy_from_slice(x);
        }
    }
    (ConvShape { input: (height, width), padding: 0, ..*s }, all)
}

fn rounded(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

pub(crate) fn forward(s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f32> {
    let mut y = vec![0f64; s.y_len()];
    each(s, |xi, wi, yi| y[yi] += f64::from(x[xi]) * f64::from(w[wi]));
    rounded(y)
}

pub(crate) fn input_gradient(s: &ConvShape, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let mut dx = vec![0f64; s.x_len()];
    each(s, |xi, wi, yi| dx[xi] += f64::from(dy[yi]) * f64::from(w[wi]));
    rounded(dx)
}

pub(crate) fn weight_gradient(s: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dw = vec![0f64; s.w_len()];
    each(s, |xi, wi, yi| dw[wi] += f64::from(x[xi]) * f64::from(dy[yi]));
    rounded(dw)
}

/// A map of `x`, and the gradient of `x` where that of the output is `dy`.
pub(crate) fn map(map: Map, x: f32, dy: f32) -> [f32; 2] {
    match map {
        Map::Sigmoid => {
            let y = 1.0 / (1.0 + (-f64::from(x)).exp());
            [y as f32, (f64::from(dy) * y * (1.0 - y)) as f32]
        }
        Map::Relu6 if x <= 0.0 => [0.0; 2],
        Map::Relu6 if x >= 6.0 => [6.0, 0.0],
        Map::Relu6 => [x, dy],
    }
}

/// A crossed gate of two values that lie half of the channels apart: the outputs, then the gradients of the values and of
/// their gates where those of the outputs are `dy`.
pub(crate) fn crossed_gate(x: [f32; 2], gate: [f32; 2], dy: [f32; 2], threshold: f32) -> [[f32; 2]; 3] {
    let [x, dy] = [x, dy].map(|pair| pair.map(f64::from));
    let share = gate.map(|gate| map(Map::Sigmoid, gate, 0.0)[0]);
    let own = share.map(|s| f64::from(if s > threshold { 1.0 } else { s }));
    let other = share.map(|s| f64::from(if s > threshold { 0.0 } else { s }));
    let of_gate = |i: usize| {
        let s = f64::from(share[i]);
        if share[i] > threshold { 0.0 } else { (x[i] * dy[i] + x[i] * dy[1 - i]) * s * (1.0 - s) }
    };
    let y = [0, 1].map(|i| x[i] * own[i] + x[1 - i] * other[1 - i]);
    let dx = [0, 1].map(|i| dy[i] * own[i] + dy[1 - i] * other[i]);
    [y, dx, [0, 1].map(of_gate)].map(|pair| pair.map(|value| value as f32))
}

/// Softmax of these values.
pub(crate) fn softmax(x: &[f32]) -> Vec<f32> {
    // From the largest, as PyTorch does: so NaN comes of an infinity.
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = x.iter().map(|&x| f64::from(x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    rounded(powers.into_iter().map(|power| power / sum).collect())
}

/// The gradient of what [`softmax`] made `y` of.
pub(crate) fn softmax_gradient(y: &[f32], dy: &[f32]) -> Vec<f32> {
    let pairs = y.iter().zip(dy).map(|(&y, &dy)| (f64::from(y), f64::from(dy)));
    let mean: f64 = pairs.clone().map(|(y, dy)| y * dy).sum();
    rounded(pairs.map(|(y, dy)| y * (dy - mean)).collect())
}

/// One group of one image, channel after channel, normalised; and its distances from the mean in standard deviations.
pub(crate) fn group_norm(x: &[f32], scale: &[f32], shift: &[f32], eps: f64) -> (Vec<f32>, Vec<f64>, f64) {
    let count = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    let inv_std = 1.0 / (variance + eps).sqrt();
    let normal: Vec<f64> = x.iter().map(|&x| (f64::from(x) - mean) * inv_std).collect();
    let pixels = x.len() / scale.len();
    let affine = |(at, x): (usize, &f64)| x * f64::from(scale[at / pixels]) + f64::from(shift[at / pixels]);
    (rounded(normal.iter().enumerate().map(affine).collect()), normal, inv_std)
}

/// The gradients of `x`, scale and shift of [`group_norm`].
pub(crate) fn group_norm_gradient(x: &[f32], dy: &[f32], scale: &[f32], eps: f64) -> [Vec<f32>; 3] {
    let (_, normal, inv_std) = group_norm(x, scale, scale, eps);
    let (count, pixels) = (x.len() as f64, x.len() / scale.len());
    let g: Vec<f64> = dy.iter().enumerate().map(|(at, &dy)| f64::from(dy) * f64::from(scale[at / pixels])).collect();
    let sum: f64 = g.iter().sum::<f64>() / count;
    let product: f64 = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / count;
    let dx = g.iter().zip(&normal).map(|(g, x)| inv_std * (g - sum - x * product));
    let by_channel = dy.chunks_exact(pixels).zip(normal.chunks_exact(pixels));
    let (dscale, dshift): (Vec<f64>, Vec<f64>) = by_channel
        .map(|(dy, x)| {
            let pairs = dy.iter().map(|&dy| f64::from(dy)).zip(x);
            (pairs.clone().map(|(dy, x)| dy * x).sum::<f64>(), pairs.map(|(dy, _)| dy).sum::<f64>())
        })
        .unzip();
    [rounded(dx.collect()), rounded(dscale), rounded(dshift)]
}
