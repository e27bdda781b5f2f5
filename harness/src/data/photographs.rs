//! Images that stay encoded, in files of any size, and are decoded whenever they are needed.
//!
//! Before a training every file is read and decoded once: so a broken one is known before the first step and not in the 37th epoch,
//! and the contents have a fingerprint. Whatever is read later is compared with what was read then.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::decode::{self, Picture, Unusual};
use super::ledger::{Facts, Ledger};
use super::listing::FileList;
use super::resident::bad_image;
use super::{Normalization, Transform};

/// Files that are decoded before what was found is looked at.
const PIECE: usize = 4096;

/// The first half of a file's blake3.
pub(super) type ContentHash = [u8; 16];

/// Files with their classes, all of which could be decoded.
#[derive(Clone, Debug)]
pub struct Photographs {
    files: FileList,
    labels: Vec<u16>,
    hashes: Vec<ContentHash>,
    size: DecodedSize,
    /// Those that were decoded, where there is room for all.
    kept: Option<Vec<OnceLock<Arc<Picture>>>>,
}

/// What images come to when they are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DecodedSize {
    /// Bytes of all.
    pub bytes: u64,
    /// Whether any is in colour.
    pub coloured: bool,
}

/// What was found when files were decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Images that are grey, and those that are not.
    pub grey: usize,
    pub coloured: usize,
    pub unusual: BTreeMap<Unusual, usize>,
    /// What could not be decoded and was left out, each with why.
    pub skipped: Vec<String>,
}

impl Findings {
    /// Adds an image of so many channels.
    pub fn add(&mut self, channels: usize, unusual: Option<Unusual>) {
        *(if channels == 1 { &mut self.grey } else { &mut self.coloured }) += 1;
        if let Some(unusual) = unusual {
            *self.unusual.entry(unusual).or_default() += 1;
        }
    }

    /// Adds what was found of other images.
    pub fn append(&mut self, other: Self) {
        self.grey += other.grey;
        self.coloured += other.coloured;
        other.unusual.into_iter().for_each(|(mode, count)| *self.unusual.entry(mode).or_default() += count);
        self.skipped.extend(other.skipped);
    }

    /// That so many images were found, all of `channels`.
    pub fn of(channels: usize, images: usize) -> Self {
        let (grey, coloured) = if channels == 1 { (images, 0) } else { (0, images) };
        Self { grey, coloured, ..Self::default() }
    }

    /// What was converted for a network that sees so many channels, and what was left out, of so many images.
    pub fn remarks(&self, channels: usize, images: usize) -> Vec<String> {
        let skipped = self.skipped.first().map(|first| {
            format!(
                "{} of {images} images could not be decoded and were left out, the first: {first}",
                self.skipped.len()
            )
        });
        self.converted(channels, images).into_iter().chain(skipped).collect()
    }

    fn converted(&self, channels: usize, images: usize) -> Option<String> {
        let mut converted = match channels {
            3 if self.grey > 0 => vec![format!("{} grey to RGB", self.grey)],
            1 if self.coloured > 0 => vec![format!("{} in colour to grey", self.coloured)],
            _ => vec![],
        };
        converted.extend(self.unusual.iter().map(|(mode, count)| format!("{count} {}", mode.name())));
        (!converted.is_empty()).then(|| format!("converted of {images} images: {}", converted.join(", ")))
    }
}

impl Photographs {
    /// Those of which hashes are known.
    pub(super) fn new(files: FileList, labels: Vec<u16>, hashes: Vec<ContentHash>, size: DecodedSize) -> Self {
        Self { files, labels, hashes, size, kept: None }
    }

    /// Reads and decodes every file; those that cannot be decoded are left out if `skip`.
    ///
    /// # Errors
    /// Unless `skip`, the first file that cannot be decoded.
    pub(super) fn check(files: &FileList, labels: &[u16], skip: bool) -> Result<(Self, Findings)> {
        let mut ledger = Ledger::of(files.root(), files.len());
        let examine = |ledger: &Ledger, index: usize| -> Result<(Metadata, Facts)> {
            let named = || files.shown(index);
            let metadata = fs::metadata(files.path(index)).with_context(named)?;
            if let Some(facts) = ledger.get(files.name(index), &metadata) {
                return Ok((metadata, facts));
            }
            let bytes = files.read(index)?;
            let unusual = decode::inspect(&bytes).with_context(named)?.unusual;
            let shape = decode::decode(&bytes).with_context(named)?.shape;
            Ok((metadata, Facts { hash: content_hash(&bytes), shape, unusual }))
        };
        let (mut good, mut findings) =
            (Self::new(files.none(), vec![], vec![], DecodedSize::default()), Findings::default());
        // In pieces: an error ends it early, and is the first one in the order of the files.
        for first in (0..files.len()).step_by(PIECE) {
            let piece = first..(first + PIECE).min(files.len());
            let examined: Vec<Result<_>> = piece.clone().into_par_iter().map(|index| examine(&ledger, index)).collect();
            for (index, found) in piece.zip(examined) {
                match found {
                    Ok((metadata, facts)) => {
                        let Facts { hash, shape: (c, h, w), unusual } = facts;
                        ledger.add(files.name(index), &metadata, facts);
                        good.files.push_of(files, index);
                        good.labels.push(labels[index]);
                        good.hashes.push(hash);
                        good.size.bytes += (c * h * w) as u64;
                        good.size.coloured |= c == 3;
                        findings.add(c, unusual);
                    }
                    Err(error) if skip => findings.skipped.push(format!("{error:#}")),
                    Err(error) => {
                        ledger.save();
                        return Err(bad_image(&error));
                    }
                }
            }
        }
        ledger.save();
        Ok((good, findings))
    }

    /// From now on each is decoded once, and kept, if all of both splits fit into `memory` bytes.
    pub(super) fn keep_within(splits: &mut [Self; 2], memory: u64) {
        if splits.iter().map(|split| split.size.bytes).sum::<u64>() <= memory {
            splits
                .iter_mut()
                .for_each(|split| split.kept = Some(split.labels.iter().map(|_| OnceLock::new()).collect()));
        }
    }

    pub(super) fn size(&self) -> DecodedSize {
        self.size
    }

    /// Class of each.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The files.
    pub fn files(&self) -> &FileList {
        &self.files
    }

    pub(super) fn hashes(&self) -> &[ContentHash] {
        &self.hashes
    }

    /// Image `index`, decoded.
    ///
    /// # Errors
    /// A file that cannot be read or decoded, or is another one than at first; names it.
    pub(super) fn picture(&self, index: usize) -> Result<Arc<Picture>> {
        let kept = self.kept.as_ref().map(|kept| &kept[index]);
        if let Some(picture) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(picture));
        }
        let bytes = self.files.read(index)?;
        let named = || self.files.shown(index);
        ensure!(
            content_hash(&bytes) == self.hashes[index],
            "{}: has changed since the data set was read; run the experiment again",
            named()
        );
        let picture = Arc::new(decode::decode(&bytes).with_context(named)?);
        Ok(match kept {
            Some(kept) => Arc::clone(kept.get_or_init(|| picture)),
            None => picture,
        })
    }
}

/// An image by itself, decoded.
#[derive(Clone, Debug)]
pub struct StoredImage(Picture);

impl StoredImage {
    /// The image of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no image of a format that is read.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self(decode::decode(&fs::read(path).context("cannot be read")?)?))
    }

    /// `(c, h, w)` as it is stored.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.0.shape
    }

    /// As an evaluation sees it, normalised: `[c, h, w]`.
    ///
    /// # Errors
    /// None for images that were read.
    pub fn as_evaluated(&self, transform: &Transform, normalization: &Normalization) -> Result<Vec<f32>> {
        let (c, h, w) = transform.shape();
        let mut out = vec![0.0; c * h * w];
        transform.apply(&self.0, None, 0, &normalization.table(), &mut out)?;
        Ok(out)
    }
}

fn content_hash(bytes: &[u8]) -> ContentHash {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    half
}
