//! The scalar twins: what the kernels must compute, as plainly as it can be written, in f64.

use super::conv::Shape;

/// Calls `visit(x index, weight index, y index)` for every multiplication of the convolution.
fn each(s: &Shape, mut visit: impl FnMut(usize, usize, usize)) {
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

fn rounded(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

pub(crate) fn forward(s: &Shape, x: &[f32], w: &[f32]) -> Vec<f32> {
    let mut y = vec![0f64; s.y_len()];
    each(s, |xi, wi, yi| y[yi] += f64::from(x[xi]) * f64::from(w[wi]));
    rounded(y)
}

pub(crate) fn data_gradient(s: &Shape, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let mut dx = vec![0f64; s.x_len()];
    each(s, |xi, wi, yi| dx[xi] += f64::from(dy[yi]) * f64::from(w[wi]));
    rounded(dx)
}

pub(crate) fn weight_gradient(s: &Shape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dw = vec![0f64; s.w_len()];
    each(s, |xi, wi, yi| dw[wi] += f64::from(x[xi]) * f64::from(dy[yi]));
    rounded(dw)
}
