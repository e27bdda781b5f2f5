//! A folder of images: which files ([`layout`]), of which size, and whether they are kept in memory or decoded as they are needed.

mod labels;
pub mod layout;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;

use super::decode::{self, Header};
use super::photographs::{FileList, Photographs};
use super::transform::{channels, sides};
use super::{Contents, Geometry, Images};
use crate::config::{DatasetConfig, OnBadImage};
use layout::{Files, Listing};

/// Bytes of decoded images that are kept where nothing is said of it.
const MEMORY: u64 = 2 << 30;
/// Bytes of a file that hold its header, but for large thumbnails and profiles.
const HEAD: u64 = 1 << 16;
/// Images of a split that a plan decodes.
const SAMPLE: usize = 64;

/// Whether it is a folder of images.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    layout::looks_like_images(folder).then(|| folder.to_path_buf())
}

/// A folder, when it and its classes last changed, the size and the channels that are asked for.
type Asked = (PathBuf, [Option<SystemTime>; 2], Option<(usize, usize)>, Option<usize>);

/// Number of classes, and the size of the images as a network sees them: that of `dataset.size`, or that which all have.
///
/// # Errors
/// No class, no image, one that cannot be read; several sizes where none is set.
pub fn geometry(folder: &Path, config: &DatasetConfig) -> Result<Geometry> {
    // Every network of a sweep asks, and images are not changed meanwhile.
    static KNOWN: Mutex<Option<HashMap<Asked, Geometry>>> = Mutex::new(None);
    let changed = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let changed = [changed(folder.to_path_buf()), changed(folder.join("train"))];
    let asked = (folder.to_path_buf(), changed, sides(config)?, channels(config)?);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(geometry) = known().as_ref().and_then(|known| known.get(&asked)) {
        return Ok(*geometry);
    }
    let geometry = find_geometry(folder, config).with_context(|| blamed(folder))?;
    known().get_or_insert_default().insert(asked, geometry);
    Ok(geometry)
}

fn find_geometry(folder: &Path, config: &DatasetConfig) -> Result<Geometry> {
    let classes = layout::classes(folder)?.len();
    if let Some((h, w)) = sides(config)? {
        let channels = match channels(config)? {
            Some(channels) => channels,
            // One coloured image is enough; most often it is the first.
            None if header(&layout::first_image(folder)?).is_ok_and(|header| header.shape.0 == 3) => 3,
            None => any_colour(&layout::list(folder, config.test_share)?),
        };
        return Ok(Geometry { shape: (channels, h, w), classes });
    }
    let listing = layout::list(folder, config.test_share)?;
    Ok(Geometry { shape: common_shape(&listing, config)?, classes })
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
pub(super) fn read(folder: &Path, config: &DatasetConfig) -> Result<Contents> {
    let listing = layout::list(folder, config.test_share).with_context(|| blamed(folder))?;
    if sides(config)?.is_none() && config.on_bad_image != Some(OnBadImage::Skip) {
        let shape = common_shape(&listing, config).with_context(|| blamed(folder))?;
        let images = (listing.train.list.len() + listing.test.list.len()) as u64;
        if channels(config)?.is_none() && images * (shape.0 * shape.1 * shape.2) as u64 <= memory(config) {
            return resident(listing, shape);
        }
    }
    encoded(listing, config)
}

/// Reads both splits of images that all have to be of `shape`.
///
/// # Errors
/// As of [`read`]; an image of another size, or in colour where it should be grey. Names the file.
pub fn read_exactly(folder: &Path, shape: (usize, usize, usize), test_share: Option<f64>) -> Result<Contents> {
    resident(layout::list(folder, test_share).with_context(|| blamed(folder))?, shape)
}

fn resident(listing: Listing, shape: (usize, usize, usize)) -> Result<Contents> {
    let Listing { train, test, remarks, .. } = listing;
    Ok(Contents { train: in_memory(train, shape)?.into(), test: in_memory(test, shape)?.into(), remarks })
}

fn in_memory(files: Files, shape: (usize, usize, usize)) -> Result<Images> {
    let Files { list, labels } = files;
    let size = shape.0 * shape.1 * shape.2;
    let mut pixels = vec![0; list.len() * size];
    let read = |(index, out): (usize, &mut [u8])| -> Result<()> {
        decode::decode_exactly(&list.read(index)?, shape, out)
            .with_context(|| list.path(index).display().to_string())?;
        Ok(())
    };
    // The first error in file order, not in time.
    let failure = pixels.par_chunks_exact_mut(size).enumerate().map(read).find_first(Result::is_err);
    failure.unwrap_or(Ok(()))?;
    Ok(Images { pixels, labels, shape })
}

fn encoded(listing: Listing, config: &DatasetConfig) -> Result<Contents> {
    let Listing { train, test, mut remarks, .. } = listing;
    let images = train.list.len() + test.list.len();
    say!("data: {images} images are read and decoded once, so that none is found to be broken later");
    let skip = config.on_bad_image == Some(OnBadImage::Skip);
    let check = |files: &Files| Photographs::check(&files.list, &files.labels, skip);
    let (train, found) = check(&train)?;
    let (test, found_test) = check(&test)?;
    let mut splits = [train, test];
    Photographs::keep_within(&mut splits, memory(config));
    let [train, test] = splits;
    let channels = channels(config)?.unwrap_or(if found.coloured + found_test.coloured > 0 { 3 } else { 1 });
    let grey = found.grey + found_test.grey;
    let coloured = found.coloured + found_test.coloured;
    let mut converted = match channels {
        3 if grey > 0 => vec![format!("{grey} grey to RGB")],
        1 if coloured > 0 => vec![format!("{coloured} in colour to grey")],
        _ => vec![],
    };
    let mut unusual = found.unusual;
    found_test.unusual.iter().for_each(|(&mode, count)| *unusual.entry(mode).or_default() += count);
    converted.extend(unusual.iter().map(|(mode, count)| format!("{count} {}", mode.name())));
    if !converted.is_empty() {
        remarks.push(format!("converted of {images} images: {}", converted.join(", ")));
    }
    let skipped = found.skipped.len() + found_test.skipped.len();
    if let Some(first) = found.skipped.iter().chain(&found_test.skipped).next() {
        remarks
            .push(format!("{skipped} of {images} images could not be decoded and were left out, the first: {first}"));
    }
    Ok(Contents { train: train.into(), test: test.into(), remarks })
}

/// What there is to know before a folder is read: its images by class, its layout, and whether a sample of them can be decoded.
///
/// # Errors
/// A folder that is not laid out as any that is read.
pub(super) fn examine(folder: &Path, config: &DatasetConfig) -> Result<Vec<String>> {
    let Listing { classes, train, test, remarks } =
        layout::list(folder, config.test_share).with_context(|| blamed(folder))?;
    let counts = |files: &Files| {
        let mut counts = vec![0; classes.len()];
        files.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        if least == most { format!("{least} a class") } else { format!("{least} to {most} a class") }
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
    let spread = |list: &FileList| {
        let step = list.len().div_ceil(SAMPLE).max(1);
        (0..list.len()).step_by(step).map(|index| list.path(index)).collect::<Vec<_>>()
    };
    let sample = [spread(&train.list), spread(&test.list)].concat();
    let broken = |path: &PathBuf| -> Option<String> {
        let decoded = fs::read(path).context("cannot be read").and_then(|bytes| decode::decode(&bytes));
        decoded.err().map(|error| format!("{}: {error:#}", path.display()))
    };
    let broken: Vec<String> = sample.par_iter().filter_map(broken).collect();
    lines.push(match &broken[..] {
        [] => format!("a sample of {} images could be decoded", sample.len()),
        [first, ..] => {
            format!("{} of a sample of {} images cannot be decoded, the first: {first}", broken.len(), sample.len())
        }
    });
    Ok(lines)
}

/// 3 if any image has colours, else 1.
fn any_colour(listing: &Listing) -> usize {
    let coloured = |list: &FileList| {
        let one = |index| header(&list.path(index)).is_ok_and(|header| header.shape.0 == 3);
        (0..list.len()).into_par_iter().any(one)
    };
    if coloured(&listing.train.list) || coloured(&listing.test.list) { 3 } else { 1 }
}

/// The size that all images have.
fn common_shape(listing: &Listing, config: &DatasetConfig) -> Result<(usize, usize, usize)> {
    let skip = config.on_bad_image == Some(OnBadImage::Skip);
    let (mut sizes, mut coloured) = (BTreeMap::<(usize, usize), (usize, String)>::new(), false);
    for list in [&listing.train.list, &listing.test.list] {
        let headers: Vec<Result<Header>> =
            (0..list.len()).into_par_iter().map(|index| header(&list.path(index))).collect();
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

/// The header of a file; most often its first bytes tell.
fn header(path: &Path) -> Result<Header> {
    let read = || -> Result<Vec<u8>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(head)
    };
    let head = read().with_context(|| format!("{}: cannot be read", path.display()))?;
    if let Ok(header) = decode::inspect(&head) {
        return Ok(header);
    }
    let whole = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    decode::inspect(&whole).with_context(|| path.display().to_string())
}
