//! Entries of `dataset.sources`: what they stand for, and the order in which they are tried.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::synthetic::Synthetic;
use super::{DatasetInfo, Geometry, download};
use crate::config::DatasetConfig;

/// Where data sets are kept and got from, apart from what an experiment names.
#[derive(Clone, Debug)]
pub struct DataRoots {
    /// A folder of data sets, `cifar10/` and so on, for what is not where the experiment says.
    pub home: Option<PathBuf>,
    /// Where downloads come from.
    pub base_url: String,
    /// Where they go: `NAME/` in this folder.
    pub downloads: PathBuf,
    /// Where the images of Parquet files are unpacked to.
    pub cache: PathBuf,
}

impl DataRoots {
    /// `HARNESS_DATA`, the publisher's server, `data/` in the working directory, and the user's cache.
    pub fn from_environment() -> Self {
        let home = std::env::var_os("HARNESS_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = cache().unwrap_or_else(|| std::env::temp_dir().join("harness/images"));
        Self { home, base_url: download::BASE_URL.into(), downloads: "data".into(), cache }
    }
}

/// Where the user's cache has what is kept of images.
pub(super) fn cache() -> Option<PathBuf> {
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("harness/images"))
}

/// An entry of `dataset.sources`, understood.
pub(super) enum Source {
    Path(PathBuf),
    Download,
    Synthetic { train: usize, test: usize },
}

/// The sources in the order they are tried, each with its name.
pub(super) fn resolve(config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<Vec<(String, Source)>> {
    let default = [format!("data/{}", info.name), "download".into(), "synthetic".into()];
    // Nobody takes procedural images for photographs, and they would fill the memory.
    let default = if info.published.is_some() { &default[..1] } else { &default[..] };
    let entries = if config.sources.is_empty() { default } else { &config.sources };
    let mut sources = entries.iter().map(|entry| Ok((entry.clone(), parse(entry)?))).collect::<Result<Vec<_>>>()?;
    if info.reader()?.procedural {
        // No file holds it; an entry may still set its size.
        sources.retain(|(_, source)| matches!(source, Source::Synthetic { .. }));
        if sources.is_empty() {
            sources.push(("synthetic".into(), parse("synthetic")?));
        }
        return Ok(sources);
    }
    if let (Some(home), Some(name)) = (&roots.home, name_at_home(&sources, info)) {
        // What is named goes before what is found, and that before what has to be got or made.
        let named = sources.iter().take_while(|(_, source)| matches!(source, Source::Path(_))).count();
        sources.insert(named, (format!("HARNESS_DATA/{name}"), Source::Path(home.join(&name))));
    }
    Ok(sources)
}

/// What the data set is called in a folder of data sets; nothing where it cannot be there.
fn name_at_home(sources: &[(String, Source)], info: &DatasetInfo) -> Option<String> {
    // Who asks for synthetic data only gets that.
    let mut real = sources.iter().filter(|(_, source)| !matches!(source, Source::Synthetic { .. }));
    if info.geometry.is_some() {
        return real.next().map(|_| info.name.to_owned());
    }
    // An image folder has no name but its own, and a path from the root says where it is.
    real.find_map(|(_, source)| match source {
        Source::Path(path) if path.is_relative() => Some(path.file_name()?.to_string_lossy().into_owned()),
        _ => None,
    })
}

/// That an entry leads nowhere.
pub(super) fn nothing_at(entry: &str, path: &Path) -> String {
    let hint = if entry.contains('$') { "; variables are not expanded here, `~` is" } else { "" };
    // Such a folder may be where a download went wrong, or a disk that is not mounted.
    let what = if path.is_dir() { "an empty folder at" } else { "nothing at" };
    format!("{entry}: {what} {}{hint}", path.display())
}

/// A path with the user's home for the `~` that it begins with.
fn expanded(path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    match path.strip_prefix('~').map(|rest| rest.strip_prefix('/').or(rest.is_empty().then_some(""))) {
        Some(Some(rest)) => home().map_or_else(|| path.into(), |home| home.join(rest)),
        _ => path.into(),
    }
}

/// `download`, `synthetic`, `synthetic:TRAIN+TEST`, else a path.
fn parse(entry: &str) -> Result<Source> {
    if entry == "download" {
        return Ok(Source::Download);
    }
    let Some(sizes) = entry.strip_prefix("synthetic") else { return Ok(Source::Path(expanded(entry))) };
    if sizes.is_empty() {
        let Synthetic { train, test, .. } = Synthetic::new(Geometry { shape: (3, 32, 32), classes: 10 });
        return Ok(Source::Synthetic { train, test });
    }
    let Some(sizes) = sizes.strip_prefix(':') else { return Ok(Source::Path(expanded(entry))) };
    let numbers = sizes.split_once('+').map(|(train, test)| (train.trim().parse(), test.trim().parse()));
    match numbers {
        Some((Ok(train), Ok(test))) if train > 0 && test > 0 => Ok(Source::Synthetic { train, test }),
        _ => bail!("dataset.sources: \"{entry}\", expected synthetic:TRAIN+TEST, e.g. synthetic:10000+2000"),
    }
}
