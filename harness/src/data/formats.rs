//! What format the files of a source have, and what reads it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Contents, DatasetInfo, Geometry, Splits, folder, idx, npz, parquet, seen};
use crate::config::{DatasetConfig, ImageSize};

/// Reads what is at `path`, in whichever format it is: images, what captions have to say of that format, what a network sees.
pub(super) fn read(
    path: &Path,
    config: &DatasetConfig,
    info: &DatasetInfo,
    cache: &Path,
) -> Result<(Contents, Option<&'static str>, Geometry)> {
    let reader = info.reader()?;
    let fixed = |splits: Splits, geometry: Geometry| {
        let splits = splits.shared(config.test_share, path)?;
        let remark = splits.remark;
        Ok((splits.into(), remark, seen(config, geometry)?))
    };
    if let Some(geometry) = info.geometry {
        let columns = reader.label_columns;
        if !columns.is_empty()
            && let Some(shards) = parquet::layout::find(path, info.name)?
        {
            return fixed(parquet::read(&shards, columns, &geometry)?, geometry);
        }
        if let Some((release, at)) = reader.release.and_then(|release| Some((release, release.find(path)?))) {
            return fixed(release.read(&at)?, geometry);
        }
        if let Some(folder) = idx::find(path).filter(|_| geometry.shape.0 == 1) {
            return fixed(idx::read(&folder, &geometry)?, geometry);
        }
    }
    if let Some(file) = arrays(path, config, info)? {
        let memory = folder::memory(config);
        return fixed(npz::read(&file, memory)?, npz::geometry(&file, memory)?);
    }
    if folder::is_there(path, config)? {
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
            folder::read_exactly(path, geometry.shape, config.test_share)?
        };
        return Ok((contents, None, seen));
    }
    let holds = if path.is_dir() {
        contents(path)?.into_iter().take(5).collect::<Vec<_>>().join(", ")
    } else {
        "a file".into()
    };
    bail!("{}: no {} found here ({holds}), expected {}", path.display(), info.title, reader.formats)
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
