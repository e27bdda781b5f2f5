//! Images that all have one size, decoded into memory from wherever their bytes lie.

use std::borrow::Cow;
use std::collections::HashSet;

use anyhow::{Error, Result, anyhow, bail};
use image::ImageFormat;
use rayon::prelude::*;

use super::decode::{self, Header};
use super::photographs::Findings;
use super::{Images, Splits};
use crate::config::{DatasetConfig, OnBadImage};

/// Images of one split as they come in.
pub(super) struct Resident {
    pub images: Images,
    pub found: Findings,
    /// Whether any is a JPEG.
    pub jpeg: bool,
    /// Class of each that came in, those that were left out too.
    labels: Vec<u16>,
    skip: bool,
}

impl Resident {
    /// None yet, of images that are to be of `shape`.
    pub fn new(shape: (usize, usize, usize), config: &DatasetConfig) -> Self {
        let images = Images { pixels: vec![], labels: vec![], shape };
        Self { images, found: Findings::default(), jpeg: false, labels: vec![], skip: skips(config) }
    }

    /// Decodes images of these classes, of which `read` gives the bytes and `named` says where they are.
    ///
    /// # Errors
    /// The first that cannot be decoded, unless such are left out; one of another size.
    pub fn append<'a>(
        &mut self,
        labels: &[u16],
        read: impl Fn(usize) -> Result<Cow<'a, [u8]>> + Sync,
        named: impl Fn(usize) -> String + Sync,
    ) -> Result<()> {
        let shape = self.images.shape;
        let size = shape.0 * shape.1 * shape.2;
        let start = self.images.pixels.len();
        self.images.pixels.resize(start + labels.len() * size, 0);
        // A size that is another one is no bad image, but another data set.
        let one = |(index, out): (usize, &mut [u8])| -> Result<Result<Header>> {
            let whole = read(index).and_then(|bytes| Ok((decode::inspect(&bytes)?, decode::decode(&bytes)?)));
            match whole {
                Ok((header, picture)) => {
                    picture.fit(shape, out).map_err(|error| error.context(named(index)))?;
                    Ok(Ok(header))
                }
                Err(error) => Ok(Err(error.context(named(index)))),
            }
        };
        let pixels = &mut self.images.pixels;
        let decoded: Vec<_> = pixels[start..].par_chunks_exact_mut(size).enumerate().map(one).collect();
        let mut end = start;
        // The first error in the order of the images, not in time.
        for (index, header) in decoded.into_iter().enumerate() {
            match header? {
                Ok(header) => {
                    let from = start + index * size;
                    pixels.copy_within(from..from + size, end);
                    end += size;
                    self.images.labels.push(labels[index]);
                    self.found.add(header.shape.0, header.unusual);
                    self.jpeg |= header.format == ImageFormat::Jpeg;
                }
                Err(error) if self.skip => self.found.skipped.push(format!("{error:#}")),
                Err(error) => return Err(bad_image(&error)),
            }
        }
        pixels.truncate(end);
        self.labels.extend(labels);
        Ok(())
    }
}

/// What images of a data set are decoded to whose own shape is `own`: in colour where colours are asked for.
pub(super) fn decoded_shape(own: (usize, usize, usize), config: &DatasetConfig) -> (usize, usize, usize) {
    (own.0.max(config.channels.unwrap_or(1)), own.1, own.2)
}

/// Training and test images of a data set that has `own` channels; `class` says what a class is called.
///
/// # Errors
/// A class all of whose training images were left out.
pub(super) fn splits(
    [train, test]: [Resident; 2],
    own: usize,
    config: &DatasetConfig,
    class: impl Fn(usize) -> String,
) -> Result<Splits> {
    let images = train.labels.len() + test.labels.len();
    let jpeg = train.jpeg || test.jpeg;
    let mut found = train.found;
    none_lost(&train.labels, &train.images.labels, &found, class)?;
    found.append(test.found);
    let (mut train, mut test) = (train.images, test.images);
    if own == 1 && found.coloured == 0 {
        // Colours were asked for, and there are none: what is kept is what it is without that.
        [&mut train, &mut test].into_iter().for_each(first_channel);
    }
    let remarks = found.remarks(config.channels.unwrap_or(own), images);
    Ok(Splits { train, test, remark: jpeg.then_some("JPEG copy"), remarks })
}

/// Leaves the first channel of images whose channels are all the same.
fn first_channel(images: &mut Images) {
    let (c, h, w) = images.shape;
    if c > 1 {
        images.pixels = images.pixels.chunks(h * w).step_by(c).flatten().copied().collect();
        images.shape = (1, h, w);
    }
}

/// Checks that of no class all training images were left out; `before` and `after` that.
///
/// # Errors
/// There is one; says which, and why the first image was left out.
pub(super) fn none_lost(
    before: &[u16],
    after: &[u16],
    found: &Findings,
    class: impl Fn(usize) -> String,
) -> Result<()> {
    let Some(first) = found.skipped.first() else { return Ok(()) };
    let kept: HashSet<u16> = after.iter().copied().collect();
    if let Some(&lost) = before.iter().find(|label| !kept.contains(label)) {
        let count = before.iter().filter(|label| **label == lost).count();
        bail!(
            "{}: none of its {count} training images could be decoded; the first image that could not: {first}",
            class(lost.into())
        );
    }
    Ok(())
}

/// Whether images that cannot be decoded are left out.
pub(super) fn skips(config: &DatasetConfig) -> bool {
    config.on_bad_image == Some(OnBadImage::Skip)
}

/// Why an image could not be decoded, and what can be done about it.
pub(super) fn bad_image(error: &Error) -> Error {
    anyhow!(
        "{error:#}\n  accepted: files that can be decoded; or dataset.on_bad_image = \"skip\", which leaves such images out and counts \
         them"
    )
}
