//! What format the files of a source have, and what reads it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::parquet::layout::Shards;
use super::photographs::Findings;
use super::registry::Release;
use super::{Contents, DatasetInfo, Geometry, Splits, folder, foreign, idx, npz, parquet, seen};
use crate::config::{DatasetConfig, ImageSize};

/// A format, and where exactly what has it lies.
enum Form {
    /// Of images that all have one size.
    Parquet(Shards),
    Release(Release, PathBuf),
    Idx(PathBuf),
    Npz(PathBuf),
    /// Images in a folder, or of any size in Parquet files.
    Images,
}

fn form(path: &Path, config: &DatasetConfig, info: &DatasetInfo) -> Result<Option<Form>> {
    let reader = info.reader()?;
    if let Some(geometry) = info.geometry {
        if !reader.label_columns.is_empty()
            && let Some(shards) = parquet::layout::find(path, info.name)?
        {
            return Ok(Some(Form::Parquet(shards)));
        }
        if let Some((release, at)) = reader.release.and_then(|release| Some((release, release.find(path)?))) {
            return Ok(Some(Form::Release(release, at)));
        }
        if let (1, Some(folder)) = (geometry.shape.0, idx::find(path, info.name)?) {
            return Ok(Some(Form::Idx(folder)));
        }
    }
    if let Some(file) = arrays(path, config, info)? {
        return Ok(Some(Form::Npz(file)));
    }
    Ok(folder::is_there(path, config)?.then_some(Form::Images))
}

/// Reads what is at `path`, in whichever format it is: images, what captions have to say of that format, what a network sees.
pub(super) fn read(
    path: &Path,
    config: &DatasetConfig,
    info: &DatasetInfo,
    cache: &Path,
) -> Result<(Contents, Option<&'static str>, Geometry)> {
    let reader = info.reader()?;
    let shared = |splits: Splits, geometry: Geometry| {
        let splits = splits.shared(config.test_share, path)?;
        let remark = splits.remark;
        Ok((splits.into(), remark, seen(config, geometry)?))
    };
    // What lies as one array: no image of it can be a bad one.
    let array = |mut splits: Splits, geometry: Geometry| {
        let images = splits.train.len() + splits.test.len();
        let channels = config.channels.unwrap_or(geometry.shape.0);
        splits.remarks.extend(Findings::of(geometry.shape.0, images).remarks(channels, images));
        if config.on_bad_image.is_some() {
            splits.remarks.push("dataset.on_bad_image does not apply: no image has a file of its own".into());
        }
        shared(splits, geometry)
    };
    let stored = |geometry: Option<Geometry>| geometry.context("a data set without a size");
    match form(path, config, info)? {
        Some(Form::Parquet(shards)) => {
            let geometry = stored(info.geometry)?;
            shared(parquet::read(&shards, reader.label_columns, &geometry, config)?, geometry)
        }
        Some(Form::Release(release, at)) => array(release.read(&at)?, stored(info.geometry)?),
        Some(Form::Idx(folder)) => {
            let geometry = stored(info.geometry)?;
            array(idx::read(&folder, &geometry)?, geometry)
        }
        Some(Form::Npz(file)) => {
            let memory = folder::memory(config);
            array(npz::read(&file, memory)?, npz::geometry(&file, memory)?)
        }
        Some(Form::Images) => images(path, config, info, cache),
        None => bail!("{}", not_found(path, info)?),
    }
}

/// That what is at `path` is none of what is read, and what it is.
fn not_found(path: &Path, info: &DatasetInfo) -> Result<String> {
    let holds = match path.is_dir() {
        true => contents(path)?.into_iter().take(5).collect::<Vec<_>>().join(", "),
        false => foreign::kind_of(path).unwrap_or("a file").into(),
    };
    let expected = info.reader()?.formats;
    Ok(format!("{}: no {} found here ({holds}), expected {expected}", path.display(), info.title))
}

/// Reads images in a folder, or of any size in Parquet files.
fn images(
    path: &Path,
    config: &DatasetConfig,
    info: &DatasetInfo,
    cache: &Path,
) -> Result<(Contents, Option<&'static str>, Geometry)> {
    let Some(geometry) = info.geometry else {
        return Ok((folder::read(path, config, cache)?, None, folder::geometry(path, config, cache)?));
    };
    let classes = folder::classes(path, config, cache)?.len();
    ensure!(
        classes == geometry.classes,
        "{}: {classes} {}, where {} has {}; other data is read as dataset.name = \"images\"",
        path.display(),
        if folder::layout::looks_like_images(path) { "class folders" } else { "classes" },
        info.title,
        geometry.classes
    );
    let seen = seen(config, geometry)?;
    let contents = if info.published.is_some() {
        let (_, h, w) = seen.shape;
        let sized = DatasetConfig { size: Some(ImageSize::Sides(vec![h, w])), ..config.clone() };
        folder::read(path, &DatasetConfig { channels: Some(seen.shape.0), ..sized }, cache)?
    } else {
        folder::read_exactly(path, geometry.shape, config)?
    };
    Ok((contents, None, seen))
}

/// What there is to know of images at `path` before they are read for a training, a line each; nothing of arrays.
///
/// # Errors
/// What is not laid out as any that is read.
pub(super) fn examine(path: &Path, config: &DatasetConfig, info: &DatasetInfo, cache: &Path) -> Result<Vec<String>> {
    match form(path, config, info)? {
        Some(Form::Parquet(shards)) => parquet::examine(&shards, info.reader()?.label_columns),
        Some(Form::Images) => folder::examine(path, config, cache),
        _ => Ok(vec![]),
    }
}

/// Whether there are encoded images of any size at `path`: nothing has to be decoded to tell their classes.
pub(super) fn is_encoded(path: &Path, config: &DatasetConfig, info: &DatasetInfo) -> Result<bool> {
    Ok((info.geometry.is_none() || info.published.is_some()) && arrays(path, config, info)?.is_none())
}

/// What a network sees of images of any size at `path`.
///
/// # Errors
/// What is not read, or several sizes where `dataset.size` does not say which is wanted.
pub(super) fn geometry(path: &Path, config: &DatasetConfig, info: &DatasetInfo, cache: &Path) -> Result<Geometry> {
    match arrays(path, config, info)? {
        Some(file) => seen(config, npz::geometry(&file, folder::memory(config))?),
        None if path.is_file() && !folder::is_there(path, config)? => bail!("{}", not_found(path, info)?),
        None => folder::geometry(path, config, cache),
    }
}

/// The .npz file at `path`, for images of any size.
fn arrays(path: &Path, config: &DatasetConfig, info: &DatasetInfo) -> Result<Option<PathBuf>> {
    match info.geometry {
        None if !folder::is_there(path, config)? => npz::find(path),
        _ => Ok(None),
    }
}

/// What is in a folder, but what is hidden and what a broken download left; sorted.
pub(super) fn contents(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.retain(|name| !name.starts_with('.') && !name.ends_with(".part"));
    names.sort();
    Ok(names)
}
