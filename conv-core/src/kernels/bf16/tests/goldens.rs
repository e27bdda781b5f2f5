//! Convolutions and both their gradients against PyTorch's in bf16.

use std::path::Path;

use candle_core::safetensors::load;
use candle_core::{DType, Device, Tensor};

use super::*;
use crate::kernels::batch16::weight::Planes;

#[test]
fn convolutions_and_their_gradients_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/bf16.safetensors");
    if !path.exists() {
        eprintln!("skipped: {} is in the repository, not in the package", path.display());
        return;
    }
    let goldens = load(path, &Device::Cpu).unwrap();
    let flat = |x: &Tensor| x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let cases = || goldens.iter().filter_map(|(name, sizes)| Some((name.strip_suffix("/sizes")?, sizes)));
    assert_eq!(cases().count(), 9);
    for (name, sizes) in cases() {
        let of = |key: &str| &goldens[&format!("{name}/{key}")];
        let &[stride, padding, groups] = &sizes.to_vec1::<i64>().unwrap()[..] else { panic!("{name}: {sizes}") };
        let s =
            ConvShape::new(of("x").dims(), of("w").dims(), stride as usize, padding as usize, groups as usize).unwrap();
        let [x, w, y, dy, dx, dw] = ["x", "w", "y", "dy", "dx", "dw"].map(|key| flat(of(key)));
        let [x_size, w_size, dy_size] = [&x, &w, &dy].map(|all| all.iter().map(|v| v.abs()).collect::<Vec<f32>>());
        let (x, dy) = (lines(&x, s.x_len() / s.batch), lines(&dy, s.y_len() / s.batch));
        let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
        let planes = Planes { x: x.chunks_exact(x_pixels).collect(), dy: dy.chunks_exact(y_pixels).collect() };
        // Both round a sum of f32 to bf16 once, and may have added in different orders: a place of bf16, where the sums lie on
        // either side of the middle, and half a place of f32 for each product of both.
        let near = |what: &str, got: &[f32], want: &[f32], sizes: &[f32], terms: usize| {
            assert_eq!(got.len(), want.len(), "{name}: {what}");
            for (at, ((got, want), size)) in got.iter().zip(want).zip(sizes).enumerate() {
                let tolerance = want.abs() / 128.0 + (terms + 4) as f32 * f32::EPSILON * size;
                assert!((got - want).abs() <= tolerance, "{name}: {what} at {at}: {got} for {want}");
            }
        };
        for path in HalfPath::available() {
            let convolved = |weights: Weights, from: &[&[HalfLine]], pixels: usize, channels: usize| {
                let mut to = vec![HalfLine::ZERO; channels * pixels];
                let mut outputs: Vec<Output<'_>> =
                    to.chunks_exact_mut(pixels).map(|plane| Output::plain(plane, false)).collect();
                convolve(path, &packed(weights, &w), from, &mut outputs);
                rows(&to, s.batch)
            };
            let got = convolved(Weights::forward(s), &planes.x, y_pixels, s.out_channels);
            near("y", &got, &y, &reference::forward(&s, &x_size, &w_size), s.w_len() / s.out_channels);
            let got = convolved(Weights::backward(s), &planes.dy, x_pixels, s.in_channels);
            let terms = s.out_channels / s.groups * s.taps();
            near("dx", &got, &dx, &reference::input_gradient(&s, &dy_size, &w_size), terms);
            let mut got = vec![0f32; s.w_len()];
            weight::of_block(path, &s, &planes, &mut got);
            near("dw", &got, &dw, &reference::weight_gradient(&s, &x_size, &dy_size), s.batch * y_pixels);
        }
    }
}
