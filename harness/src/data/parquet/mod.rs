//! Images in Parquet files: encoded ones (PNG, JPEG, ...) in a column of bytes, or of `struct<bytes: binary, path: string>` as the
//! Hugging Face hub has them, and an integer column with the class. Only these two columns are read.

pub mod layout;
mod table;
mod unpack;

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use polars::io::mmap::MmapBytesReader;
use polars::prelude::{DataFrame, ParquetReader, SerReader};

use super::folder::{SAMPLE, sampled};
use super::resident::{self, Resident};
use super::{Geometry, Splits, decode};
use crate::config::DatasetConfig;
use layout::Shards;
use table::Table;
pub(super) use unpack::listing;

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

/// Runs what reads a Parquet file: its reader asserts in places where a damaged file can reach.
fn without_panics<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    READERS.fetch_add(1, Ordering::SeqCst);
    let read = catch_unwind(AssertUnwindSafe(read));
    READERS.fetch_sub(1, Ordering::SeqCst);
    read.map_err(|_| anyhow!("a damaged Parquet file: the reader could not make sense of it"))?
        .context("a damaged Parquet file")
}

/// All of a Parquet file, whatever it holds.
///
/// # Errors
/// What is no such file.
pub fn read_frame<R: MmapBytesReader>(source: R) -> Result<DataFrame> {
    without_panics(|| Ok(ParquetReader::new(source).finish()?))
}

/// Reads both splits of images that all have to be of one size; `labels` are names of the label column that go before others.
///
/// # Errors
/// A missing shard or column, a damaged file or, unless they are left out, image; another image size than `geometry`'s, a label out of
/// range. Names the file, and the row where there is one.
pub fn read(shards: &Shards, labels: &[&str], geometry: &Geometry, config: &DatasetConfig) -> Result<Splits> {
    let split = |files: &[PathBuf]| -> Result<Resident> {
        let mut images = Resident::new(resident::decoded_shape(geometry.shape, config), config);
        for file in files {
            append(file, labels, geometry, &mut images)?;
        }
        Ok(images)
    };
    let train = split(shards.training()?)?;
    let mut remarks = Vec::new();
    let tests = test_split(shards, labels, &mut remarks)?;
    let mut splits =
        resident::splits([train, split(&tests)?], geometry.shape.0, config, |class| format!("class {class}"))?;
    remarks.append(&mut splits.remarks);
    Ok(Splits { remarks, ..splits })
}

/// What lies beside, which split is the test split, and whether a sample of the images can be decoded: of the first rows of each split.
///
/// # Errors
/// A missing shard or column, a damaged file. Names the file.
pub(super) fn examine(shards: &Shards, labels: &[&str]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let tests = test_split(shards, labels, &mut lines)?;
    let mut sample = Vec::new();
    for file in [shards.training()?.first(), tests.first()].into_iter().flatten() {
        let named = || file.display().to_string();
        let table = Table::open(file, labels).with_context(named)?;
        if let Some(rows) = table.rows().next() {
            let rows = rows.with_context(named)?;
            let images = rows.images().with_context(named)?;
            let step = images.len().div_ceil(SAMPLE).max(1);
            sample.extend(
                images.iter().enumerate().step_by(step).map(|(row, image)| {
                    (format!("{} row {row}", shards.shown(file)), image.unwrap_or_default().to_vec())
                }),
            );
        }
    }
    lines.push(sampled(&sample, |(name, bytes)| decode::decode(bytes).with_context(|| name.clone())));
    Ok(lines)
}

/// The files of the test split: the first whose images have classes. Says what there is to know of that choice.
fn test_split(shards: &Shards, labels: &[&str], remarks: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    remarks.extend(shards.remark());
    let mut usable = Vec::new();
    for (name, files) in &shards.tests {
        if labelled(files, labels)? {
            usable.push((*name, files));
        } else {
            remarks.push(format!("the images in `{name}` have no labels and are not read"));
        }
    }
    let Some((name, files)) = usable.first() else { return Ok(vec![]) };
    if let Some((other, _)) = usable.get(1) {
        remarks.push(format!(
            "the test split is `{name}`; `{other}` is not read, as validation images are carved from `train`"
        ));
    } else if *name != "test" {
        remarks.push(format!("the test split is `{name}`; validation images are carved from `train`"));
    }
    Ok((*files).clone())
}

/// Whether a split has classes: competitions write -1 for all.
fn labelled(files: &[PathBuf], labels: &[&str]) -> Result<bool> {
    let Some(first) = files.first() else { return Ok(false) };
    let named = || first.display().to_string();
    let found = Table::open(first, labels).and_then(|table| table.labels()).with_context(named)?;
    Ok(found.is_empty() || found.iter().any(|label| *label != Some(-1) && label.is_some()))
}

/// Classes of the images of both splits, of which none is read.
///
/// # Errors
/// A missing shard or column, a damaged file, a label that is none. Names the file.
pub(super) fn classes(shards: &Shards, labels: &[&str]) -> Result<[Vec<u16>; 2]> {
    let split = |files: &[PathBuf]| -> Result<Vec<u16>> {
        let mut all = Vec::new();
        for file in files {
            let named = || file.display().to_string();
            for label in Table::open(file, labels).and_then(|table| table.labels()).with_context(named)? {
                let class = label.and_then(|label| u16::try_from(label).ok());
                all.push(class.with_context(|| format!("{}: {label:?} as a label", named()))?);
            }
        }
        Ok(all)
    };
    Ok([split(shards.training()?)?, split(&test_split(shards, labels, &mut vec![])?)?])
}

/// Appends one file's images.
fn append(path: &Path, labels: &[&str], geometry: &Geometry, images: &mut Resident) -> Result<()> {
    let named = || path.display().to_string();
    for rows in Table::open(path, labels).with_context(named)?.rows() {
        let rows = rows.with_context(named)?;
        let class = |(row, class): (usize, &Option<i64>)| match *class {
            Some(class) if (0..geometry.classes as i64).contains(&class) => Ok(class as u16),
            Some(class) => bail!(
                "{}: row {} has label {class}, where 0 to {} are possible",
                named(),
                rows.first + row,
                geometry.classes - 1
            ),
            None => bail!("{}: row {} has no label", named(), rows.first + row),
        };
        let classes = rows.labels.iter().enumerate().map(class).collect::<Result<Vec<u16>>>()?;
        let encoded = rows.images().with_context(named)?;
        images.append(
            &classes,
            |row| Ok(encoded[row].unwrap_or_default().into()),
            |row| format!("{}: row {}", named(), rows.first + row),
        )?;
    }
    Ok(())
}
