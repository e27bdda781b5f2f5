//! Encoded images (PNG, JPEG) to planes of bytes.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

/// `(channels, height, width)` of an encoded image and how it is encoded, without decoding it.
///
/// # Errors
/// Neither PNG nor JPEG, or a damaged header.
pub(super) fn inspect(bytes: &[u8]) -> Result<((usize, usize, usize), ImageFormat)> {
    let (decoder, format) = decoder(bytes)?;
    let (w, h) = decoder.dimensions();
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    Ok(((channels, h as usize, w as usize), format))
}

/// Writes an image of exactly `shape` to `out` as `[c, h, w]`; a grey image fills all three planes of an RGB shape.
///
/// # Errors
/// What [`inspect`] refuses; another size; colour where grey is expected; damaged or missing data.
pub(super) fn decode(bytes: &[u8], shape: (usize, usize, usize), out: &mut [u8]) -> Result<ImageFormat> {
    let (found, format) = inspect(bytes)?;
    ensure!(
        (found.1, found.2) == (shape.1, shape.2),
        "an image of {} x {} pixels, where {} x {} are expected",
        found.1,
        found.2,
        shape.1,
        shape.2
    );
    ensure!(found.0 <= shape.0, "an RGB image, where greyscale is expected");
    let image = DynamicImage::from_decoder(decoder(bytes)?.0).context("a damaged image")?;
    if shape.0 == 1 {
        out.copy_from_slice(image.into_luma8().as_raw());
        return Ok(format);
    }
    let plane = shape.1 * shape.2;
    for (i, pixel) in image.into_rgb8().pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            out[channel * plane + i] = value;
        }
    }
    Ok(format)
}

fn decoder(bytes: &[u8]) -> Result<(impl ImageDecoder + '_, ImageFormat)> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        // Decoders fill what is missing of a JPEG with grey instead of failing: look for its end marker.
        [0xFF, 0xD8, ..] if jpeg_ends(bytes) => ImageFormat::Jpeg,
        [0xFF, 0xD8, ..] => bail!("a truncated JPEG: its {} bytes lack the end marker", bytes.len()),
        _ => bail!("neither PNG nor JPEG: {} bytes that begin with {:02x?}", bytes.len(), &bytes[..bytes.len().min(4)]),
    };
    Ok((ImageReader::with_format(Cursor::new(bytes), format).into_decoder().context("a damaged image header")?, format))
}

/// Whether a JPEG has its end marker. Phones and editors leave bytes behind it, and thumbnails within its segments have one of their own:
/// so from segment to segment.
fn jpeg_ends(bytes: &[u8]) -> bool {
    const START: u8 = 0xD8;
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    let mut at = 0;
    loop {
        // A marker may have any number of fill bytes before it.
        let Some(&[0xFF, marker]) = bytes.get(at..at + 2) else { return false };
        match marker {
            END => return true,
            0xFF => {
                at += 1;
                continue;
            }
            // Without a length: the start, restarts, and one for private use.
            START | 0xD0..=0xD7 | 0x01 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
        if marker == SCAN {
            // Coded values, in which a marker's first byte is followed by a zero.
            let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
            match bytes.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) {
                Some(ahead) => at += ahead,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    #[test]
    fn a_jpeg_ends_where_its_marker_is_whatever_follows() {
        let pixels: Vec<u8> = (0..32 * 32 * 3).map(|n| (n * 37 % 251) as u8).collect();
        let mut whole = Vec::new();
        JpegEncoder::new_with_quality(&mut whole, 90).write_image(&pixels, 32, 32, ExtendedColorType::Rgb8).unwrap();
        // A thumbnail in a segment of its own, with an end marker within.
        let mut thumbnail = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 10];
        thumbnail.extend([0xFF, 0xD8, 1, 2, 3, 4, 0xFF, 0xD9]);
        thumbnail.extend(&whole[2..]);
        for jpeg in [&whole, &thumbnail] {
            assert!(jpeg_ends(jpeg));
            for trailer in [&[0u8; 40][..], &[0xFF; 7], b"SEFT trailer of a phone", &[0xFF, 0xD8, 0xFF]] {
                let more = [jpeg, trailer].concat();
                assert!(jpeg_ends(&more), "{trailer:02x?}");
                let mut out = vec![0; pixels.len()];
                assert_eq!(decode(&more, (3, 32, 32), &mut out).unwrap(), ImageFormat::Jpeg);
            }
            for length in 2..jpeg.len() {
                assert!(!jpeg_ends(&jpeg[..length]), "cut to {length} of {}", jpeg.len());
            }
        }
    }
}
