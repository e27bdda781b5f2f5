//! A loaded data set as a file: what one process has read and decoded, others need not decode again.
//!
//! One line of JSON (classes; number and shape of the images of each split), then labels and pixels of each split. Its
//! fingerprint is its checksum: a file that does not have the one that was asked for is no file.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Dataset, Images, Provenance, fingerprint};
use crate::files::write_atomic;

#[derive(Serialize, Deserialize)]
struct Head {
    classes: usize,
    /// Images and shape, of training and test.
    splits: [(usize, (usize, usize, usize)); 2],
}

/// Writes the data set to a file.
///
/// # Errors
/// A file that cannot be written; names it.
pub fn write(path: &Path, classes: usize, splits: [&Images; 2]) -> Result<()> {
    let head = Head { classes, splits: splits.map(|images| (images.len(), images.shape)) };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.push(b'\n');
    for images in splits {
        bytes.extend(images.labels.iter().flat_map(|label| label.to_le_bytes()));
        bytes.extend_from_slice(&images.pixels);
    }
    write_atomic(path, &bytes)
}

/// Reads the data set of this provenance; none if the file is not there, or is not it.
pub fn read(path: &Path, provenance: &Provenance) -> Option<Dataset> {
    let bytes = fs::read(path).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let Head { classes, splits } = serde_json::from_slice(&bytes[..end]).ok()?;
    let mut rest = &bytes[end + 1..];
    let mut take = |size: usize| {
        let (taken, left) = rest.split_at_checked(size)?;
        rest = left;
        Some(taken)
    };
    let mut images = Vec::new();
    for (count, shape) in splits {
        let (c, h, w) = shape;
        let labels = take(count.checked_mul(2)?)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let labels: Vec<u16> = labels.collect();
        let pixels = take([c, h, w].iter().try_fold(count, |size, &side| size.checked_mul(side))?)?.to_vec();
        images.push(Images { pixels, labels, shape });
    }
    let (test, train) = (images.pop()?, images.pop()?);
    let same = rest.is_empty() && fingerprint(&[&train, &test]) == provenance.fingerprint;
    same.then(|| Dataset { provenance: provenance.clone(), classes, train, test })
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
        let (train, test) = (images(5), images(2));
        let provenance = Provenance {
            label: "x".into(),
            source: "y".into(),
            synthetic: false,
            fingerprint: fingerprint(&[&train, &test]),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images");
        assert!(read(&path, &provenance).is_none(), "not there");
        write(&path, 7, [&train, &test]).unwrap();
        let back = read(&path, &provenance).unwrap();
        assert_eq!((back.classes, &back.train, &back.test), (7, &train, &test));

        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path, &provenance).is_none(), "cut to {length}");
        }
        for at in (0..whole.len()).filter(|&at| at > 11) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(read(&path, &provenance).is_none(), "flipped at {at}");
        }
    }
}
