//! What is no convolution: norms that could not be folded into one, and poolings.

use super::{Layout, Shared, Spans, Target, part, tasks};
use crate::kernels::pool::Windows;

/// `target = relu?(scale x + bias + residual?)`, channel by channel.
pub(crate) struct Apply {
    /// Place of `x`, scale, and where it goes.
    pub(crate) channels: Vec<(usize, f32, Target)>,
    pub(crate) layout: Layout,
}

impl Apply {
    fn len(&self) -> usize {
        (self.layout.size.0 - 1) * self.layout.pitch + self.layout.size.1
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        for (x, _, target) in &self.channels {
            reads.push(*x..x + self.len());
            target.residual.into_iter().for_each(|residual| reads.push(residual..residual + self.len()));
            writes.push(target.place..target.place + self.len());
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        tasks(self.channels.len() * self.len() * 4).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// Nobody writes what [`Self::spans`] says it reads, or touches what it writes, but its own other tasks.
    pub(crate) unsafe fn run(&self, memory: Shared, task: usize) {
        let Layout { size: (height, width), pitch, .. } = self.layout;
        for &(x, scale, target) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            for row in 0..height {
                // SAFETY: the caller's promise.
                let (x, y) =
                    unsafe { (memory.read(x + row * pitch, width), memory.write(target.place + row * pitch, width)) };
                y.iter_mut().zip(x).for_each(|(y, x)| *y = scale * x + target.bias);
                if let Some(residual) = target.residual {
                    // SAFETY: the caller's promise.
                    let residual = unsafe { memory.read(residual + row * pitch, width) };
                    y.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
                }
                if target.relu {
                    y.iter_mut().for_each(|y| *y = y.max(0.0));
                }
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
    pub(crate) from: Layout,
    pub(crate) to: Layout,
}

impl Pool {
    fn lens(&self) -> (usize, usize) {
        let len = |layout: &Layout| (layout.size.0 - 1) * layout.pitch + layout.size.1;
        (len(&self.from), len(&self.to))
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
        tasks(self.channels.len() * from * 8).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// As of [`Apply::run`].
    pub(crate) unsafe fn run(&self, memory: Shared, task: usize) {
        let (from, to) = self.lens();
        for &(x, y) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            // SAFETY: the caller's promise.
            let (x, y) = unsafe { (memory.read(x, from), memory.write(y, to)) };
            match (self.windows.whole(), self.windows.kernel, self.windows.stride) {
                // Compiled for what there mostly is.
                (true, 2, 2) => self.rows(x, y, 2, 2),
                (true, kernel, stride) if stride < self.windows.input.1 => self.rows(x, y, kernel, stride),
                _ => self.each(x, y),
            }
        }
    }

    /// Row by row, where every window is whole.
    #[inline(always)]
    fn rows(&self, x: &[f32], y: &mut [f32], kernel: usize, stride: usize) {
        let share = 1.0 / (kernel * kernel) as f32;
        for (row, y) in y.chunks_mut(self.to.pitch).enumerate() {
            let y = &mut y[..self.to.size.1];
            y.fill(if self.max { f32::NEG_INFINITY } else { 0.0 });
            for ky in 0..kernel {
                let x = &x[(row * stride + ky) * self.from.pitch..];
                for kx in 0..kernel {
                    let x = x[kx..].iter().step_by(stride);
                    match self.max {
                        true => y.iter_mut().zip(x).for_each(|(y, x)| *y = greater(*y, *x)),
                        false => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                    }
                }
            }
            if !self.max {
                y.iter_mut().for_each(|y| *y *= share);
            }
        }
    }

    fn each(&self, x: &[f32], y: &mut [f32]) {
        self.windows.each(|at, rows, columns| {
            let count = (rows.len() * columns.len()) as f32;
            let rows = rows.map(|row| &x[row * self.from.pitch..][columns.clone()]);
            let (row, column) = (at / self.to.size.1, at % self.to.size.1);
            y[self.to.at(row, column)] = match self.max {
                true => rows.flatten().fold(f32::NEG_INFINITY, |best, &x| greater(best, x)),
                false => rows.map(|row| row.iter().sum::<f32>()).sum::<f32>() / count,
            };
        });
    }
}

/// The greater one; NaN if the new one is (or the old one was).
#[inline(always)]
fn greater(best: f32, x: f32) -> f32 {
    if x > best || x.is_nan() { x } else { best }
}
