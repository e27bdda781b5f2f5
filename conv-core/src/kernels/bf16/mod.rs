//! Kernels over blocks of 16 images in bfloat16: storage and products in bf16, sums in f32.
//!
//! A plane is one channel of a block as in [`batch16`](super::batch16), but a [`HalfLine`] of 32 bytes a pixel. Channels stay
//! addresses: a slice, concatenation or shuffle at any channel, odd ones included, names planes as before. Dot products want
//! *pairs* of channels next to each other, and tiles want lines a constant distance apart, so a convolution first packs what
//! it reads: `[row][column][pair][image][2]`, padding written out as zeros ([`conv`]). Storing pairs instead would
//! spare the packing, but every slice at an odd channel and every shuffle would have to be copied, and where a kernel row of
//! few channels is to fill a tile, taps that are neighbours have to be neighbours in memory, which planes of pairs are not.
//!
//! | path | products | order of a sum |
//! | --- | --- | --- |
//! | [`HalfPath::Amx`] | TDPBF16PS: 16 outputs x 16 images x up to 16 pairs | of a chunk of pairs all first and all second members apart, from 0 on; then both together; then to what is there |
//! | [`HalfPath::Avx512Bf16`] | VDPBF16PS: 16 images x 1 pair | the second member of a pair, then the first, pair after pair |
//! | [`HalfPath::Portable`] | f32 of any [`Isa`](super::Isa) | that of AMX |
//!
//! A product of two bf16 has 16 bits and is exact in f32, so whether it is fused with its sum makes no difference: the portable
//! path gives the bits of AMX. Two things differ. AMX and AVX512_BF16 read and write denormal numbers as 0, and the portable path keeps
//! them: as many times 2^-126 as there are products. And where a product alone leaves the range of f32 a fused sum may still be
//! finite.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "innermost loops are unsafe throughout: their `# Safety` says of what, and the safe code that calls them why it holds"
)]

mod amx;
mod avx512bf16;
pub(crate) mod conv;
mod conv_weights;
pub(crate) mod depthwise;
mod path;
pub(crate) mod peak;
mod phases;
mod product;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod times;
mod turn;
pub(crate) mod weight;

pub(crate) use path::HalfPath;

use super::batch16::{LANES, Line};
use super::simd::Simd;
use super::stored::Stored;

/// The values of one pixel of one channel in the images of a block, each the upper half of an f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct HalfLine(pub(crate) [u16; LANES]);

impl HalfLine {
    pub(crate) const ZERO: HalfLine = HalfLine([0; LANES]);
}

impl Stored for HalfLine {
    #[inline(always)]
    fn wide(self) -> Line {
        let mut line = Line::ZERO;
        for lane in 0..LANES {
            line.0[lane] = widened(self.0[lane]);
        }
        line
    }

    #[inline(always)]
    fn of(line: Line) -> Self {
        let mut half = Self::ZERO;
        for lane in 0..LANES {
            half.0[lane] = rounded(line.0[lane]);
        }
        half
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::W {
        simd.line_load((*from).wide().0.as_ptr())
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::W) {
        let mut line = Line::ZERO;
        simd.line_store(line.0.as_mut_ptr(), value);
        *to = Self::of(line);
    }
}

/// The f32 that a bf16 is.
#[inline(always)]
pub(crate) fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// The nearest bf16, of two that are equally near the even one. NaN stays NaN, what is too large becomes infinite.
#[inline(always)]
pub(crate) fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    // Half of the last place, less one where it is even. It carries into the exponent just where the value rounds up to it.
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A NaN whose upper bits are all 0 would become an infinity; so the highest one is set.
    let quiet = bits | 0x40_0000;
    // Chosen while they are as wide as the value, so that a vector of them is narrowed once.
    let chosen = if value.is_nan() { quiet } else { nearest };
    (chosen >> 16) as u16
}
