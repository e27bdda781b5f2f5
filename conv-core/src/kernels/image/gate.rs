//! What gates are made of, for a single image: functions of each value, products, softmax between planes, group norms. All
//! loops go over the positions of a line in plain Rust, which the compiler turns into vectors of the instruction set.

use std::ops::Range;

use super::{COPY, LANES, PlaneLayout, Shared, Spans, part, tasks};
use crate::kernels::map::{Map, exp};
use crate::kernels::simd::{Isa, Simd, Task};

/// What is done with the planes of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GateOp {
    /// A function of each value: one plane to one.
    Map(Map),
    /// Of two planes, or of a plane and a single value that meets every pixel: to one plane.
    Product,
    /// Between planes, pixel by pixel: as many planes to as many.
    Softmax,
    /// Over a group of planes, by their own statistics: as many planes to as many.
    GroupNorm { eps: f64 },
}

/// Planes that are worked on together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    /// Whole lines of a plane each, or a single value that meets every pixel.
    pub(crate) reads: Vec<Range<usize>>,
    pub(crate) writes: Vec<Range<usize>>,
    /// By plane that is written, what a group norm multiplies with and adds.
    pub(crate) affine: Vec<(f32, f32)>,
}

/// One operation over many jobs.
pub(crate) struct Gate {
    op: GateOp,
    jobs: Vec<Job>,
    /// One where a line's position is a pixel, zero in the padding, which stays zero.
    mask: Vec<f32>,
    pixels: usize,
}

impl Gate {
    /// `layout` is that of all planes.
    ///
    /// # Panics
    /// Where a job does not have as many planes of as many values as its operation takes.
    pub(crate) fn new(op: GateOp, jobs: Vec<Job>, layout: &PlaneLayout) -> Self {
        let mask = layout.mask();
        for Job { reads, writes, affine } in &jobs {
            let reads_fit = match op {
                GateOp::Map(_) => reads.len() == 1 && writes.len() == 1,
                GateOp::Product => reads.len() == 2 && writes.len() == 1,
                GateOp::Softmax => reads.len() == writes.len(),
                GateOp::GroupNorm { .. } => reads.len() == writes.len() && affine.len() == writes.len(),
            };
            let single = |at: usize, span: &Range<usize>| op == GateOp::Product && at == 1 && span.len() == 1;
            let whole = reads.iter().enumerate().all(|(at, span)| span.len() == mask.len() || single(at, span));
            assert!(
                reads_fit && whole && writes.iter().all(|span| span.len() == mask.len()),
                "gate: {op:?} of {reads:?}"
            );
        }
        Self { op, jobs, mask, pixels: layout.size.0 * layout.size.1 }
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        for job in &self.jobs {
            job.reads.iter().for_each(|span| reads.push(span.clone()));
            job.writes.iter().for_each(|span| writes.push(span.clone()));
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        let planes: usize = self.jobs.iter().map(|job| job.reads.len()).sum();
        tasks(planes * self.mask.len() * COPY).min(self.jobs.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// `memory` has what [`Self::spans`] says; nobody writes what it reads, or touches what it writes, but its own other tasks.
    pub(crate) unsafe fn execute(&self, isa: Isa, memory: Shared, task: usize) {
        for job in &self.jobs[part(self.jobs.len(), self.tasks(), task)] {
            isa.execute(Run { gate: self, job, memory });
        }
    }
}

/// A job that is done: made by [`Gate::execute`] alone, whose caller promises what is said there.
struct Run<'a> {
    gate: &'a Gate,
    job: &'a Job,
    memory: Shared,
}

/// Values at neighbouring positions.
type Values = [f32; LANES];

/// `f(position)` for every position.
#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Values {
    let mut values = [0.0; LANES];
    for (at, value) in values.iter_mut().enumerate() {
        *value = f(at);
    }
    values
}

impl Task for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        match self.gate.op {
            GateOp::Map(map) => {
                for at in self.lines() {
                    let x = self.read(0, at);
                    self.write(0, at, each(|i| map.apply(x[i])));
                }
            }
            GateOp::Product if self.job.reads[1].len() == 1 => {
                // SAFETY: the promise of `Gate::execute`.
                let by = unsafe { *self.memory.at(self.job.reads[1].start) };
                for at in self.lines() {
                    let x = self.read(0, at);
                    self.write(0, at, each(|i| x[i] * by));
                }
            }
            GateOp::Product => {
                for at in self.lines() {
                    let (x, by) = (self.read(0, at), self.read(1, at));
                    self.write(0, at, each(|i| x[i] * by[i]));
                }
            }
            GateOp::Softmax => self.softmax(),
            GateOp::GroupNorm { eps } => self.group_norm(eps),
        }
    }
}

impl Run<'_> {
    /// Where lines begin, from the first pixel.
    #[inline(always)]
    fn lines(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.gate.mask.len()).step_by(LANES)
    }

    /// What is read of a plane.
    #[inline(always)]
    fn read(&self, plane: usize, at: usize) -> Values {
        // SAFETY: the promise of `Gate::execute`; `Gate::new` saw that every such plane has whole lines, as many as the mask.
        unsafe { self.memory.at(self.job.reads[plane].start + at).cast::<Values>().read_unaligned() }
    }

    /// What was written to a plane.
    #[inline(always)]
    fn written(&self, plane: usize, at: usize) -> Values {
        // SAFETY: as above.
        unsafe { self.memory.at(self.job.writes[plane].start + at).cast::<Values>().read_unaligned() }
    }

    /// Writes to a plane's pixels, and zeros beside them.
    #[inline(always)]
    fn write(&self, plane: usize, at: usize, values: Values) {
        let values = self.masked(at, values);
        // SAFETY: as above.
        unsafe { self.memory.at(self.job.writes[plane].start + at).cast::<Values>().write_unaligned(values) }
    }

    /// Zeros beside the pixels. Chosen, not multiplied: padding stays zero beside what is not a number.
    #[inline(always)]
    fn masked(&self, at: usize, values: Values) -> Values {
        let mask = &self.gate.mask[at..at + LANES];
        each(|i| if mask[i] == 0.0 { 0.0 } else { values[i] })
    }

    #[inline(always)]
    fn softmax(&self) {
        let planes = 0..self.job.reads.len();
        for at in self.lines() {
            let mut largest = [f32::NEG_INFINITY; LANES];
            for plane in planes.clone() {
                let x = self.read(plane, at);
                // What is not a number reaches the sum below.
                largest = each(|i| if x[i] > largest[i] { x[i] } else { largest[i] });
            }
            let mut sum = [0.0; LANES];
            for plane in planes.clone() {
                let x = self.read(plane, at);
                let power = each(|i| exp(x[i] - largest[i]));
                sum = each(|i| sum[i] + power[i]);
                self.write(plane, at, power);
            }
            for plane in planes.clone() {
                let power = self.written(plane, at);
                self.write(plane, at, each(|i| power[i] / sum[i]));
            }
        }
    }

    /// The sum of `f(value)` over the group's pixels.
    #[inline(always)]
    fn sum(&self, f: impl Fn(f32) -> f32) -> f64 {
        let of_plane = |plane: usize| -> f64 {
            let mut sums = [0.0; LANES];
            for at in self.lines() {
                let x = self.read(plane, at);
                let values = self.masked(at, each(|i| f(x[i])));
                sums = each(|i| sums[i] + values[i]);
            }
            sums.iter().map(|&sum| f64::from(sum)).sum()
        };
        (0..self.job.reads.len()).map(of_plane).sum()
    }

    #[inline(always)]
    fn group_norm(&self, eps: f64) {
        let count = (self.gate.pixels * self.job.reads.len()) as f64;
        let mean = (self.sum(|x| x) / count) as f32;
        let squares = self.sum(|x| (x - mean) * (x - mean));
        let inv_std = (1.0 / (squares / count + eps).sqrt()) as f32;
        for (plane, &(scale, shift)) in self.job.affine.iter().enumerate() {
            for at in self.lines() {
                let x = self.read(plane, at);
                self.write(plane, at, each(|i| (x[i] - mean) * inv_std * scale + shift));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Arena;
    use super::super::tests::{execute_all, planes, rows, values};
    use super::*;
    use crate::kernels::reference::{self, Special};

    /// Runs `op` over one job of planes of these values, each as it lies in a padded map, and reads what is written. A value
    /// for every pixel comes last, where there is one.
    fn run(
        op: GateOp,
        x: &[Vec<f32>],
        by: Option<f32>,
        affine: Vec<(f32, f32)>,
        layout: &PlaneLayout,
    ) -> Vec<Vec<Vec<f32>>> {
        let outputs = match op {
            GateOp::Map(_) | GateOp::Product => 1,
            GateOp::Softmax | GateOp::GroupNorm { .. } => x.len(),
        };
        let places = planes(layout, 0, x.len() + outputs);
        let end = (x.len() + outputs) * layout.len;
        let mut spans = places.iter().map(|&place| place..place + layout.lines * LANES);
        let mut reads: Vec<Range<usize>> = spans.by_ref().take(x.len()).collect();
        reads.extend(by.map(|_| end..end + 1));
        let gate = Gate::new(op, vec![Job { reads, writes: spans.collect(), affine }], layout);
        let on = |isa: Isa| {
            let mut arena = Arena::new(end + 1);
            let flat: Vec<f32> = x.iter().flatten().copied().collect();
            rows(&mut arena, layout, &places[..x.len()], |row, to| {
                to.copy_from_slice(&flat[row * layout.size.1..][..layout.size.1]);
            });
            // SAFETY: nothing else has the arena.
            by.into_iter().for_each(|by| unsafe { arena.shared().write(end, 1) }[0] = by);
            // SAFETY: one task after the other.
            execute_all(gate.tasks(), gate.spans(), &mut arena, |memory, task| unsafe {
                gate.execute(isa, memory, task)
            });
            let memory = arena.shared();
            let of = |&place: &usize| {
                // SAFETY: nothing runs.
                let plane = unsafe { memory.read(place, layout.lines * LANES) };
                let pixel = |(at, &value): (usize, &f32)| {
                    let inside = at / layout.pitch < layout.size.0 && at % layout.pitch < layout.size.1;
                    assert!(inside || value == 0.0, "{isa:?} {op:?}: padding was written");
                    inside.then_some(value)
                };
                plane.iter().enumerate().filter_map(pixel).collect::<Vec<f32>>()
            };
            places[x.len()..].iter().map(of).collect()
        };
        Isa::available().map(on).collect()
    }

    /// Maps of one pixel, of less and more than a line, and of several.
    const LAYOUTS: [((usize, usize), usize); 4] = [((1, 1), 0), ((3, 4), 1), ((5, 7), 2), ((4, 33), 0)];

    /// Planes of noise, the first ones with something that is not finite in them.
    fn noise(layout: &PlaneLayout, count: usize, special: &[f32]) -> Vec<Vec<f32>> {
        let pixels = layout.size.0 * layout.size.1;
        let mut planes: Vec<Vec<f32>> = (0..count).map(|plane| values(pixels, plane as u64)).collect();
        for (at, &value) in special.iter().enumerate() {
            let plane = &mut planes[at % count];
            plane[(5 * at + 2) % pixels] = value;
        }
        planes
    }

    #[test]
    fn maps_and_products_of_padded_maps() {
        for (size, pad) in LAYOUTS {
            let layout = PlaneLayout::new(size, pad);
            for special in [&[][..], &reference::NOT_FINITE] {
                let x = noise(&layout, 2, special);
                for map in [Map::Sigmoid, Map::Relu6, Map::ReplaceAbove { threshold: 0.5, value: 1.0 }] {
                    let want: Vec<f32> = x[0].iter().map(|&x| reference::map(map, x, 0.0)[0]).collect();
                    for got in run(GateOp::Map(map), &x[..1], None, vec![], &layout) {
                        Special::Same.assert(|| format!("{map:?} of {layout:?}"), &got[0], &want);
                    }
                }
                for by in [-1.5, f32::NAN, f32::INFINITY] {
                    let want: Vec<f32> = x[0].iter().map(|x| x * by).collect();
                    for got in run(GateOp::Product, &x[..1], Some(by), vec![], &layout) {
                        Special::Same.assert(|| format!("times {by}, {layout:?}"), &got[0], &want);
                    }
                }
                let want: Vec<f32> = x[0].iter().zip(&x[1]).map(|(x, by)| x * by).collect();
                for got in run(GateOp::Product, &x, None, vec![], &layout) {
                    Special::Same.assert(|| format!("product of {layout:?}"), &got[0], &want);
                }
            }
        }
    }

    #[test]
    fn softmax_between_padded_maps() {
        for (((size, pad), parts), special) in LAYOUTS
            .into_iter()
            .flat_map(|map| [1, 2, 3].map(|parts| (map, parts)))
            .flat_map(|case| [(case, false), (case, true)])
        {
            let layout = PlaneLayout::new(size, pad);
            let x = noise(&layout, parts, if special { &reference::NOT_FINITE } else { &[] });
            for got in run(GateOp::Softmax, &x, None, vec![], &layout) {
                for at in 0..size.0 * size.1 {
                    let of = |planes: &[Vec<f32>]| -> Vec<f32> { planes.iter().map(|plane| plane[at]).collect() };
                    Special::Same.assert(|| format!("{parts}, {layout:?}"), &of(&got), &reference::softmax(&of(&x)));
                }
            }
        }
    }

    #[test]
    fn group_norms_of_padded_maps() {
        for ((size, pad), count) in LAYOUTS.into_iter().flat_map(|map| [1, 2, 3].map(|count| (map, count))) {
            let layout = PlaneLayout::new(size, pad);
            for special in [&[][..], &[f32::NAN]] {
                let mut x = noise(&layout, count, special);
                x.iter_mut().flatten().for_each(|x| *x += 20.0);
                let affine: Vec<(f32, f32)> = (0..count).map(|c| (1.5 - c as f32, 0.25 * c as f32)).collect();
                let (scale, shift): (Vec<f32>, Vec<f32>) = affine.iter().copied().unzip();
                let want = reference::group_norm(&x.concat(), &scale, &shift, 1e-5).0;
                for got in run(GateOp::GroupNorm { eps: 1e-5 }, &x, None, affine.clone(), &layout) {
                    Special::Same.assert(|| format!("{count}, {layout:?}"), &got.concat(), &want);
                }
            }
        }
    }
}
