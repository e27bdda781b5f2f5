//! A convolution's weights in the order in which its tiles read them.

use super::phases::Phase;
use super::product::{Pairs, ROWS};
use super::rounded;
use crate::kernels::shape::ConvShape;

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

    /// From `w[o][c / groups][tap]`, which are rounded.
    pub(crate) fn pack(&mut self, w: &[f32]) {
        let (s, sources, destinations, blocks) = (self.shape, self.sources, self.destinations, self.blocks());
        assert_eq!(w.len(), s.w_len(), "bf16 convolution: weights");
        let taps = s.taps();
        for part in &mut self.parts {
            let (cut, tiles) = (part.cut, part.tiles());
            part.values.clear();
            part.values.resize(s.groups * blocks * tiles * ROWS, Pairs::ZERO);
            for (at, block) in part.values.chunks_exact_mut((tiles * ROWS).max(1)).enumerate() {
                let (group, first) = (at / blocks, at % blocks * ROWS);
                for destination in first..destinations.min(first + ROWS) {
                    for source in 0..sources {
                        let [o, c] = if self.backward { [source, destination] } else { [destination, source] };
                        let (outputs, inputs) =
                            if self.backward { (sources, destinations) } else { (destinations, sources) };
                        let w = &w[((group * outputs + o) * inputs + c) * taps..][..taps];
                        for (row, ky) in part.rows.taps.iter().enumerate() {
                            for (column, kx) in part.columns.taps.iter().enumerate() {
                                let pair = column * cut.pairs + source / 2;
                                let tile = row * cut.chunks + pair / cut.chunk;
                                let half = u32::from(rounded(w[ky * s.kernel + kx])) << (16 * (source % 2));
                                block[tile * ROWS + destination - first].0[pair % cut.chunk] |= half;
                            }
                        }
                    }
                }
            }
        }
    }
}
