//! Transposition of 16 channels of a pixel: from images next to each other to channels next to each other, two images a pair.

use super::product::Pairs;
use super::{HalfLine, HalfPath, LANES};

/// Pairs of images of a pixel.
pub(super) const PAIRS: usize = LANES / 2;

/// `to[j]` of channel `c`: images `2 j` and `2 j + 1` of `from[c]`, the pixel's place in each plane.
///
/// # Safety
/// A line is readable at each of `from`.
pub(super) unsafe fn turn(path: HalfPath, from: [*const HalfLine; LANES], to: &mut [Pairs; PAIRS]) {
    match path {
        #[cfg(target_arch = "x86_64")]
        HalfPath::Amx(_) | HalfPath::Avx512Bf16(_) => of_vectors(from, to),
        _ => {
            for (channel, from) in from.into_iter().enumerate() {
                let images = (*from).0;
                for (pair, to) in to.iter_mut().enumerate() {
                    to.0[channel] = u32::from(images[2 * pair]) | u32::from(images[2 * pair + 1]) << 16;
                }
            }
        }
    }
}

/// In each half of a vector 8 channels, as 8 x 8 numbers of 32 bits.
///
/// # Safety
/// As [`turn`]; the processor has AVX-512F, which goes with the instructions of both paths.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn of_vectors(from: [*const HalfLine; LANES], to: &mut [Pairs; PAIRS]) {
    use std::arch::x86_64::*;

    let rows: [__m512i; 8] = std::array::from_fn(|c| {
        let low = _mm512_castsi256_si512(_mm256_loadu_si256(from[c].cast()));
        _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(from[c + 8].cast()))
    });
    // Of four rows, by column of a quarter: [0, 1, 2, 3] of rows 0 to 3, then of rows 4 to 7.
    let quarter = |of: usize| {
        let [a, b, c, d] = [rows[of], rows[of + 1], rows[of + 2], rows[of + 3]];
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (next_low, next_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(low, next_low),
            _mm512_unpackhi_epi64(low, next_low),
            _mm512_unpacklo_epi64(high, next_high),
            _mm512_unpackhi_epi64(high, next_high),
        ]
    };
    let (first, second) = (quarter(0), quarter(4));
    let picks = [_mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15)];
    for (pair, to) in to.iter_mut().enumerate() {
        let turned = _mm512_permutex2var_epi64(first[pair % 4], picks[pair / 4], second[pair % 4]);
        _mm512_storeu_si512(to.0.as_mut_ptr().cast(), turned);
    }
}
