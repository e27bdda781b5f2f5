//! Norms that could not be folded into a convolution, and poolings.

use super::{COPY, LANES, PlaneLayout, Shared, Spans, Target, part, tasks};
use crate::kernels::epilogue;
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::windows::Windows;

/// `target = relu?(scale x + bias + residual?)`, channel by channel.
pub(crate) struct Apply {
    /// For each channel: the place of its input, its scale, and where it goes.
    pub(crate) channels: Vec<(usize, f32, Target)>,
    pub(crate) layout: PlaneLayout,
    /// Of the layout.
    pub(crate) mask: Vec<f32>,
}

impl Apply {
    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        let len = self.layout.lines * LANES;
        for (x, _, target) in &self.channels {
            reads.push(*x..x + len);
            target.residual.into_iter().for_each(|residual| reads.push(residual..residual + len));
            writes.push(target.place..target.place + len);
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        tasks(self.channels.len() * self.layout.lines * LANES * COPY).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// Nobody writes what [`Self::spans`] says it reads, or touches what it writes, but its own other tasks.
    pub(crate) unsafe fn apply(&self, isa: Isa, memory: Shared, task: usize) {
        for &(x, scale, target) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            let len = self.layout.lines * LANES;
            // SAFETY: the caller's promise; layouts have room for whole lines.
            unsafe {
                let (x, y) = (memory.read(x, len), memory.write(target.place, len));
                let residual = target.residual.map(|residual| memory.read(residual, len));
                isa.execute(Affine { x, residual, y, mask: &self.mask, scale, bias: target.bias, relu: target.relu });
            }
        }
    }
}

struct Affine<'a> {
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
    mask: &'a [f32],
    scale: f32,
    bias: f32,
    relu: bool,
}

impl Task for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let (scale, bias) = (simd.splat(self.scale), simd.splat(self.bias));
        let vectors = self.y.chunks_exact_mut(S::LANES).zip(self.x.chunks_exact(S::LANES));
        for (at, ((y, x), mask)) in vectors.zip(self.mask.chunks_exact(S::LANES)).enumerate() {
            let residual = self.residual.map(|residual| &residual[at * S::LANES..][..S::LANES]);
            // SAFETY: each of these slices is one vector long.
            unsafe {
                let value = simd.mul_add(scale, simd.load(x.as_ptr()), bias);
                let value = epilogue::apply(simd, value, None, residual.map(<[f32]>::as_ptr), self.relu);
                simd.store(y.as_mut_ptr(), simd.mask(simd.load(mask.as_ptr()), value));
            }
        }
    }
}

/// A pooling.
pub(crate) struct Pool {
    pub(crate) windows: Windows,
    pub(crate) max: bool,
    /// Places of input and output.
    pub(crate) channels: Vec<(usize, usize)>,
    pub(crate) from: PlaneLayout,
    pub(crate) to: PlaneLayout,
}

impl Pool {
    fn lens(&self) -> (usize, usize) {
        (self.from.extent(), self.to.extent())
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        let (from, to) = self.lens();
        for &(x, y) in &self.channels {
            reads.push(x..x + from);
            writes.push(y..y + to);
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        let (from, _) = self.lens();
        tasks(self.channels.len() * from * COPY).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// As of [`Apply::apply`].
    pub(crate) unsafe fn pool(&self, isa: Isa, memory: Shared, task: usize) {
        let (from, to) = self.lens();
        for &(x, y) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            // SAFETY: the caller's promise.
            let (x, y) = unsafe { (memory.read(x, from), memory.write(y, to)) };
            let Windows { kernel, stride, input, .. } = self.windows;
            // A single window has no rows to share.
            if self.windows.whole() && stride < input.1 && input.1 <= ROW {
                isa.execute(Rows { of: self, x, y, kernel, stride });
            } else {
                self.each(x, y);
            }
        }
    }

    fn each(&self, x: &[f32], y: &mut [f32]) {
        self.windows.each(|at, rows, columns| {
            let count = (rows.len() * columns.len()) as f32;
            let rows = rows.map(|row| &x[row * self.from.pitch..][columns.clone()]);
            let (row, column) = (at / self.to.size.1, at % self.to.size.1);
            y[self.to.at(row, column)] = if self.max {
                rows.flatten().fold(f32::NEG_INFINITY, |best, &x| greater(best, x))
            } else {
                rows.map(|row| row.iter().sum::<f32>()).sum::<f32>() / count
            };
        });
    }
}

/// Pixels in a row that [`Rows`] has room for.
const ROW: usize = 256;

/// Pools a plane whose windows are all whole. It is plain Rust, which the compiler turns into vectors of the instruction set.
struct Rows<'a> {
    of: &'a Pool,
    x: &'a [f32],
    y: &'a mut [f32],
    kernel: usize,
    stride: usize,
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        match (self.kernel, self.stride) {
            // The usual sizes, as constants.
            (2, 2) => self.rows(2, 2),
            (1, 2) => self.rows(1, 2),
            (kernel, stride) => self.rows(kernel, stride),
        }
    }
}

impl Rows<'_> {
    /// First down the rows of a window, then along them.
    #[inline(always)]
    fn rows(self, kernel: usize, stride: usize) {
        let Pool { max, from, to, .. } = *self.of;
        let combine = |best: f32, x: f32| if max { greater(best, x) } else { best + x };
        let count = (kernel * kernel) as f32;
        let mut all = [0f32; ROW];
        let columns = &mut all[..from.size.1];
        for (row, y) in self.y.chunks_mut(to.pitch).enumerate() {
            let x = &self.x[row * stride * from.pitch..];
            columns.copy_from_slice(&x[..from.size.1]);
            for ky in 1..kernel {
                let x = &x[ky * from.pitch..][..from.size.1];
                columns.iter_mut().zip(x).for_each(|(column, x)| *column = combine(*column, *x));
            }
            for (y, window) in y[..to.size.1].iter_mut().zip(columns.windows(kernel).step_by(stride)) {
                let value = window[1..].iter().fold(window[0], |best, x| combine(best, *x));
                *y = if max { value } else { value / count };
            }
        }
    }
}

/// The greater one; NaN if the new one is (or the old one was).
#[inline(always)]
fn greater(best: f32, x: f32) -> f32 {
    if x > best || x.is_nan() { x } else { best }
}

#[cfg(test)]
mod tests {
    use super::super::Arena;
    use super::super::tests::{execute_all, planes, rows, values};
    use super::*;
    use crate::kernels::reference::{NOT_FINITE, Special};

    /// `relu?(scale x + bias + residual?)`, at the edges of a map and inside of it.
    #[test]
    fn norms_of_padded_maps_keep_what_is_not_finite() {
        let layout = PlaneLayout::new((3, 21), 1);
        let pixels = 3 * 21;
        for (at, relu) in (0..pixels).flat_map(|at| [(at, true), (at, false)]) {
            for (kind, in_residual) in NOT_FINITE.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
                let (mut x, mut residual) = (values(pixels, 1), values(pixels, 2));
                if in_residual {
                    residual[at] = kind
                } else {
                    x[at] = kind
                }
                let want: Vec<f32> = x.iter().zip(&residual).map(|(x, residual)| -1.5 * x + 0.5 + residual).collect();
                let places = planes(&layout, 0, 3);
                let mut arena = Arena::new(3 * layout.len);
                rows(&mut arena, &layout, &places[..1], |row, to| to.copy_from_slice(&x[row * 21..][..21]));
                rows(&mut arena, &layout, &places[1..2], |row, to| to.copy_from_slice(&residual[row * 21..][..21]));
                let target = Target { place: places[2], bias: 0.5, residual: Some(places[1]), relu };
                let apply = Apply { channels: vec![(places[0], -1.5, target)], layout, mask: layout.mask() };
                for isa in Isa::available() {
                    // SAFETY: one task after the other.
                    execute_all(apply.tasks(), apply.spans(), &mut arena, |memory, task| unsafe {
                        apply.apply(isa, memory, task)
                    });
                    let mut got = Vec::new();
                    rows(&mut arena, &layout, &places[2..], |_, row| got.extend_from_slice(row));
                    let what = || format!("{isa:?} {kind} at {at}, relu {relu}");
                    if relu {
                        Special::Same.assert_relu(what, &got, &want);
                    } else {
                        Special::Same.assert(what, &got, &want);
                    }
                }
            }
        }
    }

    #[test]
    fn poolings_of_padded_maps() {
        for (size, kernel, stride, padding, ceil) in [
            ((8, 6), 2, 2, 0, false),
            ((9, 7), 3, 2, 1, false),
            ((7, 7), 2, 2, 0, true),
            ((5, 9), 1, 2, 0, false),
            // Rows of several vectors.
            ((6, 83), 3, 1, 1, false),
            ((6, 83), 2, 2, 0, false),
            ((9, 83), 4, 3, 1, true),
            ((5, 83), 1, 2, 0, false),
        ] {
            let windows = Windows::new(size, kernel, stride, padding, ceil).unwrap();
            let (from, to) = (PlaneLayout::new(size, 1), PlaneLayout::new(windows.output, 2));
            let plain = values(3 * size.0 * size.1, 4);
            // As it is, and with a value that is not finite in every fifth place.
            let mut special = plain.clone();
            special.iter_mut().step_by(5).zip(NOT_FINITE.into_iter().cycle()).for_each(|(x, kind)| *x = kind);
            for (max, x) in [(true, &plain), (false, &plain), (true, &special), (false, &special)] {
                let want = if max {
                    crate::kernels::flat::pool::max_forward(&windows, x)
                } else {
                    crate::kernels::flat::pool::average_forward(&windows, x)
                };
                let (sources, outputs) = (planes(&from, 0, 3), planes(&to, 3 * from.len, 3));
                let mut arena = Arena::new(3 * (from.len + to.len));
                rows(&mut arena, &from, &sources, |row, to| to.copy_from_slice(&x[row * size.1..][..size.1]));
                let channels = sources.into_iter().zip(outputs.iter().copied()).collect();
                let pool = Pool { windows, max, channels, from, to };
                for isa in Isa::available() {
                    // SAFETY: one task after the other.
                    execute_all(pool.tasks(), pool.spans(), &mut arena, |memory, task| unsafe {
                        pool.pool(isa, memory, task)
                    });
                    let mut got = Vec::new();
                    rows(&mut arena, &to, &outputs, |_, row| got.extend_from_slice(row));
                    Special::Same.assert(|| format!("{isa:?} {size:?} {kernel} {stride}"), &got, &want);
                }
            }
        }
    }
}
