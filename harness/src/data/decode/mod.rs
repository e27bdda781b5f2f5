//! Encoded images to bytes, as PIL's `convert("RGB")` and `convert("L")` have them: palettes are looked up, alpha is dropped (onto
//! nothing: the colours that lie under it stay), CMYK becomes RGB, 16 bits become 8. EXIF's orientation is not looked at, as
//! torchvision does not. The format is told by content, whatever a file is called.

mod jpeg;
mod tiff;

use std::io::Cursor;

use super::foreign;
use anyhow::{Result, anyhow, bail, ensure};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

/// What is read, in words.
pub(super) const FORMATS: &str = "PNG, JPEG, WebP, BMP, TIFF or GIF";

/// Most pixels of an image: more is a slip or an attack, and would take gigabytes.
const MOST_PIXELS: u64 = 1 << 28;

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `[h, w, c]`, row-major.
    pub pixels: Vec<u8>,
    /// `(c, h, w)`; c is 1 (grey) or 3 (RGB).
    pub shape: (usize, usize, usize),
}

/// What a file holds, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `(c, h, w)` as it would be decoded.
    pub shape: (usize, usize, usize),
    pub format: ImageFormat,
    /// What has to be converted whatever the data set's channels are.
    pub unusual: Option<Unusual>,
}

/// A colour mode that is neither grey nor RGB of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Unusual {
    Palette,
    Alpha,
    Cmyk,
    Deep,
}

impl Unusual {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Palette, Self::Alpha, Self::Cmyk, Self::Deep];

    pub fn name(self) -> &'static str {
        match self {
            Self::Palette => "with a palette",
            Self::Alpha => "with alpha, which is dropped",
            Self::Cmyk => "CMYK",
            Self::Deep => "of more than 8 bits a channel",
        }
    }
}

/// The header of an encoded image, of which its first bytes may be enough.
///
/// # Errors
/// No image of a format that is read, or a damaged header.
pub(super) fn inspect(bytes: &[u8]) -> Result<Header> {
    let format = format(bytes)?;
    if format == ImageFormat::Jpeg {
        let Some(frame) = jpeg::frame(bytes) else {
            ensure!(jpeg::ends(bytes), "a truncated JPEG: its {} bytes end before the image begins", bytes.len());
            bail!("a damaged image header: a JPEG without a frame");
        };
        let channels = if frame.components == 1 { 1 } else { 3 };
        let unusual = (frame.components == 4).then_some(Unusual::Cmyk);
        return Ok(Header { shape: (channels, frame.height, frame.width), format, unusual });
    }
    if let Some((grey, _)) = looked_up(bytes, format) {
        let (w, h) = decoder(&grey, format)?.dimensions();
        return Ok(Header { shape: (3, h as usize, w as usize), format, unusual: Some(Unusual::Palette) });
    }
    let decoder = decoder(bytes, format)?;
    let (w, h) = decoder.dimensions();
    let colour = decoder.color_type();
    // A palette is the third colour type of PNG, and all that GIF has.
    let palette = format == ImageFormat::Gif || format == ImageFormat::Png && bytes.get(25) == Some(&3);
    let deep = !matches!(colour, ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8);
    let unusual = match () {
        () if palette => Some(Unusual::Palette),
        () if deep => Some(Unusual::Deep),
        () if colour.has_alpha() => Some(Unusual::Alpha),
        () => None,
    };
    let channels = if colour.has_color() { 3 } else { 1 };
    Ok(Header { shape: (channels, h as usize, w as usize), format, unusual })
}

/// Decodes an image, of an animation its first frame.
///
/// # Errors
/// What [`inspect`] refuses; more than 2^28 pixels; damaged or missing data.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture> {
    let format = format(bytes)?;
    ensure!(
        format != ImageFormat::Jpeg || jpeg::ends(bytes),
        "a truncated JPEG: its {} bytes lack the end marker",
        bytes.len()
    );
    if let Some((grey, colours)) = looked_up(bytes, format) {
        let image = decoded(&grey, format)?;
        let (w, h) = (image.width() as usize, image.height() as usize);
        let pixels = image.into_luma8().iter().flat_map(|&index| colours[usize::from(index)]).collect();
        return Ok(Picture { pixels, shape: (3, h, w) });
    }
    let image = decoded(bytes, format)?;
    let (w, h) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) =
        if image.color().has_color() { (3, image.into_rgb8().into_raw()) } else { (1, image.into_luma8().into_raw()) };
    Ok(Picture { pixels, shape: (channels, h, w) })
}

/// A TIFF's indices as greys, and their colours.
fn looked_up(bytes: &[u8], format: ImageFormat) -> Option<(Vec<u8>, tiff::Colours)> {
    (format == ImageFormat::Tiff).then(|| tiff::as_grey(bytes)).flatten()
}

fn decoded(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage> {
    let decoder = decoder(bytes, format)?;
    let (w, h) = decoder.dimensions();
    let pixels = u64::from(w) * u64::from(h);
    ensure!((1..=MOST_PIXELS).contains(&pixels), "an image of {h} x {w} pixels, where 1 to 2^28 in all are accepted");
    DynamicImage::from_decoder(decoder).map_err(|error| refused(error, "a damaged image"))
}

/// An error of a decoder: what is sound, but of a kind that is not read, is not `damaged`.
fn refused(error: ImageError, damaged: &'static str) -> anyhow::Error {
    match error {
        ImageError::Unsupported(kind) => anyhow!("an image of a kind that is not supported: {kind}"),
        damage => anyhow::Error::new(damage).context(damaged),
    }
}

impl Picture {
    /// The same in so many channels, 1 or 3: grey as PIL has it, a weighted sum of red, green and blue (ITU-R 601-2).
    pub fn with_channels(self, channels: usize) -> Self {
        let (own, h, w) = self.shape;
        let pixels = match (own, channels) {
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => self.pixels.chunks_exact(3).map(grey).collect(),
            _ => return self,
        };
        Self { pixels, shape: (channels, h, w) }
    }

    /// Writes an image of the sides of `shape` to `out` as `[c, h, w]`, in its channels: grey fills all planes of RGB, and colour
    /// becomes grey.
    ///
    /// # Errors
    /// Another size.
    pub(super) fn fit(self, shape: (usize, usize, usize), out: &mut [u8]) -> Result<()> {
        let (_, h, w) = self.shape;
        ensure!(
            (h, w) == (shape.1, shape.2),
            "an image of {h} x {w} pixels, where {} x {} are expected",
            shape.1,
            shape.2
        );
        self.with_channels(shape.0).planes(out);
        Ok(())
    }

    /// Writes `[c, h, w]` to `out`.
    pub fn planes(&self, out: &mut [u8]) {
        let (channels, h, w) = self.shape;
        for (channel, plane) in out.chunks_exact_mut(h * w).enumerate().take(channels) {
            plane
                .iter_mut()
                .zip(self.pixels[channel..].iter().step_by(channels))
                .for_each(|(out, &value)| *out = value);
        }
    }
}

fn grey(rgb: &[u8]) -> u8 {
    let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

/// The format, by content.
fn format(bytes: &[u8]) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let guess = image::guess_format(bytes).ok().filter(|format| matches!(format, Bmp | Gif | Jpeg | Png | Tiff | WebP));
    let Some(format) = guess else {
        if bytes.is_empty() {
            bail!("not {FORMATS}: it has no bytes, as where a row of a table holds nothing, or a path alone");
        }
        if let Some(kind) = foreign::kind(bytes) {
            bail!("not {FORMATS}: {kind}");
        }
        bail!("not {FORMATS}: {} bytes that begin with {:02x?}", bytes.len(), &bytes[..bytes.len().min(4)])
    };
    Ok(format)
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_> {
    let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder();
    let decoder = decoder.map_err(|error| refused(error, "a damaged image header"))?;
    let fractions = matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F);
    ensure!(!fractions, "an image of a kind that is not supported: its values are fractions (32-bit floats)");
    Ok(decoder)
}

/// An image of `tests/goldens/images`, where the script is that made it.
#[cfg(test)]
pub(super) fn golden(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/images").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
            assert!(jpeg::ends(jpeg));
            for trailer in [&[0u8; 40][..], &[0xFF; 7], b"SEFT trailer of a phone", &[0xFF, 0xD8, 0xFF]] {
                let more = [jpeg, trailer].concat();
                assert!(jpeg::ends(&more), "{trailer:02x?}");
                assert_eq!(decode(&more).unwrap().shape, (3, 32, 32));
            }
            for length in 2..jpeg.len() {
                assert!(!jpeg::ends(&jpeg[..length]), "cut to {length} of {}", jpeg.len());
            }
        }
    }

    #[test]
    fn colour_modes_become_what_pillow_makes_of_them() {
        let modes = [
            ("palette.png", Some(Unusual::Palette), 0),
            ("palette.gif", Some(Unusual::Palette), 0),
            ("alpha.png", Some(Unusual::Alpha), 0),
            ("grey-alpha.png", Some(Unusual::Alpha), 0),
            ("rgb.bmp", None, 0),
            ("rgb.tiff", None, 0),
            ("palette.tiff", Some(Unusual::Palette), 0),
            ("lossless.webp", None, 0),
            // Decoders of JPEG round differently.
            ("cmyk.jpg", Some(Unusual::Cmyk), 6),
        ];
        for (name, unusual, tolerance) in modes {
            let bytes = golden(name);
            let header = inspect(&bytes).unwrap();
            let (ours, theirs) = (decode(&bytes).unwrap(), decode(&golden(&format!("{name}.rgb.png"))).unwrap());
            assert_eq!((header.unusual, header.shape), (unusual, ours.shape), "{name}");
            let ours = ours.with_channels(3);
            let worst = ours.pixels.iter().zip(&theirs.pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(ours.shape == theirs.shape && worst <= Some(tolerance), "{name}: {worst:?}");
        }
        let grey = decode(&golden("photo.png")).unwrap().with_channels(1);
        assert_eq!(grey, decode(&golden("photo-grey.png")).unwrap());
    }

    #[test]
    fn a_sound_image_of_a_kind_that_is_not_read_is_not_called_damaged() {
        // A TIFF of 2 x 2 pixels of one value each.
        let tiff = |interpretation: u32, bits: u32, kind: u32| {
            let size = bits / 2;
            let entries = [
                (256u16, 2u32),
                (257, 2),
                (258, bits),
                (259, 1),
                (262, interpretation),
                (273, 134),
                (277, 1),
                (278, 2),
                (279, size),
                (339, kind),
            ];
            let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
            for (tag, value) in entries {
                bytes.extend(tag.to_le_bytes());
                bytes.extend([4, 0, 1, 0, 0, 0]);
                bytes.extend(value.to_le_bytes());
            }
            bytes.resize(134 + size as usize, 0);
            bytes
        };
        assert_eq!(decode(&tiff(1, 8, 1)).unwrap().shape, (1, 2, 2));
        for (interpretation, bits, kind) in [(8, 8, 1), (1, 32, 3), (1, 32, 2)] {
            let text = format!("{:#}", decode(&tiff(interpretation, bits, kind)).unwrap_err());
            assert!(text.contains("not supported") && !text.contains("damaged"), "{text}");
        }
    }
}
