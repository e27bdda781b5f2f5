//! Pooling of a block's planes, and upsampling. Forward over lines as they are stored: a maximum is one of its values, a mean is
//! made in f32 and rounded once. So are gradients where each pixel is in one window; where it is in several, their sum is made in f32.

use super::gate::put;
use super::{LANES, Line};
use crate::kernels::simd::{Simd, Task};
use crate::kernels::stored::Stored;
use crate::kernels::windows::Windows;

/// What a window of pixels of the larger plane and a pixel of the smaller one make of each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pooling {
    /// The largest pixel of a window. As in PyTorch, what is not a number wins.
    Max,
    /// The mean of a window's pixels, padding left out.
    Mean,
    /// Nearest upsampling, the way back of a pooling: every pixel of its window of `y` is the pixel of `x`.
    Repeat,
}

impl Pooling {
    /// Whether each value of the gradient is written once, and may be as it is stored.
    pub(crate) fn writes_once(self, windows: &Windows) -> bool {
        matches!(self, Self::Repeat) || windows.partition()
    }
}

/// One plane.
pub(crate) struct Pool<'a, L> {
    pub(crate) pooling: Pooling,
    pub(crate) windows: &'a Windows,
    pub(crate) x: &'a [L],
    pub(crate) y: &'a mut [L],
}

impl<L: Stored> Task for Pool<'_, L> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { pooling, windows: w, x, y } = self;
        match pooling {
            Pooling::Max => w.each(|window, rows, columns| {
                let mut best = Line([f32::NEG_INFINITY; LANES]);
                w.visit(rows, columns, |at| {
                    let x = x[at].wide().0;
                    best = Line::each(|i| if x[i] > best.0[i] || x[i].is_nan() { x[i] } else { best.0[i] });
                });
                y[window] = L::of(best);
            }),
            Pooling::Mean => w.each(|window, rows, columns| {
                let scale = 1.0 / (rows.len() * columns.len()) as f32;
                let mut sum = Line::ZERO;
                w.visit(rows, columns, |at| {
                    let x = x[at].wide().0;
                    sum = Line::each(|i| sum.0[i] + x[i]);
                });
                y[window] = L::of(Line::each(|i| sum.0[i] * scale));
            }),
            Pooling::Repeat => w.each(|window, rows, columns| w.visit(rows, columns, |at| y[at] = x[window])),
        }
    }
}

/// How a pooling hands its gradient back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PoolingBack<'a, L> {
    /// To the first of equal values of a window, and to the first NaN where there is one: `x` and `y` tell which it is.
    Max { x: &'a [L], y: &'a [L] },
    /// To every pixel of a window its share.
    Mean,
    /// To a pixel the sum of those that were made of it.
    Repeat,
}

impl<L> PoolingBack<'_, L> {
    fn pooling(&self) -> Pooling {
        match self {
            Self::Max { .. } => Pooling::Max,
            Self::Mean => Pooling::Mean,
            Self::Repeat => Pooling::Repeat,
        }
    }
}

/// `dx`, or `dx` and what it was before if it `adds`. Rounded after each window that a pixel is in: see [`Pooling::writes_once`].
pub(crate) struct PoolGradient<'a, L> {
    pub(crate) back: PoolingBack<'a, L>,
    pub(crate) windows: &'a Windows,
    pub(crate) dy: &'a [L],
    pub(crate) dx: &'a mut [L],
    pub(crate) adds: bool,
}

impl<L: Stored> Task for PoolGradient<'_, L> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { back, windows: w, dy, dx, adds } = self;
        // Only where each pixel is met once can its gradient be written at once.
        let once = back.pooling().writes_once(w);
        if !once && !adds {
            dx.fill(L::default());
        }
        let adds = adds || !once;
        match back {
            PoolingBack::Max { x, y } => w.each(|window, rows, columns| {
                let (y, mut left) = (y[window].wide().0, dy[window].wide());
                w.visit(rows, columns, |at| {
                    let x = x[at].wide().0;
                    // A window with a NaN has that as its output.
                    let hit = |i: usize| x[i] == y[i] || x[i].is_nan();
                    put(&mut dx[at], Line::each(|i| if hit(i) { left.0[i] } else { 0.0 }), adds);
                    left = Line::each(|i| if hit(i) { 0.0 } else { left.0[i] });
                });
            }),
            PoolingBack::Mean => w.each(|window, rows, columns| {
                let scale = 1.0 / (rows.len() * columns.len()) as f32;
                let dy = dy[window].wide().0;
                let share = Line::each(|i| dy[i] * scale);
                w.visit(rows, columns, |at| put(&mut dx[at], share, adds));
            }),
            PoolingBack::Repeat => w.each(|window, rows, columns| {
                let mut sum = Line::ZERO;
                w.visit(rows, columns, |at| {
                    let dy = dy[at].wide().0;
                    sum = Line::each(|i| sum.0[i] + dy[i]);
                });
                put(&mut dx[window], sum, adds);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::bf16::HalfLine;
    use crate::kernels::flat::pool;
    use crate::kernels::reference::{NOT_FINITE, Special};
    use crate::kernels::simd::Isa;

    fn lane(plane: &[Line], image: usize) -> Vec<f32> {
        plane.iter().map(|line| line.0[image]).collect()
    }

    /// Noise; with something that is not finite in every pixel of some image, in none, some or all of a window, or of the
    /// plane.
    fn planes(pixels: usize, seed: u64) -> Vec<Line> {
        let mut noise = crate::normal_stream(seed, "pool", pixels * LANES).into_iter().map(|value| value as f32);
        let line = |at: usize| {
            let mut line = Line(std::array::from_fn(|_| noise.next().unwrap_or_default()));
            for (image, kind) in NOT_FINITE.into_iter().enumerate() {
                line.0[image] = kind;
                // Ever rarer, and several in a window.
                let rare = [2 + image, 5 + image];
                rare.iter()
                    .enumerate()
                    .filter(|(_, rare)| at.is_multiple_of(**rare))
                    .for_each(|(i, _)| line.0[3 + 3 * i + image] = kind);
                if at % 3 == image {
                    line.0[9] = kind;
                }
            }
            line
        };
        (0..pixels).map(line).collect()
    }

    /// On every instruction set the same bits, of which one is returned.
    fn pooled(pooling: Pooling, windows: &Windows, x: &[Line], pixels: usize) -> Vec<Line> {
        let on = |isa: Isa| {
            let mut y = vec![Line::splat(f32::NAN); pixels];
            isa.execute(Pool { pooling, windows, x, y: &mut y });
            y
        };
        same(Isa::available().map(on))
    }

    /// Added to ones, and written over what is no number: the same bits on every instruction set, of which the second is returned.
    fn back(back: PoolingBack<'_, Line>, windows: &Windows, dy: &[Line], pixels: usize) -> Vec<Line> {
        let on = |before: f32, adds: bool| {
            same(Isa::available().map(|isa| {
                let mut dx = vec![Line::splat(before); pixels];
                isa.execute(PoolGradient { back, windows, dy, dx: &mut dx, adds });
                dx
            }))
        };
        let (added, written) = (on(1.0, true), on(f32::NAN, false));
        // Where windows overlap, the one is rounded on its way.
        let near = |a: f32, b: f32| (a - (1.0 + b)).abs() <= 1e-5 || a.is_nan() && b.is_nan() || a == b;
        let pairs = added.iter().flat_map(|line| line.0).zip(written.iter().flat_map(|line| line.0));
        pairs.for_each(|(added, written)| assert!(near(added, written), "{added} is not one more than {written}"));
        written
    }

    fn same(planes: impl Iterator<Item = Vec<Line>>) -> Vec<Line> {
        // Which NaN it is says nothing.
        let bits = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        let bits = |plane: &[Line]| plane.iter().flat_map(|line| line.0.map(bits)).collect::<Vec<_>>();
        let all = |a: Vec<Line>, b: Vec<Line>| {
            assert_eq!(bits(&a), bits(&b));
            b
        };
        planes.reduce(all).unwrap()
    }

    /// Against the poolings of single planes, which are plain loops.
    #[test]
    fn every_lane_is_pooled_as_a_plane_of_its_own() {
        for (size, kernel, stride, padding, ceil) in [
            ((8, 6), 2, 2, 0, false),
            ((9, 7), 3, 2, 1, false),
            ((6, 5), 3, 1, 1, false),
            ((7, 7), 2, 2, 0, true),
            ((4, 5), 1, 2, 0, false),
        ] {
            let windows = Windows::new(size, kernel, stride, padding, ceil).unwrap();
            let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
            let (x, dy) = (planes(pixels, 1), planes(results, 2));
            let highest = pooled(Pooling::Max, &windows, &x, results);
            let mean = pooled(Pooling::Mean, &windows, &x, results);
            let through = PoolingBack::Max { x: &x, y: &highest };
            let dx_max = back(through, &windows, &dy, pixels);
            let dx_mean = back(PoolingBack::Mean, &windows, &dy, pixels);
            // The gradient of one image meets the values of another: all kinds of both.
            let turned: Vec<Line> =
                dy.iter().map(|line| Line(std::array::from_fn(|i| line.0[(i + 7) % LANES]))).collect();
            let dx_turned = back(through, &windows, &turned, pixels);
            for image in 0..LANES {
                let what =
                    |pass: &'static str| move || format!("{pass}, image {image} of {size:?}, {kernel}, {stride}");
                let (x, dy) = (lane(&x, image), lane(&dy, image));
                Special::Same.assert(what("max"), &lane(&highest, image), &pool::max_forward(&windows, &x));
                Special::Same.assert(what("mean"), &lane(&mean, image), &pool::average_forward(&windows, &x));
                let want = pool::max_backward(&windows, &x, &dy);
                Special::Same.assert(what("max backward"), &lane(&dx_max, image), &want);
                let want = pool::max_backward(&windows, &x, &lane(&turned, image));
                Special::Same.assert(what("max backward, turned"), &lane(&dx_turned, image), &want);
                let want = pool::average_backward(&windows, &dy);
                Special::Same.assert(what("mean backward"), &lane(&dx_mean, image), &want);
            }
        }
    }

    /// As lines of bf16 are stored: the gradient of f32, rounded once.
    #[test]
    fn gradients_that_are_written_once_are_rounded_once() {
        let halves = |lines: Vec<Line>| lines.into_iter().map(HalfLine::of).collect::<Vec<_>>();
        let wide = |halves: &[HalfLine]| halves.iter().map(|half| half.wide()).collect::<Vec<Line>>();
        for (size, kernel) in [((8, 6), 2), ((9, 7), 3), ((5, 5), 5)] {
            let windows = Windows::new(size, kernel, kernel, 0, true).unwrap();
            let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
            let (x, dy, before) = (halves(planes(pixels, 1)), halves(planes(results, 2)), halves(planes(pixels, 3)));
            let mut y = vec![HalfLine::ZERO; results];
            Isa::best().execute(Pool { pooling: Pooling::Max, windows: &windows, x: &x, y: &mut y });
            let (wide_x, wide_y, wide_dy) = (wide(&x), wide(&y), wide(&dy));
            for (back, of_f32) in [
                (PoolingBack::Max { x: &x, y: &y }, PoolingBack::Max { x: &wide_x, y: &wide_y }),
                (PoolingBack::Mean, PoolingBack::Mean),
            ] {
                assert!(back.pooling().writes_once(&windows));
                for adds in [false, true] {
                    let (mut dx, mut wide_dx) = (before.clone(), wide(&before));
                    Isa::best().execute(PoolGradient { back, windows: &windows, dy: &dy, dx: &mut dx, adds });
                    let work = PoolGradient { back: of_f32, windows: &windows, dy: &wide_dy, dx: &mut wide_dx, adds };
                    Isa::best().execute(work);
                    assert_eq!(dx, halves(wide_dx), "{back:?}, {size:?}, {kernel}, {adds}");
                }
            }
        }
        let overlapping = Windows::new((6, 6), 3, 1, 1, false).unwrap();
        assert!(!Pooling::Max.writes_once(&overlapping) && Pooling::Repeat.writes_once(&overlapping));
    }

    /// Whole windows, and windows that the edge cuts.
    #[test]
    fn upsampling_repeats_a_pixel_and_its_gradient_is_the_sum() {
        for (size, kernel) in [((8, 6), 2), ((7, 9), 2), ((7, 8), 3), ((1, 1), 1), ((5, 4), 4)] {
            let windows = Windows::new(size, kernel, kernel, 0, true).unwrap();
            let (pixels, results) = (size.0 * size.1, windows.output.0 * windows.output.1);
            let (small, large) = (planes(results, 1), planes(pixels, 2));
            let repeated = pooled(Pooling::Repeat, &windows, &small, pixels);
            let sums = back(PoolingBack::Repeat, &windows, &large, results);
            for image in 0..LANES {
                let what = |pass: &'static str| move || format!("{pass}, image {image} of {size:?} by {kernel}");
                let (small, large) = (lane(&small, image), lane(&large, image));
                let column = |at: usize| at % size.1 / kernel;
                let window = |at: usize| at / size.1 / kernel * windows.output.1 + column(at);
                let want: Vec<f32> = (0..pixels).map(|at| small[window(at)]).collect();
                Special::Same.assert(what("repeated"), &lane(&repeated, image), &want);
                let mut want = vec![0.0; results];
                (0..pixels).for_each(|at| want[window(at)] += large[at]);
                Special::Same.assert(what("gradient"), &lane(&sums, image), &want);
            }
        }
    }
}
