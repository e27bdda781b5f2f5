//! Data sets by name.

use anyhow::{Context, Result};

use super::{Geometry, cifar, download};

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
    /// CIFAR's own releases.
    pub(super) release: Option<&'static cifar::Release>,
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

/// Every data set.
pub static DATASETS: &[DatasetInfo] = &[
    DatasetInfo {
        name: "cifar10",
        title: "CIFAR-10",
        geometry: geometry_of(CIFAR_SHAPE, 10),
        reader: Some(Reader {
            remote: Some(&download::CIFAR10),
            release: Some(&cifar::CIFAR10),
            label_columns: &["label"],
            ..CIFAR
        }),
        published: None,
    },
    DatasetInfo {
        name: "cifar100",
        title: "CIFAR-100",
        geometry: geometry_of(CIFAR_SHAPE, 100),
        reader: Some(Reader {
            remote: Some(&download::CIFAR100),
            release: Some(&cifar::CIFAR100),
            label_columns: &["fine_label", "label"],
            ..CIFAR
        }),
        published: None,
    },
    DatasetInfo {
        name: "fashion-mnist",
        title: "Fashion-MNIST",
        geometry: geometry_of((1, 28, 28), 10),
        reader: Some(Reader {
            label_columns: &["label"],
            ..Reader::new("IDX (plain or .gz), Parquet, image folder", Some((60_000, 10_000)))
        }),
        published: None,
    },
    DatasetInfo {
        name: "mnist",
        title: "MNIST",
        geometry: geometry_of((1, 28, 28), 10),
        reader: Some(Reader {
            label_columns: &["label"],
            ..Reader::new("IDX (plain or .gz), Parquet, image folder", Some((60_000, 10_000)))
        }),
        published: None,
    },
    DatasetInfo {
        name: "images",
        title: "Images",
        geometry: None,
        reader: Some(Reader::new(
            "image folder: train/CLASS/* with test/CLASS or val/CLASS, or CLASS/* with dataset.test_share",
            None,
        )),
        published: None,
    },
    DatasetInfo {
        name: "synthetic",
        title: "SYNTHETIC",
        geometry: geometry_of(CIFAR_SHAPE, 10),
        reader: Some(Reader { procedural: true, ..Reader::new("procedural, no files", Some((10_000, 2_000))) }),
        published: None,
    },
    DatasetInfo {
        name: "imagenet",
        title: "ImageNet",
        geometry: geometry_of((3, 224, 224), 1000),
        reader: Some(Reader::new(
            "image folder: train/CLASS/* and val/CLASS/*, or ILSVRC's flat val with a file of labels",
            Some((1_281_167, 50_000)),
        )),
        // As torchvision's and timm's models are trained.
        published: Some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
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
