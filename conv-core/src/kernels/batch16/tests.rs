use super::super::reference::{self, NOT_FINITE, Special};
use super::super::simd::Isa;
use super::conv::{Output, Weights};
use super::depthwise::DepthwiseGradient;
use super::geometry::Geometry;
use super::weight::{Planes, WeightGradient};
use super::weight_channels::{ByChannels, Turned};
use super::winograd;
use super::*;
use crate::kernels::shape::ConvShape;
use crate::kernels::tiles::even_blocks;
use proptest::prelude::*;

pub(super) fn values(len: usize, seed: u64) -> Vec<f32> {
    crate::normal_stream(seed, "values", len).into_iter().map(|v| v as f32).collect()
}

/// `[n, c, pixels]` of one block as planes.
pub(super) fn lines(rows: &[f32], values: usize) -> Vec<Line> {
    let mut lines = vec![Line::ZERO; values];
    to_lines(rows, values, &mut lines);
    lines
}

pub(super) fn rows(lines: &[Line], images: usize) -> Vec<f32> {
    let mut rows = vec![0.0; images * lines.len()];
    to_rows(lines, lines.len(), &mut rows);
    rows
}

/// What a test computes with: inputs, weights, the outputs' gradient, and a residual shaped as the outputs.
struct Data {
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    residual: Vec<f32>,
}

impl Data {
    fn new(s: &ConvShape) -> Self {
        let (x, w) = (values(s.x_len(), 1), values(s.w_len(), 2));
        Self { x, w, dy: values(s.y_len(), 3), residual: values(s.y_len(), 4) }
    }
}

fn check(s: &ConvShape) {
    check_data(s, &Data::new(s), Special::Same);
}

/// All three passes of one block (at most 16 images), with every instruction set of this processor, against the scalar twins.
/// `winograd` says what the transforms may make of values that are not finite.
fn check_data(s: &ConvShape, data: &Data, winograd: Special) {
    let Data { x, w, dy, residual } = data;
    let (taps, inputs, outputs) = (s.kernel * s.kernel, s.in_channels / s.groups, s.out_channels / s.groups);
    let (x_lines, dy_lines) = (lines(x, s.x_len() / s.batch), lines(dy, s.y_len() / s.batch));
    let residual_lines = lines(residual, s.y_len() / s.batch);
    let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
    let x_planes: Vec<&[Line]> = x_lines.chunks_exact(x_pixels).collect();
    let dy_planes: Vec<&[Line]> = dy_lines.chunks_exact(y_pixels).collect();
    let (forward, backward) = (Geometry::forward(s), Geometry::backward(s));
    let want_y = reference::forward(s, x, w);
    let want_dx = reference::input_gradient(s, dy, w);
    let mut want_dw = reference::weight_gradient(s, x, dy);
    want_dw.iter_mut().for_each(|value| *value += 1.0);
    // Added to what is there in every other channel; and with everything that may follow a convolution.
    let want_added: Vec<f32> = (want_y.iter().enumerate())
        .map(|(at, sum)| if at / y_pixels % s.out_channels % 2 == 1 { sum + 0.5 } else { *sum })
        .collect();
    let want_finished: Vec<f32> = want_y.iter().zip(residual).map(|(sum, residual)| sum + 0.25 + residual).collect();
    for isa in Isa::available() {
        let what = |pass: &'static str| move || format!("{pass} {isa:?} {s:?}");
        // Both ways of a forward pass: what `convolve` writes, added and finished.
        let check_forward = |pass, special: Special, convolve: &dyn Fn(&mut [Output<'_>])| {
            let mut y = vec![Line::splat(0.5); s.out_channels * y_pixels];
            let planes = y.chunks_exact_mut(y_pixels).enumerate();
            convolve(&mut planes.map(|(o, plane)| Output::plain(plane, o % 2 == 1)).collect::<Vec<_>>());
            special.assert(what(pass), &rows(&y, s.batch), &want_added);
            let mut y = vec![Line::splat(f32::NAN); s.out_channels * y_pixels];
            let planes = y.chunks_exact_mut(y_pixels).zip(residual_lines.chunks_exact(y_pixels));
            let finish =
                |(plane, residual)| Output { plane, add: false, bias: 0.25, residual: Some(residual), relu: true };
            convolve(&mut planes.map(finish).collect::<Vec<_>>());
            special.assert_relu(what(pass), &rows(&y, s.batch), &want_finished);
        };
        let check_backward = |pass, special: Special, convolve: &dyn Fn(&mut [Output<'_>])| {
            let mut dx = vec![Line::splat(f32::NAN); s.in_channels * x_pixels];
            convolve(&mut dx.chunks_exact_mut(x_pixels).map(|plane| Output::plain(plane, false)).collect::<Vec<_>>());
            special.assert(what(pass), &rows(&dx, s.batch), &want_dx);
        };

        let mut weights = Weights::new(isa, s.groups, outputs, inputs, taps);
        weights.pack(|group, row, channel| &w[((group * outputs + row) * inputs + channel) * taps..], |_, _| 1.0);
        check_forward("y", Special::Same, &|to| {
            conv::convolve(isa, &forward, &weights, taps == 1 && outputs >= 16, &x_planes, to)
        });
        let mut weights = Weights::new(isa, s.groups, inputs, outputs, taps);
        weights.pack(|group, row, channel| &w[((group * outputs + channel) * inputs + row) * taps..], |_, _| 1.0);
        check_backward("dx", Special::Same, &|to| {
            conv::convolve(isa, &backward, &weights, taps == 1 && inputs >= 16, &dy_planes, to)
        });
        if (s.kernel, s.stride, s.padding, s.groups) == (3, 1, 1, 1) {
            let mut weights = winograd::Weights::new(isa, outputs, inputs);
            // Halves and doubles: nothing is rounded.
            let halved: Vec<f32> = w.iter().map(|value| 0.5 * value).collect();
            weights.pack(|row, channel| &halved[(row * inputs + channel) * 9..], |_| 2.0, false);
            check_forward("winograd y", winograd, &|to| winograd::convolve(isa, s.input, &weights, &x_planes, to));
            let mut weights = winograd::Weights::new(isa, inputs, outputs);
            weights.pack(|row, channel| &w[(channel * inputs + row) * 9..], |_| 1.0, true);
            check_backward("winograd dx", winograd, &|to| winograd::convolve(isa, s.input, &weights, &dy_planes, to));
        }

        let mut dw = vec![1.0; s.w_len()];
        let planes = Planes { x: x_planes.clone(), dy: dy_planes.clone() };
        isa.execute(WeightGradient { shape: s, isa, planes: &planes, dw: &mut dw });
        Special::Same.assert(what("dw"), &dw, &want_dw);
        if s.groups == 1 {
            // Two blocks, of which the second has no images.
            let nothing = vec![Line::ZERO; x_pixels.max(y_pixels)];
            let empty = |count: usize, pixels: usize| vec![&nothing[..pixels]; count];
            let turned = Turned::new(&[x_planes.clone(), empty(s.in_channels, x_pixels)], x_pixels);
            let dy = [dy_planes.clone(), empty(s.out_channels, y_pixels)];
            let mut dw = vec![1.0; s.w_len()];
            let mut rest = dw.as_mut_slice();
            for (first, count) in even_blocks(isa, outputs) {
                let (dw, tail) = rest.split_at_mut(count * inputs * taps);
                rest = tail;
                isa.execute(ByChannels { shape: s, x: &turned, dy: &dy, outputs: first..first + count, dw });
            }
            Special::Same.assert(what("dw by channels"), &dw, &want_dw);
        }
        if inputs == 1 {
            let mut dw = vec![1.0; s.w_len()];
            isa.execute(DepthwiseGradient { geometry: &forward, x: &x_planes, dy: &dy_planes, dw: &mut dw });
            Special::Same.assert(what("depthwise dw"), &dw, &want_dw);
        }
    }
}

/// A value that is not finite at every place in turn: every lane and pixel of the inputs and of the outputs' gradient,
/// every weight, every pixel of the residual.
fn check_not_finite(s: &ConvShape) {
    let kind = |at: usize| NOT_FINITE[at % NOT_FINITE.len()];
    // Odd steps, so that every lane, channel and pixel meets every kind before long.
    let step = |len: usize| (len / 150) | 1;
    for (at, place) in (0..s.x_len()).step_by(step(s.x_len())).enumerate() {
        let mut data = Data::new(s);
        data.x[place] = kind(at);
        check_data(s, &data, Special::InfinityMayBeNan);
    }
    for (at, place) in (0..s.y_len()).step_by(step(s.y_len())).enumerate() {
        let mut data = Data::new(s);
        data.dy[place] = kind(at);
        data.residual[place] = kind(at + 1);
        check_data(s, &data, Special::InfinityMayBeNan);
    }
    for (at, place) in (0..s.w_len()).step_by(step(s.w_len())).enumerate() {
        let mut data = Data::new(s);
        data.w[place] = kind(at);
        check_data(s, &data, Special::Further);
    }
}

#[test]
fn nan_and_infinities_are_where_the_scalar_twins_have_them() {
    for s in [
        // Winograd's tiles whole and cut, one row and column of them at an edge.
        shape([3, 2, 7], (5, 6), 3, 1, 1, 1),
        shape([16, 3, 2], (2, 3), 3, 1, 1, 1),
        shape([2, 2, 17], (4, 3), 3, 2, 1, 1),
        // Copied together.
        shape([3, 5, 18], (3, 2), 1, 1, 0, 1),
        shape([4, 6, 6], (4, 5), 3, 1, 1, 6),
        shape([2, 4, 6], (6, 5), 2, 2, 0, 2),
        // More padding than some taps have pixels.
        shape([2, 2, 3], (2, 3), 3, 1, 3, 1),
    ] {
        check_not_finite(&s);
    }
}

pub(super) fn shape([n, c, o]: [usize; 3], hw: (usize, usize), k: usize, s: usize, p: usize, g: usize) -> ConvShape {
    ConvShape::new(&[n, c, hw.0, hw.1], &[o, c / g, k, k], s, p, g).unwrap()
}

#[test]
fn the_layers_of_real_networks() {
    for s in [
        shape([16, 3, 16], (32, 32), 3, 1, 1, 1),
        shape([16, 16, 5], (32, 32), 3, 1, 1, 1),
        shape([9, 16, 32], (32, 32), 3, 2, 1, 1),
        shape([1, 64, 64], (8, 8), 3, 1, 1, 1),
        shape([16, 24, 42], (2, 2), 3, 1, 1, 1),
        shape([5, 16, 32], (16, 16), 1, 2, 0, 1),
        shape([3, 20, 20], (15, 15), 3, 1, 1, 20),
        shape([2, 3, 8], (56, 56), 7, 2, 3, 1),
        shape([2, 70, 30], (1, 1), 1, 1, 0, 1),
    ] {
        check(&s);
    }
}

/// More channels than two lines hold, so that every instruction set has tiles of each height with two vectors and with one.
#[test]
fn tiles_of_every_height() {
    for outputs in 1..=17 {
        check(&shape([3, 40, outputs], (3, 4), 3, 1, 1, 1));
        check(&shape([2, 40, outputs], (2, 5), 1, 1, 0, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_of_winograd(
        n in 1usize..=16, inputs in 1usize..20, outputs in 1usize..20, h in 1usize..12, w in 1usize..12,
    ) {
        check(&shape([n, inputs, outputs], (h, w), 3, 1, 1, 1));
    }

    /// Whose sources are copied together, where there are rows enough.
    #[test]
    fn any_pointwise_shape(
        n in 1usize..=16, groups in 1usize..3, inputs in 1usize..80, outputs in 12usize..40,
        h in 1usize..9, w in 1usize..9, stride in 1usize..4, padding in 0usize..3,
    ) {
        check(&shape([n, groups * inputs, groups * outputs], (h, w), 1, stride, padding, groups));
    }

    #[test]
    fn any_shape(
        n in 1usize..=16, groups in 1usize..4, inputs in 1usize..8, outputs in 1usize..12,
        h in 1usize..12, w in 1usize..12, k in 1usize..6, stride in 1usize..4, padding in 0usize..4,
    ) {
        prop_assume!(h + 2 * padding >= k && w + 2 * padding >= k);
        check(&shape([n, groups * inputs, groups * outputs], (h, w), k, stride, padding, groups));
    }
}
