//! Random crops in a border and flips, fused with the conversion to normalised floats.

use rand_chacha::rand_core::Rng;

use crate::data::random::{Purpose, below, stream};

/// Pixels of black border a crop may reach into, on each side, where a data set has no other custom.
pub const PADDING: usize = 4;

/// One image's crop and flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augmentation {
    /// Pixels of black border, on each side.
    pub padding: usize,
    /// Row of the padded image where the crop begins, `0..=2 * padding`; `padding` leaves the image where it is.
    pub top: usize,
    /// Likewise its column.
    pub left: usize,
    /// Whether the crop is mirrored, left to right.
    pub flip: bool,
}

impl Augmentation {
    /// The image as it is.
    pub const NONE: Self = Self { padding: 0, top: 0, left: 0, flip: false };

    /// That of image `index` in `epoch`, whichever worker asks.
    pub fn draw(padding: usize, seed: u64, epoch: usize, index: usize) -> Self {
        let mut rng = stream(Purpose::Augment, seed, epoch as u64, index as u64);
        let top = below(&mut rng, 2 * padding + 1);
        let left = below(&mut rng, 2 * padding + 1);
        Self { padding, top, left, flip: rng.next_u32() & 1 == 1 }
    }

    /// Writes the augmented, normalised `image` (`[c, h, w]`) to `out`; `table` is [`crate::data::Normalization::table`].
    ///
    /// As torchvision's `RandomCrop` before `Normalize`: the border is black (pixel value 0), then normalised.
    pub fn apply(&self, image: &[u8], (h, w): (usize, usize), table: &[[f32; 256]], out: &mut [f32]) {
        // Crop column j shows image column j + left - padding where that exists: columns from..to.
        let from = self.padding.saturating_sub(self.left).min(w);
        let to = (w + self.padding).saturating_sub(self.left).min(w).max(from);
        let planes = image.chunks_exact(h * w).zip(out.chunks_exact_mut(h * w));
        for ((plane, out), table) in planes.zip(table) {
            let black = table[0];
            for (y, out) in out.chunks_exact_mut(w).enumerate() {
                let row = (y + self.top).checked_sub(self.padding).filter(|&row| row < h && from < to);
                let Some(row) = row else {
                    out.fill(black);
                    continue;
                };
                let pixels = &plane[row * w + from + self.left - self.padding..][..to - from];
                if self.flip {
                    out[..w - to].fill(black);
                    out[w - from..].fill(black);
                    let visible = &mut out[w - to..w - from];
                    visible.iter_mut().rev().zip(pixels).for_each(|(o, &p)| *o = table[usize::from(p)]);
                } else {
                    out[..from].fill(black);
                    out[to..].fill(black);
                    out[from..to].iter_mut().zip(pixels).for_each(|(o, &p)| *o = table[usize::from(p)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Normalization;

    /// Pads, cuts, mirrors and normalises in separate steps, pixel by pixel.
    fn naive(a: Augmentation, image: &[u8], (c, h, w): (usize, usize, usize), norm: &Normalization) -> Vec<f32> {
        let (ph, pw) = (h + 2 * a.padding, w + 2 * a.padding);
        let mut padded = vec![0u8; c * ph * pw];
        for ch in 0..c {
            for y in 0..h {
                for x in 0..w {
                    padded[(ch * ph + y + a.padding) * pw + x + a.padding] = image[(ch * h + y) * w + x];
                }
            }
        }
        let mut out = Vec::new();
        for ch in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let column = if a.flip { w - 1 - x } else { x };
                    let value = padded[(ch * ph + y + a.top) * pw + column + a.left];
                    out.push((f32::from(value) / 255.0 - norm.mean[ch]) / norm.std[ch]);
                }
            }
        }
        out
    }

    fn places(padding: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..=2 * padding).flat_map(move |top| (0..=2 * padding).map(move |left| (padding, top, left)))
    }

    #[test]
    fn every_crop_and_flip_equals_the_naive_one() {
        // The third shape is narrower than the padding: some crops see nothing of it.
        for shape @ (c, h, w) in [(3, 6, 9), (1, 5, 5), (2, 3, 2)] {
            let image: Vec<u8> = (0..c * h * w).map(|i| (1 + i * 29 % 255) as u8).collect();
            let norm = Normalization { mean: vec![0.4; c], std: vec![0.3; c], of: String::new() };
            let table = norm.table();
            for (padding, top, left) in [0, PADDING, 7].into_iter().flat_map(places) {
                for flip in [false, true] {
                    let a = Augmentation { padding, top, left, flip };
                    let mut out = vec![f32::NAN; image.len()];
                    a.apply(&image, (h, w), &table, &mut out);
                    assert_eq!(out, naive(a, &image, shape, &norm), "{a:?} {shape:?}");
                }
            }
        }
    }

    #[test]
    fn draws_reach_every_corner_and_depend_on_the_whole_key() {
        let draws: Vec<_> = (0..5000).map(|i| Augmentation::draw(PADDING, 3, 1, i)).collect();
        let distinct: std::collections::HashSet<_> = draws.iter().map(|a| (a.top, a.left, a.flip)).collect();
        assert_eq!(distinct.len(), 9 * 9 * 2);
        assert_ne!(draws, (0..5000).map(|i| Augmentation::draw(PADDING, 3, 2, i)).collect::<Vec<_>>());
        assert_ne!(draws, (0..5000).map(|i| Augmentation::draw(PADDING, 4, 1, i)).collect::<Vec<_>>());
    }
}
