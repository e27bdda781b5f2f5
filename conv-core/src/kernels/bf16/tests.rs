mod goldens;
mod gradients;

use proptest::prelude::*;

use super::conv::{Output, Weights, convolve};
use super::*;
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::batch16::norm::Apply;
use crate::kernels::batch16::pool::{Pool, Pooling};
use crate::kernels::reference::{self, NOT_FINITE};
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::Isa;
use crate::kernels::windows::Windows;

/// A convolution of planes into outputs.
type Convolve<'c> = dyn Fn(&[&[HalfLine]], &mut [Output<'_>]) + 'c;

#[test]
fn every_bf16_is_itself_and_what_lies_between_goes_to_the_nearest() {
    for half in 0..=u16::MAX {
        let value = widened(half);
        if value.is_nan() {
            assert!(widened(rounded(value)).is_nan(), "{half:x}");
            continue;
        }
        assert_eq!(rounded(value), half);
        if value.is_infinite() {
            continue;
        }
        // To the next one away from zero, infinity behind the last one included.
        let low = u32::from(half) << 16;
        let even = if half % 2 == 0 { half } else { half + 1 };
        for (bits, want) in [(0x7fff, half), (0x8000, even), (0x8001, half + 1), (0xffff, half + 1), (1, half)] {
            assert_eq!(rounded(f32::from_bits(low | bits)), want, "{half:x} and {bits:x}");
        }
    }
    // A NaN all of whose set bits are in the lower half.
    assert!(widened(rounded(f32::from_bits(0x7f80_0001))).is_nan());
}

pub(super) fn shape([n, c, o]: [usize; 3], hw: (usize, usize), k: usize, s: usize, p: usize, g: usize) -> ConvShape {
    ConvShape::new(&[n, c, hw.0, hw.1], &[o, c / g, k, k], s, p, g).unwrap()
}

/// Noise that is bf16.
pub(super) fn values(len: usize, seed: u64) -> Vec<f32> {
    crate::normal_stream(seed, "bf16", len).into_iter().map(|value| widened(rounded(value as f32))).collect()
}

/// `[n, values]` of one block as lines.
pub(super) fn lines(rows: &[f32], values: usize) -> Vec<HalfLine> {
    let mut lines = vec![HalfLine::ZERO; values];
    for (image, row) in rows.chunks_exact(values).enumerate() {
        lines.iter_mut().zip(row).for_each(|(line, &value)| line.0[image] = rounded(value));
    }
    lines
}

fn rows(lines: &[HalfLine], images: usize) -> Vec<f32> {
    (0..images).flat_map(|image| lines.iter().map(move |line| widened(line.0[image]))).collect()
}

/// Whether a sum of so many products, whose absolute values come to `absolute`, and its bf16 agree.
fn assert_near(what: impl Fn() -> String, got: &[f32], want: &[f64], absolute: &[f64], terms: usize) {
    assert_eq!(got.len(), want.len(), "{}", what());
    for (at, ((&got, &want), &absolute)) in got.iter().zip(want).zip(absolute).enumerate() {
        if want.is_nan() {
            assert!(got.is_nan(), "{} at {at}: {got} for {want}", what());
            continue;
        }
        // Half a place of bf16, and half a place of f32 for each sum on the way.
        let sums = f64::from(f32::EPSILON) / 2.0 * (terms + 4) as f64 * absolute;
        let tolerance = (want.abs() + sums) * 2f64.powi(-8) + sums;
        assert!((f64::from(got) - want).abs() <= tolerance, "{} at {at}: {got} for {want}", what());
    }
}

/// A convolution with all that may follow it.
struct Case {
    s: ConvShape,
    x: Vec<f32>,
    w: Vec<f32>,
    residual: Vec<f32>,
}

const SCALE: f32 = -0.75;
const BIAS: f32 = 0.3;

impl Case {
    fn new(s: ConvShape) -> Self {
        Self { s, x: values(s.x_len(), 1), w: values(s.w_len(), 2), residual: values(s.y_len(), 3) }
    }

    /// What `convolve` writes: the sums alone, then with all that follows.
    fn run(&self, convolve: &Convolve<'_>) -> [Vec<f32>; 2] {
        let s = &self.s;
        let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
        let x = lines(&self.x, s.x_len() / s.batch);
        let residual = lines(&self.residual, s.y_len() / s.batch);
        let from: Vec<&[HalfLine]> = x.chunks_exact(x_pixels).collect();
        [false, true].map(|all| {
            let mut y = vec![HalfLine([rounded(f32::NAN); LANES]); s.out_channels * y_pixels];
            let planes = y.chunks_exact_mut(y_pixels).zip(residual.chunks_exact(y_pixels));
            let output = |(plane, residual)| match all {
                false => Output::plain(plane, false),
                true => Output {
                    scale: SCALE,
                    bias: BIAS,
                    residual: Some(residual),
                    relu: true,
                    ..Output::plain(plane, false)
                },
            };
            convolve(&from, &mut planes.map(output).collect::<Vec<_>>());
            rows(&y, s.batch)
        })
    }

    /// The scalar twin in f64.
    fn check(&self, what: impl Fn() -> String, [sums, finished]: &[Vec<f32>; 2]) {
        let s = &self.s;
        let terms = s.w_len() / s.out_channels;
        let absolute = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<f32>>();
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        let want = wide(reference::forward(s, &self.x, &self.w));
        let size = wide(reference::forward(s, &absolute(&self.x), &absolute(&self.w)));
        assert_near(&what, sums, &want, &size, terms);
        let then = |(sum, &residual): (&f64, &f32)| {
            let value = f64::from(SCALE) * sum + f64::from(BIAS) + f64::from(residual);
            if value < 0.0 { 0.0 } else { value }
        };
        let want: Vec<f64> = want.iter().zip(&self.residual).map(then).collect();
        let size: Vec<f64> = size.iter().zip(&self.residual).map(|(s, r)| s + 0.3 + f64::from(r.abs())).collect();
        assert_near(&what, finished, &want, &size, terms);
    }
}

fn packed(mut weights: Weights, w: &[f32]) -> Weights {
    weights.pack(w);
    weights
}

/// Every path against the twin, and those of one order bit for bit against each other.
fn check(s: ConvShape) {
    let case = Case::new(s);
    let mut same: Option<Vec<f32>> = None;
    for path in HalfPath::available() {
        let weights = packed(Weights::forward(s), &case.w);
        let got = case.run(&|from, to| convolve(path, &weights, from, to));
        case.check(|| format!("{} {s:?}", path.name()), &got);
        if !matches!(path, HalfPath::Avx512Bf16(_)) {
            let [sums, _] = got;
            assert_eq!(*same.get_or_insert_with(|| sums.clone()), sums, "{} {s:?}: bits", path.name());
        }
    }
    gradients::check(s);
    if s.groups == s.in_channels {
        let geometry = Geometry::forward(&s);
        for isa in Isa::available() {
            let got = case.run(&|from, to| {
                depthwise::convolve(isa, &geometry, from, &case.w, to);
            });
            case.check(|| format!("depthwise {isa:?} {s:?}"), &got);
        }
    }
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
        // Several bands, of which the last is shorter.
        shape([2, 64, 33], (37, 35), 3, 1, 1, 1),
        shape([2, 130, 17], (21, 40), 5, 2, 2, 1),
    ] {
        check(s);
    }
}

/// What is not a number is so in every output that reads it, and in no other.
#[test]
fn what_is_not_finite_stays_where_it_is_read() {
    for s in [
        shape([3, 5, 18], (4, 3), 3, 1, 1, 1),
        shape([2, 17, 35], (5, 4), 1, 1, 0, 1),
        shape([2, 4, 6], (6, 5), 2, 2, 0, 2),
        shape([2, 6, 6], (5, 5), 3, 1, 1, 6),
    ] {
        for place in (0..s.x_len()).step_by(7) {
            let mut case = Case::new(s);
            case.x[place] = NOT_FINITE[place % NOT_FINITE.len()];
            let want = reference::forward(&s, &case.x, &case.w);
            for path in HalfPath::available() {
                let weights = packed(Weights::forward(s), &case.w);
                let [got, _] = case.run(&|from, to| convolve(path, &weights, from, to));
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    let same = if want.is_nan() { got.is_nan() } else { got.is_finite() == want.is_finite() };
                    assert!(same, "{} {s:?} {place}: {got} for {want} at {at}", path.name());
                }
            }
        }
    }
}

/// The one way in which paths of one order differ: by no more than 2^-126 a product.
#[test]
fn denormal_numbers_are_kept_or_read_as_zero() {
    let s = shape([16, 40, 16], (3, 3), 3, 1, 1, 1);
    let mut case = Case::new(s);
    case.x.iter_mut().for_each(|x| *x *= 2f32.powi(-126));
    for path in HalfPath::available() {
        let weights = packed(Weights::forward(s), &case.w);
        let [got, _] = case.run(&|from, to| convolve(path, &weights, from, to));
        let want = reference::forward(&s, &case.x, &case.w);
        let bound = 360.0 * 2f32.powi(-126) * 4.0;
        assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= bound), "{}", path.name());
    }
}

#[test]
fn finishes_are_made_in_f32_and_rounded_once() {
    let (pixels, images) = (37, 16);
    let (x, residual) = (values(pixels * images, 4), values(pixels * images, 5));
    let (x_lines, residual_lines) = (lines(&x, pixels), lines(&residual, pixels));
    for isa in Isa::available() {
        for (added, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut y = vec![HalfLine::ZERO; pixels];
            let residual_lines = added.then_some(&residual_lines[..]);
            isa.execute(Apply { x: &x_lines, scale: SCALE, shift: BIAS, residual: residual_lines, relu, y: &mut y });
            let of = |(x, r): (&f32, &f32)| {
                let value = f64::from(SCALE * x) + f64::from(BIAS) + if added { f64::from(*r) } else { 0.0 };
                if relu && value < 0.0 { 0.0 } else { value }
            };
            let want: Vec<f64> = x.iter().zip(&residual).map(of).collect();
            let size: Vec<f64> = x.iter().zip(&residual).map(|(x, r)| f64::from(x.abs() + r.abs() + 1.0)).collect();
            assert_near(|| format!("{isa:?} {added} {relu}"), &rows(&y, images), &want, &size, 1);
        }
    }
    // NaN stays NaN behind a ReLU.
    let mut y = [HalfLine::ZERO];
    let x = [HalfLine([rounded(f32::NAN); LANES])];
    Isa::best().execute(Apply { x: &x, scale: 1.0, shift: 0.0, residual: None, relu: true, y: &mut y });
    assert!(y[0].0.iter().all(|&half| widened(half).is_nan()));
}

/// Against the poolings of f32: a maximum is the same value, a mean the same mean, rounded.
#[test]
fn pools_are_those_of_f32_rounded() {
    for (size, kernel, stride, padding, ceil) in
        [((8, 6), 2, 2, 0, false), ((9, 7), 3, 2, 1, false), ((7, 7), 2, 2, 0, true), ((5, 5), 5, 5, 0, false)]
    {
        let windows = Windows::new(size, kernel, stride, padding, ceil).unwrap();
        let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
        let mut x = lines(&values(pixels * 16, 6), pixels);
        x[3].0[5] = rounded(f32::NAN);
        let x_wide: Vec<Line> = x.iter().map(|line| line.wide()).collect();
        let (mut y, mut y_wide) = (vec![HalfLine::ZERO; results], vec![Line::ZERO; results]);
        for pooling in [Pooling::Max, Pooling::Mean] {
            Isa::best().execute(Pool { pooling, windows: &windows, x: &x, y: &mut y });
            Isa::best().execute(Pool { pooling, windows: &windows, x: &x_wide, y: &mut y_wide });
            assert_eq!(y, y_wide.iter().map(|line| HalfLine::of(*line)).collect::<Vec<_>>());
        }
    }
}

/// Of every tap's columns, of every tap's rows, and of both.
#[test]
fn outputs_of_padding_alone() {
    for (hw, kernel) in [((2, 1), 1), ((1, 2), 1), ((1, 1), 1), ((1, 3), 2)] {
        check(shape([3, 3, 5], hw, kernel, 3, 3, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_shape(
        n in 1usize..=16, groups in 1usize..4, inputs in 1usize..40, outputs in 1usize..36,
        h in 1usize..10, w in 1usize..10, k in 1usize..6, stride in 1usize..4, padding in 0usize..4,
    ) {
        prop_assume!(h + 2 * padding >= k && w + 2 * padding >= k);
        check(shape([n, groups * inputs, groups * outputs], (h, w), k, stride, padding, groups));
    }

    #[test]
    fn any_depthwise_shape(
        n in 1usize..=16, channels in 1usize..6, multiplier in 1usize..3,
        h in 1usize..12, w in 1usize..12, k in 1usize..6, stride in 1usize..4, padding in 0usize..4,
    ) {
        prop_assume!(h + 2 * padding >= k && w + 2 * padding >= k);
        check(shape([n, channels, channels * multiplier], (h, w), k, stride, padding, channels));
    }
}
