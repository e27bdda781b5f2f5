//! Arrays of numpy's `savez`, as MedMNIST has them: `train_images` (N x H x W, or N x H x W x C, of bytes), `train_labels` (N, or N x 1), the
//! same of `val` and `test`; or `x_train`, `y_train`, `x_test`, `y_test`. Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::{Geometry, Images, Splits, foreign};
use crate::pickle::Array;

/// Names of training images and labels, then of those that can be judged on, the preferred ones first.
const NAMES: [[[&str; 3]; 3]; 2] = [
    [
        ["train", "train_images", "train_labels"],
        ["test", "test_images", "test_labels"],
        ["val", "val_images", "val_labels"],
    ],
    [["train", "x_train", "y_train"], ["test", "x_test", "y_test"], ["val", "x_val", "y_val"]],
];
/// Bytes of an array's header; numpy's have 128.
const MOST_HEADER: usize = 1 << 16;

type Zip = ZipArchive<BufReader<File>>;

/// The file at `path`, or the only one in that folder.
///
/// # Errors
/// A folder of several.
pub(super) fn find(path: &Path) -> Result<Option<PathBuf>> {
    let is_npz =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz")) && path.is_file();
    let own = path.to_owned();
    if path.is_file() {
        return Ok(Some(own).filter(is_npz));
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_npz).collect();
    files.sort();
    let names = || files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy()).collect::<Vec<_>>();
    ensure!(
        files.len() <= 1,
        "{}: several .npz files: {}\n  accepted: one of them as the source",
        path.display(),
        names().join(", ")
    );
    Ok(files.pop())
}

/// Size and classes of the images of a file, of which only labels and headers are read.
///
/// # Errors
/// As of [`read`].
pub fn geometry(path: &Path, most: u64) -> Result<Geometry> {
    let geometry = || -> Result<Geometry> {
        let mut zip = open(path)?;
        let [[_, images, labels], ..] = names(&zip)?;
        let head = Head::of(&mut zip, images)?;
        let (_, shape, _) = head.images().with_context(|| format!("`{images}`"))?;
        Ok(Geometry { shape, classes: classes(&read_labels(&mut zip, labels, most)?) })
    };
    geometry().with_context(|| path.display().to_string())
}

/// Reads both splits, which may take `most` bytes.
///
/// # Errors
/// A damaged file, an array that is missing or of another kind, a label that is none. Names file and array.
pub fn read(path: &Path, most: u64) -> Result<Splits> {
    let read = || -> Result<Splits> {
        let mut zip = open(path)?;
        let [train, tests @ ..] = names(&zip)?;
        let has = |zip: &Zip, name: &str| zip.index_for_name(&format!("{name}.npy")).is_some();
        let [test, val] = tests.map(|split| has(&zip, split[1]).then_some(split));
        let mut remarks = Vec::new();
        let train = split(&mut zip, train, most)?;
        let test = match test.or(val) {
            Some(names) => split(&mut zip, names, most - (train.pixels.len() as u64).min(most))?,
            None => Images { pixels: vec![], labels: vec![], shape: train.shape },
        };
        ensure!(test.shape == train.shape, "images of {:?} to train on and of {:?} to judge", train.shape, test.shape);
        let known = classes(&train.labels);
        if let Some((index, label)) = test.labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= known) {
            bail!("test image {index} has label {label}, where training images have 0 to {}", known.saturating_sub(1));
        }
        if let Some([name, images, _]) = val {
            remarks.push(match has(&zip, tests[0][1]) {
                true => format!("`{images}` are not read, as validation images are carved from the training images"),
                false => format!("the test split is `{name}`; validation images are carved from `train`"),
            });
        }
        Ok(Splits { train, test, remark: None, remarks })
    };
    read().with_context(|| path.display().to_string())
}

fn open(path: &Path) -> Result<Zip> {
    let head = foreign::beginning(path).context("cannot be opened")?;
    if !head.starts_with(b"PK") {
        foreign::refuse(&head, "an .npz file (a zip archive)")?;
    }
    ZipArchive::new(BufReader::new(File::open(path).context("cannot be opened")?))
        .context("a truncated or damaged .npz file (a zip archive)")
}

/// What the arrays are called.
fn names(zip: &Zip) -> Result<[[&'static str; 3]; 3]> {
    let there = |name: &str| zip.index_for_name(&format!("{name}.npy")).is_some();
    let found = NAMES.into_iter().find(|names| there(names[0][1]));
    found.with_context(|| {
        let names: Vec<_> = zip.file_names().take(12).filter_map(|name| name.ok()).collect();
        format!(
            "no training images: found {}, expected train_images, train_labels, test_images and test_labels, or x_train, y_train, \
             x_test and y_test",
            names.join(", ")
        )
    })
}

fn classes(labels: &[u16]) -> usize {
    labels.iter().max().map_or(0, |&most| usize::from(most) + 1)
}

fn split(zip: &mut Zip, [_, images, labels]: [&str; 3], most: u64) -> Result<Images> {
    let head = Head::of(zip, images)?;
    let (count, shape, last) = head.images().with_context(|| format!("`{images}`"))?;
    let bytes = head.read(zip, images, most)?;
    let labels = read_labels(zip, labels, most)?;
    ensure!(labels.len() == count, "`{images}` has {count} images, and there are {} labels", labels.len());
    let (c, h, w) = shape;
    let pixels = match (c, last) {
        (1, _) => bytes,
        _ => {
            let mut pixels = vec![0; bytes.len()];
            for (image, out) in bytes.chunks_exact(c * h * w).zip(pixels.chunks_exact_mut(c * h * w)) {
                for (channel, plane) in out.chunks_exact_mut(h * w).enumerate() {
                    plane.iter_mut().zip(image[channel..].iter().step_by(c)).for_each(|(out, &value)| *out = value);
                }
            }
            pixels
        }
    };
    Ok(Images { pixels, labels, shape })
}

fn read_labels(zip: &mut Zip, name: &str, most: u64) -> Result<Vec<u16>> {
    let head = Head::of(zip, name)?;
    ensure!(
        head.shape.len() == 1 || head.shape.len() == 2 && head.shape[1] == 1,
        "`{name}` is {:?}, where one class an image is expected: N, or N x 1",
        head.shape
    );
    let others = [("U", "text"), ("S", "text"), ("T", "text"), ("O", "objects of Python")];
    if let Some((_, what)) = others.iter().find(|(letter, _)| head.kind.starts_with(letter)) {
        bail!(
            "`{name}` holds {what} (`{}`), where whole numbers are expected\n  accepted: numpy.unique({name}, return_inverse=True)[1], say",
            head.kind
        );
    }
    let bytes = head.read(zip, name, most)?;
    let array = Array { shape: &head.shape, kind: &head.kind, bytes: &bytes };
    let labels = array
        .integers()
        .with_context(|| format!("`{name}` holds `{}`, where whole numbers are expected", head.kind))?;
    let label = |(index, &label): (usize, &i64)| {
        u16::try_from(label)
            .ok()
            .with_context(|| format!("`{name}`: image {index} has label {label}, where 0 to 65535 are possible"))
    };
    labels.iter().enumerate().map(label).collect()
}

/// What an array says of itself.
#[derive(Debug, PartialEq)]
struct Head {
    /// `u1`, `i8`, `f4`.
    kind: String,
    shape: Vec<usize>,
    /// Bytes before the numbers.
    length: usize,
}

impl Head {
    fn of(zip: &mut Zip, name: &str) -> Result<Self> {
        let entry =
            zip.by_name(&format!("{name}.npy")).with_context(|| format!("no `{name}` in it, or a damaged one"))?;
        let mut bytes = Vec::new();
        entry.take(MOST_HEADER as u64).read_to_end(&mut bytes).with_context(|| format!("`{name}` is damaged"))?;
        Self::parse(&bytes).with_context(|| format!("`{name}`"))
    }

    /// The header that an array's bytes begin with: `\x93NUMPY`, a version, a length, and a dict as Python writes it.
    fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(
            bytes.starts_with(b"\x93NUMPY"),
            "not an array of numpy: begins with {:02x?}",
            &bytes[..bytes.len().min(6)]
        );
        let at = |place: usize| bytes.get(place).copied().map(usize::from).context("an array that is cut short");
        let (size, start) = match at(6)? {
            1 => (at(8)? + (at(9)? << 8), 10),
            _ => (at(8)? + (at(9)? << 8) + (at(10)? << 16) + (at(11)? << 24), 12),
        };
        let dict =
            bytes.get(start..).and_then(|rest| rest.get(..size)).context("an array whose header is cut short")?;
        let dict = String::from_utf8_lossy(dict).into_owned();
        let value = |key: &str| {
            let rest = dict.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
            rest.with_context(|| format!("an array without `{key}` in its header: {}", dict.trim()))
        };
        let kind = value("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(kind, _)| kind);
        let kind = kind.context("an array of records, where numbers are expected")?;
        ensure!(!kind.starts_with('>') || kind.ends_with('1'), "`{kind}`: large ends first, which is not read");
        ensure!(
            value("fortran_order")?.starts_with("False"),
            "an array in Fortran's order\n  accepted: numpy.ascontiguousarray of it"
        );
        let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
        let sides =
            shape.context("an array without a shape")?.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape =
            sides.map(|side| side.parse().with_context(|| format!("a side of `{side}`"))).collect::<Result<_>>()?;
        Ok(Self { kind: kind.trim_start_matches(['<', '>', '|', '=']).to_owned(), shape, length: start + size })
    }

    /// Number and `(c, h, w)` of images, and whether channels come last.
    fn images(&self) -> Result<(usize, (usize, usize, usize), bool)> {
        ensure!(self.kind == "u1", "holds `{}`, where bytes (uint8) are expected", self.kind);
        match self.shape[..] {
            [count, h, w] if h > 0 && w > 0 => Ok((count, (1, h, w), false)),
            [count, h, w, c @ (1 | 3)] if h > 0 && w > 0 => Ok((count, (c, h, w), true)),
            _ => bail!("is {:?}, where N x H x W or N x H x W x C is expected, and 1 or 3 channels", self.shape),
        }
    }

    /// The numbers of this array, of which the header decides how many there have to be.
    fn read(&self, zip: &mut Zip, name: &str, most: u64) -> Result<Vec<u8>> {
        let size: usize = self.kind.get(1..).and_then(|size| size.parse().ok()).unwrap_or(1);
        let expected = self.shape.iter().try_fold(size, |all, &side| all.checked_mul(side));
        let expected = expected.filter(|&bytes| bytes as u64 <= most).with_context(|| {
            format!("`{name}` is {:?}, which is more than the {most} bytes left\n  accepted: dataset.memory = \"16GiB\", say", self.shape)
        })?;
        let damaged = || format!("`{name}` is truncated or damaged");
        let mut entry = zip.by_name(&format!("{name}.npy")).with_context(damaged)?;
        std::io::copy(&mut entry.by_ref().take(self.length as u64), &mut std::io::sink()).with_context(damaged)?;
        let mut bytes = Vec::new();
        // To its end, where the checksum is compared; one byte more is enough to notice that it is too long.
        entry.take(expected as u64 + 1).read_to_end(&mut bytes).with_context(damaged)?;
        ensure!(
            bytes.len() == expected,
            "`{name}` has {}{} bytes, where its header promises {expected}",
            if bytes.len() > expected { "at least " } else { "" },
            bytes.len()
        );
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_version_are_read_and_damaged_ones_are_not() {
        let dict = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }\n";
        let one = [&b"\x93NUMPY\x01\x00"[..], &(dict.len() as u16).to_le_bytes(), dict].concat();
        let two = [&b"\x93NUMPY\x02\x00"[..], &(dict.len() as u32).to_le_bytes(), dict].concat();
        for (bytes, length) in [(&one, 10), (&two, 12)] {
            let head = Head { kind: "u1".into(), shape: vec![3, 28, 28], length: length + dict.len() };
            assert_eq!(Head::parse(bytes).unwrap(), head);
            (0..bytes.len()).for_each(|cut| assert!(Head::parse(&bytes[..cut]).is_err(), "{cut}"));
        }
        let error = |dict: &str| {
            let bytes = [&b"\x93NUMPY\x01\x00"[..], &(dict.len() as u16).to_le_bytes(), dict.as_bytes()].concat();
            format!("{:#}", Head::parse(&bytes).unwrap_err())
        };
        assert!(error("{'descr': '|u1', 'fortran_order': True, 'shape': (3,)}").contains("Fortran"));
        assert!(error("{'descr': '>i8', 'fortran_order': False, 'shape': (3,)}").contains("large ends"));
        assert!(error("{'descr': '|u1', 'fortran_order': False, 'shape': (-3,)}").contains("-3"));
        assert!(error("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}").contains("records"));
    }
}
