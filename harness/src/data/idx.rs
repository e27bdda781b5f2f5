//! IDX files, plain or gzipped whatever their names say, as MNIST and Fashion-MNIST have them.
//! Format: big-endian magic `00 00 08 rank`, one u32 a dimension, bytes. <https://yann.lecun.com/exdb/mnist/>

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;

use super::{Geometry, Images, Splits, foreign};

/// The prefixes of the two splits.
const SPLITS: [&str; 2] = ["train", "t10k"];

/// What torchvision calls the folder of each data set, in which `raw` has the files: they are called the same for all.
const FOLDERS: [(&str, &str); 5] = [
    ("mnist", "MNIST"),
    ("fashion-mnist", "FashionMNIST"),
    ("kmnist", "KMNIST"),
    ("emnist", "EMNIST"),
    ("qmnist", "QMNIST"),
];

/// The folder, at or in `folder`, that holds any of the four files of the data set `name`.
///
/// # Errors
/// One whose name says that it is another data set's.
pub(super) fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let holds = |folder: &PathBuf| {
        SPLITS.iter().any(|split| ["images", "labels"].iter().any(|part| file(folder, split, part).is_some()))
    };
    let own = FOLDERS.iter().find(|(known, _)| *known == name).map(|(_, own)| *own);
    let named = own.into_iter().flat_map(|own| [folder.join(own).join("raw"), folder.join(own)]);
    let Some(found) = [folder.to_owned(), folder.join("raw")].into_iter().chain(named).find(holds) else {
        return Ok(None);
    };
    let last = found.components().rev().find(|part| part.as_os_str() != "raw");
    let other =
        FOLDERS.iter().find(|(known, called)| *known != name && last.is_some_and(|last| last.as_os_str() == *called));
    if let Some((other, _)) = other {
        bail!(
            "{}: is {other} by its name, where {name} is asked for\n  accepted: the folder of {name}",
            found.display()
        );
    }
    Ok(Some(found))
}

/// Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`, each with or without `.gz`.
///
/// # Errors
/// A missing, truncated or damaged file, another image size than `geometry`'s, a label out of range. Names the file.
pub fn read(folder: &Path, geometry: &Geometry) -> Result<Splits> {
    let [train, test] = SPLITS.map(|split| read_split(folder, split, geometry));
    Ok(Splits { train: train?, test: test?, remark: None, remarks: vec![] })
}

/// `train-images-idx3-ubyte` as a path, under whichever spelling is there; some programs unpack it into a folder of its own name.
fn file(folder: &Path, split: &str, part: &str) -> Option<PathBuf> {
    let rank = if part == "images" { 3 } else { 1 };
    let names = ["-", "."].map(|dot| format!("{split}-{part}{dot}idx{rank}-ubyte"));
    let spelled = || names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let inner = spelled().flat_map(|outer| names.iter().map(move |name| folder.join(&outer).join(name)));
    spelled().map(|name| folder.join(name)).chain(inner).find(|path| path.is_file())
}

fn read_split(folder: &Path, split: &str, geometry: &Geometry) -> Result<Images> {
    let (c, h, w) = geometry.shape;
    let path = |part: &str, rank: usize| {
        file(folder, split, part).with_context(|| {
            format!("{}: no {split}-{part}-idx{rank}-ubyte or .gz here, though others of its set are", folder.display())
        })
    };
    let (pixel_path, label_path) = (path("images", 3)?, path("labels", 1)?);
    let (dims, pixels) = read_file(&pixel_path, 3).with_context(|| pixel_path.display().to_string())?;
    ensure!(
        c == 1 && dims[1..] == [h, w],
        "{}: images of {} x {} pixels in grey, where {c} x {h} x {w} are expected",
        pixel_path.display(),
        dims[1],
        dims[2]
    );
    let (_, labels) = read_file(&label_path, 1).with_context(|| label_path.display().to_string())?;
    ensure!(
        labels.len() == dims[0],
        "{}: {} labels for the {} images of {}",
        label_path.display(),
        labels.len(),
        dims[0],
        pixel_path.display()
    );
    if let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= geometry.classes) {
        bail!(
            "{}: image {row} has label {label}, where 0 to {} are possible",
            label_path.display(),
            geometry.classes - 1
        );
    }
    Ok(Images { pixels, labels: labels.into_iter().map(u16::from).collect(), shape: geometry.shape })
}

/// Dimensions and data of one file.
fn read_file(path: &Path, rank: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = fs::read(path).context("cannot be read")?;
    let named_gz = path.extension().is_some_and(|extension| extension == "gz");
    if bytes.starts_with(&[0x1f, 0x8b]) || named_gz && !bytes.starts_with(&[0, 0]) {
        if named_gz && !bytes.starts_with(&[0x1f, 0x8b]) {
            foreign::refuse(&bytes, "an IDX file, gzipped or not,")?;
        }
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain).context("a truncated or damaged .gz file")?;
        bytes = plain;
    }
    if !bytes.starts_with(&[0, 0]) {
        foreign::refuse(&bytes, "an IDX file")?;
    }
    let header = 4 + 4 * rank;
    ensure!(bytes.len() >= header, "{} bytes, less than the header's {header}: truncated", bytes.len());
    let expected = [0, 0, 8, rank as u8];
    ensure!(bytes[..4] == expected, "not an IDX file of bytes in {rank} dimensions: begins with {:02x?}", &bytes[..4]);
    let dims: Vec<usize> =
        bytes[4..header].chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize).collect();
    let size = dims.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim));
    let data = bytes.split_off(header);
    ensure!(
        size == Some(data.len()),
        "{} bytes of data, where the header promises {dims:?}: truncated or damaged",
        data.len()
    );
    Ok((dims, data))
}
