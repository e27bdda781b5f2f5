//! Antialiased bilinear resizing, as Pillow's `Image.resize(.., BILINEAR)`.

use anyhow::{Context, Result};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::data::decode::Picture;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// The middle of an image, as torchvision's `CenterCrop` rounds it: half a pixel to the even one. Both are `(height, width)`.
pub(super) fn centre((height, width): (usize, usize), (h, w): (usize, usize)) -> Region {
    let half = |rest: usize| if rest.is_multiple_of(2) { rest / 2 } else { (rest / 2).next_multiple_of(2) };
    Region { top: half(height.saturating_sub(h)), left: half(width.saturating_sub(w)), height: h, width: w }
}

/// The part of an image by itself: what lies around it has no say in how it is resized.
pub(super) fn crop(picture: &Picture, region: Region) -> Picture {
    let (c, _, w) = picture.shape;
    let Region { top, left, height, width } = region;
    let mut pixels = Vec::with_capacity(c * height * width);
    for y in top..top + height {
        pixels.extend_from_slice(&picture.pixels[(y * w + left) * c..][..width * c]);
    }
    Picture { pixels, shape: (c, height, width) }
}

/// The whole image at another `(height, width)`.
///
/// # Errors
/// None for pictures that are what their shape says.
pub(super) fn resize(picture: &Picture, (height, width): (usize, usize)) -> Result<Picture> {
    let (c, h, w) = picture.shape;
    if (h, w) == (height, width) {
        return Ok(picture.clone());
    }
    let kind = if c == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(w as u32, h as u32, &picture.pixels, kind).context("resizing an image")?;
    let mut resized = Image::new(width as u32, height as u32, kind);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    Resizer::new().resize(&source, &mut resized, &options).context("resizing an image")?;
    Ok(Picture { pixels: resized.into_vec(), shape: (c, height, width) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::{decode, golden};

    /// Weights and what lies between the two passes are rounded otherwise: one of 255 steps at most, and that for one value in five.
    #[test]
    fn resizes_as_pillow_does() {
        let photo = decode(&golden("photo.png")).unwrap();
        for (height, width) in [(12, 16), (70, 90), (80, 20), (43, 57)] {
            let theirs = decode(&golden(&format!("photo-{height}x{width}.png"))).unwrap();
            let ours = resize(&photo, (height, width)).unwrap();
            assert_eq!(ours.shape, theirs.shape);
            let errors: Vec<u8> = ours.pixels.iter().zip(&theirs.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
            let off = errors.iter().filter(|error| **error > 0).count() as f64 / errors.len() as f64;
            assert!(
                errors.iter().all(|error| *error <= 1) && off < 0.2,
                "{height} x {width}: {:?}, {off}",
                errors.iter().max()
            );
        }
    }

    #[test]
    fn the_centre_is_where_torchvision_has_it() {
        let at = |side, part| centre((side, side), (part, part)).top;
        // Half a pixel: to the even one.
        assert_eq!([at(256, 224), at(257, 224), at(259, 224), at(7, 4), at(5, 5)], [16, 16, 18, 2, 0]);
        let picture = Picture { pixels: (0..24).collect(), shape: (1, 4, 6) };
        let cut = crop(&picture, Region { top: 1, left: 2, height: 2, width: 3 });
        assert_eq!((cut.pixels, cut.shape), (vec![8, 9, 10, 14, 15, 16], (1, 2, 3)));
    }
}
