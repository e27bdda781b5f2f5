//! A folder of images: `train/CLASS/*.png|jpg|jpeg` and `test/CLASS/*` (or `val`). Classes are numbered by name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::{Geometry, Images, Splits, decode};

/// Whether a folder has a `train` folder.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    folder.join("train").is_dir().then(|| folder.to_path_buf())
}

/// Number of classes and size of the first image, which all others must have.
///
/// # Errors
/// No class, no image, or a first image that cannot be read.
pub fn geometry(folder: &Path) -> Result<Geometry> {
    let train = folder.join("train");
    ensure!(
        train.is_dir(),
        "{}: no folder `train` in it; expected are train/CLASS/*.png|jpg and test/CLASS or val/CLASS",
        folder.display()
    );
    let classes = subfolders(&train)?;
    ensure!(!classes.is_empty(), "{}: no folders, expected one a class", train.display());
    let first = images(&train.join(&classes[0]))?.into_iter().next();
    let first =
        first.with_context(|| format!("{}: no .png, .jpg or .jpeg in it", train.join(&classes[0]).display()))?;
    let bytes = fs::read(&first).with_context(|| format!("{}: cannot be read", first.display()))?;
    let (shape, _) = decode::inspect(&bytes).with_context(|| first.display().to_string())?;
    Ok(Geometry { shape, classes: classes.len() })
}

/// Reads both splits.
///
/// # Errors
/// An image that cannot be read, or the first one of another size than `shape`; a class in test that train does not
/// have; a class without images. Names the file.
pub fn read(folder: &Path, shape: (usize, usize, usize)) -> Result<Splits> {
    let classes = subfolders(&folder.join("train"))?;
    let test = ["test", "val"].map(|name| folder.join(name)).into_iter().find(|path| path.is_dir());
    let test = test.with_context(|| format!("{}: neither `test` nor `val` beside `train`", folder.display()))?;
    for class in subfolders(&test)? {
        ensure!(
            classes.contains(&class),
            "{}: a class that `train` does not have ({})",
            test.join(&class).display(),
            classes.join(", ")
        );
    }
    Ok(Splits {
        train: read_split(&folder.join("train"), &classes, shape)?,
        test: read_split(&test, &classes, shape)?,
        remark: None,
    })
}

fn read_split(folder: &Path, classes: &[String], shape: (usize, usize, usize)) -> Result<Images> {
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let label = u16::try_from(label).with_context(|| format!("{}: more than 65,536 classes", folder.display()))?;
        let path = folder.join(class);
        if path.is_dir() {
            let members = images(&path)?;
            ensure!(!members.is_empty(), "{}: no .png, .jpg or .jpeg in it", path.display());
            labels.extend(std::iter::repeat_n(label, members.len()));
            files.extend(members);
        }
    }
    let size = shape.0 * shape.1 * shape.2;
    let mut pixels = vec![0; files.len() * size];
    let read = |(out, file): (&mut [u8], &PathBuf)| -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        decode::decode(&bytes, shape, out).with_context(|| file.display().to_string())?;
        Ok(())
    };
    // The first error in file order, not in time.
    let failure = pixels.par_chunks_exact_mut(size).zip(&files).map(read).find_first(Result::is_err);
    failure.unwrap_or(Ok(()))?;
    Ok(Images { pixels, labels, shape })
}

/// Names of the folders in `folder`, sorted.
fn subfolders(folder: &Path) -> Result<Vec<String>> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect())
}

/// Paths of the images in `folder`, sorted.
fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["png", "jpg", "jpeg"].contains(&extension.as_str())
    };
    Ok(entries(folder)?.into_iter().filter(is_image).collect())
}

/// What is in `folder` and not hidden, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = || format!("{}: cannot be listed", folder.display());
    let paths = fs::read_dir(folder).with_context(listed)?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>().with_context(listed)?;
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    paths.sort();
    Ok(paths)
}
