//! CIFAR's releases as folders or archives. Binary: records of one or two label bytes and 3 x 32 x 32 pixels. Python: pickles of an
//! array of pixels and a list of labels, as torchvision leaves them. Format: <https://www.cs.toronto.edu/~kriz/cifar.html>

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Images, Splits, archive, foreign};
use crate::pickle::Pickle;

const SHAPE: (usize, usize, usize) = (3, 32, 32);
const PIXELS: usize = 3 * 32 * 32;
/// Room for what a pickle has beside its pixels: labels, names of files.
const BESIDE: usize = 8 << 20;

/// What a release consists of.
#[derive(Clone, Debug)]
pub struct Release {
    /// Bytes before the pixels of a binary record; the last one is the class (CIFAR-100 has the coarse class before it).
    pub label_bytes: usize,
    /// What a pickle calls the classes.
    pub label_key: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Files of the training split, in order; binary ones end in `.bin`.
    pub train: &'static [&'static str],
    /// File of the test split.
    pub test: &'static str,
    /// Records in each training file and in the test file.
    pub records: (usize, usize),
    /// Folders inside the archives, and the archives' names without their endings.
    pub forms: [(&'static str, &'static str); 2],
}

/// CIFAR-10: five training batches.
pub const CIFAR10: Release = Release {
    label_bytes: 1,
    label_key: "labels",
    classes: 10,
    train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    records: (10_000, 10_000),
    forms: [("cifar-10-batches-bin", "cifar-10-binary"), ("cifar-10-batches-py", "cifar-10-python")],
};

/// CIFAR-100, fine labels.
pub const CIFAR100: Release = Release {
    label_bytes: 2,
    label_key: "fine_labels",
    classes: 100,
    train: &["train"],
    test: "test",
    records: (50_000, 10_000),
    forms: [("cifar-100-binary", "cifar-100-binary"), ("cifar-100-python", "cifar-100-python")],
};

/// A file of a release.
enum Content {
    Binary(Vec<u8>),
    Python(Vec<u8>),
}

/// The ending of binary files.
const BINARY: &str = ".bin";

impl Release {
    /// The release's folder or archive at `path`: `path` itself, or inside it. `None` if there is no trace of it.
    pub(super) fn find(&self, path: &Path) -> Option<PathBuf> {
        if path.is_file() {
            return (archive::is_named_archive(path) || archive::is_archive(path)).then(|| path.to_path_buf());
        }
        let holds =
            |folder: &Path| self.files().any(|(name, _)| both(name).iter().any(|name| folder.join(name).is_file()));
        let inside = self.forms.iter().map(|(folder, _)| path.join(folder));
        if let Some(folder) = std::iter::once(path.to_path_buf()).chain(inside).find(|folder| holds(folder)) {
            return Some(folder);
        }
        archive::find_in(path, &self.forms.map(|(_, archive)| archive))
    }

    /// Reads what `Release::find` found: a folder or an archive.
    ///
    /// # Errors
    /// A missing, truncated or damaged file; a label out of range. Names the file.
    pub fn read(&self, path: &Path) -> Result<Splits> {
        let mut contents = if path.is_dir() { self.read_folder(path)? } else { self.read_archive(path)? };
        let mut train = Images { pixels: vec![], labels: vec![], shape: SHAPE };
        let mut test = train.clone();
        for (name, records) in self.files() {
            let Some(content) = contents.remove(name) else {
                bail!("{}: missing; the release has {}", path.join(name).display(), self.names());
            };
            let images = if name == self.test { &mut test } else { &mut train };
            match content {
                Content::Binary(bytes) => {
                    let file = path.join(format!("{name}{BINARY}"));
                    self.append(&bytes, records, images).with_context(|| file.display().to_string())?;
                }
                Content::Python(bytes) => {
                    let file = path.join(name);
                    self.append_pickle(&bytes, records, images).with_context(|| file.display().to_string())?;
                }
            }
        }
        Ok(Splits { train, test, remark: None, remarks: vec![] })
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.train.iter().map(|&name| (name, self.records.0)).chain([(self.test, self.records.1)])
    }

    fn names(&self) -> String {
        let names =
            |ending: &str| self.files().map(|(name, _)| format!("{name}{ending}")).collect::<Vec<_>>().join(", ");
        format!("{}, or, for Python, {}", names(BINARY), names(""))
    }

    fn read_folder(&self, folder: &Path) -> Result<BTreeMap<&'static str, Content>> {
        let mut contents = BTreeMap::new();
        for (name, _) in self.files() {
            let read = |name: &str| -> Result<Option<Vec<u8>>> {
                let path = folder.join(name);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
                }
            };
            let [binary, python] = both(name);
            let content = match read(&binary)? {
                Some(bytes) => Some(Content::Binary(bytes)),
                None => read(&python)?.map(Content::Python),
            };
            contents.extend(content.map(|content| (name, content)));
        }
        Ok(contents)
    }

    fn read_archive(&self, path: &Path) -> Result<BTreeMap<&'static str, Content>> {
        let mut contents = BTreeMap::new();
        archive::each_file(path, |file, content| {
            let Some((name, records)) = self.files().find(|(name, _)| both(name).iter().any(|name| name == file))
            else {
                return Ok(());
            };
            let binary = file == both(name)[0];
            // One byte more than expected is enough to notice that it is too long.
            let most = if binary { records * (self.label_bytes + PIXELS) + 1 } else { records * PIXELS + BESIDE };
            let mut bytes = Vec::new();
            content.take(most as u64).read_to_end(&mut bytes)?;
            contents.insert(name, if binary { Content::Binary(bytes) } else { Content::Python(bytes) });
            Ok(())
        })?;
        Ok(contents)
    }

    fn append_pickle(&self, bytes: &[u8], records: usize, images: &mut Images) -> Result<()> {
        if !bytes.starts_with(&[0x80]) {
            foreign::refuse(bytes, "a pickle of the release")?;
        }
        let pickle = Pickle::read(bytes)?;
        let root = pickle.root();
        let data = root
            .get("data")
            .with_context(|| format!("{} without `data`, where a batch of CIFAR has it", root.name()))?;
        let data = data.array().with_context(|| format!("`data` is {}, where an array is expected", data.name()))?;
        ensure!(
            data.kind == "u1" && data.shape == [records, PIXELS],
            "`data` is an array `{}` of {:?}, where `u1` of [{records}, {PIXELS}] is expected: not this release",
            data.kind,
            data.shape
        );
        let labels = root.get(self.label_key).and_then(|labels| labels.integers());
        let labels =
            labels.with_context(|| format!("without `{}`, the list of classes: not this release", self.label_key))?;
        ensure!(labels.len() == records, "{} labels of {records} images", labels.len());
        for (number, label) in labels.into_iter().enumerate() {
            images.labels.push(self.label(number, label)?);
        }
        images.pixels.extend_from_slice(data.bytes);
        Ok(())
    }

    fn label(&self, number: usize, label: i64) -> Result<u16> {
        let fits = |label: &u16| usize::from(*label) < self.classes;
        u16::try_from(label)
            .ok()
            .filter(fits)
            .with_context(|| format!("record {number} has label {label}, where 0 to {} are possible", self.classes - 1))
    }

    fn append(&self, bytes: &[u8], records: usize, images: &mut Images) -> Result<()> {
        let size = self.label_bytes + PIXELS;
        if bytes.len() != records * size {
            foreign::refuse(bytes, "a file of the release")?;
        }
        ensure!(
            bytes.len() == records * size,
            "{}{} bytes, where {records} records of {size} bytes make {}: truncated, or not this release",
            if bytes.len() > records * size { "at least " } else { "" },
            bytes.len(),
            records * size
        );
        images.pixels.reserve(records * PIXELS);
        for (number, record) in bytes.chunks_exact(size).enumerate() {
            let (labels, pixels) = record.split_at(self.label_bytes);
            let label = self.label(number, i64::from(labels[self.label_bytes - 1]))?;
            images.labels.push(label);
            images.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }
}

/// A file's name in either form, the binary one first.
fn both(name: &str) -> [String; 2] {
    [format!("{name}{BINARY}"), name.to_owned()]
}
