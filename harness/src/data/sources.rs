//! `dataset.sources`: which of them is there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::download::{self, Fetched};
use super::entries::{DataRoots, Source, nothing_at, resolve};
use super::synthetic::Synthetic;
use super::{Contents, DatasetInfo, Geometry, Reader, formats, seen};
use crate::config::DatasetConfig;

/// A source that was there.
pub(super) struct Found {
    pub contents: Contents,
    /// Of what a network sees.
    pub geometry: Geometry,
    pub label: String,
    pub source: String,
    pub synthetic: bool,
}

/// Where a data set lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// In this file or folder, in whatever format.
    Files(PathBuf),
    /// Nowhere: it is computed, so many training and test images.
    Synthetic {
        /// Training images.
        train: usize,
        /// Test images.
        test: usize,
    },
}

/// A source that is there.
struct Located {
    /// Its entry of `dataset.sources`.
    entry: String,
    location: Location,
    /// Entries before it that led nowhere, each with why.
    passed: Vec<String>,
}

/// The first source that is there. `fetch` gets the archive that the entry `download` stands for.
fn locate(
    config: &DatasetConfig,
    info: &DatasetInfo,
    roots: &DataRoots,
    fetch: impl Fn() -> Result<Fetched>,
) -> Result<Located> {
    let mut tried = Vec::new();
    for (entry, source) in resolve(config, info, roots)? {
        let path = match source {
            Source::Path(path) => path,
            Source::Download => match fetch()? {
                Fetched::File(path) => path,
                Fetched::Unreachable(reason) => {
                    tried.push(format!("{entry}: {reason}"));
                    continue;
                }
            },
            Source::Synthetic { train, test } if info.geometry.is_some() => {
                return Ok(Located { entry, location: Location::Synthetic { train, test }, passed: tried });
            }
            Source::Synthetic { .. } => {
                tried.push(format!("{entry}: the size of `{}` is only known from its files", info.name));
                continue;
            }
        };
        if !vacant(&path)? {
            return Ok(Located { entry, location: Location::Files(path), passed: tried });
        }
        tried.push(nothing_at(&entry, &path));
    }
    bail!("{}", missing(info, info.reader()?, &tried))
}

/// Reads the first source that is there.
pub(super) fn find(config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<Found> {
    let fetch = || {
        let fetched = fetch(info, roots)?;
        if let Fetched::Unreachable(reason) = &fetched {
            say!("data: download of {} skipped: {reason}", info.name);
        }
        Ok(fetched)
    };
    let Located { entry, location, passed } = locate(config, info, roots, fetch)?;
    // What was asked for first is not what is used: nobody should have to find that out from results.
    passed.iter().for_each(|why| say!("data: passed over: {why}"));
    read(entry, &location, config, info, roots)
}

/// Where the first source that is there lies, found without reading or downloading anything; an error where only a download
/// could tell.
pub(super) fn locate_offline(config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<Location> {
    let downloaded = || {
        let Some(remote) = info.reader()?.remote else { return fetch(info, roots) };
        let archive = roots.downloads.join(info.name).join(remote.name);
        ensure!(archive.is_file(), "download: {} is not there yet", archive.display());
        Ok(Fetched::File(archive))
    };
    locate(config, info, roots, downloaded).map(|located| located.location)
}

/// What a run would read now, in a line: the first source that is there, and what is passed over for it and why.
///
/// # Errors
/// Sources that are none.
pub(super) fn outlook(config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<String> {
    let (mut passed, mut found) = (Vec::new(), None);
    for (entry, source) in resolve(config, info, roots)? {
        found = match source {
            Source::Path(path) if vacant(&path)? => {
                passed.push(nothing_at(&entry, &path));
                None
            }
            Source::Path(path) => Some(format!("{}, found at {} ({entry})", info.name, path.display())),
            Source::Download => match info.reader()?.remote {
                Some(remote) => {
                    let archive = roots.downloads.join(info.name).join(remote.name);
                    Some(match archive.is_file() {
                        true => format!("{}, downloaded before: {}", info.name, archive.display()),
                        false => format!("{} is to be downloaded first, if it can be", info.name),
                    })
                }
                None => {
                    passed.push(format!("{entry}: not offered for {}", info.name));
                    None
                }
            },
            Source::Synthetic { .. } if info.geometry.is_none() => {
                passed.push(format!("{entry}: the size of `{}` is only known from its files", info.name));
                None
            }
            Source::Synthetic { train, test } => {
                Some(format!("SYNTHETIC, {train} training and {test} test images that stand in for real ones"))
            }
        };
        if found.is_some() {
            break;
        }
    }
    let passed = if passed.is_empty() { String::new() } else { format!("; passed over: {}", passed.join("; ")) };
    Ok(format!("{}{passed}", found.unwrap_or_else(|| format!("{} is nowhere", info.name))))
}

/// Reads what lies at `location`, which the entry `source` of `dataset.sources` stands for.
pub(super) fn read(
    source: String,
    location: &Location,
    config: &DatasetConfig,
    info: &DatasetInfo,
    roots: &DataRoots,
) -> Result<Found> {
    match (location, info.geometry) {
        (Location::Files(path), _) => {
            let (contents, remark, geometry) = formats::read(path, config, info, &roots.cache)?;
            let label = label(info, path, &contents, remark, geometry)?;
            Ok(Found { contents, geometry, label, source, synthetic: false })
        }
        (Location::Synthetic { train, test }, Some(geometry)) => {
            let (train, test) = (*train, *test);
            let synthetic = Synthetic { train, test, ..Synthetic::new(geometry) };
            let label = format!("SYNTHETIC (procedural, {} classes)", geometry.classes);
            let geometry = seen(config, geometry)?;
            Ok(Found { contents: synthetic.generate().into(), geometry, label, source, synthetic: true })
        }
        (Location::Synthetic { .. }, None) => {
            bail!("{source}: the size of `{}` is only known from its files", info.name)
        }
    }
}

/// Geometry of the first image folder that is there.
pub(super) fn peek(config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<Geometry> {
    match locate_offline(config, info, roots)? {
        Location::Files(path) => formats::geometry(&path, config, info, &roots.cache),
        Location::Synthetic { .. } => bail!("the size of `{}` is only known from its files", info.name),
    }
}

/// The most training images that any source can give; none where only the files tell.
pub(super) fn most(config: &DatasetConfig, info: &DatasetInfo, reader: &Reader) -> Result<Option<usize>> {
    let roots = DataRoots { home: None, base_url: String::new(), downloads: PathBuf::new(), cache: PathBuf::new() };
    let sources = resolve(config, info, &roots)?;
    let Some((published, _)) = reader.images else { return Ok(None) };
    let mut most = 0;
    for (_, source) in sources {
        match source {
            // Always there: what stands behind it is never reached.
            Source::Synthetic { train, .. } => return Ok(Some(most.max(train))),
            Source::Path(_) | Source::Download => most = published,
        }
    }
    Ok(Some(most))
}

fn fetch(info: &DatasetInfo, roots: &DataRoots) -> Result<Fetched> {
    match info.reader()?.remote {
        Some(remote) => download::fetch(remote, &roots.base_url, &roots.downloads.join(info.name)),
        None => Ok(Fetched::Unreachable(format!("not offered for {}", info.name))),
    }
}

/// Whether nothing is there: no such path, or a folder with nothing in it but what a broken download left.
fn vacant(path: &Path) -> Result<bool> {
    if !path.try_exists().with_context(|| format!("{}: cannot be looked at", path.display()))? {
        return Ok(true);
    }
    Ok(path.is_dir() && formats::contents(path)?.is_empty())
}

/// How captions name the data: with what is special about this copy, and its size where it is not the published one.
fn label(
    info: &DatasetInfo,
    path: &Path,
    contents: &Contents,
    remark: Option<&'static str>,
    geometry: Geometry,
) -> Result<String> {
    if info.geometry.is_none() {
        // `.` has no name of its own.
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let named = if path.file_name().is_some() { path } else { &whole };
        let name = named.file_name().unwrap_or_default().to_string_lossy();
        return Ok(format!("{name} ({} classes)", geometry.classes));
    }
    let published = info.reader()?.images;
    let sizes = (contents.train.len(), contents.test.len());
    let odd_size = Some(format!("{} + {} images", sizes.0, sizes.1)).filter(|_| published != Some(sizes));
    let remarks: Vec<String> = remark.map(String::from).into_iter().chain(odd_size).collect();
    Ok(if remarks.is_empty() { info.title.into() } else { format!("{} ({})", info.title, remarks.join(", ")) })
}

fn missing(info: &DatasetInfo, reader: &Reader, tried: &[String]) -> String {
    let mut ways = Vec::new();
    if info.geometry.is_none() {
        ways.push("name the folder: dataset.sources = [\"FOLDER\"]".to_string());
    } else {
        ways.push(format!("put the files into data/{} and name that in dataset.sources", info.name));
    }
    ways.push(format!("set HARNESS_DATA to a folder that has {} in it", info.name));
    if reader.remote.is_some() {
        ways.push("add \"download\" to dataset.sources".into());
    }
    if info.geometry.is_some() {
        ways.push("add \"synthetic\" for procedural data of the same shape".into());
    }
    let tried: String = tried.iter().map(|line| format!("\n  tried {line}")).collect();
    format!(
        "no data found for dataset.name = \"{}\"{tried}\nto get it: {}\nread are: {}",
        info.name,
        ways.join("; or "),
        reader.formats
    )
}
