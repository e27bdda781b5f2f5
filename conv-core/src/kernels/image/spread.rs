//! A strided convolution reads every `stride`-th pixel. Spread over one plane for each phase of the stride, they are
//! neighbours again, and the convolution is one of stride 1 over those planes.

use super::{COPY, LANES, PlaneLayout, Shared, Spans, part, tasks};
use crate::kernels::shape::ConvShape;
use crate::kernels::taps::Axis;

/// Copies a convolution's inputs apart.
pub(crate) struct Spread {
    /// Rows and columns of the convolution.
    axes: (Axis, Axis),
    /// Rows and columns of a phase.
    size: (usize, usize),
    pitch: usize,
    /// From one input row to the next, and from the first pixel to the last.
    from_pitch: usize,
    extent: usize,
    /// Values of a phase's plane; a channel has one for each of `phases`, in order.
    len: usize,
    /// Row and column of the first pixel of a phase, in the padded input.
    phases: Vec<(usize, usize)>,
    /// Each channel's first pixel, and the first value of its planes.
    channels: Vec<(usize, usize)>,
}

impl Spread {
    /// Columns that the outputs' padding must have room for.
    pub(crate) fn room(s: &ConvShape) -> usize {
        (s.kernel - 1) / s.stride
    }

    /// For the input channels whose first pixels lie at `sources` (none for zeros), into memory from `place` on, which
    /// holds zeros. None where the outputs' layout has too little padding.
    pub(crate) fn new(
        s: &ConvShape,
        sources: &[Option<usize>],
        from: &PlaneLayout,
        to: &PlaneLayout,
        place: usize,
    ) -> Option<Self> {
        let room = Self::room(s);
        if to.pad < room {
            return None;
        }
        // Those that a tap reads.
        let side = s.stride.min(s.kernel);
        let phases: Vec<(usize, usize)> = (0..side * side).map(|phase| (phase / side, phase % side)).collect();
        // Lines of outputs, the furthest tap included.
        let lines = (to.lines * LANES + room * (to.pitch + 1)).div_ceil(LANES);
        // Odd, as layouts are.
        let len = (lines | 1) * LANES;
        let channels = sources.iter().enumerate();
        Some(Self {
            axes: s.axes(),
            size: (s.output.0 + room, s.output.1 + room),
            pitch: to.pitch,
            from_pitch: from.pitch,
            extent: from.extent(),
            len,
            channels: channels
                .filter_map(|(c, source)| source.map(|source| (source, place + c * phases.len() * len)))
                .collect(),
            phases,
        })
    }

    /// Values that all channels take.
    pub(crate) fn memory(&self, channels: usize) -> usize {
        channels * self.phases.len() * self.len
    }

    /// First values of the channels, `count` of them from `place` on; and for each tap where it reads, from there.
    pub(crate) fn sources(&self, kernel: usize, place: usize, count: usize) -> (Vec<usize>, Vec<isize>) {
        let stride = self.axes.0.stride;
        let of = |k: usize| (k % stride, k / stride);
        let taps = (0..kernel * kernel).map(|tap| {
            let ((y, row), (x, column)) = (of(tap / kernel), of(tap % kernel));
            // As `new` lists them.
            let phase = y * stride.min(kernel) + x;
            (phase * self.len + row * self.pitch + column) as isize
        });
        ((0..count).map(|c| place + c * self.phases.len() * self.len).collect(), taps.collect())
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        for &(from, to) in &self.channels {
            reads.push(from..from + self.extent);
            writes.push(to..to + self.phases.len() * self.len);
        }
        (reads, writes)
    }

    pub(crate) fn tasks(&self) -> usize {
        let pixels = self.phases.len() * self.size.0 * self.size.1;
        tasks(self.channels.len() * pixels * COPY).min(self.channels.len().max(1))
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// Nobody writes the inputs or touches the planes of this task's channels, which hold zeros where nothing is copied.
    pub(crate) unsafe fn spread(&self, memory: Shared, task: usize) {
        for &(from, to) in &self.channels[part(self.channels.len(), self.tasks(), task)] {
            // SAFETY: the caller's promise.
            let (from, to) =
                unsafe { (memory.read(from, self.extent), memory.write(to, self.phases.len() * self.len)) };
            for (plane, &phase) in to.chunks_exact_mut(self.len).zip(&self.phases) {
                self.phase(from, plane, phase);
            }
        }
    }

    fn phase(&self, from: &[f32], plane: &mut [f32], (y, x): (usize, usize)) {
        // A phase holds what its first tap meets.
        let (in_rows, in_columns) = (self.axes.0.inputs(y), self.axes.1.inputs(x));
        let columns = in_columns.existing(self.size.1, self.axes.1.input);
        if columns.is_empty() {
            return;
        }
        for row in in_rows.existing(self.size.0, self.axes.0.input) {
            let from = &from[in_rows.index(row) * self.from_pitch + in_columns.index(columns.start)..];
            let to = &mut plane[row * self.pitch..][columns.clone()];
            match in_columns.step {
                1 => to.copy_from_slice(&from[..to.len()]),
                // The usual stride, as a constant.
                2 => to.iter_mut().zip(from.iter().step_by(2)).for_each(|(to, from)| *to = *from),
                stride => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
            }
        }
    }
}
