//! Products of pairs in vectors.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The token of AVX512_BF16.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(());

#[cfg(target_arch = "x86_64")]
impl Avx512Bf16 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")).then_some(Self(()))
    }

    /// `sums[p]`, 16 outputs x 16 images, of four pixels: over chunks of so many pairs, weights times values.
    ///
    /// # Safety
    /// `weights` are as many tiles of 16 outputs as there are chunks; at each offset in bytes from `values[p]` there are so
    /// many lines of 64 bytes; `sums` are 4 tiles.
    pub(super) unsafe fn one_by_four(
        self,
        weights: *const u8,
        values: [*const u8; 4],
        chunks: &[usize],
        pairs: usize,
        sums: *mut f32,
    ) {
        multiply(weights, values, chunks, pairs, sums);
    }
}

/// # Safety
/// As [`Avx512Bf16::one_by_four`]; the processor has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply(weights: *const u8, values: [*const u8; 4], chunks: &[usize], pairs: usize, sums: *mut f32) {
    // Four outputs and four pixels: 16 sums, 4 values and a weight in registers.
    for outputs in (0..16).step_by(4) {
        let mut all = [[_mm512_setzero_ps(); 4]; 4];
        for (chunk, offset) in chunks.iter().enumerate() {
            let weights = weights.add(chunk * 1024 + outputs * 64).cast::<i32>();
            for pair in 0..pairs {
                let values = values.map(|values| _mm512_loadu_si512(values.add(offset + pair * 64).cast()));
                for (output, sums) in all.iter_mut().enumerate() {
                    let weight = _mm512_set1_epi32(*weights.add(output * 16 + pair));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = _mm512_dpbf16_ps(
                            *sum,
                            std::mem::transmute::<__m512i, __m512bh>(weight),
                            std::mem::transmute::<__m512i, __m512bh>(value),
                        );
                    }
                }
            }
        }
        for (output, of) in all.iter().enumerate() {
            for (pixel, sum) in of.iter().enumerate() {
                _mm512_storeu_ps(sums.add(pixel * 256 + (outputs + output) * 16), *sum);
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Avx512Bf16 {
    pub(super) fn detect() -> Option<Self> {
        None
    }

    pub(super) unsafe fn one_by_four(self, _: *const u8, _: [*const u8; 4], _: &[usize], _: usize, _: *mut f32) {}
}
