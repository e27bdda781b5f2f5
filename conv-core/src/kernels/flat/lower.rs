//! Flat planes: how a strided, padded 2-D convolution becomes sums over shifted rows.
//!
//! Take one axis. Output `o` and tap `t` of a convolution with stride s and padding p meet source index `o s + t - p`. Write
//! `t = j s + a`: that is element `o + j` of *phase* a, the sequence of source indices `v s + (a - p)`, v = 0, 1, ..., with zeros
//! outside the source. Within a phase every tap is a shift by j, whatever the stride. The same holds for the input gradient with
//! the roles turned: the source is `dy`, in one phase, and each phase a of `dx` is a stride-1 convolution with the taps
//! `t = j s + a` alone.
//!
//! In two dimensions the rows of a phase are laid end to end, and the rows of several images after one another: a tap is then a
//! constant offset into one long row, and vector lanes run over positions without regard to rows or images. Positions at the seams
//! compute garbage that is never copied out. To keep them few, neighbouring rows (and images) share their zero padding.

use crate::kernels::shape::ConvShape;
use crate::kernels::taps::{Axis, Progression};

/// Where the elements of a phase lie on the other side.
pub(super) type Phase = Progression;

/// One spatial axis of a lowered convolution.
#[derive(Clone, Debug)]
struct LoweredAxis {
    /// Phases of the source, each `count + reach` long.
    sources: Vec<Phase>,
    /// Phases of the destination, each `count` long, with their taps.
    outputs: Vec<(Phase, Vec<Tap>)>,
    /// Positions computed.
    count: usize,
    /// Largest shift of a tap.
    reach: usize,
    /// Distance of neighbours (rows, or images): `count + reach` less the zeros they share.
    pitch: usize,
}

#[derive(Clone, Copy, Debug)]
struct Tap {
    /// Index in the kernel.
    tap: usize,
    source: usize,
    shift: usize,
}

impl LoweredAxis {
    fn forward(axis: Axis) -> Self {
        let Axis { input, output, kernel, stride, .. } = axis;
        let sources = (0..stride.min(kernel)).map(|a| axis.inputs(a)).collect();
        let taps = (0..kernel).map(|tap| Tap { tap, source: tap % stride, shift: tap / stride }).collect();
        Self::new(sources, vec![(Phase { start: 0, step: 1 }, taps)], output, (kernel - 1) / stride, input)
    }

    /// The source is `dy`, the destination `dx`.
    fn input_gradient(axis: Axis) -> Self {
        let Axis { input, output, kernel, stride, .. } = axis;
        let reach = (kernel - 1) / stride;
        let phases = stride.min(kernel);
        let ranges = (0..phases).map(|a| axis.inputs(a).existing(usize::MAX >> 2, input));
        let ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
        let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(first);
        let outputs = (0..phases).map(|a| {
            let start = axis.inputs(a).start + (first * stride) as isize;
            let taps = (a..kernel).step_by(stride).enumerate();
            (Phase { start, step: stride }, taps.map(|(j, tap)| Tap { tap, source: 0, shift: reach - j }).collect())
        });
        let source = Phase { start: first as isize - reach as isize, step: 1 };
        Self::new(vec![source], outputs.collect(), end - first, reach, output)
    }

    fn new(
        sources: Vec<Phase>,
        outputs: Vec<(Phase, Vec<Tap>)>,
        count: usize,
        reach: usize,
        source_size: usize,
    ) -> Self {
        let len = count + reach;
        let shared = sources.iter().map(|phase| {
            let existing = phase.existing(len, source_size);
            existing.start.min(len - existing.end)
        });
        let shared = shared.min().unwrap_or(0).min(reach);
        Self { sources, outputs, count, reach, pitch: len - shared }
    }
}

/// A destination phase in both axes, with the taps that reach it.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) rows: Phase,
    pub(super) columns: Phase,
    /// Index of each tap in the kernel, row by row.
    pub(super) taps: Vec<usize>,
    /// Offset of each tap within a channel's planes.
    pub(super) offsets: Vec<usize>,
}

/// A convolution, lowered for blocks of up to `images` images.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    /// Source phases, (rows, columns); a channel is that many planes.
    pub(super) sources: Vec<(Phase, Phase)>,
    pub(super) outputs: Vec<Output>,
    /// Height and width of source and destination.
    pub(super) source: (usize, usize),
    pub(super) destination: (usize, usize),
    /// Rows and columns of positions that mean something, per image.
    pub(super) count: (usize, usize),
    /// Positions from one row to the next, and rows from one image to the next.
    pub(super) row_pitch: usize,
    pub(super) image_rows: usize,
    /// Length of a plane, slack for whole vector tiles included.
    pub(super) plane: usize,
}

impl Lowered {
    /// For `y` from `x`, and for `dw` from `x`.
    pub(super) fn forward(s: &ConvShape, images: usize) -> Self {
        Self::new(s, LoweredAxis::forward, s.input, s.output, images)
    }

    /// For `dx` from `dy`.
    pub(super) fn input_gradient(s: &ConvShape, images: usize) -> Self {
        Self::new(s, LoweredAxis::input_gradient, s.output, s.input, images)
    }

    fn new(
        s: &ConvShape,
        lower: fn(Axis) -> LoweredAxis,
        source: (usize, usize),
        destination: (usize, usize),
        images: usize,
    ) -> Self {
        let (rows, columns) = s.axes();
        let (rows, columns) = (lower(rows), lower(columns));
        let mut lowered = Self {
            sources: product(&rows.sources, &columns.sources),
            outputs: Vec::new(),
            source,
            destination,
            count: (rows.count, columns.count),
            row_pitch: columns.pitch,
            image_rows: rows.pitch,
            plane: 0,
        };
        let seams = images.saturating_sub(1) * lowered.image_pitch();
        let reach = rows.reach * lowered.row_pitch + columns.reach;
        let content = seams + (rows.count + rows.reach) * lowered.row_pitch + columns.reach;
        let read = lowered.positions(images).next_multiple_of(super::tile::TILE) + reach;
        lowered.plane = content.max(read).next_multiple_of(16);
        let offset = |r: &Tap, c: &Tap| {
            (r.source * columns.sources.len() + c.source) * lowered.plane + r.shift * lowered.row_pitch + c.shift
        };
        let mut outputs = Vec::new();
        for (row_phase, row_taps) in &rows.outputs {
            for (column_phase, column_taps) in &columns.outputs {
                let both = product(row_taps, column_taps);
                outputs.push(Output {
                    rows: *row_phase,
                    columns: *column_phase,
                    taps: both.iter().map(|(r, c)| r.tap * s.kernel + c.tap).collect(),
                    offsets: both.iter().map(|(r, c)| offset(r, c)).collect(),
                });
            }
        }
        lowered.outputs = outputs;
        lowered
    }

    /// Positions from one image to the next.
    pub(super) fn image_pitch(&self) -> usize {
        self.image_rows * self.row_pitch
    }

    /// Positions to compute for `images` images.
    pub(super) fn positions(&self, images: usize) -> usize {
        match self.count {
            (0, _) | (_, 0) => 0,
            (rows, columns) => (images - 1) * self.image_pitch() + (rows - 1) * self.row_pitch + columns,
        }
    }

    /// Lays one channel of a block of images, `image_stride` apart in `from`, out as its source planes.
    pub(super) fn pack(&self, from: &[f32], image_stride: usize, images: usize, planes: &mut [f32]) {
        for ((rows, columns), plane) in self.sources.iter().zip(planes.chunks_exact_mut(self.plane)) {
            lay_rows(self, (*rows, *columns), self.source, from, image_stride, images, plane);
        }
    }

    /// Lays one channel of destination-sized images out at the positions of a forward pass, zeros between them.
    pub(super) fn pack_positions(&self, from: &[f32], image_stride: usize, images: usize, plane: &mut [f32]) {
        let straight = Phase { start: 0, step: 1 };
        lay_rows(self, (straight, straight), self.destination, from, image_stride, images, plane);
    }

    /// Copies the meaningful positions of one channel of `output` to the images, `image_stride` apart in `to`.
    pub(super) fn unpack(&self, output: &Output, plane: &[f32], to: &mut [f32], image_stride: usize, images: usize) {
        let (height, width) = self.destination;
        let columns = output.columns.existing(self.count.1, width);
        for image in 0..images {
            let to = &mut to[image * image_stride..][..height * width];
            for row in output.rows.existing(self.count.0, height) {
                let from = &plane[(image * self.image_rows + row) * self.row_pitch..][columns.clone()];
                let to = &mut to[output.rows.index(row) * width..][..width];
                if columns.is_empty() {
                    continue;
                }
                let first = output.columns.index(columns.start);
                if output.columns.step == 1 {
                    to[first..first + from.len()].copy_from_slice(from);
                } else {
                    for (to, &value) in to[first..].iter_mut().step_by(output.columns.step).zip(from) {
                        *to = value;
                    }
                }
            }
        }
    }
}

/// Writes every value of `plane`: rows of the images where they exist, zeros elsewhere.
fn lay_rows(
    lowered: &Lowered,
    (rows, columns): (Phase, Phase),
    (height, width): (usize, usize),
    from: &[f32],
    image_stride: usize,
    images: usize,
    plane: &mut [f32],
) {
    let pitch = lowered.row_pitch;
    let existing_rows = rows.existing(lowered.image_rows, height);
    let existing = columns.existing(pitch, width);
    let mut laid = plane.chunks_exact_mut(pitch);
    for image in 0..images {
        let from = &from[image * image_stride..][..height * width];
        for row in 0..lowered.image_rows {
            let Some(to) = laid.next() else { return };
            if !existing_rows.contains(&row) || existing.is_empty() {
                to.fill(0.0);
                continue;
            }
            let from = &from[rows.index(row) * width..][..width];
            let first = columns.index(existing.start);
            to[..existing.start].fill(0.0);
            to[existing.end..].fill(0.0);
            let to = &mut to[existing.clone()];
            if columns.step == 1 {
                to.copy_from_slice(&from[first..first + to.len()]);
            } else {
                for (to, &value) in to.iter_mut().zip(from[first..].iter().step_by(columns.step)) {
                    *to = value;
                }
            }
        }
    }
    let written = images * lowered.image_pitch();
    plane[written..].fill(0.0);
}

fn product<A: Clone, B: Clone>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    a.iter().flat_map(|a| b.iter().map(move |b| (a.clone(), b.clone()))).collect()
}
