//! Data sets: where they come from, and how they reach the training loop.
//!
//! [`load`] tries `dataset.sources` in order and reads the first that is there, whatever format it has: one file a format
//! ([`cifar`], [`parquet`], [`idx`], [`image_folder`], [`synthetic`]). [`split`] carves validation off,
//! [`Normalization`] is measured on the rest, and a [`Loader`] makes batches of it in the background.

pub mod augment;
pub mod cifar;
mod decode;
pub mod decoded;
pub mod download;
mod entries;
pub mod idx;
pub mod image_folder;
mod loader;
mod normalize;
pub mod parquet;
mod random;
mod registry;
mod sources;
mod split;
pub mod synthetic;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::config::DatasetConfig;

pub use entries::DataRoots;
pub use loader::{Batch, Loader};
pub use normalize::Normalization;
pub use parquet::hush_caught_panics;
use registry::by_name;
pub use registry::{DATASETS, DatasetInfo, Reader, find};
pub use sources::Location;
pub use split::{Partition, split};

/// Images of one split, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `[n, c, h, w]`, row-major.
    pub pixels: Vec<u8>,
    /// Class of each image, below the data set's number of classes.
    pub labels: Vec<u16>,
    /// `(c, h, w)` of each image.
    pub shape: (usize, usize, usize),
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of one image, `[c, h, w]`.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.0 * self.shape.1 * self.shape.2;
        &self.pixels[index * size..][..size]
    }
}

/// What a network has to know of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// `(c, h, w)` of each image.
    pub shape: (usize, usize, usize),
    /// Number of classes.
    pub classes: usize,
}

/// Where a data set came from; printed, stamped into every row, shown in every caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// How captions name the data, e.g. `CIFAR-10 (JPEG copy)` or `SYNTHETIC (procedural, 10 classes)`.
    pub label: String,
    /// The entry of `dataset.sources` that was used, or `HARNESS_DATA/NAME`.
    pub source: String,
    /// Whether the data is procedural: never a real result.
    pub synthetic: bool,
    /// Content hash over pixels and labels of both splits (blake3, hex).
    pub fingerprint: String,
}

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its origin.
    pub provenance: Provenance,
    /// Number of classes.
    pub classes: usize,
    /// Training split, validation not yet carved.
    pub train: Images,
    /// Test split.
    pub test: Images,
}

/// What a format's reader returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Training split.
    pub train: Images,
    /// Test split.
    pub test: Images,
    /// What captions have to say about this copy of the data.
    pub remark: Option<&'static str>,
}

/// The data set of `config`, from the first of its sources that is there; prints which one to stderr.
///
/// The environment variable `HARNESS_DATA` names a folder of data sets that is looked at before the sources.
///
/// # Errors
/// An unknown name; no source that is there (says what was tried and how to get the data); one that is there but
/// damaged, incomplete or another data set (it is never passed over for the next).
pub fn load(config: &DatasetConfig) -> Result<Dataset> {
    load_from(config, &DataRoots::from_environment())
}

/// [`load`], with the roots given, whatever the environment says.
///
/// # Errors
/// What [`load`] refuses.
pub fn load_from(config: &DatasetConfig, roots: &DataRoots) -> Result<Dataset> {
    let info = by_name(&config.name)?;
    let found = sources::find(config, info, roots)?;
    let (geometry, fingerprint) = (found.geometry, found.checked_fingerprint(info)?);
    let sources::Found { splits: Splits { train, test, .. }, label, source, synthetic, .. } = found;
    say!("data: {label}, {} training and {} test images, from {source}", train.len(), test.len());
    let provenance = Provenance { label, source, synthetic, fingerprint };
    Ok(Dataset { provenance, classes: geometry.classes, train, test })
}

/// Shape and classes of the data set of `config`; nothing is read where the name settles them.
///
/// # Errors
/// An unknown name; for `images`, no folder that is there or no image in it.
pub fn geometry(config: &DatasetConfig) -> Result<Geometry> {
    let info = by_name(&config.name)?;
    info.geometry.map_or_else(|| sources::peek(config, info, &DataRoots::from_environment()), Ok)
}

/// The entries of `dataset.sources` that are tried for `config`, defaults filled in.
///
/// # Errors
/// An unknown name; an entry that cannot be understood.
pub fn sources(config: &DatasetConfig) -> Result<Vec<String>> {
    let resolved = entries::resolve(config, by_name(&config.name)?, &DataRoots::from_environment())?;
    Ok(resolved.into_iter().map(|(entry, _)| entry).collect())
}

/// Where the data set of `config` lies, found without downloading or reading anything.
///
/// # Errors
/// An unknown name; no source that is there; a source that only a download could find.
pub fn locate(config: &DatasetConfig) -> Result<Location> {
    sources::locate_offline(config, by_name(&config.name)?, &DataRoots::from_environment())
}

/// What a run with `config` would read now, in a line: the first source that is there, and what is passed over for it and why. Nothing
/// is read or downloaded.
///
/// # Errors
/// An unknown name; an entry of `dataset.sources` that cannot be understood.
pub fn outlook(config: &DatasetConfig) -> Result<String> {
    sources::outlook(config, by_name(&config.name)?, &DataRoots::from_environment())
}

/// Content hash of the data set `name` at a location, as [`Provenance::fingerprint`] holds it.
///
/// # Errors
/// An unknown name; data that is damaged, incomplete or another data set.
pub fn fingerprint_at(name: &str, location: &Location) -> Result<String> {
    let info = by_name(name)?;
    sources::read(String::new(), location, info)?.checked_fingerprint(info)
}

/// The most training images that the data set of `config` can have, where that is known before anything is read: the published
/// number, or what a synthetic source would make. Which source is there is not looked at; none for data without a reader.
///
/// # Errors
/// An unknown name; an entry of `dataset.sources` that cannot be understood.
pub fn most_training_images(config: &DatasetConfig) -> Result<Option<usize>> {
    let info = by_name(&config.name)?;
    info.reader.as_ref().map_or(Ok(None), |reader| sources::most(config, info, reader))
}

impl sources::Found {
    /// Content hash of both splits, once they are checked for what no reader checks.
    fn checked_fingerprint(&self, info: &DatasetInfo) -> Result<String> {
        check(&self.splits, &self.geometry).with_context(|| format!("{}: {} expected", self.source, info.title))?;
        Ok(fingerprint(&[&self.splits.train, &self.splits.test]))
    }
}

/// What no reader checks: that both splits hold something, and training all classes.
fn check(splits: &Splits, geometry: &Geometry) -> Result<()> {
    ensure!(!splits.train.is_empty() && !splits.test.is_empty(), "a split without images");
    let mut seen = vec![false; geometry.classes];
    splits.train.labels.iter().for_each(|&label| seen[usize::from(label)] = true);
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        let count = seen.iter().filter(|seen| **seen).count();
        anyhow::bail!(
            "{count} of {} classes have training images, class {missing} for one has none: is it this data set?",
            geometry.classes
        );
    }
    Ok(())
}

/// blake3 over shape, labels and pixels of all splits.
fn fingerprint(splits: &[&Images]) -> String {
    let mut hasher = blake3::Hasher::new();
    for images in splits {
        let (c, h, w) = images.shape;
        for number in [images.len(), c, h, w] {
            hasher.update(&(number as u64).to_le_bytes());
        }
        let labels: Vec<u8> = images.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels).update(&images.pixels);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_sees_pixels_labels_shape_and_the_split() {
        let images =
            |pixels: &[u8], labels: &[u16], shape| Images { pixels: pixels.to_vec(), labels: labels.to_vec(), shape };
        let a = images(&[1, 2, 3, 4], &[0, 1], (1, 1, 2));
        let variants = [
            fingerprint(&[&a, &a]),
            fingerprint(&[&images(&[1, 2, 3, 5], &[0, 1], (1, 1, 2)), &a]),
            fingerprint(&[&images(&[1, 2, 3, 4], &[1, 0], (1, 1, 2)), &a]),
            fingerprint(&[&images(&[1, 2, 3, 4], &[0, 1], (1, 2, 1)), &a]),
            fingerprint(&[&a]),
        ];
        let distinct: std::collections::HashSet<_> = variants.iter().collect();
        assert_eq!(distinct.len(), variants.len());
        assert_eq!(fingerprint(&[&a, &a]), variants[0]);
    }
}
