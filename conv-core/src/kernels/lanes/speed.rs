//! Not a test: prints rates per core by CPU time. `cargo test -p conv-core --lib speed -- --ignored --nocapture`
use super::super::conv::Shape;
use super::super::simd::Path;
use super::conv::{Convolve, Output, Weights};
use super::depthwise::DepthwiseGradient;
use super::geometry::Geometry;
use super::norm::*;
use super::weight::{Planes, WeightGradient};
use super::*;

unsafe extern "C" {
    fn clock_gettime(id: i32, time: *mut [i64; 2]) -> i32;
}

fn cpu() -> f64 {
    let mut time = [0i64; 2];
    // SAFETY: a timespec is two 64-bit integers here; 3 is the thread's CPU clock.
    unsafe { clock_gettime(3, &mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

fn time(mut work: impl FnMut()) -> f64 {
    work();
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = cpu();
        for _ in 0..3 {
            work();
        }
        best = best.min((cpu() - start) / 3.0);
    }
    best
}

fn pad(p: usize) -> usize {
    if p % 32 == 0 { 5 } else { 0 }
}

struct Peak;

impl crate::kernels::simd::Task for Peak {
    type Output = f32;

    #[inline(always)]
    fn run<S: crate::kernels::simd::Simd>(self) -> f32 {
        // SAFETY: arithmetic only.
        unsafe {
            let mut sums = [S::line_splat(0.0); 10];
            let (a, b) = (std::hint::black_box(1e-9f32), std::hint::black_box(0.5f32));
            let (a, b) = (S::line_splat(a), S::line_splat(b));
            for _ in 0..100_000 {
                for sum in &mut sums {
                    *sum = S::line_mul_add(*sum, a, b);
                }
            }
            let mut total = S::line_splat(0.0);
            for sum in sums {
                total = S::line_add(total, sum);
            }
            S::line_sum(total)
        }
    }
}

fn peak() -> f64 {
    let t = time(|| {
        std::hint::black_box(Path::best().run(Peak));
    });
    2.0 * 16.0 * 10.0 * 1e5 / t / 1e9
}

#[test]
#[ignore]
fn speed() {
    let path = Path::best();
    println!("peak {:.1}", peak());
    for (c, o, hw, stride, groups) in [
        (3, 16, 32, 1, 1),
        (16, 16, 32, 1, 1),
        (16, 3, 32, 1, 1),
        (6, 6, 32, 1, 1),
        (16, 32, 32, 2, 1),
        (32, 32, 16, 1, 1),
        (64, 64, 8, 1, 1),
        (64, 64, 32, 1, 1),
        (128, 128, 16, 1, 1),
        (512, 512, 4, 1, 1),
        (512, 512, 2, 1, 1),
        (16, 16, 32, 1, 16),
        (64, 64, 8, 1, 64),
    ] {
        let s = Shape::new(&[16, c, hw, hw], &[o, c / groups, 3, 3], stride, 1, groups).unwrap();
        let w = vec![0.01f32; s.w_len()];
        let (inputs, outputs, taps) = (c / groups, o / groups, 9);
        let (xp, yp) = (hw * hw, s.output.0 * s.output.1);
        let (xs, ys) = (xp + pad(xp), yp + pad(yp));
        let x = vec![Line::splat(0.5); c * xs];
        let mut y = vec![Line::splat(0.5); o * ys];
        let dy = y.clone();
        let mut dx = x.clone();
        let x_planes: Vec<&[Line]> = x.chunks_exact(xs).map(|p| &p[..xp]).collect();
        let dy_planes: Vec<&[Line]> = dy.chunks_exact(ys).map(|p| &p[..yp]).collect();
        let (forward, backward) = (Geometry::forward(&s), Geometry::backward(&s));
        let mut weights = Weights::new(path, groups, outputs, inputs, taps);
        weights.pack(|g, r, ch| &w[((g * outputs + r) * inputs + ch) * taps..], |_, _| 1.0);
        let mut back = Weights::new(path, groups, inputs, outputs, taps);
        back.pack(|g, r, ch| &w[((g * outputs + ch) * inputs + r) * taps..], |_, _| 1.0);
        let flop = 2.0 * 16.0 * (s.y_len() / 16 * s.w_len() / o) as f64;
        let f = time(|| {
            let mut to: Vec<Output<'_>> = y.chunks_exact_mut(ys).map(|p| Output::plain(&mut p[..yp], false)).collect();
            path.run(Convolve { geometry: &forward, weights: &weights, from: &x_planes, to: &mut to });
        });
        let d = time(|| {
            let mut to: Vec<Output<'_>> = dx.chunks_exact_mut(xs).map(|p| Output::plain(&mut p[..xp], false)).collect();
            path.run(Convolve { geometry: &backward, weights: &back, from: &dy_planes, to: &mut to });
        });
        let same: Vec<&[Line]> = x_planes.iter().map(|_| x_planes[0]).collect();
        let f1 = time(|| {
            let mut to: Vec<Output<'_>> = y.chunks_exact_mut(ys).map(|p| Output::plain(&mut p[..yp], false)).collect();
            path.run(Convolve { geometry: &forward, weights: &weights, from: &same, to: &mut to });
        });
        let xr = vec![0.5f32; s.x_len()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let mut f2 = 0.0;
        pool.install(|| {
            f2 = time(|| {
                std::hint::black_box(crate::kernels::conv::forward(path, &s, &xr, &w));
            })
        });
        println!("  same plane {:.1} old {:.1}", flop / f1 / 1e9, flop / f2 / 1e9);
        if stride == 1 && groups == 1 {
            let mut weights = super::winograd::Weights::new(path, o, c);
            weights.pack(|row, channel| &w[(row * c + channel) * 9..], |_| 1.0, false);
            let t = time(|| {
                let mut to: Vec<Output<'_>> =
                    y.chunks_exact_mut(ys).map(|p| Output::plain(&mut p[..yp], false)).collect();
                super::winograd::convolve(path, s.input, &weights, &x_planes, &mut to);
            });
            println!("  winograd {:.1}", flop / t / 1e9);
        }
        let mut dw = vec![0.0; s.w_len()];
        let g = time(|| {
            if inputs == 1 {
                path.run(DepthwiseGradient { geometry: &forward, x: &x_planes, dy: &dy_planes, dw: &mut dw });
            } else {
                path.run(WeightGradient {
                    shape: &s,
                    path,
                    blocks: &[Planes { x: x_planes.clone(), dy: dy_planes.clone() }],
                    outputs: 0..o,
                    dw: &mut dw,
                });
            }
        });
        println!(
            "peak {:.1}; {c:4}->{o:4} {hw:2} s{stride} g{groups:3}: forward {:6.1} data {:6.1} weight {:6.1} GF/s per core; {:.3} {:.3} {:.3} ms",
            peak(),
            flop / f / 1e9,
            flop / d / 1e9,
            flop / g / 1e9,
            f * 1e3,
            d * 1e3,
            g * 1e3
        );
    }
    let pixels = 1024;
    let x = vec![Line::splat(0.5); 16 * pixels];
    let mut y = x.clone();
    let bytes = (16 * pixels * 64) as f64;
    let m = time(|| {
        for x in x.chunks_exact(pixels) {
            std::hint::black_box(path.run(Measure { plane: x, images: 16 }));
        }
    });
    let a = time(|| {
        for (x, y) in x.chunks_exact(pixels).zip(y.chunks_exact_mut(pixels)) {
            path.run(Apply { x, scale: 1.0, shift: 0.1, residual: None, relu: true, y });
        }
    });
    let g = time(|| {
        for x in x.chunks_exact(pixels) {
            std::hint::black_box(path.run(GradientSums {
                dy: x,
                mask: Mask::Affine { x, scale: 1.0, shift: 0.1 },
                x: Some((x, 0.1)),
                residual: None,
            }));
        }
    });
    println!(
        "1 MB block: measure {:.1} GB/s, apply {:.1} GB/s (read+write), sums {:.1} GB/s (read of one)",
        bytes / m / 1e9,
        2.0 * bytes / a / 1e9,
        bytes / g / 1e9
    );
}
