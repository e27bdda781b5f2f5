//! Nearest upsampling of a single image.

use super::{COPY, PlaneLayout, Shared, Spans, part, tasks};

/// Every pixel `factor` times along rows and columns, cut to the size of the outputs.
pub(crate) struct Repeat {
    pub(crate) factor: usize,
    /// Places of input and output.
    pub(crate) channels: Vec<(usize, usize)>,
    pub(crate) from: PlaneLayout,
    pub(crate) to: PlaneLayout,
}

impl Repeat {
    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        for &(x, y) in &self.channels {
            reads.push(x..x + self.from.extent());
            writes.push(y..y + self.to.extent());
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        tasks(self.channels.len() * self.to.extent() * COPY).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// Nobody writes what [`Self::spans`] says it reads, or touches what it writes, but its own other tasks.
    pub(crate) unsafe fn repeat(&self, memory: Shared, task: usize) {
        let Self { factor, from, to, .. } = self;
        for &(x, y) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            // SAFETY: the caller's promise.
            let (x, y) = unsafe { (memory.read(x, from.extent()), memory.write(y, to.extent())) };
            for row in 0..to.size.0 {
                let (before, y) = y.split_at_mut(to.at(row, 0));
                let y = &mut y[..to.size.1];
                if row.is_multiple_of(*factor) {
                    let x = &x[from.at(row / factor, 0)..][..from.size.1];
                    x.iter().zip(y.chunks_mut(*factor)).for_each(|(x, y)| y.fill(*x));
                } else {
                    y.copy_from_slice(&before[to.at(row - 1, 0)..][..to.size.1]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Arena;
    use super::super::tests::{execute_all, planes, rows, values};
    use super::*;

    #[test]
    fn every_pixel_is_there_as_often_as_it_was_asked_for_and_no_padding() {
        for (small, large, factor, pads) in [
            ((3, 4), (6, 8), 2, (0, 1)),
            ((2, 3), (5, 7), 3, (1, 2)),
            ((4, 20), (7, 39), 2, (2, 0)),
            ((1, 1), (1, 1), 1, (0, 0)),
        ] {
            let (from, to) = (PlaneLayout::new(small, pads.0), PlaneLayout::new(large, pads.1));
            let x = values(2 * small.0 * small.1, 1);
            let (sources, targets) = (planes(&from, 0, 2), planes(&to, 2 * from.len, 2));
            let mut arena = Arena::new(2 * (from.len + to.len));
            rows(&mut arena, &from, &sources, |row, to| to.copy_from_slice(&x[row * small.1..][..small.1]));
            let channels = sources.into_iter().zip(targets.iter().copied()).collect();
            let repeat = Repeat { factor, channels, from, to };
            // SAFETY: one task after the other.
            execute_all(repeat.tasks(), repeat.spans(), &mut arena, |memory, task| unsafe {
                repeat.repeat(memory, task)
            });
            let pixel = |row: usize, column: usize| {
                let (plane, row) = (row / large.0, row % large.0);
                x[(plane * small.0 + row / factor) * small.1 + column / factor]
            };
            rows(&mut arena, &to, &targets, |row, got| {
                let want: Vec<f32> = (0..large.1).map(|column| pixel(row, column)).collect();
                assert_eq!(got, want, "row {row} of {large:?} by {factor}");
            });
            let written = {
                let memory = arena.shared();
                // SAFETY: nothing runs.
                let all = unsafe { memory.read(2 * from.len, 2 * to.len) };
                all.iter().filter(|&&value| value != 0.0).count()
            };
            assert_eq!(written, 2 * large.0 * large.1, "nothing beside the pixels");
        }
    }
}
