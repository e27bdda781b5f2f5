//! STL-10's binary release, as a folder or an archive. Images are 96 x 96, each channel column by column; labels count from 1.
//! Format: <https://cs.stanford.edu/~acoates/stl10/>

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Images, Splits, archive, foreign};

const SIDE: usize = 96;
const PIXELS: usize = 3 * SIDE * SIDE;
const CLASSES: u8 = 10;
/// Images of a file; the release has 5000 and 8000.
const MOST: usize = 13_000;
/// Images and labels of training, then of test. `unlabeled_X.bin` is not read.
const FILES: [&str; 4] = ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"];

/// The folder or archive at or in `path`.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return (archive::is_named_archive(path) || archive::is_archive(path)).then(|| path.to_owned());
    }
    let folders = [path.to_owned(), path.join("stl10_binary")];
    let holds = |folder: &PathBuf| FILES.iter().any(|name| folder.join(name).is_file());
    folders.into_iter().find(holds).or_else(|| archive::find_in(path, &["stl10_binary"]))
}

/// Reads what [`find`] found.
///
/// # Errors
/// A missing, truncated or damaged file; a label that is none. Names the file.
pub fn read(path: &Path) -> Result<Splits> {
    let mut contents = BTreeMap::new();
    if path.is_dir() {
        for name in FILES {
            let file = path.join(name);
            if file.is_file() {
                let bytes = fs::read(&file).with_context(|| format!("{}: cannot be read", file.display()))?;
                contents.insert(name, bytes);
            }
        }
    } else {
        archive::each_file(path, |name, content| {
            if let Some(name) = FILES.into_iter().find(|known| *known == name) {
                let mut bytes = Vec::new();
                content.take((MOST * PIXELS) as u64 + 1).read_to_end(&mut bytes)?;
                contents.insert(name, bytes);
            }
            Ok(())
        })?;
    }
    let mut take = |name: &str| {
        let bytes = contents
            .remove(name)
            .with_context(|| format!("{}: missing; the release has {}", path.join(name).display(), FILES.join(", ")))?;
        // Images may begin with any bytes, labels with those of classes alone.
        if bytes.len() % PIXELS != 0 && name.ends_with("_X.bin") || name.ends_with("_y.bin") {
            foreign::refuse(&bytes, "a file of the release").with_context(|| path.join(name).display().to_string())?;
        }
        Ok::<_, anyhow::Error>(bytes)
    };
    let [train, test] = [[FILES[0], FILES[1]], [FILES[2], FILES[3]]].map(|[pixels, labels]| {
        images(&take(pixels)?, &take(labels)?).with_context(|| format!("{} and {labels}", path.join(pixels).display()))
    });
    Ok(Splits { train: train?, test: test?, remark: None, remarks: vec![] })
}

fn images(stored: &[u8], labels: &[u8]) -> Result<Images> {
    ensure!(
        stored.len() == labels.len() * PIXELS && labels.len() <= MOST,
        "{} bytes of images and {} labels, where an image has {PIXELS} bytes and at most {MOST} are accepted: truncated, or not this \
         release",
        stored.len(),
        labels.len()
    );
    let mut pixels = vec![0; stored.len()];
    for (plane, out) in stored.chunks_exact(SIDE * SIDE).zip(pixels.chunks_exact_mut(SIDE * SIDE)) {
        for (at, value) in out.iter_mut().enumerate() {
            *value = plane[at % SIDE * SIDE + at / SIDE];
        }
    }
    let label = |(row, &label): (usize, &u8)| {
        ensure!((1..=CLASSES).contains(&label), "image {row} has label {label}, where 1 to {CLASSES} are possible");
        Ok(u16::from(label - 1))
    };
    let labels = labels.iter().enumerate().map(label).collect::<Result<_>>()?;
    Ok(Images { pixels, labels, shape: (3, SIDE, SIDE) })
}
