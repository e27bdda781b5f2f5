//! A convolution's weights in the order in which its tiles read them.

use std::cell::RefCell;

use super::phases::Phase;
use super::product::{Pairs, ROWS};
use super::rounded;
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Isa, Simd, Task};

/// How the pairs of a kernel row are cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Of a pixel, those of zeros included.
    pub(super) pairs: usize,
    /// Pairs of a chunk.
    pub(super) chunk: usize,
    /// Chunks of a kernel row.
    pub(super) chunks: usize,
}

impl Cut {
    fn new(taps: usize, channels: usize) -> Self {
        let mut pairs = channels.div_ceil(2);
        if taps == 0 {
            return Self { pairs, chunk: 1, chunks: 0 };
        }
        loop {
            let chunks = (taps * pairs).div_ceil(16);
            if (taps * pairs).is_multiple_of(chunks) {
                return Self { pairs, chunk: taps * pairs / chunks, chunks };
            }
            // Ends at a multiple of 16 at the latest.
            pairs += 1;
        }
    }
}

/// Destinations that meet the same taps, and these.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) rows: Phase,
    pub(super) columns: Phase,
    pub(super) cut: Cut,
    /// `[group][block of 16 destinations][kernel row][chunk][destination][pair]`, zeros where there is none.
    pub(super) values: Vec<Pairs>,
}

impl Part {
    /// Tiles of a block of destinations.
    pub(super) fn tiles(&self) -> usize {
        self.rows.taps.len() * self.cut.chunks
    }
}

/// Weights of one direction of a convolution, for tiles. None are there before [`Weights::pack`].
#[derive(Clone)]
pub(crate) struct Weights {
    shape: ConvShape,
    backward: bool,
    pub(super) parts: Vec<Part>,
    /// Channels of a group.
    pub(super) sources: usize,
    pub(super) destinations: usize,
    /// Sizes of their maps.
    pub(super) from: (usize, usize),
    pub(super) to: (usize, usize),
}

impl Weights {
    /// To convolve inputs into outputs.
    pub(crate) fn forward(shape: ConvShape) -> Self {
        Self::new(shape, false)
    }

    /// To convolve the outputs' gradients into the inputs'.
    pub(crate) fn backward(shape: ConvShape) -> Self {
        Self::new(shape, true)
    }

    fn new(shape: ConvShape, backward: bool) -> Self {
        let (inputs, outputs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
        let (rows, columns) = shape.axes();
        let phases = if backward { Phase::backward } else { Phase::forward };
        let (rows, columns) = (phases(rows), phases(columns));
        let (sources, destinations) = if backward { (outputs, inputs) } else { (inputs, outputs) };
        let part = |rows: &Phase, columns: &Phase| {
            let cut = Cut::new(columns.taps.len(), sources);
            Part { rows: rows.clone(), columns: columns.clone(), cut, values: Vec::new() }
        };
        let parts = rows.iter().flat_map(|rows| columns.iter().map(move |columns| part(rows, columns))).collect();
        let (from, to) = if backward { (shape.output, shape.input) } else { (shape.input, shape.output) };
        Self { shape, backward, parts, sources, destinations, from, to }
    }

    pub(super) fn groups(&self) -> usize {
        self.shape.groups
    }

    /// Blocks of 16 destinations of a group.
    pub(super) fn blocks(&self) -> usize {
        self.destinations.div_ceil(ROWS)
    }

    /// Gives their memory back.
    pub(crate) fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| part.values = Vec::new());
    }

    /// Bytes that they take once they are packed.
    pub(crate) fn bytes(&self) -> usize {
        let lines = self.parts.iter().map(|part| self.groups() * self.blocks() * part.tiles() * ROWS);
        lines.sum::<usize>() * size_of::<Pairs>()
    }

    /// Bytes that are there.
    #[cfg(test)]
    pub(crate) fn packed(&self) -> usize {
        self.parts.iter().map(|part| size_of_val(part.values.as_slice())).sum()
    }

    /// Takes the memory of another direction's, which are empty then.
    pub(crate) fn take_memory(&mut self, other: &mut Self) {
        for (part, other) in self.parts.iter_mut().zip(&mut other.parts) {
            if part.values.is_empty() {
                std::mem::swap(&mut part.values, &mut other.values);
            }
        }
        other.clear();
    }

    /// From `w[o][c / groups][tap]`, which are rounded.
    pub(crate) fn pack(&mut self, w: &[f32]) {
        assert_eq!(w.len(), self.shape.w_len(), "bf16 convolution: weights");
        let mut halves = HALVES.with(|halves| halves.take());
        halves.resize(halves.len().max(w.len()), 0);
        Isa::best().execute(Halved { from: w, to: &mut halves });
        let groups = self.groups();
        let (blocks, of_group) = (self.blocks(), self.sources * self.destinations * self.shape.taps());
        let (steps, sources, destinations) = (self.steps(), self.sources, self.destinations);
        for part in &mut self.parts {
            let lines = part.tiles() * ROWS;
            part.values.clear();
            part.values.resize(groups * blocks * lines, Pairs::ZERO);
            let Part { rows, columns, cut, values } = part;
            for (at, block) in values.chunks_exact_mut(lines.max(1)).enumerate() {
                let (group, first) = (at / blocks, at % blocks * ROWS);
                let halves = &halves[group * of_group..][..of_group];
                let rows_of_block = destinations.min(first + ROWS) - first;
                for (row, ky) in rows.taps.iter().enumerate() {
                    for (column, kx) in columns.taps.iter().enumerate() {
                        let tap = ky * self.shape.kernel + kx;
                        let of =
                            |source: usize| halves[source * steps.0 + first * steps.1 + tap..].iter().step_by(steps.1);
                        for pair in 0..sources.div_ceil(2) {
                            let place = column * cut.pairs + pair;
                            let (tile, place) = (row * cut.chunks + place / cut.chunk, place % cut.chunk);
                            let lines = block[tile * ROWS..][..rows_of_block].iter_mut();
                            if 2 * pair + 1 < sources {
                                let pairs = of(2 * pair).zip(of(2 * pair + 1));
                                for (line, (&low, &high)) in lines.zip(pairs) {
                                    line.0[place] = u32::from(low) | u32::from(high) << 16;
                                }
                            } else {
                                lines.zip(of(2 * pair)).for_each(|(line, &low)| line.0[place] = u32::from(low));
                            }
                        }
                    }
                }
            }
        }
        HALVES.with(|kept| kept.replace(halves));
    }

    /// How far apart sources and destinations lie in a group's weights.
    fn steps(&self) -> (usize, usize) {
        let taps = self.shape.taps();
        if self.backward { (self.destinations * taps, taps) } else { (taps, self.sources * taps) }
    }
}

thread_local! {
    /// Rounded weights, kept between calls.
    static HALVES: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Rounds as many values as there are.
struct Halved<'a> {
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Task for Halved<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, _: S) {
        self.to.iter_mut().zip(self.from).for_each(|(to, &from)| *to = rounded(from));
    }
}
