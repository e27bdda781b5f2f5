//! Products of tiles: 16 rows of weights with 16 columns of values, over chunks of pairs. Which instructions make them is all that
//! the paths differ in.

use super::amx::{TILE, Tiles};
use super::avx512bf16::Avx512Bf16;
use super::{HalfPath, LANES, Line, widened};
use crate::kernels::simd::Simd;

/// Two values side by side, the first in the lower half: of 16 columns, or 16 pairs of a row's weights.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Pairs(pub(super) [u32; LANES]);

impl Pairs {
    pub(super) const ZERO: Pairs = Pairs([0; LANES]);
}

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// Tiles whose sums are made at a time.
pub(super) const TILES: usize = 4;

/// What multiplies.
pub(super) enum Product {
    Tiles(Tiles),
    Vectors(Avx512Bf16),
    Plain,
}

impl Product {
    /// Of chunks of so many pairs.
    pub(super) fn new(path: HalfPath, pairs: usize) -> Self {
        match path {
            HalfPath::Amx(amx) => Self::Tiles(amx.configure(pairs)),
            HalfPath::Avx512Bf16(vectors) => Self::Vectors(vectors),
            HalfPath::Portable(_) => Self::Plain,
        }
    }

    /// How many of so many blocks of rows are multiplied at a time: two share the values that they load, where tiles are
    /// multiplied.
    pub(super) fn together(&self, blocks: usize) -> usize {
        if matches!(self, Self::Tiles(_)) { blocks.min(2) } else { 1 }
    }

    /// The sums of one block of rows and four blocks of columns, or of two and two: zeros where there are no chunks.
    ///
    /// # Safety
    /// `weights` are a tile a chunk; at each offset in bytes from `values` there are `pairs` lines. Inside
    /// [`Task::execute`](crate::kernels::simd::Task::execute).
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a register tile is made of")]
    pub(super) unsafe fn sums<S: Simd>(
        &self,
        simd: S,
        blocks: usize,
        weights: [&[Pairs]; 2],
        values: [*const u8; TILES],
        chunks: &[usize],
        pairs: usize,
        sums: &mut [[Line; ROWS]; TILES],
    ) {
        if chunks.is_empty() {
            sums.as_flattened_mut().fill(Line::ZERO);
            return;
        }
        let tiles = weights.map(|weights| weights.as_ptr().cast::<u8>());
        let to = sums.as_mut_ptr().cast::<f32>();
        match self {
            Self::Tiles(amx) if blocks == 2 => amx.two_by_two(tiles, [values[0], values[1]], chunks, to),
            Self::Tiles(amx) => amx.one_by_four(tiles[0], values, chunks, to),
            Self::Vectors(vectors) => vectors.one_by_four(tiles[0], values, chunks, pairs, to),
            Self::Plain => {
                for (values, sums) in values.into_iter().zip(sums) {
                    if S::WIDTH == 1 {
                        plain::<S, 4>(simd, weights[0], values, chunks, pairs, sums);
                    } else {
                        plain::<S, 2>(simd, weights[0], values, chunks, pairs, sums);
                    }
                }
            }
        }
    }
}

/// The sums of 16 rows and one block of columns, in f32, `R` at a time, in the order of [`Tiles`].
///
/// # Safety
/// As [`Product::sums`].
#[inline(always)]
unsafe fn plain<S: Simd, const R: usize>(
    simd: S,
    weights: &[Pairs],
    values: *const u8,
    chunks: &[usize],
    pairs: usize,
    sums: &mut [Line; ROWS],
) {
    for first in (0..ROWS).step_by(R) {
        let mut totals = [simd.line_splat(0.0); R];
        for (weights, offset) in weights.chunks_exact(ROWS).zip(chunks) {
            let (mut even, mut odd) = ([simd.line_splat(0.0); R], [simd.line_splat(0.0); R]);
            for pair in 0..pairs {
                let values = &*values.add(offset + pair * size_of::<Pairs>()).cast::<Pairs>();
                let (mut low, mut high) = (Line::ZERO, Line::ZERO);
                for lane in 0..LANES {
                    low.0[lane] = f32::from_bits(values.0[lane] << 16);
                    high.0[lane] = f32::from_bits(values.0[lane] & 0xffff_0000);
                }
                let (low, high) = (simd.line_load(low.0.as_ptr()), simd.line_load(high.0.as_ptr()));
                for r in 0..R {
                    let weight = weights[first + r].0[pair];
                    even[r] = simd.line_mul_add(simd.line_splat(widened(weight as u16)), low, even[r]);
                    odd[r] = simd.line_mul_add(simd.line_splat(widened((weight >> 16) as u16)), high, odd[r]);
                }
            }
            for r in 0..R {
                totals[r] = simd.line_add(totals[r], simd.line_add(even[r], odd[r]));
            }
        }
        for (total, sum) in totals.into_iter().zip(&mut sums[first..]) {
            simd.line_store(sum.0.as_mut_ptr(), total);
        }
    }
}

const _: () = assert!(size_of::<[Pairs; ROWS]>() == TILE && size_of::<[Line; ROWS]>() == TILE, "tiles are 1 KiB");
