//! Images of any size, in a folder ([`layout`]) or in Parquet files ([`parquet`]): of which size, and whether they are kept in memory
//! or decoded as they are needed.

mod entries;
mod labels;
pub mod layout;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;

use super::decode::{self, Header, Picture};
use super::listing::{FileList, Files, Listing};
use super::photographs::Photographs;
use super::resident::{self, Resident, none_lost, skips};
use super::split::range;
use super::transform::{channels, sides};
use super::{Contents, Geometry, parquet};
use crate::config::DatasetConfig;

/// Bytes of decoded images that are kept where nothing is said of it.
const MEMORY: u64 = 2 << 30;
/// Bytes of a file that hold its header, but for large thumbnails and profiles.
const HEAD: u64 = 1 << 16;
/// Images of a split that a plan decodes.
pub(super) const SAMPLE: usize = 64;

/// Whether images of any size are at `path`.
///
/// # Errors
/// Parquet files of several data sets.
pub(super) fn is_there(path: &Path, config: &DatasetConfig) -> Result<bool> {
    Ok(parquet::layout::find(path, &config.name)?.is_some() || layout::looks_like_images(path))
}

/// The images at `path`; those of Parquet files are unpacked to the folder `cache`.
fn list(path: &Path, config: &DatasetConfig, cache: &Path) -> Result<Listing> {
    match parquet::layout::find(path, &config.name)? {
        Some(shards) => parquet::listing(&shards, config.test_share, cache),
        None => layout::list(path, config.test_share),
    }
}

/// Names of the classes, in the order of their numbers.
///
/// # Errors
/// A folder without any, or that cannot be read.
pub(super) fn classes(path: &Path, config: &DatasetConfig, cache: &Path) -> Result<Vec<String>> {
    match parquet::layout::find(path, &config.name)? {
        Some(_) => Ok(list(path, config, cache)?.classes),
        None => layout::classes(path),
    }
}

/// Number of the classes, and labels of both splits.
///
/// # Errors
/// What is not laid out as any that is read.
pub(super) fn labels(path: &Path, config: &DatasetConfig, cache: &Path) -> Result<(usize, Vec<u16>, Vec<u16>)> {
    let Listing { classes, train, test, .. } = list(path, config, cache).with_context(|| blamed(path))?;
    Ok((classes.len(), train.labels, test.labels))
}

/// A folder, when it and its classes last changed, the size and the channels that are asked for.
type Asked = (PathBuf, [Option<SystemTime>; 2], Option<(usize, usize)>, Option<usize>);

/// Number of classes, and the size of the images as a network sees them: that of `dataset.size`, or that which all have.
///
/// # Errors
/// No class, no image, one that cannot be read; several sizes where none is set.
pub fn geometry(folder: &Path, config: &DatasetConfig, cache: &Path) -> Result<Geometry> {
    // Every network of a sweep asks, and images are not changed meanwhile.
    static KNOWN: Mutex<Option<HashMap<Asked, Geometry>>> = Mutex::new(None);
    let changed = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let changed = [changed(folder.to_path_buf()), changed(folder.join("train"))];
    let asked = (folder.to_path_buf(), changed, sides(config)?, channels(config)?);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(geometry) = known().as_ref().and_then(|known| known.get(&asked)) {
        return Ok(*geometry);
    }
    let geometry = find_geometry(folder, config, cache).with_context(|| blamed(folder))?;
    known().get_or_insert_default().insert(asked, geometry);
    Ok(geometry)
}

fn find_geometry(path: &Path, config: &DatasetConfig, cache: &Path) -> Result<Geometry> {
    let Some((h, w)) = sides(config)? else {
        let listing = list(path, config, cache)?;
        return Ok(Geometry { shape: common_shape(&listing, config)?, classes: listing.classes.len() });
    };
    let channels = match channels(config)? {
        Some(channels) => channels,
        // One coloured image is enough; most often it is the first. A folder of a million files need not be listed for that.
        None if coloured_first(path) => 3,
        None => any_colour(&list(path, config, cache)?),
    };
    Ok(Geometry { shape: (channels, h, w), classes: classes(path, config, cache)?.len() })
}

/// Whether the first image of a folder has colours.
fn coloured_first(folder: &Path) -> bool {
    let head = layout::first_class(folder).and_then(|list| header(&list, 0));
    head.is_ok_and(|header| header.shape.0 == 3)
}

/// Bytes of decoded images that are kept.
pub(super) fn memory(config: &DatasetConfig) -> u64 {
    config.memory.map_or(MEMORY, |memory| memory.0)
}

fn blamed(folder: &Path) -> String {
    format!("dataset.sources: {}", folder.display())
}

/// Reads both splits.
///
/// # Errors
/// A folder that is not laid out as any that is read; an image that cannot be decoded, unless they are skipped; several sizes where
/// `dataset.size` does not say which is wanted.
pub(super) fn read(folder: &Path, config: &DatasetConfig, cache: &Path) -> Result<Contents> {
    let listing = list(folder, config, cache).with_context(|| blamed(folder))?;
    if sides(config)?.is_none() && !skips(config) {
        let shape = common_shape(&listing, config).with_context(|| blamed(folder))?;
        let images = (listing.train.list.len() + listing.test.list.len()) as u64;
        if channels(config)?.is_none() && images * (shape.0 * shape.1 * shape.2) as u64 <= memory(config) {
            return resident(listing, shape, config);
        }
    }
    encoded(listing, config)
}

/// Reads both splits of images that all have to be of the sides of `shape`, whose channels are the data set's own.
///
/// # Errors
/// As of [`read`]; an image of another size. Names the file.
pub(super) fn read_exactly(folder: &Path, shape: (usize, usize, usize), config: &DatasetConfig) -> Result<Contents> {
    resident(layout::list(folder, config.test_share).with_context(|| blamed(folder))?, shape, config)
}

fn resident(listing: Listing, shape: (usize, usize, usize), config: &DatasetConfig) -> Result<Contents> {
    let Listing { classes, train, test, mut remarks } = listing;
    let decoded = |Files { list, labels }: Files| -> Result<Resident> {
        let mut images = Resident::new(resident::decoded_shape(shape, config), config);
        images.append(&labels, |index| Ok(list.read(index)?.into()), |index| list.shown(index))?;
        Ok(images)
    };
    let splits = [decoded(train)?, decoded(test)?];
    let splits = resident::splits(splits, shape.0, config, |class| format!("class `{}`", classes[class]))?;
    remarks.extend(splits.remarks);
    Ok(Contents { train: splits.train.into(), test: splits.test.into(), remarks })
}

fn encoded(listing: Listing, config: &DatasetConfig) -> Result<Contents> {
    let Listing { classes, train, test, mut remarks } = listing;
    let images = train.list.len() + test.list.len();
    say!("data: {images} images are read and decoded once, so that none is found to be broken later");
    let check = |files: &Files| Photographs::check(&files.list, &files.labels, skips(config));
    let labels = train.labels.clone();
    let (train, mut found) = check(&train)?;
    none_lost(&labels, train.labels(), &found, |class| format!("class `{}`", classes[class]))?;
    let (test, found_test) = check(&test)?;
    found.append(found_test);
    let mut splits = [train, test];
    Photographs::keep_within(&mut splits, memory(config));
    let [train, test] = splits;
    let channels = channels(config)?.unwrap_or(if found.coloured > 0 { 3 } else { 1 });
    remarks.extend(found.remarks(channels, images));
    Ok(Contents { train: train.into(), test: test.into(), remarks })
}

/// What there is to know before a folder is read: its images by class, its layout, and whether a sample of them can be decoded.
///
/// # Errors
/// A folder that is not laid out as any that is read.
pub(super) fn examine(folder: &Path, config: &DatasetConfig, cache: &Path) -> Result<Vec<String>> {
    let Listing { classes, train, test, remarks } = list(folder, config, cache).with_context(|| blamed(folder))?;
    let counts = |files: &Files| {
        let mut counts = vec![0; classes.len()];
        files.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        format!("{} a class", range(&counts))
    };
    let mut lines = vec![format!(
        "{} classes, {} training images ({}), {} test images ({})",
        classes.len(),
        train.list.len(),
        counts(&train),
        test.list.len(),
        counts(&test)
    )];
    lines.extend(remarks);
    let spread = |list| {
        let list: &FileList = list;
        (0..list.len()).step_by(list.len().div_ceil(SAMPLE).max(1)).map(move |index| (list, index))
    };
    let sample: Vec<_> = spread(&train.list).chain(spread(&test.list)).collect();
    lines.push(sampled(&sample, |(list, index)| {
        list.read(*index).and_then(|bytes| decode::decode(&bytes).with_context(|| list.shown(*index)))
    }));
    Ok(lines)
}

/// Whether a sample of images can be decoded, in words.
pub(super) fn sampled<T: Sync>(sample: &[T], decode: impl Fn(&T) -> Result<Picture> + Sync) -> String {
    let broken = |image: &T| decode(image).err().map(|error| format!("{error:#}"));
    let broken: Vec<String> = sample.par_iter().filter_map(broken).collect();
    match &broken[..] {
        [] => format!("a sample of {} images could be decoded", sample.len()),
        [first, ..] => {
            format!("{} of a sample of {} images cannot be decoded, the first: {first}", broken.len(), sample.len())
        }
    }
}

/// 3 if any image has colours, else 1.
fn any_colour(listing: &Listing) -> usize {
    let coloured = |list: &FileList| {
        let one = |index| header(list, index).is_ok_and(|header| header.shape.0 == 3);
        (0..list.len()).into_par_iter().any(one)
    };
    if coloured(&listing.train.list) || coloured(&listing.test.list) { 3 } else { 1 }
}

/// The size that all images have.
fn common_shape(listing: &Listing, config: &DatasetConfig) -> Result<(usize, usize, usize)> {
    let skip = skips(config);
    let (mut sizes, mut coloured) = (BTreeMap::<(usize, usize), (usize, String)>::new(), false);
    for list in [&listing.train.list, &listing.test.list] {
        let headers: Vec<Result<Header>> = (0..list.len()).into_par_iter().map(|index| header(list, index)).collect();
        for (index, header) in headers.into_iter().enumerate() {
            match header {
                Ok(Header { shape: (c, h, w), .. }) => {
                    coloured |= c == 3;
                    sizes.entry((h, w)).or_insert_with(|| (0, list.name(index).to_owned())).0 += 1;
                }
                Err(_) if skip => {}
                Err(error) => return Err(error),
            }
        }
    }
    let channels = channels(config)?.unwrap_or(if coloured { 3 } else { 1 });
    let mut all: Vec<_> = sizes.into_iter().collect();
    all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    match &all[..] {
        [] => bail!("no image in it that can be read"),
        [((h, w), _)] => Ok((channels, *h, *w)),
        several => {
            let shown: Vec<String> = several
                .iter()
                .take(4)
                .map(|((h, w), (count, example))| format!("{h} x {w} ({count} images, {example} for one)"))
                .collect();
            let more = several.len().saturating_sub(4);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            bail!(
                "images of {} sizes (height x width): {}{more}\n  accepted: dataset.size, to which they are resized, e.g. \
                 dataset.size = 64; or images of one size",
                several.len(),
                shown.join(", ")
            )
        }
    }
}

/// The header of an image; most often its first bytes tell.
fn header(list: &FileList, index: usize) -> Result<Header> {
    if let Ok(header) = decode::inspect(&list.beginning(index, HEAD)?) {
        return Ok(header);
    }
    decode::inspect(&list.read(index)?).with_context(|| list.shown(index))
}
