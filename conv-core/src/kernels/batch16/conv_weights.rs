//! A convolution's weights in the order in which its register tiles read them.

use crate::kernels::simd::Isa;

/// Splits `count` rows into register tiles `(first, rows)` of nearly equal height.
pub(crate) fn row_blocks(isa: Isa, count: usize) -> Vec<(usize, usize)> {
    let tallest = if isa.is_wide() { 8 } else { 6 };
    let tiles = count.div_ceil(tallest);
    (0..tiles)
        .map(|tile| (count * tile / tiles, count * (tile + 1) / tiles))
        .map(|(from, to)| (from, to - from))
        .collect()
}

/// The same for tiles whose sums are of single pixels. On the narrow paths four rows are a bad height, too low to keep the
/// multipliers busy with one pixel and too high for two: 8 rows are 5 and 3.
fn uneven_blocks(isa: Isa, count: usize) -> Vec<(usize, usize)> {
    let mut heights: Vec<usize> = row_blocks(isa, count).into_iter().map(|(_, rows)| rows).collect();
    let pair = |heights: &[usize]| {
        let four = heights.iter().position(|&rows| rows == 4)?;
        let other = (0..heights.len()).find(|&at| at != four && (4..6).contains(&heights[at]))?;
        Some((four, other))
    };
    while !isa.is_wide()
        && let Some((four, other)) = pair(&heights)
    {
        heights[four] -= 1;
        heights[other] += 1;
    }
    let ends = heights.iter().scan(0, |end, &rows| {
        *end += rows;
        Some(*end)
    });
    ends.zip(&heights).map(|(end, &rows)| (end - rows, rows)).collect()
}

/// Weights in the order in which tiles read them: `[group][row block][channel][tap][row]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    pub(super) values: Vec<f32>,
    /// Register tiles, `(first, rows)`.
    pub(super) blocks: Vec<(usize, usize)>,
    pub(super) groups: usize,
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) taps: usize,
}

impl Weights {
    /// For `groups` groups of `rows` destination and `channels` source channels. None are there before [`Weights::pack`].
    pub(crate) fn new(isa: Isa, groups: usize, rows: usize, channels: usize, taps: usize) -> Self {
        Self { values: Vec::new(), blocks: uneven_blocks(isa, rows), groups, rows, channels, taps }
    }

    /// So many pixels share one pass over a row block's weights, and one block of sources all row blocks: as many as the
    /// second cache holds with all their channels.
    pub(super) fn together(&self) -> usize {
        (CACHE / self.channels.max(1)).clamp(8, PIXELS)
    }

    /// The memory they are in, to be taken and given.
    pub(crate) fn memory(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Fills it: `at(group, row, channel)` gives the `taps` weights, all of a row's times `scale(group, row)`.
    pub(crate) fn pack<'a>(
        &mut self,
        at: impl Fn(usize, usize, usize) -> &'a [f32],
        scale: impl Fn(usize, usize) -> f32,
    ) {
        let (channels, taps) = (self.channels, self.taps);
        self.values.resize(self.groups * self.rows * channels * taps, 0.0);
        let mut rest = self.values.as_mut_slice();
        for group in 0..self.groups {
            for &(first, rows) in &self.blocks {
                let (block, tail) = rest.split_at_mut(rows * channels * taps);
                rest = tail;
                for row in 0..rows {
                    let scale = scale(group, first + row);
                    for channel in 0..channels {
                        let from = at(group, first + row, channel);
                        let to = block[channel * taps * rows + row..].iter_mut().step_by(rows);
                        to.zip(&from[..taps]).for_each(|(to, from)| *to = scale * *from);
                    }
                }
            }
        }
    }
}

/// Destination pixels per pass.
const PIXELS: usize = 24;

/// Lines of sources in the second cache, which has to hold more than them.
const CACHE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_tile_and_no_tile_is_too_tall() {
        for isa in Isa::available() {
            for count in 1..200 {
                let mut next = 0;
                for (first, rows) in uneven_blocks(isa, count) {
                    assert!(first == next && (1..=if isa.is_wide() { 8 } else { 6 }).contains(&rows), "{count}");
                    next += rows;
                }
                assert_eq!(next, count);
            }
            if isa.is_wide() {
                assert_eq!(uneven_blocks(isa, 8), [(0, 8)]);
            } else {
                assert_eq!(uneven_blocks(isa, 8), [(0, 3), (3, 5)]);
                assert_eq!(uneven_blocks(isa, 4), [(0, 4)]);
            }
        }
    }
}
