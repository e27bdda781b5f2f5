//! SVHN's cropped digits: MATLAB files with the images in `X` (32 x 32 x 3 x N) and the labels in `y`, of which 10 is the digit 0.
//! Format: <http://ufldl.stanford.edu/housenumbers/>

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::matlab::{self, Matrix};
use super::{Images, Splits};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
/// Training and test. `extra_32x32.mat` is not read.
const FILES: [&str; 2] = ["train_32x32.mat", "test_32x32.mat"];
/// Bytes of a variable; the release's largest has 225 million.
const MOST: usize = 1 << 29;

/// The folder, at or in `path`, that holds any of the files; or one file.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("mat")).then(|| path.to_owned());
    }
    let holds = |folder: &PathBuf| FILES.iter().any(|name| folder.join(name).is_file());
    [path.to_owned(), path.join("SVHN"), path.join("svhn")].into_iter().find(holds)
}

/// Reads what [`find`] found: a folder of both files, or one file of training images.
///
/// # Errors
/// A missing, truncated or damaged file; another image size; a label that is none. Names the file.
pub fn read(path: &Path) -> Result<Splits> {
    let read = |file: PathBuf| {
        ensure!(file.is_file(), "{}: missing; the release has {}", file.display(), FILES.join(" and "));
        images(&file).with_context(|| file.display().to_string())
    };
    if path.is_file() {
        let test = Images { pixels: vec![], labels: vec![], shape: (3, SIDE, SIDE) };
        return Ok(Splits { train: read(path.to_owned())?, test, remark: None, remarks: vec![] });
    }
    let (train, test) = (read(path.join(FILES[0]))?, read(path.join(FILES[1]))?);
    let extra = path.join("extra_32x32.mat").is_file();
    let remarks = extra.then(|| "`extra_32x32.mat` is not read: training is on `train_32x32.mat` alone".to_owned());
    Ok(Splits { train, test, remark: None, remarks: remarks.into_iter().collect() })
}

fn images(file: &Path) -> Result<Images> {
    let mut variables = matlab::read(file, &["X", "y"], MOST)?;
    let mut take = |name: &str| {
        variables.remove(name).with_context(|| format!("no variable `{name}` of numbers in it, where SVHN has X and y"))
    };
    let (x, y) = (take("X")?, take("y")?);
    let (Matrix { shape, values: matlab::Values::Bytes(stored) }, labels) = (x, y.integers().context("`y`")?) else {
        bail!("`X` does not hold bytes (uint8), as SVHN has them")
    };
    let count = labels.len();
    ensure!(
        shape[..] == [SIDE, SIDE, 3, count] || count == 1 && shape[..] == [SIDE, SIDE, 3],
        "`X` is {shape:?} and `y` has {count} labels, where [32, 32, 3, N] and N are expected"
    );
    // The first dimension runs fastest: rows, columns, channels, images.
    let mut pixels = vec![0; stored.len()];
    for (plane, out) in stored.chunks_exact(SIDE * SIDE).zip(pixels.chunks_exact_mut(SIDE * SIDE)) {
        for (at, value) in out.iter_mut().enumerate() {
            *value = plane[at % SIDE * SIDE + at / SIDE];
        }
    }
    ensure!(pixels.len() == count * PIXELS, "{} bytes of {count} images", pixels.len());
    let label = |(row, label): (usize, i64)| match label {
        10 => Ok(0),
        0..10 => Ok(label as u16),
        _ => bail!("image {row} has label {label}, where 1 to 10 are possible"),
    };
    let labels = labels.into_iter().enumerate().map(label).collect::<Result<_>>()?;
    Ok(Images { pixels, labels, shape: (3, SIDE, SIDE) })
}
