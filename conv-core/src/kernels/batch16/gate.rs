//! What gates are made of, over a block's planes: products, functions of each value, softmax between planes. All loops go over
//! the 16 values of a line in plain Rust, which the compiler turns into vectors of the instruction set.

use super::{LANES, Line};
use crate::kernels::map::{Map, exp};
use crate::kernels::simd::{Simd, Task};
use crate::kernels::stored::Stored;

/// `to = value`, or `to + value` if it `adds`.
#[inline(always)]
pub(super) fn put<L: Stored>(to: &mut L, value: Line, adds: bool) {
    *to = L::of(if adds {
        let before = to.wide().0;
        Line::each(|lane| before[lane] + value.0[lane])
    } else {
        value
    });
}

/// `y = map(x)`.
pub(crate) struct Mapped<'a> {
    pub(crate) map: Map,
    pub(crate) x: &'a [Line],
    pub(crate) y: &'a mut [Line],
}

impl Task for Mapped<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { map, x, y } = self;
        for (y, x) in y.iter_mut().zip(x) {
            *y = Line::each(|lane| map.apply(x.0[lane]));
        }
    }
}

/// `dx (+)= map'(..) dy`, from the map's output.
pub(crate) struct MapGradient<'a> {
    pub(crate) map: Map,
    pub(crate) y: &'a [Line],
    pub(crate) dy: &'a [Line],
    pub(crate) dx: &'a mut [Line],
    pub(crate) adds: bool,
}

impl Task for MapGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { map, y, dy, dx, adds } = self;
        for (dx, (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
            put(dx, Line::each(|lane| map.gradient(y.0[lane], dy.0[lane])), adds);
        }
    }
}

/// `y (+)= x by`, where `by` is a plane of the same size, or one line that meets every pixel. The gradient of either factor
/// is the product of the other one and the outputs' gradient.
pub(crate) struct Product<'a> {
    pub(crate) x: &'a [Line],
    pub(crate) by: &'a [Line],
    pub(crate) y: &'a mut [Line],
    pub(crate) adds: bool,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { x, by, y, adds } = self;
        match by {
            [by] => {
                let by = *by;
                for (y, x) in y.iter_mut().zip(x) {
                    put(y, Line::each(|lane| x.0[lane] * by.0[lane]), adds);
                }
            }
            _ => {
                assert!(by.len() >= y.len(), "product: planes");
                for (y, (x, by)) in y.iter_mut().zip(x.iter().zip(by)) {
                    put(y, Line::each(|lane| x.0[lane] * by.0[lane]), adds);
                }
            }
        }
    }
}

/// `to (+)= sum over pixels of a b`: the gradient of a factor that met every pixel.
pub(crate) struct ProductSum<'a> {
    pub(crate) a: &'a [Line],
    pub(crate) b: &'a [Line],
    pub(crate) to: &'a mut Line,
    pub(crate) adds: bool,
}

impl Task for ProductSum<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { a, b, to, adds } = self;
        // Four sums, that no product waits for the one before.
        let mut sums = [Line::ZERO; 4];
        let (chunks_a, chunks_b) = (a.chunks_exact(4), b.chunks_exact(4));
        let rest = chunks_a.remainder().iter().zip(chunks_b.remainder());
        for (sum, (a, b)) in sums.iter_mut().zip(rest) {
            *sum = Line::each(|lane| a.0[lane] * b.0[lane]);
        }
        for (a, b) in chunks_a.zip(chunks_b) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum = Line::each(|lane| sum.0[lane] + a.0[lane] * b.0[lane]);
            }
        }
        let [s, t, u, v] = sums;
        put(to, Line::each(|lane| (s.0[lane] + t.0[lane]) + (u.0[lane] + v.0[lane])), adds);
    }
}

/// `y_i = exp(x_i) / sum_k exp(x_k)`, pixel by pixel between these planes.
pub(crate) struct Softmax<'a> {
    pub(crate) x: &'a [&'a [Line]],
    pub(crate) y: Vec<&'a mut [Line]>,
}

impl Task for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { x, mut y } = self;
        let pixels = y.first().map_or(0, |plane| plane.len());
        for at in 0..pixels {
            let mut largest = Line([f32::NEG_INFINITY; LANES]);
            for x in x {
                // What is not a number reaches the sum below.
                largest =
                    Line::each(|lane| if x[at].0[lane] > largest.0[lane] { x[at].0[lane] } else { largest.0[lane] });
            }
            let mut sum = Line::ZERO;
            for (x, y) in x.iter().zip(&mut y) {
                y[at] = Line::each(|lane| exp(x[at].0[lane] - largest.0[lane]));
                sum = Line::each(|lane| sum.0[lane] + y[at].0[lane]);
            }
            for y in &mut y {
                y[at] = Line::each(|lane| y[at].0[lane] / sum.0[lane]);
            }
        }
    }
}

/// `dx_i (+)= y_i (dy_i - sum_k dy_k y_k)`, for those planes that want it.
pub(crate) struct SoftmaxGradient<'a> {
    pub(crate) y: &'a [&'a [Line]],
    pub(crate) dy: &'a [&'a [Line]],
    /// Each with whether it adds to what is there.
    pub(crate) dx: Vec<(Option<&'a mut [Line]>, bool)>,
}

impl Task for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { y, dy, mut dx } = self;
        let pixels = dy.first().map_or(0, |plane| plane.len());
        for at in 0..pixels {
            let mut mean = Line::ZERO;
            for (y, dy) in y.iter().zip(dy) {
                mean = Line::each(|lane| mean.0[lane] + y[at].0[lane] * dy[at].0[lane]);
            }
            for ((dx, adds), (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                if let Some(dx) = dx {
                    put(&mut dx[at], Line::each(|lane| y[at].0[lane] * (dy[at].0[lane] - mean.0[lane])), *adds);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::{self, NOT_FINITE, Special};
    use crate::kernels::simd::Isa;

    const PIXELS: usize = 7;

    /// Planes of noise, in which every lane but the first five has something that is not finite somewhere.
    fn planes(count: usize, seed: u64) -> Vec<Vec<Line>> {
        let noise = crate::normal_stream(seed, "gate", count * PIXELS * LANES);
        let mut noise = noise.into_iter().map(|value| 2.0 * value as f32);
        let mut planes: Vec<Vec<Line>> = (0..count)
            .map(|_| (0..PIXELS).map(|_| Line(std::array::from_fn(|_| noise.next().unwrap()))).collect())
            .collect();
        for lane in 5..LANES {
            let at = lane * 3 + seed as usize;
            planes[at % count][at % PIXELS].0[lane] = NOT_FINITE[at % 3];
        }
        planes
    }

    fn read(planes: &[Vec<Line>]) -> Vec<&[Line]> {
        planes.iter().map(Vec::as_slice).collect()
    }

    fn flat(plane: &[Line]) -> Vec<f32> {
        plane.iter().flat_map(|line| line.0).collect()
    }

    #[test]
    fn maps_of_planes() {
        let (x, dy) = (planes(1, 1).remove(0), planes(1, 2).remove(0));
        for map in [Map::Sigmoid, Map::Relu6] {
            let twins = || flat(&x).into_iter().zip(flat(&dy)).map(|(x, dy)| reference::map(map, x, dy));
            for isa in Isa::available() {
                let mut y = vec![Line::splat(f32::NAN); PIXELS];
                isa.execute(Mapped { map, x: &x, y: &mut y });
                Special::Same.assert(
                    || format!("{isa:?} {map:?}"),
                    &flat(&y),
                    &twins().map(|[y, _]| y).collect::<Vec<_>>(),
                );
                for adds in [false, true] {
                    let mut dx = vec![Line::splat(if adds { 1.0 } else { f32::NAN }); PIXELS];
                    isa.execute(MapGradient { map, y: &y, dy: &dy, dx: &mut dx, adds });
                    let want: Vec<f32> = twins().map(|[_, dx]| dx + f32::from(u8::from(adds))).collect();
                    Special::Same.assert(|| format!("{isa:?} {map:?} gradient, adds {adds}"), &flat(&dx), &want);
                }
            }
        }
    }

    #[test]
    fn products_with_planes_and_with_one_line_and_their_sums() {
        let (x, by) = (planes(1, 3).remove(0), planes(1, 4).remove(0));
        for (isa, adds) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            let there = if adds { 1.0 } else { 0.0 };
            let start = || vec![Line::splat(if adds { 1.0 } else { f32::NAN }); PIXELS];
            for by in [&by[..], &by[3..4]] {
                let mut y = start();
                isa.execute(Product { x: &x, by, y: &mut y, adds });
                let factors = by.iter().cycle().take(PIXELS).flat_map(|line| line.0);
                let want: Vec<f32> = flat(&x).into_iter().zip(factors).map(|(x, by)| x * by + there).collect();
                Special::Same.assert(|| format!("{isa:?} by {}, adds {adds}", by.len()), &flat(&y), &want);
            }
            // One pixel, fewer than a round of sums, some rounds and a rest.
            for pixels in [1, 3, 7] {
                let (a, b) = (&x[..pixels], &by[..pixels]);
                let mut to = start()[0];
                isa.execute(ProductSum { a, b, to: &mut to, adds });
                let sum = |lane: usize| a.iter().zip(b).map(|(a, b)| a.0[lane] * b.0[lane]).sum::<f32>() + there;
                let want: Vec<f32> = (0..LANES).map(sum).collect();
                Special::Same.assert(|| format!("{isa:?} sum of {pixels}, adds {adds}"), &to.0, &want);
            }
        }
    }

    #[test]
    fn softmax_between_planes() {
        for parts in [1, 2, 3, 5] {
            let (x, dy) = (planes(parts, 5), planes(parts, 6));
            for isa in Isa::available() {
                let mut y = vec![vec![Line::splat(f32::NAN); PIXELS]; parts];
                isa.execute(Softmax { x: &read(&x), y: y.iter_mut().map(Vec::as_mut_slice).collect() });
                let mut dx = vec![vec![Line::splat(1.0); PIXELS]; parts];
                // The second plane wants no gradient, the others are added to or stored.
                let to = dx
                    .iter_mut()
                    .enumerate()
                    .map(|(part, dx)| ((part != 1).then_some(dx.as_mut_slice()), part % 2 == 0));
                isa.execute(SoftmaxGradient { y: &read(&y), dy: &read(&dy), dx: to.collect() });
                for (at, lane) in (0..PIXELS).flat_map(|at| (0..LANES).map(move |lane| (at, lane))) {
                    let of =
                        |planes: &[Vec<Line>]| -> Vec<f32> { planes.iter().map(|plane| plane[at].0[lane]).collect() };
                    let what =
                        |pass: &'static str| move || format!("{pass} {isa:?}, {parts} parts, pixel {at}, image {lane}");
                    Special::Same.assert(what("softmax"), &of(&y), &reference::softmax(&of(&x)));
                    let mut want = reference::softmax_gradient(&of(&y), &of(&dy));
                    want.iter_mut().enumerate().for_each(|(part, dx)| match part {
                        1 => *dx = 1.0,
                        part if part % 2 == 0 => *dx += 1.0,
                        _ => {}
                    });
                    Special::Same.assert(what("gradient"), &of(&dx), &want);
                }
            }
        }
    }
}
