//! Data sets: where they come from, and how they reach the training loop.

use serde::{Deserialize, Serialize};

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

/// Where a data set came from; printed, stamped into every row, shown in every caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// How captions name the data, e.g. `CIFAR-10 (JPEG copy)` or `SYNTHETIC (procedural, 10 classes)`.
    pub label: String,
    /// The entry of `dataset.sources` that was used.
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

/// What a data set's images look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// `(c, h, w)` of each image.
    pub shape: (usize, usize, usize),
    /// Number of classes.
    pub classes: usize,
}
