//! A crossed gate of a block: two planes that lie half of the channels apart, each with the plane of its gate. Loops are plain
//! Rust, as those of the other gates.

use super::Line;
use super::gate::put;
use crate::kernels::map::{Crossing, Map};
use crate::kernels::simd::{Simd, Task};

/// The sigmoid of a gate.
#[inline(always)]
fn share(gate: &Line) -> Line {
    Line::each(|lane| Map::Sigmoid.apply(gate.0[lane]))
}

/// What passes of `x` for its own channel, and of the `other` one.
#[inline(always)]
fn crossed(crossing: Crossing, (x, s): (&Line, &Line), (other, of_other): (&Line, &Line)) -> Line {
    Line::each(|lane| x.0[lane] * crossing.own(s.0[lane]) + other.0[lane] * crossing.other(of_other.0[lane]))
}

/// `y_i = x_i own(s_i) + x_k other(s_k)` with `s = sigmoid(gate)`, where `k` is the other one of the two.
pub(crate) struct CrossedGate<'a> {
    pub(crate) crossing: Crossing,
    pub(crate) x: [&'a [Line]; 2],
    pub(crate) gate: [&'a [Line]; 2],
    pub(crate) y: [&'a mut [Line]; 2],
}

impl Task for CrossedGate<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { crossing, x: [x0, x1], gate: [gate0, gate1], y: [y0, y1] } = self;
        for ((y0, y1), ((x0, x1), (gate0, gate1))) in
            y0.iter_mut().zip(y1).zip(x0.iter().zip(x1).zip(gate0.iter().zip(gate1)))
        {
            let (s0, s1) = (share(gate0), share(gate1));
            *y0 = crossed(crossing, (x0, &s0), (x1, &s1));
            *y1 = crossed(crossing, (x1, &s1), (x0, &s0));
        }
    }
}

/// The gradients of one of a [`CrossedGate`]'s values and of its gate, where they are wanted. The share is made once more, which
/// costs less than to keep it would in memory.
pub(crate) struct CrossedGateGradient<'a> {
    pub(crate) crossing: Crossing,
    pub(crate) x: &'a [Line],
    pub(crate) gate: &'a [Line],
    /// The gradient of its own channel, and of the one that it is crossed with.
    pub(crate) dy: [&'a [Line]; 2],
    /// Each with whether it adds to what is there.
    pub(crate) dx: (Option<&'a mut [Line]>, bool),
    pub(crate) dgate: (Option<&'a mut [Line]>, bool),
}

impl Task for CrossedGateGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        let Self { crossing, x, gate, dy: [own, other], dx: (mut dx, dx_adds), dgate: (mut dgate, dgate_adds) } = self;
        for (at, (gate, (x, (own, other)))) in gate.iter().zip(x.iter().zip(own.iter().zip(other))).enumerate() {
            let s = share(gate);
            if let Some(dx) = &mut dx {
                // What went to the other channel comes back first.
                put(&mut dx[at], Line::each(|lane| other.0[lane] * crossing.other(s.0[lane])), dx_adds);
                put(&mut dx[at], Line::each(|lane| own.0[lane] * crossing.own(s.0[lane])), true);
            }
            if let Some(dgate) = &mut dgate {
                // Two products, not one with the sum: infinities meet each other as they did on their way forward.
                let of_share = Line::each(|lane| x.0[lane] * other.0[lane] + x.0[lane] * own.0[lane]);
                put(&mut dgate[at], Line::each(|lane| crossing.gradient(s.0[lane], of_share.0[lane])), dgate_adds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LANES;
    use super::super::gate::{Mapped, Product};
    use super::super::norm::Apply;
    use super::*;
    use crate::kernels::reference::{self, NOT_FINITE, Special};
    use crate::kernels::simd::Isa;

    const THRESHOLDS: [f32; 3] = [0.5, 0.3, 2.0];

    /// Two planes of noise, in which every third lane has something that is not finite somewhere.
    fn planes(pixels: usize, seed: u64) -> [Vec<Line>; 2] {
        let noise = crate::normal_stream(seed, "crossed", 2 * pixels * LANES);
        let mut noise = noise.into_iter().map(|value| 2.0 * value as f32);
        let mut line = || Line(std::array::from_fn(|_| noise.next().unwrap()));
        let mut planes = [0, 1].map(|_| (0..pixels).map(|_| line()).collect::<Vec<_>>());
        for lane in (seed as usize % 3..LANES).step_by(3) {
            let at = lane * 5 + seed as usize;
            planes[at % 2][at % pixels].0[lane] = NOT_FINITE[at / 2 % 3];
        }
        planes
    }

    fn read(planes: &[Vec<Line>; 2]) -> [&[Line]; 2] {
        [&planes[0], &planes[1]]
    }

    fn at(planes: &[Vec<Line>; 2], pixel: usize, lane: usize) -> [f32; 2] {
        [0, 1].map(|i| planes[i][pixel].0[lane])
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_scalar_twin() {
        for (threshold, pixels, seed) in THRESHOLDS
            .into_iter()
            .flat_map(|t| [1, 2, 7, 64].map(|p| (t, p)))
            .flat_map(|(t, p)| (0..6).map(move |s| (t, p, s)))
        {
            let crossing = Crossing { threshold };
            let (x, gate, dy) = (planes(pixels, seed), planes(pixels, seed + 1), planes(pixels, seed + 2));
            for isa in Isa::available() {
                let what =
                    |of: &'static str| move || format!("{of} {isa:?}, above {threshold}, {pixels} pixels, seed {seed}");
                let mut y = [(); 2].map(|()| vec![Line::splat(f32::NAN); pixels]);
                isa.execute(CrossedGate {
                    crossing,
                    x: read(&x),
                    gate: read(&gate),
                    y: y.each_mut().map(Vec::as_mut_slice),
                });
                // The first value and the second gate are added to, the others stored; or one of each wants nothing.
                for wanted in [[true, true], [true, false], [false, true]] {
                    let mut dx = [vec![Line::splat(1.0); pixels], vec![Line::splat(f32::NAN); pixels]];
                    let mut dgate = [vec![Line::splat(f32::NAN); pixels], vec![Line::splat(1.0); pixels]];
                    let [dx0, dx1] = dx.each_mut().map(Vec::as_mut_slice);
                    let [dgate0, dgate1] = dgate.each_mut().map(Vec::as_mut_slice);
                    let to = [(dx0, dgate0, [true, false]), (dx1, dgate1, [false, true])];
                    for (i, (dx, dgate, adds)) in to.into_iter().enumerate() {
                        isa.execute(CrossedGateGradient {
                            crossing,
                            x: &x[i],
                            gate: &gate[i],
                            dy: [&dy[i], &dy[1 - i]],
                            dx: (wanted[i].then_some(dx), adds[0]),
                            dgate: (wanted[1 - i].then_some(dgate), adds[1]),
                        });
                    }
                    for (pixel, lane) in (0..pixels).flat_map(|pixel| (0..LANES).map(move |lane| (pixel, lane))) {
                        let of = |planes: &[Vec<Line>; 2]| at(planes, pixel, lane);
                        let [want_y, mut want_dx, mut want_dgate] =
                            reference::crossed_gate(of(&x), of(&gate), of(&dy), threshold);
                        let left = |wanted: bool, want: f32, there: f32| if wanted { want } else { there };
                        want_dx = [left(wanted[0], want_dx[0] + 1.0, 1.0), left(wanted[1], want_dx[1], f32::NAN)];
                        want_dgate =
                            [left(wanted[1], want_dgate[0], f32::NAN), left(wanted[0], want_dgate[1] + 1.0, 1.0)];
                        Special::Same.assert(what("outputs"), &of(&y), &want_y);
                        Special::Same.assert(what("gradient of values"), &of(&dx), &want_dx);
                        Special::Same.assert(what("gradient of gates"), &of(&dgate), &want_dgate);
                    }
                }
            }
        }
    }

    /// What it replaces: a sigmoid, what is chosen by the threshold, two products and a sum, each by a pass of its own.
    #[test]
    fn outputs_have_the_bits_of_the_passes_that_it_is_made_of() {
        let pixels = 33;
        for (threshold, seed) in THRESHOLDS.into_iter().flat_map(|threshold| (0..6).map(move |seed| (threshold, seed)))
        {
            let (x, gate) = (planes(pixels, seed), planes(pixels, seed + 1));
            for isa in Isa::available() {
                let empty = || vec![Line::splat(f32::NAN); pixels];
                let passed = |i: usize, whole: f32| {
                    let (mut share, mut y) = (empty(), empty());
                    isa.execute(Mapped { map: Map::Sigmoid, x: &gate[i], y: &mut share });
                    share.iter_mut().flat_map(|line| &mut line.0).filter(|s| **s > threshold).for_each(|s| *s = whole);
                    isa.execute(Product { x: &x[i], by: &share, y: &mut y, adds: false });
                    y
                };
                let mut y = [empty(), empty()];
                let crossing = Crossing { threshold };
                isa.execute(CrossedGate {
                    crossing,
                    x: read(&x),
                    gate: read(&gate),
                    y: y.each_mut().map(Vec::as_mut_slice),
                });
                for i in [0, 1] {
                    let (own, other, mut want) = (passed(i, 1.0), passed(1 - i, 0.0), empty());
                    let residual = Some(&other[..]);
                    isa.execute(Apply { x: &own, scale: 1.0, shift: 0.0, residual, relu: false, y: &mut want });
                    let values = |plane: &[Line]| -> Vec<f32> { plane.iter().flat_map(|line| line.0).collect() };
                    for (at, (got, want)) in values(&y[i]).into_iter().zip(values(&want)).enumerate() {
                        assert!(
                            got == want || got.is_nan() && want.is_nan(),
                            "{isa:?}, {threshold}, {at}: {got} for {want}"
                        );
                    }
                }
            }
        }
    }
}
