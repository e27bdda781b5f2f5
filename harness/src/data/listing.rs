//! Encoded images that a data set consists of, wherever they lie: each in a file of its own, or packed into one.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::split::{draw_test, share_remark};

/// Encoded images, of which there may be millions: their names stand in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    /// The folder of their files; or the file that holds them all.
    root: PathBuf,
    names: String,
    ends: Vec<usize>,
    /// Where each lies in the one file: offset and length; none where each has a file.
    stretches: Option<Vec<(u64, u64)>>,
}

impl FileList {
    /// None yet, of files in the folder `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// None yet, of stretches of the file `pack`.
    pub(super) fn packed(pack: &Path) -> Self {
        Self { stretches: Some(vec![]), ..Self::new(pack) }
    }

    /// None of the same place.
    pub(super) fn none(&self) -> Self {
        Self { stretches: self.stretches.as_ref().map(|_| vec![]), ..Self::new(&self.root) }
    }

    /// Adds a file by its path in the folder.
    pub fn push(&mut self, name: &str) {
        self.names.push_str(name);
        self.ends.push(self.names.len());
    }

    /// Adds a stretch of the one file, under a name that tells a person where it is from.
    pub(super) fn push_stretch(&mut self, name: &str, stretch: (u64, u64)) {
        self.push(name);
        self.stretches.get_or_insert_default().push(stretch);
    }

    /// Adds an image of another list of the same place.
    pub(super) fn push_of(&mut self, other: &Self, index: usize) {
        match other.stretch(index) {
            Some(stretch) => self.push_stretch(other.name(index), stretch),
            None => self.push(other.name(index)),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Path of a file in the folder; or what an image in the one file is called.
    pub fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start..self.ends[index]]
    }

    /// Path of the file that holds an image.
    pub fn path(&self, index: usize) -> PathBuf {
        if self.stretches.is_some() { self.root.clone() } else { self.root.join(self.name(index)) }
    }

    /// Where an image is, for people.
    pub fn shown(&self, index: usize) -> String {
        if self.stretches.is_some() { self.name(index).to_owned() } else { self.path(index).display().to_string() }
    }

    /// The folder, or the one file.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Offset and length of an image in the one file.
    pub(super) fn stretch(&self, index: usize) -> Option<(u64, u64)> {
        self.stretches.as_ref().map(|stretches| stretches[index])
    }

    /// Whether all lie in one file.
    pub(super) fn is_packed(&self) -> bool {
        self.stretches.is_some()
    }

    /// An encoded image.
    ///
    /// # Errors
    /// A file that cannot be read; names it.
    pub fn read(&self, index: usize) -> Result<Vec<u8>> {
        self.beginning(index, u64::MAX)
    }

    /// The first bytes of an encoded image, at most so many.
    ///
    /// # Errors
    /// A file that cannot be read; names it.
    pub(super) fn beginning(&self, index: usize, most: u64) -> Result<Vec<u8>> {
        let path = self.path(index);
        let mut bytes = Vec::new();
        let mut read = || -> std::io::Result<u64> {
            let Some((offset, length)) = self.stretch(index) else {
                if most == u64::MAX {
                    bytes = fs::read(&path)?;
                } else {
                    File::open(&path)?.take(most).read_to_end(&mut bytes)?;
                }
                return Ok(0);
            };
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.take(length.min(most)).read_to_end(&mut bytes)?;
            Ok(length.min(most))
        };
        let least = read().with_context(|| format!("{}: cannot be read", path.display()))?;
        ensure!(
            bytes.len() as u64 >= least,
            "{}: was cut short, {} for one is no longer in it; remove it, and it is made again",
            path.display(),
            self.name(index)
        );
        Ok(bytes)
    }
}

/// Encoded images of one split.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Where they are.
    pub list: FileList,
    /// Class of each.
    pub labels: Vec<u16>,
}

impl Files {
    /// Those at `indices`.
    fn subset(&self, indices: &[usize]) -> Self {
        let mut list = self.list.none();
        indices.iter().for_each(|&index| list.push_of(&self.list, index));
        Self { list, labels: indices.iter().map(|&index| self.labels[index]).collect() }
    }
}

/// Encoded images of a data set, before any of them is looked at.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Names of the classes; a label is a place among them.
    pub classes: Vec<String>,
    /// Training split.
    pub train: Files,
    /// Empty where there is no test split.
    pub test: Files,
    /// What a reader has to know.
    pub remarks: Vec<String>,
}

impl Listing {
    /// Makes `share` of each class of the training images the test split.
    pub(super) fn share(&mut self, share: f64) {
        let (rest, drawn) = draw_test(&self.train.labels, share);
        self.test = self.train.subset(&drawn);
        self.train = self.train.subset(&rest);
        self.remarks.push(share_remark(share));
    }

    /// Adds what there is to know of its classes.
    pub(super) fn remark_classes(&mut self) {
        if !self.test.labels.is_empty() {
            let without: Vec<&String> = (0..self.classes.len())
                .filter(|&class| !self.test.labels.iter().any(|&label| usize::from(label) == class))
                .map(|class| &self.classes[class])
                .collect();
            let remark = match without[..] {
                [] => None,
                [only] => Some(format!("class `{only}` has no test images")),
                [first, ..] => Some(format!("{} classes have no test images, `{first}` for one", without.len())),
            };
            self.remarks.extend(remark);
        }
        if let [only] = &self.classes[..] {
            self.remarks.push(format!("all images are of one class, `{only}`: every network is right about them"));
        }
    }
}
