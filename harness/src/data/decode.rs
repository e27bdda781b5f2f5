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
        [0xFF, 0xD8, .., 0xFF, 0xD9] => ImageFormat::Jpeg,
        [0xFF, 0xD8, ..] => bail!("a truncated JPEG: its {} bytes lack the end marker", bytes.len()),
        _ => bail!("neither PNG nor JPEG: {} bytes that begin with {:02x?}", bytes.len(), &bytes[..bytes.len().min(4)]),
    };
    Ok((ImageReader::with_format(Cursor::new(bytes), format).into_decoder().context("a damaged image header")?, format))
}
