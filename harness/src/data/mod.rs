//! Data sets: where they come from, and how they reach the training loop.
//!
//! [`load`] tries `dataset.sources` in order and reads the first that is there, whatever format it has: one file or folder a
//! format ([`cifar`], [`parquet`], [`idx`], [`folder`], [`synthetic`]). What comes of it is an [`ImageSet`] for each split, in
//! memory or as files. [`split`] carves validation off, [`Normalization`] is measured on the rest, a [`Transform`] brings images to
//! the size that a network sees, and a [`Loader`] makes batches of them in the background.

pub mod cifar;
mod decode;
pub mod decoded;
pub mod download;
mod entries;
pub mod folder;
pub mod idx;
mod ledger;
mod loader;
mod normalize;
pub mod parquet;
mod photographs;
mod random;
mod registry;
mod set;
mod sources;
mod split;
pub mod synthetic;
pub mod transform;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::config::DatasetConfig;

pub use entries::DataRoots;
pub use loader::{Batch, Loader};
pub use normalize::Normalization;
pub use parquet::hush_caught_panics;
pub use photographs::{FileList, Photographs, StoredImage};
use registry::by_name;
pub use registry::{DATASETS, DatasetInfo, Reader, find};
pub use set::ImageSet;
pub use sources::Location;
pub use split::{Partition, split};
pub use transform::{Draw, Transform};

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
    /// Content hash over the labels and the pixels, or where images stay encoded their files, of both splits (blake3, hex).
    pub fingerprint: String,
    /// What there is to know of this copy of the data: which folder is the test split, what was converted, left out, passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A data set, ready to be trained on.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its origin.
    pub provenance: Provenance,
    /// `(c, h, w)` of what a network sees, and the number of classes.
    pub geometry: Geometry,
    /// Training split, validation not yet carved.
    pub train: ImageSet,
    /// Test split; empty where there is none.
    pub test: ImageSet,
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

/// Both splits, wherever their images lie.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Training split.
    pub train: ImageSet,
    /// Test split; empty where there is none.
    pub test: ImageSet,
    /// What a reader has to know of them.
    pub remarks: Vec<String>,
}

impl From<Splits> for Contents {
    fn from(Splits { train, test, remark: _ }: Splits) -> Self {
        Self { train: train.into(), test: test.into(), remarks: vec![] }
    }
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
    let sources::Found { contents: Contents { train, test, remarks }, label, source, synthetic, .. } = found;
    say!("data: {label}, {} training and {} test images, from {source}", train.len(), test.len());
    remarks.iter().for_each(|remark| say!("data: {remark}"));
    let provenance = Provenance { label, source, synthetic, fingerprint, remarks };
    Ok(Dataset { provenance, geometry, train, test })
}

/// What a network sees of the data set of `config`, shape and classes; nothing is read where name and `dataset.size` settle them.
///
/// # Errors
/// An unknown name; for `images`, no folder that is there, no image in it, or several sizes; a size or channels that cannot be.
pub fn geometry(config: &DatasetConfig) -> Result<Geometry> {
    let info = by_name(&config.name)?;
    match info.geometry {
        Some(stored) => seen(config, stored),
        None => sources::peek(config, info, &DataRoots::from_environment()),
    }
}

/// What a network sees of images that are `stored` so.
fn seen(config: &DatasetConfig, stored: Geometry) -> Result<Geometry> {
    let (c, h, w) = stored.shape;
    let (h, w) = transform::sides(config)?.unwrap_or((h, w));
    Ok(Geometry { shape: (transform::channels(config)?.unwrap_or(c), h, w), ..stored })
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

/// What there is to know of a folder of images before it is read, a line each: images a class, what is passed over, whether a sample
/// of them can be decoded. Nothing for data of other kinds, or that is not there.
///
/// # Errors
/// An unknown name; a folder that could not be read.
pub fn examine(config: &DatasetConfig) -> Result<Vec<String>> {
    let info = by_name(&config.name)?;
    let roots = DataRoots::from_environment();
    match sources::locate_offline(config, info, &roots) {
        Ok(Location::Files(path)) if info.geometry.is_none() || info.published.is_some() => {
            folder::examine(&path, config)
        }
        _ => Ok(vec![]),
    }
}

/// Content hash of the data set of `config` at a location, as [`Provenance::fingerprint`] holds it.
///
/// # Errors
/// An unknown name; data that is damaged, incomplete or another data set.
pub fn fingerprint_at(config: &DatasetConfig, location: &Location) -> Result<String> {
    let info = by_name(&config.name)?;
    sources::read(String::new(), location, config, info)?.checked_fingerprint(info)
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
        check(&self.contents, info, &self.geometry)
            .with_context(|| format!("{}: {} expected", self.source, info.title))?;
        Ok(fingerprint(&[&self.contents.train, &self.contents.test]))
    }
}

/// What no reader checks: that both splits hold something, and training all classes. A folder may be without test images.
fn check(contents: &Contents, info: &DatasetInfo, geometry: &Geometry) -> Result<()> {
    let tested = !contents.test.is_empty() || info.geometry.is_none();
    ensure!(!contents.train.is_empty() && tested, "a split without images");
    let mut seen = vec![false; geometry.classes];
    for &label in contents.train.labels() {
        let class = seen.get_mut(usize::from(label));
        *class.with_context(|| format!("class {label} of a training image, where there are {}", geometry.classes))? =
            true;
    }
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        let count = seen.iter().filter(|seen| **seen).count();
        anyhow::bail!(
            "{count} of {} classes have training images, class {missing} for one has none: is it this data set?",
            geometry.classes
        );
    }
    Ok(())
}

/// blake3 over shape, labels and pixels of all splits; over labels and the contents of their files where they stay encoded.
fn fingerprint(splits: &[&ImageSet]) -> String {
    let mut hasher = blake3::Hasher::new();
    for images in splits {
        let (c, h, w) = images.resident().map_or((0, 0, 0), |images| images.shape);
        for number in [images.len(), c, h, w] {
            hasher.update(&(number as u64).to_le_bytes());
        }
        let labels: Vec<u8> = images.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        match images {
            ImageSet::Resident(images) => hasher.update(&images.pixels),
            ImageSet::Encoded(photographs) => hasher.update(photographs.hashes().as_flattened()),
        };
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_sees_pixels_labels_shape_and_the_split() {
        let images = |pixels: &[u8], labels: &[u16], shape| -> ImageSet {
            Images { pixels: pixels.to_vec(), labels: labels.to_vec(), shape }.into()
        };
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
