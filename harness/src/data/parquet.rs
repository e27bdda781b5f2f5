//! Images in Parquet files, as the public releases of CIFAR and Fashion-MNIST have them: a column `img` or `image` of
//! `struct<bytes: binary, path: string>` with PNG or JPEG images, and an integer column with the class.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::ImageFormat;
use polars::io::mmap::MmapBytesReader;
use polars::prelude::{DataFrame, DataType, ParquetReader, SerReader, Series};
use rayon::prelude::*;

use super::{Geometry, Images, Splits, decode};

/// Names the image column goes by.
const IMAGE: [&str; 2] = ["img", "image"];
/// Folders inside the public releases that hold the files.
const FOLDERS: [&str; 4] = ["", "plain_text", "cifar100", "fashion_mnist"];

/// Readers at work whose panics become errors.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// From now on panics that a reader makes into errors are none to the hook that is set now, which prints them or ends the
/// process.
pub fn hush_caught_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if READERS.load(Ordering::SeqCst) == 0 {
            usual(info);
        }
    }));
}

/// The folder at or in `path` that holds `train-*.parquet` or `test-*.parquet`.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    let holds = |folder: &PathBuf| {
        ["train", "test"].iter().any(|split| shards(folder, split).is_ok_and(|files| !files.is_empty()))
    };
    FOLDERS.iter().map(|folder| path.join(folder)).find(holds)
}

/// Reads both splits; `labels` are the names the label column may have, the preferred one first.
///
/// # Errors
/// A missing shard or column, a damaged file or image, another image size than `geometry`'s, a label out of range.
/// Names the file, and the row where there is one.
pub fn read(folder: &Path, labels: &[&str], geometry: &Geometry) -> Result<Splits> {
    let mut jpeg = false;
    let mut split = |name| -> Result<Images> {
        let files = shards(folder, name)?;
        ensure!(
            !files.is_empty(),
            "{}: no {name}-*.parquet in this folder, though the other split is",
            folder.display()
        );
        complete(&files)?;
        let mut images = Images { pixels: vec![], labels: vec![], shape: geometry.shape };
        for file in files {
            jpeg |= append(&file, labels, geometry, &mut images).with_context(|| file.display().to_string())?;
        }
        Ok(images)
    };
    let (train, test) = (split("train")?, split("test")?);
    Ok(Splits { train, test, remark: jpeg.then_some("JPEG copy") })
}

/// The files `SPLIT.parquet`, `SPLIT-*.parquet` of a folder, sorted.
fn shards(folder: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = name.strip_suffix(".parquet").and_then(|name| name.strip_prefix(split));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Checks that of `train-00000-of-00003.parquet` and its like all are there.
fn complete(files: &[PathBuf]) -> Result<()> {
    let name = |file: &PathBuf| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for file in files {
        let stem = name(file);
        let promised = stem.rsplit_once("-of-").and_then(|(_, count)| count.parse::<usize>().ok());
        if let Some(promised) = promised {
            ensure!(
                files.len() == promised,
                "{}: its name promises {promised} files, {} found beside it: {}",
                file.display(),
                files.len(),
                files.iter().map(name).collect::<Vec<_>>().join(", ")
            );
        }
    }
    Ok(())
}

/// Appends one file's images; whether any of them is a JPEG.
fn append(path: &Path, labels: &[&str], geometry: &Geometry, images: &mut Images) -> Result<bool> {
    let (encoded, classes) = columns(path, labels)?;
    let rows = encoded.len();
    let encoded = encoded.binary().context("the image column does not hold binary data")?;
    let encoded: Vec<Option<&[u8]>> = encoded.iter().collect();
    for (row, class) in classes.i64()?.iter().enumerate() {
        match class {
            Some(class) if (0..geometry.classes as i64).contains(&class) => images.labels.push(class as u16),
            Some(class) => bail!("row {row} has label {class}, where 0 to {} are possible", geometry.classes - 1),
            None => bail!("row {row} has no label"),
        }
    }
    let (c, h, w) = geometry.shape;
    let start = images.pixels.len();
    images.pixels.resize(start + rows * c * h * w, 0);
    let outs = images.pixels[start..].par_chunks_exact_mut(c * h * w);
    let decoded = outs.zip(&encoded).enumerate().map(|(row, (out, bytes))| {
        let bytes = bytes.ok_or_else(|| anyhow!("row {row} has no image"))?;
        decode::decode_exactly(bytes, geometry.shape, out).with_context(|| format!("row {row}"))
    });
    let formats: Vec<Result<ImageFormat>> = decoded.collect();
    formats.into_iter().try_fold(false, |jpeg, format| Ok(jpeg | (format? == ImageFormat::Jpeg)))
}

/// All of a Parquet file, whatever it holds.
///
/// # Errors
/// What is no such file.
pub fn read_frame<R: MmapBytesReader>(source: R) -> Result<DataFrame> {
    // The reader asserts in places where a damaged file can reach.
    let read = || ParquetReader::new(source).finish();
    READERS.fetch_add(1, Ordering::SeqCst);
    let read = catch_unwind(AssertUnwindSafe(read));
    READERS.fetch_sub(1, Ordering::SeqCst);
    read.map_err(|_| anyhow!("a damaged Parquet file: the reader could not make sense of it"))?
        .context("a damaged Parquet file")
}

/// The image bytes and the labels (as i64) of a file.
fn columns(path: &Path, labels: &[&str]) -> Result<(Series, Series)> {
    check_frame(path)?;
    let frame = read_frame(File::open(path)?)?;
    let column = |what, names: &[&str]| {
        let found = names.iter().find_map(|name| frame.column(name).ok());
        found.map(|column| column.as_materialized_series().clone()).ok_or_else(|| {
            let present = frame.get_column_names().iter().map(|name| name.to_string()).collect::<Vec<_>>();
            anyhow!("no {what} column: found {}, expected {}", present.join(", "), names.join(" or "))
        })
    };
    let (mut image, label) = (column("image", &IMAGE)?, column("label", labels)?);
    if matches!(image.dtype(), DataType::Struct(_)) {
        image = image.struct_()?.field_by_name("bytes").context("the image column has no field `bytes`")?;
    }
    let integer = label.dtype().is_integer();
    ensure!(integer, "the label column {} holds {}, expected integers", label.name(), label.dtype());
    Ok((image, label.cast(&DataType::Int64)?))
}

/// Checks magic and footer length, so that a cut file is told as such.
fn check_frame(path: &Path) -> Result<()> {
    let mut file = File::open(path).context("cannot be opened")?;
    let size = file.metadata()?.len();
    let mut magic = [0; 4];
    let mut tail = [0; 8];
    if size >= 12 {
        file.read_exact(&mut magic).context("cannot be read")?;
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut tail).context("cannot be read")?;
    }
    ensure!(&magic == b"PAR1", "not a Parquet file ({size} bytes, without `PAR1` at its start)");
    ensure!(&tail[4..] == b"PAR1", "a truncated Parquet file ({size} bytes, without `PAR1` at its end)");
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    ensure!(footer + 12 <= size, "a damaged Parquet file: a footer of {footer} bytes in a file of {size}");
    Ok(())
}
