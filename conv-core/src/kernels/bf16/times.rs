//! Measures the kernels beside those of f32.

use std::time::Instant;

use super::conv::{Output, Weights, convolve};
use super::tests::{lines, shape, values};
use super::*;
use crate::kernels::batch16::geometry::Geometry;
use crate::kernels::batch16::{conv as wide, norm, winograd};
use crate::kernels::simd::Isa;

/// What is timed, by name.
type Work<'w> = (&'static str, Box<dyn FnMut() + 'w>);

/// `cargo test --release -p conv-core bf16::times -- --ignored --nocapture`
#[test]
#[ignore = "measures: prints medians beside the kernels of f32"]
fn times() {
    fn medians(works: &mut [Work<'_>]) -> Vec<f64> {
        let mut times = vec![Vec::new(); works.len()];
        for _ in 0..21 {
            for (times, (_, work)) in times.iter_mut().zip(works.iter_mut()) {
                let started = Instant::now();
                (0..4).for_each(|_| work());
                times.push(started.elapsed().as_secs_f64() / 4.0 * 1e6);
            }
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        times.iter().map(|times| times[times.len() / 2]).collect()
    }
    let isa = Isa::best();
    for s in [
        shape([16, 3, 16], (32, 32), 3, 1, 1, 1),
        shape([16, 16, 16], (32, 32), 3, 1, 1, 1),
        shape([16, 32, 32], (16, 16), 3, 1, 1, 1),
        shape([16, 64, 64], (8, 8), 3, 1, 1, 1),
        shape([16, 64, 64], (32, 32), 3, 1, 1, 1),
        shape([16, 128, 128], (16, 16), 3, 1, 1, 1),
        shape([16, 256, 256], (8, 8), 3, 1, 1, 1),
        shape([16, 512, 512], (4, 4), 3, 1, 1, 1),
        shape([16, 512, 512], (2, 2), 3, 1, 1, 1),
        shape([16, 16, 32], (32, 32), 1, 1, 0, 1),
        shape([16, 64, 64], (32, 32), 1, 1, 0, 1),
        shape([16, 64, 64], (32, 32), 3, 1, 1, 64),
    ] {
        let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
        let (inputs, outputs, taps) = (s.in_channels / s.groups, s.out_channels / s.groups, s.taps());
        let w = values(s.w_len(), 2);
        // As far apart as the engine lays planes.
        let (x_stride, y_stride) = (x_pixels + 5, y_pixels + 5);
        let x = lines(&values(s.in_channels * x_stride * 16, 1), s.in_channels * x_stride);
        let x_wide: Vec<Line> = x.iter().map(|line| line.wide()).collect();
        let from: Vec<&[HalfLine]> = x.chunks_exact(x_stride).map(|plane| &plane[..x_pixels]).collect();
        let from_wide: Vec<&[Line]> = x_wide.chunks_exact(x_stride).map(|plane| &plane[..x_pixels]).collect();
        let geometry = Geometry::forward(&s);
        let mut wide_weights = wide::Weights::new(isa, s.groups, outputs, inputs, taps);
        wide_weights.pack(|g, row, c| &w[((g * outputs + row) * inputs + c) * taps..], |_, _| 1.0);
        let of_winograd = (s.kernel, s.groups) == (3, 1) && s.in_channels >= 16 && s.input.0 >= 3;
        let mut winograd_weights = winograd::Weights::new(isa, outputs, inputs);
        if of_winograd {
            winograd_weights.pack(|row, c| &w[(row * inputs + c) * 9..], |_| 1.0, false);
        }
        let mut weights = Weights::forward(s);
        weights.pack(&w);
        let mut y_wide = vec![Line::ZERO; s.out_channels * y_stride];
        let mut y = vec![HalfLine::ZERO; s.out_channels * y_stride];
        let (y_wide, y) = (std::cell::RefCell::new(&mut y_wide), std::cell::RefCell::new(&mut y));
        let halves = |work: &dyn Fn(&mut [Output<'_>])| {
            let mut y = y.borrow_mut();
            let outputs = y.chunks_exact_mut(y_stride).map(|plane| &mut plane[..y_pixels]);
            work(
                &mut outputs
                    .map(|plane| Output { bias: 0.1, relu: true, ..Output::plain(plane, false) })
                    .collect::<Vec<_>>(),
            );
        };
        let wides = |work: &dyn Fn(&mut [wide::Output<'_>])| {
            let mut y = y_wide.borrow_mut();
            let outputs = y.chunks_exact_mut(y_stride).map(|plane| &mut plane[..y_pixels]);
            work(
                &mut outputs
                    .map(|plane| wide::Output { relu: true, ..wide::Output::plain(plane, false) })
                    .collect::<Vec<_>>(),
            );
        };
        let mut works: Vec<Work<'_>> = vec![(
            "f32",
            Box::new(|| {
                wides(&|to| {
                    if of_winograd {
                        winograd::convolve(isa, s.input, &winograd_weights, &from_wide, to);
                    } else {
                        wide::convolve(isa, &geometry, &wide_weights, taps == 1 && outputs >= 16, &from_wide, to);
                    }
                });
            }),
        )];
        works.push((
            "f32 direct",
            Box::new(|| {
                wides(&|to| wide::convolve(isa, &geometry, &wide_weights, taps == 1 && outputs >= 16, &from_wide, to))
            }),
        ));
        if s.groups == 1 {
            for path in HalfPath::available().take(3) {
                let (weights, from, halves) = (&weights, &from, &halves);
                works.push((path.name(), Box::new(move || halves(&|to| convolve(path, weights, from, to)))));
            }
        } else {
            works.push(("depthwise", Box::new(|| halves(&|to| depthwise::convolve(isa, &geometry, &from, &w, to)))));
        }
        let times = medians(&mut works);
        let all: Vec<String> = (works.iter().zip(&times))
            .map(|((name, _), time)| format!("{name} {time:.0} us ({:.0} GMAC/s)", s.macs() as f64 / time / 1e3))
            .collect();
        println!(
            "{}x{} {}->{} of {:?}: {}",
            s.kernel,
            s.kernel,
            s.in_channels,
            s.out_channels,
            s.input,
            all.join(", ")
        );
    }
    let pixels = 64 * 1024;
    let x = lines(&values(pixels * 16, 1), pixels);
    let x_wide: Vec<Line> = x.iter().map(|line| line.wide()).collect();
    let (mut y, mut y_wide, mut copy) = (x.clone(), x_wide.clone(), x.clone());
    let mut works: Vec<Work<'_>> = vec![
        (
            "f32",
            Box::new(|| {
                isa.execute(norm::Apply {
                    x: &x_wide,
                    scale: 2.0,
                    shift: 0.5,
                    residual: None,
                    relu: true,
                    y: &mut y_wide,
                });
            }),
        ),
        (
            "bf16",
            Box::new(|| {
                isa.execute(norm::Apply { x: &x, scale: 2.0, shift: 0.5, residual: None, relu: true, y: &mut y });
            }),
        ),
        ("copy", Box::new(|| std::hint::black_box(&mut copy).copy_from_slice(std::hint::black_box(&x)))),
    ];
    let times = medians(&mut works);
    println!("finish of 64 x 1024 lines: f32 {:.0}, bf16 {:.0}, copy of bf16 {:.0} us", times[0], times[1], times[2]);
}
