//! Data sets: where they come from, and how they reach the training loop.
//!
//! [`load`] tries `dataset.sources` in order and reads the first that is there, whatever format it has: one file or folder a
//! format ([`cifar`], [`svhn`], [`stl10`], [`parquet`], [`idx`], [`npz`], [`folder`], [`synthetic`]). What comes of it is an
//! [`ImageSet`] for each split, in memory or as files. [`split`] carves validation off, [`Normalization`] is measured on the rest, a
//! [`Transform`] brings images to the size that a network sees, and a [`Loader`] makes batches of them in the background.

mod archive;
pub mod cifar;
mod contents;
pub mod counts;
mod decode;
pub mod decoded;
pub mod download;
mod entries;
pub mod folder;
mod foreign;
mod formats;
pub mod idx;
mod ledger;
mod listing;
mod loader;
mod matlab;
mod normalize;
pub mod npz;
pub mod parquet;
mod photographs;
mod random;
mod registry;
mod resident;
mod set;
mod sources;
mod split;
mod split_names;
pub mod stl10;
pub mod svhn;
pub mod synthetic;
pub mod transform;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::DatasetConfig;

pub use contents::{Contents, Splits};
use contents::{check, fingerprint};
pub use entries::DataRoots;
pub use listing::FileList;
pub use loader::{Batch, Loader};
pub use normalize::Normalization;
pub use parquet::hush_caught_panics;
pub use photographs::{Photographs, StoredImage};
use registry::by_name;
pub use registry::{DATASETS, DatasetInfo, Reader, find};
pub use set::ImageSet;
pub use sources::Location;
pub use split::{Partition, range, split};
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

    /// Those at `indices`.
    fn subset(&self, indices: &[usize]) -> Self {
        let pixels = indices.iter().flat_map(|&index| self.image(index)).copied().collect();
        Self { pixels, labels: indices.iter().map(|&index| self.labels[index]).collect(), shape: self.shape }
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

/// Names of the classes of images of any size, in the order of their numbers; none where they are not there, or have none.
pub fn class_names(config: &DatasetConfig) -> Option<Vec<String>> {
    match locate(config).ok()? {
        Location::Files(path) => folder::classes(&path, config, &DataRoots::from_environment().cache).ok(),
        Location::Synthetic { .. } => None,
    }
}

/// What there is to know of encoded images before they are read for a training, a line each: images a class, what is passed over,
/// whether a sample of them can be decoded. Nothing for data that is one array, or that is not there.
///
/// # Errors
/// An unknown name; a folder that could not be read.
pub fn examine(config: &DatasetConfig) -> Result<Vec<String>> {
    let info = by_name(&config.name)?;
    let roots = DataRoots::from_environment();
    match sources::locate_offline(config, info, &roots) {
        Ok(Location::Files(path)) => formats::examine(&path, config, info, &roots.cache),
        _ => Ok(vec![]),
    }
}

/// Content hash of the data set of `config` at a location, as [`Provenance::fingerprint`] holds it.
///
/// # Errors
/// An unknown name; data that is damaged, incomplete or another data set.
pub fn fingerprint_at(config: &DatasetConfig, location: &Location) -> Result<String> {
    let info = by_name(&config.name)?;
    let roots = DataRoots::from_environment();
    sources::read(String::new(), location, config, info, &roots)?.checked_fingerprint(info)
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
        check(&self.contents, &self.geometry).with_context(|| format!("{}: {} expected", self.source, info.title))?;
        Ok(fingerprint(&[&self.contents.train, &self.contents.test]))
    }
}
