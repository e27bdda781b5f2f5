//! A loaded data set as a file: what one process has read and decoded, others need not read and decode again.
//!
//! One line of JSON (classes; of each split the number of its images, and their shape or the folder of their files), then labels
//! and pixels of each split; of files that stay encoded instead of pixels their hashes and names, and where they lie in one file. The fingerprint is its checksum:
//! a file that does not have the one that was asked for is no file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::photographs::{ContentHash, DecodedSize};
use super::{
    Dataset, FileList, Geometry, ImageSet, Images, Photographs, Provenance, fingerprint, folder, registry, seen,
    transform,
};
use crate::config::DatasetConfig;
use crate::files::write_atomic;

#[derive(Serialize, Deserialize)]
struct Head {
    classes: usize,
    /// Training and test.
    splits: [Split; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Split {
    /// Images and shape.
    Resident(usize, (usize, usize, usize)),
    /// Images; where their files are, bytes of all names, what the images come to decoded, whether they are stretches of one file.
    Encoded(usize, PathBuf, usize, DecodedSize, bool),
}

/// Writes the data set to a file.
///
/// # Errors
/// A file that cannot be written, or a folder whose path is no text; names it.
pub fn write(path: &Path, dataset: &Dataset) -> Result<()> {
    let Dataset { geometry: Geometry { classes, .. }, train, test, .. } = dataset;
    let names = |files: &FileList| (0..files.len()).map(|index| format!("{}\n", files.name(index))).collect::<String>();
    let split = |images: &ImageSet| match images {
        ImageSet::Resident(images) => Split::Resident(images.len(), images.shape),
        ImageSet::Encoded(photographs) => {
            let files = photographs.files();
            // Trials run where the experiment was begun; a path from elsewhere would lead nowhere.
            let root = files.root().canonicalize().unwrap_or_else(|_| files.root().to_owned());
            Split::Encoded(files.len(), root, names(files).len(), photographs.size(), files.is_packed())
        }
    };
    let mut bytes = serde_json::to_vec(&Head { classes: *classes, splits: [split(train), split(test)] })
        .with_context(|| path.display().to_string())?;
    bytes.push(b'\n');
    for images in [train, test] {
        bytes.extend(images.labels().iter().flat_map(|label| label.to_le_bytes()));
        match images {
            ImageSet::Resident(images) => bytes.extend_from_slice(&images.pixels),
            ImageSet::Encoded(photographs) => {
                bytes.extend_from_slice(photographs.hashes().as_flattened());
                let files = photographs.files();
                bytes.extend_from_slice(names(files).as_bytes());
                let stretches = (0..files.len()).filter_map(|index| files.stretch(index));
                stretches.for_each(|(offset, length)| {
                    bytes.extend(offset.to_le_bytes());
                    bytes.extend(length.to_le_bytes());
                });
            }
        }
    }
    write_atomic(path, &bytes)
}

/// Reads the data set of this provenance, as `config` asks for it; none if the file is not there, or is not it.
pub fn read(path: &Path, provenance: &Provenance, config: &DatasetConfig) -> Option<Dataset> {
    let bytes = fs::read(path).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let Head { classes, splits } = serde_json::from_slice(&bytes[..end]).ok()?;
    let mut rest = &bytes[end + 1..];
    let mut take = |size: usize| {
        let (taken, left) = rest.split_at_checked(size)?;
        rest = left;
        Some(taken)
    };
    let info = registry::find(&config.name)?;
    let (mut sets, mut encoded, mut stored) = (Vec::new(), Vec::new(), info.geometry.map(|geometry| geometry.shape));
    for split in splits {
        let (Split::Resident(count, ..) | Split::Encoded(count, ..)) = split;
        let labels = take(count.checked_mul(2)?)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let labels: Vec<u16> = labels.collect();
        sets.push(match split {
            Split::Resident(_, own) => {
                let (c, h, w) = own;
                let pixels = take([c, h, w].iter().try_fold(count, |size, &side| size.checked_mul(side))?)?.to_vec();
                stored.get_or_insert(own);
                ImageSet::Resident(Arc::new(Images { pixels, labels, shape: own }))
            }
            Split::Encoded(_, root, names, size, packed) => {
                let hashes = take(count.checked_mul(16)?)?.chunks_exact(16);
                let hashes: Vec<ContentHash> = hashes.map(ContentHash::try_from).collect::<Result<_, _>>().ok()?;
                let mut files = if packed { FileList::packed(&root) } else { FileList::new(&root) };
                let mut names = std::str::from_utf8(take(names)?).ok()?.lines();
                if packed {
                    for stretch in take(count.checked_mul(16)?)?.chunks_exact(16) {
                        let (offset, length) = stretch.split_at(8);
                        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
                        files.push_stretch(names.next()?, (number(offset)?, number(length)?));
                    }
                }
                names.for_each(|name| files.push(name));
                if files.len() != count {
                    return None;
                }
                encoded.push(Photographs::new(files, labels, hashes, size));
                continue;
            }
        });
    }
    if let Ok(mut splits) = <[Photographs; 2]>::try_from(encoded) {
        let colour = splits.iter().any(|split| split.size().coloured);
        if let (None, Some((h, w))) = (stored, transform::sides(config).ok()?) {
            stored = Some((if colour { 3 } else { 1 }, h, w));
        }
        Photographs::keep_within(&mut splits, folder::memory(config));
        sets.extend(splits.map(ImageSet::from));
    }
    let (test, train) = (sets.pop()?, sets.pop()?);
    let geometry = seen(config, Geometry { shape: stored?, classes }).ok()?;
    let same = rest.is_empty() && fingerprint(&[&train, &test]) == provenance.fingerprint;
    same.then(|| Dataset { provenance: provenance.clone(), geometry, train, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_or_not_at_all() {
        let images = |n: usize| Images {
            pixels: (0..n * 12).map(|i| i as u8).collect(),
            labels: (0..n).map(|i| i as u16 * 300).collect(),
            shape: (3, 2, 2),
        };
        let coloured = DecodedSize { bytes: 60, coloured: true };
        let photographs = |n: usize| {
            let mut files = FileList::new(Path::new("somewhere"));
            (0..n).for_each(|image| files.push(&format!("train/a b/{image}.jpg")));
            Photographs::new(files, vec![1; n], (0..n).map(|image| [image as u8; 16]).collect(), coloured)
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images");
        let config: DatasetConfig = toml::from_str("name = 'images'\nsize = 2").unwrap();
        for (train, test) in [(images(5).into(), images(2).into()), (photographs(5).into(), photographs(0).into())] {
            let provenance = Provenance {
                label: "x".into(),
                source: "y".into(),
                synthetic: false,
                fingerprint: fingerprint(&[&train, &test]),
                remarks: vec![],
            };
            let geometry = Geometry { shape: (3, 2, 2), classes: 7 };
            let dataset = Dataset { provenance: provenance.clone(), geometry, train, test };
            let read = || read(&path, &provenance, &config);
            let _ = fs::remove_file(&path);
            assert!(read().is_none(), "not there");
            write(&path, &dataset).unwrap();
            let back = read().unwrap();
            assert_eq!(back.geometry, geometry);
            for (one, other) in [(&back.train, &dataset.train), (&back.test, &dataset.test)] {
                assert_eq!((one.labels(), one.resident()), (other.labels(), other.resident()));
                if let (ImageSet::Encoded(one), ImageSet::Encoded(other)) = (one, other) {
                    assert_eq!((one.files(), one.hashes()), (other.files(), other.hashes()));
                }
            }

            let whole = fs::read(&path).unwrap();
            let length_of_names = if dataset.train.resident().is_some() { 0 } else { 5 * 16 };
            for length in 0..whole.len() {
                fs::write(&path, &whole[..length]).unwrap();
                assert!(read().is_none(), "cut to {length}");
            }
            // Names are no part of the contents: a wrong one is found when the file is read.
            for at in 12..whole.len() - length_of_names {
                let mut flipped = whole.clone();
                flipped[at] ^= 1;
                fs::write(&path, &flipped).unwrap();
                let same_images = read().is_some_and(|back| back.train.resident().is_some());
                assert!(!same_images, "flipped at {at}");
            }
        }
    }
}
