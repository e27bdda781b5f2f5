//! CIFAR's binary release: records of one or two label bytes and 3 x 32 x 32 pixels, as a folder or a `.tar.gz`.
//! Format: <https://www.cs.toronto.edu/~kriz/cifar.html>

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;

use super::{Images, Splits};

const SHAPE: (usize, usize, usize) = (3, 32, 32);
const PIXELS: usize = 3 * 32 * 32;

/// What one of the releases consists of.
#[derive(Clone, Debug)]
pub struct Release {
    /// Bytes before the pixels; the last one is the class (CIFAR-100 has the coarse class before it).
    pub label_bytes: usize,
    /// Number of classes.
    pub classes: usize,
    /// Files of the training split, in order.
    pub train: &'static [&'static str],
    /// File of the test split.
    pub test: &'static str,
    /// Records in each training file and in the test file.
    pub records: (usize, usize),
    /// Folder inside the archive.
    pub folder: &'static str,
    /// Name of the archive.
    pub archive: &'static str,
}

/// CIFAR-10: five training batches.
pub const CIFAR10: Release = Release {
    label_bytes: 1,
    classes: 10,
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    records: (10_000, 10_000),
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
};

/// CIFAR-100, fine labels.
pub const CIFAR100: Release = Release {
    label_bytes: 2,
    classes: 100,
    train: &["train.bin"],
    test: "test.bin",
    records: (50_000, 10_000),
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
};

impl Release {
    /// The release's folder or archive at `path`: `path` itself, or inside it. `None` if there is no trace of it.
    pub(super) fn find(&self, path: &Path) -> Option<PathBuf> {
        if path.is_file() {
            let name = path.file_name()?.to_string_lossy();
            return (name.ends_with(".tar.gz") || name.ends_with(".tgz")).then(|| path.to_path_buf());
        }
        let holds = |folder: &Path| self.files().any(|(name, _)| folder.join(name).is_file());
        let folders = [path.to_path_buf(), path.join(self.folder)].into_iter().filter(|folder| holds(folder));
        let archive = Some(path.join(self.archive)).filter(|archive| archive.is_file());
        folders.chain(archive).next()
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
            let file = path.join(name);
            let Some(bytes) = contents.remove(name) else {
                bail!("{}: missing; the release has {}", file.display(), self.names());
            };
            let images = if name == self.test { &mut test } else { &mut train };
            self.append(&bytes, records, images).with_context(|| file.display().to_string())?;
        }
        Ok(Splits { train, test, remark: None })
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.train.iter().map(|&name| (name, self.records.0)).chain([(self.test, self.records.1)])
    }

    fn names(&self) -> String {
        self.files().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    fn read_folder(&self, folder: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let mut contents = BTreeMap::new();
        for (name, _) in self.files() {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(bytes) => contents.insert(name, bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
            };
        }
        Ok(contents)
    }

    fn read_archive(&self, path: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let damaged = || format!("{}: a truncated or damaged .tar.gz archive", path.display());
        let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
        let mut contents = BTreeMap::new();
        for entry in archive.entries().with_context(damaged)? {
            let mut entry = entry.with_context(damaged)?;
            let entry_path = entry.path().with_context(damaged)?.into_owned();
            let known = self.files().find(|(name, _)| entry_path.file_name().is_some_and(|n| n == *name));
            if let Some((name, records)) = known {
                // One byte more than expected is enough to notice that it is too long.
                let limit = (records * (self.label_bytes + PIXELS) + 1) as u64;
                let mut bytes = Vec::new();
                entry.by_ref().take(limit).read_to_end(&mut bytes).with_context(damaged)?;
                contents.insert(name, bytes);
            }
        }
        // gzip's checksum comes last: it is only compared once everything was read.
        io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(damaged)?;
        Ok(contents)
    }

    fn append(&self, bytes: &[u8], records: usize, images: &mut Images) -> Result<()> {
        let size = self.label_bytes + PIXELS;
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
            let label = u16::from(labels[self.label_bytes - 1]);
            ensure!(
                usize::from(label) < self.classes,
                "record {number} has label {label}, where 0 to {} are possible",
                self.classes - 1
            );
            images.labels.push(label);
            images.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }
}
