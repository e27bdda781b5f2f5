//! Data sets by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::transform::pad::PADDING;
use super::{Geometry, Splits, cifar, download, stl10, svhn};

/// A data set that experiments can name; a row of the `datasets` command.
#[derive(Clone, Copy, Debug)]
pub struct DatasetInfo {
    /// `dataset.name`.
    pub name: &'static str,
    /// How captions name it.
    pub title: &'static str,
    /// Shape and classes, where the name settles them.
    pub geometry: Option<Geometry>,
    /// How it is read; none for a data set whose size alone is known, which is enough for costs.
    pub reader: Option<Reader>,
    /// Mean and standard deviation of its channels, where the field uses published ones; such images are photographs of any size.
    pub published: Option<([f32; 3], [f32; 3])>,
    /// Whether training images are mirrored where nobody says it: not where the field does not, as digits are others then.
    pub flip: bool,
    /// Pixels of padding that random crops reach into, on each side.
    pub padding: usize,
}

/// Publishers' own releases.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    Cifar(&'static cifar::Release),
    Stl10,
    Svhn,
}

impl Release {
    /// The release's folder or file at or in `path`; none if there is no trace of it.
    pub fn find(self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Cifar(release) => release.find(path),
            Self::Stl10 => stl10::find(path),
            Self::Svhn => svhn::find(path),
        }
    }

    /// Reads what [`Release::find`] found.
    ///
    /// # Errors
    /// A missing, truncated or damaged file; a label out of range. Names the file.
    pub fn read(self, path: &Path) -> Result<Splits> {
        match self {
            Self::Cifar(release) => release.read(path),
            Self::Stl10 => stl10::read(path),
            Self::Svhn => svhn::read(path),
        }
    }
}

/// How a data set is read.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The formats, in words.
    pub formats: &'static str,
    /// Published number of training and test images.
    pub images: Option<(usize, usize)>,
    /// Whether it is computed, and no file holds it.
    pub procedural: bool,
    /// The archive that `download` gets.
    pub remote: Option<&'static download::Remote>,
    /// The publisher's own release.
    pub(super) release: Option<Release>,
    /// Names of the label column in Parquet files; none if there is no such release.
    pub(super) label_columns: &'static [&'static str],
}

impl Reader {
    const fn new(formats: &'static str, images: Option<(usize, usize)>) -> Self {
        Self { formats, images, procedural: false, remote: None, release: None, label_columns: &[] }
    }
}

const fn geometry_of(shape: (usize, usize, usize), classes: usize) -> Option<Geometry> {
    Some(Geometry { shape, classes })
}

const CIFAR_SHAPE: (usize, usize, usize) = (3, 32, 32);
const CIFAR: Reader =
    Reader::new("Parquet, binary or Python (folder or archive), image folder", Some((50_000, 10_000)));

/// What most have.
const PLAIN: DatasetInfo =
    DatasetInfo { name: "", title: "", geometry: None, reader: None, published: None, flip: true, padding: PADDING };

/// Every data set.
pub static DATASETS: &[DatasetInfo] = &[
    DatasetInfo {
        name: "cifar10",
        title: "CIFAR-10",
        geometry: geometry_of(CIFAR_SHAPE, 10),
        reader: Some(Reader {
            remote: Some(&download::CIFAR10),
            release: Some(Release::Cifar(&cifar::CIFAR10)),
            label_columns: &["label"],
            ..CIFAR
        }),
        ..PLAIN
    },
    DatasetInfo {
        name: "cifar100",
        title: "CIFAR-100",
        geometry: geometry_of(CIFAR_SHAPE, 100),
        reader: Some(Reader {
            remote: Some(&download::CIFAR100),
            release: Some(Release::Cifar(&cifar::CIFAR100)),
            label_columns: &["fine_label", "label"],
            ..CIFAR
        }),
        ..PLAIN
    },
    DatasetInfo {
        name: "fashion-mnist",
        title: "Fashion-MNIST",
        geometry: geometry_of((1, 28, 28), 10),
        reader: Some(Reader {
            label_columns: &["label"],
            ..Reader::new("IDX (plain or .gz), Parquet, image folder", Some((60_000, 10_000)))
        }),
        ..PLAIN
    },
    DatasetInfo {
        name: "mnist",
        title: "MNIST",
        geometry: geometry_of((1, 28, 28), 10),
        reader: Some(Reader {
            label_columns: &["label"],
            ..Reader::new("IDX (plain or .gz), Parquet, image folder", Some((60_000, 10_000)))
        }),
        flip: false,
        ..PLAIN
    },
    DatasetInfo {
        name: "svhn",
        title: "SVHN",
        geometry: geometry_of(CIFAR_SHAPE, 10),
        reader: Some(Reader {
            release: Some(Release::Svhn),
            label_columns: &["label"],
            ..Reader::new(
                "train_32x32.mat and test_32x32.mat, Parquet, image folder; the files are at http://ufldl.stanford.edu/housenumbers",
                Some((73_257, 26_032)),
            )
        }),
        flip: false,
        ..PLAIN
    },
    DatasetInfo {
        name: "stl10",
        title: "STL-10",
        geometry: geometry_of((3, 96, 96), 10),
        reader: Some(Reader {
            release: Some(Release::Stl10),
            label_columns: &["label"],
            ..Reader::new(
                "stl10_binary (folder or .tar.gz), Parquet, image folder; the archive is at https://cs.stanford.edu/~acoates/stl10",
                Some((5_000, 8_000)),
            )
        }),
        // As much of the image as 4 pixels are of 32.
        padding: 12,
        ..PLAIN
    },
    DatasetInfo {
        name: "images",
        title: "Images",
        geometry: None,
        reader: Some(Reader::new(
            "image folder: train/CLASS/* with test/CLASS or val/CLASS, or CLASS/* with dataset.test_share; Parquet; .npz as MedMNIST's",
            None,
        )),
        ..PLAIN
    },
    DatasetInfo {
        name: "synthetic",
        title: "SYNTHETIC",
        geometry: geometry_of(CIFAR_SHAPE, 10),
        reader: Some(Reader { procedural: true, ..Reader::new("procedural, no files", Some((10_000, 2_000))) }),
        ..PLAIN
    },
    DatasetInfo {
        name: "imagenet",
        title: "ImageNet",
        geometry: geometry_of((3, 224, 224), 1000),
        reader: Some(Reader::new(
            "image folder: train/CLASS/* and val/CLASS/*, or ILSVRC's flat val with a file of labels; Parquet",
            Some((1_281_167, 50_000)),
        )),
        // As torchvision's and timm's models are trained.
        published: Some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
        ..PLAIN
    },
];

impl DatasetInfo {
    /// How it is read.
    ///
    /// # Errors
    /// A data set whose size alone is known.
    pub fn reader(&self) -> Result<&Reader> {
        self.reader.as_ref().with_context(|| {
            format!(
                "dataset.name = \"{}\" has a size for costs and no reader; it goes with recipe.epochs = 0, which trains nothing",
                self.name
            )
        })
    }
}

/// The data set of this name.
pub fn find(name: &str) -> Option<&'static DatasetInfo> {
    DATASETS.iter().find(|info| info.name == name)
}

/// The data set of this name, for a configuration that asks for it.
pub(super) fn by_name(name: &str) -> Result<&'static DatasetInfo> {
    let known = || DATASETS.iter().map(|info| info.name).collect::<Vec<_>>().join(", ");
    find(name).with_context(|| format!("dataset.name = \"{name}\" is unknown; there are: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let text = by_name("cifar").unwrap_err().to_string();
        assert!(text.contains("\"cifar\"") && text.contains("cifar10, cifar100, fashion-mnist"), "{text}");
    }
}
