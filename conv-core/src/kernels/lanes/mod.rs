//! Kernels over blocks of 16 images, one image a lane.
//!
//! A *plane* is one channel of a block: a [`Line`] of 16 values a pixel, row by row. Whatever is done to an image is done to
//! 16 in one vector, whatever the channels, the size, the stride and the kernel: no vector is ever partly used, no value is
//! moved across lanes, a tap that meets padding is left out instead of multiplied by zero, and a channel is a contiguous
//! piece of memory that can be read from and written to wherever it lies.

pub(crate) mod conv;
mod conv_weights;
pub(crate) mod depthwise;
pub(crate) mod geometry;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod weight;
pub(crate) mod weight_channels;
pub(crate) mod winograd;

/// Images in a block.
pub(crate) const LANES: usize = 16;

/// The values of one pixel of one channel in the images of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; LANES]);

impl Line {
    pub(crate) const ZERO: Line = Line([0.0; LANES]);

    #[cfg(test)]
    fn splat(value: f32) -> Self {
        Line([value; LANES])
    }
}

/// Lines that are turned around at a time: they stay in the first cache while each image goes over them.
const TURNED: usize = 64;

/// Rows of images, `values` apart, to lines: `lines[v][image] = rows[image][v]`, 0 for images that are not there.
pub(crate) fn to_lines(rows: &[f32], values: usize, lines: &mut [Line]) {
    for (at, lines) in (0..).step_by(TURNED).zip(lines.chunks_mut(TURNED)) {
        lines.fill(Line::ZERO);
        for (image, row) in rows.chunks(values).take(LANES).enumerate() {
            for (line, &value) in lines.iter_mut().zip(&row[at..]) {
                line.0[image] = value;
            }
        }
    }
}

/// The inverse of [`to_lines`]. What of the rows there are no lines for is left as it is.
pub(crate) fn to_rows(lines: &[Line], values: usize, rows: &mut [f32]) {
    for (at, lines) in (0..).step_by(TURNED).zip(lines.chunks(TURNED)) {
        for (image, row) in rows.chunks_mut(values).take(LANES).enumerate() {
            for (value, line) in row[at..].iter_mut().zip(lines) {
                *value = line.0[image];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::Shape;
    use super::super::reference;
    use super::super::simd::Path;
    use super::conv::{Output, Weights};
    use super::depthwise::DepthwiseGradient;
    use super::geometry::Geometry;
    use super::weight::{Planes, WeightGradient};
    use super::weight_channels::{ByChannels, Turned};
    use super::winograd;
    use super::*;
    use proptest::prelude::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        crate::normal_stream(seed, "values", len).into_iter().map(|v| v as f32).collect()
    }

    /// `[n, c, pixels]` of one block as planes.
    fn lines(rows: &[f32], values: usize) -> Vec<Line> {
        let mut lines = vec![Line::ZERO; values];
        to_lines(rows, values, &mut lines);
        lines
    }

    fn rows(lines: &[Line], images: usize) -> Vec<f32> {
        let mut rows = vec![0.0; images * lines.len()];
        to_rows(lines, lines.len(), &mut rows);
        rows
    }

    fn assert_close(what: &str, path: Path, s: &Shape, got: &[f32], want: &[f32]) {
        let scale = want.iter().fold(1f32, |scale, value| scale.max(value.abs()));
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 2e-5 * scale, "{what} {path:?} {s:?} at {i}: {got} for {want}");
        }
    }

    /// All three passes of one block (at most 16 images), with every path of this processor, against the scalar twins.
    fn check(s: &Shape) {
        let (x, w, dy) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3));
        let (taps, inputs, outputs) = (s.kernel * s.kernel, s.in_channels / s.groups, s.out_channels / s.groups);
        let (x_lines, dy_lines) = (lines(&x, s.x_len() / s.batch), lines(&dy, s.y_len() / s.batch));
        let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
        let x_planes: Vec<&[Line]> = x_lines.chunks_exact(x_pixels).collect();
        let dy_planes: Vec<&[Line]> = dy_lines.chunks_exact(y_pixels).collect();
        let (forward, backward) = (Geometry::forward(s), Geometry::backward(s));
        for path in Path::ALL.into_iter().filter(|path| path.supported()) {
            let mut weights = Weights::new(path, s.groups, outputs, inputs, taps);
            weights.pack(|group, row, channel| &w[((group * outputs + row) * inputs + channel) * taps..], |_, _| 1.0);
            let mut y = vec![Line::splat(0.5); s.out_channels * y_pixels];
            let mut to: Vec<Output<'_>> =
                y.chunks_exact_mut(y_pixels).enumerate().map(|(o, plane)| Output::plain(plane, o % 2 == 1)).collect();
            conv::convolve(path, &forward, &weights, taps == 1 && outputs >= 16, &x_planes, &mut to);
            let mut want = reference::forward(s, &x, &w);
            for (i, plane) in want.chunks_exact_mut(y_pixels).enumerate() {
                if i % s.out_channels % 2 == 1 {
                    plane.iter_mut().for_each(|value| *value += 0.5);
                }
            }
            assert_close("y", path, s, &rows(&y, s.batch), &want);

            let mut weights = Weights::new(path, s.groups, inputs, outputs, taps);
            weights.pack(|group, row, channel| &w[((group * outputs + channel) * inputs + row) * taps..], |_, _| 1.0);
            let mut dx = vec![Line::splat(f32::NAN); s.in_channels * x_pixels];
            let mut to: Vec<Output<'_>> =
                dx.chunks_exact_mut(x_pixels).map(|plane| Output::plain(plane, false)).collect();
            conv::convolve(path, &backward, &weights, taps == 1 && inputs >= 16, &dy_planes, &mut to);
            assert_close("dx", path, s, &rows(&dx, s.batch), &reference::data_gradient(s, &dy, &w));

            if (s.kernel, s.stride, s.padding, s.groups) == (3, 1, 1, 1) {
                let mut weights = winograd::Weights::new(path, outputs, inputs);
                weights.pack(|row, channel| &w[(row * inputs + channel) * 9..], |_| 2.0, false);
                let mut y = vec![Line::splat(0.5); s.out_channels * y_pixels];
                let planes = y.chunks_exact_mut(y_pixels).enumerate();
                let mut to: Vec<Output<'_>> = planes.map(|(o, plane)| Output::plain(plane, o % 2 == 1)).collect();
                winograd::convolve(path, s.input, &weights, &x_planes, &mut to);
                let mut want = reference::forward(s, &x, &w);
                for (i, plane) in want.chunks_exact_mut(y_pixels).enumerate() {
                    let before = if i % s.out_channels % 2 == 1 { 0.5 } else { 0.0 };
                    plane.iter_mut().for_each(|value| *value = 2.0 * *value + before);
                }
                assert_close("winograd y", path, s, &rows(&y, s.batch), &want);

                let mut weights = winograd::Weights::new(path, inputs, outputs);
                weights.pack(|row, channel| &w[(channel * inputs + row) * 9..], |_| 1.0, true);
                let mut dx = vec![Line::splat(f32::NAN); s.in_channels * x_pixels];
                let mut to: Vec<Output<'_>> =
                    dx.chunks_exact_mut(x_pixels).map(|plane| Output::plain(plane, false)).collect();
                winograd::convolve(path, s.input, &weights, &dy_planes, &mut to);
                assert_close("winograd dx", path, s, &rows(&dx, s.batch), &reference::data_gradient(s, &dy, &w));
            }

            let mut want = reference::weight_gradient(s, &x, &dy);
            want.iter_mut().for_each(|value| *value += 1.0);
            let mut dw = vec![1.0; s.w_len()];
            let planes = Planes { x: x_planes.clone(), dy: dy_planes.clone() };
            path.run(WeightGradient { shape: s, path, planes: &planes, dw: &mut dw });
            assert_close("dw", path, s, &dw, &want);
            if s.groups == 1 {
                // Two blocks, of which the second has no images.
                let nothing = vec![Line::ZERO; x_pixels.max(y_pixels)];
                let empty = |count: usize, pixels: usize| vec![&nothing[..pixels]; count];
                let turned = Turned::new(&[x_planes.clone(), empty(s.in_channels, x_pixels)], x_pixels);
                let dy = [dy_planes.clone(), empty(s.out_channels, y_pixels)];
                let mut dw = vec![1.0; s.w_len()];
                let mut rest = dw.as_mut_slice();
                for (first, count) in conv::row_blocks(path, outputs) {
                    let (dw, tail) = rest.split_at_mut(count * inputs * taps);
                    rest = tail;
                    path.run(ByChannels { shape: s, x: &turned, dy: &dy, outputs: first..first + count, dw });
                }
                assert_close("dw by channels", path, s, &dw, &want);
            }
            if inputs == 1 {
                let mut dw = vec![1.0; s.w_len()];
                path.run(DepthwiseGradient { geometry: &forward, x: &x_planes, dy: &dy_planes, dw: &mut dw });
                assert_close("depthwise dw", path, s, &dw, &want);
            }
        }
    }

    fn shape([n, c, o]: [usize; 3], hw: (usize, usize), k: usize, s: usize, p: usize, g: usize) -> Shape {
        Shape::new(&[n, c, hw.0, hw.1], &[o, c / g, k, k], s, p, g).unwrap()
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

    /// More channels than two lines hold, so that every path has tiles of each height with two vectors and with one.
    #[test]
    fn tiles_of_every_height() {
        for outputs in 1..=17 {
            check(&shape([3, 40, outputs], (3, 4), 3, 1, 1, 1));
            check(&shape([2, 40, outputs], (2, 5), 1, 1, 0, 1));
        }
    }

    /// What the documentation says of its accuracy: root mean square errors, in units of the results' own.
    #[test]
    fn winograd_is_about_as_exact_as_the_direct_sum() {
        let s = shape([16, 256, 32], (8, 8), 3, 1, 1, 1);
        let (x, w) = (values(s.x_len(), 1), values(s.w_len(), 2));
        let (x_lines, want) = (lines(&x, s.x_len() / s.batch), reference::forward(&s, &x, &w));
        let x_planes: Vec<&[Line]> = x_lines.chunks_exact(64).collect();
        let path = Path::best();
        let error = |of: &dyn Fn(&mut [Output<'_>])| {
            let mut y = vec![Line::ZERO; s.out_channels * 64];
            of(&mut y.chunks_exact_mut(64).map(|plane| Output::plain(plane, false)).collect::<Vec<_>>());
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let errors = square(&mut rows(&y, s.batch).iter().zip(&want).map(|(got, want)| got - want));
            (errors / square(&mut want.iter().copied())).sqrt()
        };
        let direct = error(&|to| {
            let mut weights = Weights::new(path, 1, 32, 256, 9);
            weights.pack(|_, row, channel| &w[(row * 256 + channel) * 9..], |_, _| 1.0);
            conv::convolve(path, &Geometry::forward(&s), &weights, false, &x_planes, to);
        });
        let winograd = error(&|to| {
            let mut weights = winograd::Weights::new(path, 32, 256);
            weights.pack(|row, channel| &w[(row * 256 + channel) * 9..], |_| 1.0, false);
            winograd::convolve(path, s.input, &weights, &x_planes, to);
        });
        println!("relative errors: direct {direct:.2e}, Winograd {winograd:.2e}");
        assert!(winograd < 1e-6 && winograd < 2.0 * direct, "direct {direct:.2e}, Winograd {winograd:.2e}");
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
}
