//! What gates are made of, for a single image: functions of each value, products, crossed gates, softmax between planes, group
//! norms. All loops go over the positions of a line in plain Rust, which the compiler turns into vectors of the instruction set.

use std::ops::Range;

use super::{COPY, LANES, PlaneLayout, Shared, Spans, part, tasks};
use crate::kernels::map::{Crossing, Map, exp};
use crate::kernels::simd::{Isa, Simd, Task};

#[cfg(test)]
mod tests;

/// What is done with the planes of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GateOp {
    /// A function of each value: one plane to one.
    Map(Map),
    /// Of two planes, or of a plane and a single value that meets every pixel: to one plane. Of several such pairs, their sum.
    Product,
    /// Of two planes that lie half of the channels apart, and behind them those of their gates: to two planes.
    Crossed(Crossing),
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
                GateOp::Product => reads.len() >= 2 && reads.len().is_multiple_of(2) && writes.len() == 1,
                GateOp::Crossed(_) => reads.len() == 4 && writes.len() == 2,
                GateOp::Softmax => reads.len() == writes.len(),
                GateOp::GroupNorm { .. } => reads.len() == writes.len() && affine.len() == writes.len(),
            };
            let single = |at: usize, span: &Range<usize>| op == GateOp::Product && at % 2 == 1 && span.len() == 1;
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
            GateOp::Product => {
                for at in self.lines() {
                    let mut sum = self.product(0, at);
                    for pair in 1..self.job.reads.len() / 2 {
                        let product = self.product(pair, at);
                        sum = each(|i| sum[i] + product[i]);
                    }
                    self.write(0, at, sum);
                }
            }
            GateOp::Crossed(crossing) => self.cross(crossing),
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

    /// Of a pair of planes, or of a plane and a single value.
    #[inline(always)]
    fn product(&self, pair: usize, at: usize) -> Values {
        let (x, by) = (self.read(2 * pair, at), &self.job.reads[2 * pair + 1]);
        if by.len() == 1 {
            // SAFETY: the promise of `Gate::execute`.
            let by = unsafe { *self.memory.at(by.start) };
            each(|i| x[i] * by)
        } else {
            let by = self.read(2 * pair + 1, at);
            each(|i| x[i] * by[i])
        }
    }

    #[inline(always)]
    fn cross(&self, crossing: Crossing) {
        for at in self.lines() {
            let (x0, x1) = (self.read(0, at), self.read(1, at));
            let (gate0, gate1) = (self.read(2, at), self.read(3, at));
            let (s0, s1) = (each(|i| Map::Sigmoid.apply(gate0[i])), each(|i| Map::Sigmoid.apply(gate1[i])));
            self.write(0, at, each(|i| x0[i] * crossing.own(s0[i]) + x1[i] * crossing.other(s1[i])));
            self.write(1, at, each(|i| x1[i] * crossing.own(s1[i]) + x0[i] * crossing.other(s0[i])));
        }
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
