//! Gradients of inputs and weights against the scalar twin, and path against path.

use super::*;
use crate::kernels::batch16::weight::Planes;

/// By every path, stored and added to what is there.
pub(super) fn check(s: ConvShape) {
    let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
    let (x, w, dy, before) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3), values(s.x_len(), 4));
    let absolute = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<f32>>();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let (x_size, w_size, dy_size) = (absolute(&x), absolute(&w), absolute(&dy));
    let dx_want = wide(reference::input_gradient(&s, &dy, &w));
    let dx_size = wide(reference::input_gradient(&s, &dy_size, &w_size));
    let dw_want = wide(reference::weight_gradient(&s, &x, &dy));
    let dw_size = wide(reference::weight_gradient(&s, &x_size, &dy_size));
    let added: Vec<f64> = dx_want.iter().zip(&before).map(|(dx, before)| dx + f64::from(*before)).collect();
    let added_size: Vec<f64> = dx_size.iter().zip(&before).map(|(dx, before)| dx + f64::from(before.abs())).collect();
    let (x, dy, before) =
        (lines(&x, s.x_len() / s.batch), lines(&dy, s.y_len() / s.batch), lines(&before, s.x_len() / s.batch));
    let planes = || Planes { x: x.chunks_exact(x_pixels).collect(), dy: dy.chunks_exact(y_pixels).collect() };
    let input_gradient = |convolve: &Convolve<'_>| {
        [false, true].map(|add| {
            let mut dx = if add { before.clone() } else { vec![HalfLine([rounded(f32::NAN); LANES]); before.len()] };
            let mut outputs: Vec<Output<'_>> =
                dx.chunks_exact_mut(x_pixels).map(|plane| Output::plain(plane, add)).collect();
            convolve(&planes().dy, &mut outputs);
            rows(&dx, s.batch)
        })
    };
    let check_input = |what: &str, [dx, sum]: &[Vec<f32>; 2]| {
        let terms = s.out_channels / s.groups * s.taps();
        assert_near(|| format!("{what} {s:?}: input gradient"), dx, &dx_want, &dx_size, terms);
        assert_near(|| format!("{what} {s:?}: added"), sum, &added, &added_size, terms);
    };
    let check_weights = |what: &str, dw: &[f32], blocks: f64| {
        let terms = blocks as usize * LANES * y_pixels;
        for (at, ((&got, want), size)) in dw.iter().zip(&dw_want).zip(&dw_size).enumerate() {
            let tolerance = f64::from(f32::EPSILON) * (terms + 4) as f64 * (blocks * size + 1.0);
            let want = blocks * want + 1.0;
            assert!((f64::from(got) - want).abs() <= tolerance, "{what} {s:?}: weight gradient {at}: {got} for {want}");
        }
    };
    let mut same: Option<[Vec<f32>; 4]> = None;
    for path in HalfPath::available() {
        let weights = packed(Weights::backward(s), &w);
        let [dx, sum] = input_gradient(&|from, to| convolve(path, &weights, from, to));
        check_input(path.name(), &[dx.clone(), sum.clone()]);
        // Added to what is there.
        let (mut dw, mut of_all) = (vec![1f32; s.w_len()], vec![1f32; s.w_len()]);
        weight::of_block(path, &s, &planes(), &mut dw);
        check_weights(path.name(), &dw, 1.0);
        if s.groups == 1 {
            weight::of_all(path, &s, &[planes(), planes(), planes()], &mut of_all);
            check_weights(path.name(), &of_all, 3.0);
        }
        if !matches!(path, HalfPath::Avx512Bf16(_)) {
            let got = [dx, sum, dw, of_all];
            assert!(*same.get_or_insert_with(|| got.clone()) == got, "{} {s:?}: bits of gradients", path.name());
        }
    }
    if s.groups == s.in_channels {
        for isa in Isa::available() {
            let mut dw = vec![1f32; s.w_len()];
            depthwise::weight_gradient(isa, &Geometry::forward(&s), &planes(), &mut dw);
            check_weights("depthwise", &dw, 1.0);
            if s.groups == s.out_channels {
                let geometry = Geometry::backward(&s);
                check_input(
                    "depthwise",
                    &input_gradient(&|from, to| depthwise::convolve(isa, &geometry, from, &w, to)),
                );
            }
        }
    }
}

/// A norm's moments, sums and gradients are those of the same values in f32, what is stored rounded once.
#[test]
fn norms_are_those_of_f32_rounded() {
    use crate::kernels::batch16::norm::{GradientSums, InputGradient, Mask, Measure};

    let (pixels, images) = (11, 13);
    let plane = |seed| lines(&values(pixels * images, seed), pixels);
    let (x, dy, y, before) = (plane(1), plane(2), plane(3), plane(4));
    let widen = |plane: &[HalfLine]| plane.iter().map(|half| half.wide()).collect::<Vec<Line>>();
    let (x_wide, dy_wide, y_wide) = (widen(&x), widen(&dy), widen(&y));
    let same = |what: &str, got: &[HalfLine], want: &[Line]| {
        assert_eq!(got, want.iter().map(|line| HalfLine::of(*line)).collect::<Vec<_>>(), "{what}");
    };
    for isa in Isa::available() {
        let moments = isa.execute(Measure { plane: &x, images });
        assert_eq!(moments, isa.execute(Measure { plane: &x_wide, images }), "{isa:?}");
        let masks = [
            (Mask::Open, Mask::Open),
            (Mask::Output(&y), Mask::Output(&y_wide)),
            (Mask::Affine { x: &x, scale: 0.7, shift: 0.1 }, Mask::Affine { x: &x_wide, scale: 0.7, shift: 0.1 }),
        ];
        for ((mask, mask_wide), add) in masks.into_iter().flat_map(|masks| [(masks, false), (masks, true)]) {
            let (mut residual, mut residual_wide) = (before.clone(), widen(&before));
            let of = GradientSums { dy: &dy, mask, x: Some((&*x, 0.2)), residual: Some((&mut *residual, add)) };
            let got = isa.execute(of);
            let residual_to = Some((&mut *residual_wide, add));
            let of = GradientSums { dy: &dy_wide, mask: mask_wide, x: Some((&*x_wide, 0.2)), residual: residual_to };
            assert_eq!(got, isa.execute(of), "{isa:?}");
            same("residual", &residual, &residual_wide);
            let (mut dx, mut dx_wide) = (before.clone(), widen(&before));
            let (mean, scale, slope, shift) = (0.2, -0.75, 0.3, 0.05);
            isa.execute(InputGradient { dy: &dy, mask, x: &x, mean, scale, slope, shift, images, dx: &mut dx, add });
            isa.execute(InputGradient {
                dy: &dy_wide,
                mask: mask_wide,
                x: &x_wide,
                mean,
                scale,
                slope,
                shift,
                images,
                dx: &mut dx_wide,
                add,
            });
            same("input gradient", &dx, &dx_wide);
        }
    }
}
