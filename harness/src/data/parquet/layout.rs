//! Which Parquet files of a folder are which split, as the Hugging Face hub lays them out: `data/train-00000-of-00002-HASH.parquet`,
//! `CONFIG/train/0000.parquet`, a clone of a repository or its cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::data::foreign;
use crate::data::split_names::{TESTS, TRAIN, split_of, words};

/// Folders below the one that is named in which files are looked for: `snapshots/REVISION/data` of the hub's cache.
const DEPTH: usize = 3;
/// A folder with more folders than this holds classes.
const MOST_FOLDERS: usize = 100;

/// Files of each split, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Where they were found: a folder, or the one file.
    pub root: PathBuf,
    /// Training files.
    pub train: Vec<PathBuf>,
    /// The others by name, the preferred one first.
    pub tests: Vec<(&'static str, Vec<PathBuf>)>,
    /// Files and folders of such beside them, which are not read.
    pub passed: Vec<PathBuf>,
}

/// The Parquet files at or below `path`; `name` is that of the data set, which settles it where a folder has several.
///
/// # Errors
/// Several data sets of which none has that name; a shard that is missing.
pub fn find(path: &Path, name: &str) -> Result<Option<Shards>> {
    if path.is_file() {
        let shards = || Shards { root: path.to_owned(), train: vec![path.to_owned()], tests: vec![], passed: vec![] };
        return Ok((is_parquet(path) || has_magic(path)).then(shards));
    }
    let mut folders = vec![path.to_owned()];
    for _ in 0..=DEPTH {
        let found: Vec<Shards> = folders.iter().filter_map(|folder| splits(folder)).collect();
        if !found.is_empty() {
            let shards = choose(found, path, name)?;
            for files in std::iter::once(&shards.train).chain(shards.tests.iter().map(|(_, files)| files)) {
                complete(files)?;
                of_one_set(files)?;
            }
            return Ok(Some(shards));
        }
        folders = folders.iter().flat_map(|folder| subfolders(folder)).collect();
    }
    Ok(None)
}

/// The one that is meant.
fn choose(mut found: Vec<Shards>, path: &Path, name: &str) -> Result<Shards> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let own = |shards: &Shards| shards.root.strip_prefix(path).unwrap_or(&shards.root).display().to_string();
    if found.len() > 1
        && let Some(same) = found.iter().position(|shards| plain(&own(shards)) == plain(name))
    {
        let mut chosen = found.swap_remove(same);
        chosen.passed.extend(found.into_iter().map(|other| other.root));
        return Ok(chosen);
    }
    let names: Vec<String> = found.iter().map(own).collect();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => bail!(
            "{}: several data sets of Parquet files: {}\n  accepted: the folder of one of them as the source",
            path.display(),
            names.join(", ")
        ),
    }
}

/// The split that a file's name tells: its first word, as the hub has it; or the only one of its words that is a split, but for files
/// beside `folders`, as those may be tables about the images in them.
fn split_in(name: &str, beside_folders: bool) -> Option<&'static str> {
    let first = name.split(['-', '_', '.']).next().and_then(split_of);
    first.or_else(|| if let ([only], false) = (&words(name)[..], beside_folders) { Some(only) } else { None })
}

/// The splits that lie in a folder itself.
fn splits(folder: &Path) -> Option<Shards> {
    let direct = parquet_files(folder);
    let mut folders = listed(folder);
    folders.retain(|path| !file_name(path).starts_with('.') && path.is_dir());
    let of = |split: &str| {
        let files: Vec<PathBuf> = direct
            .iter()
            .filter(|path| split_in(&file_name(path), !folders.is_empty()) == Some(split))
            .cloned()
            .collect();
        let own = || folders.iter().filter(|path| file_name(path).eq_ignore_ascii_case(split));
        if files.is_empty() { own().flat_map(|folder| parquet_files(folder)).collect() } else { files }
    };
    let mut train = TRAIN.map(of).into_iter().find(|files| !files.is_empty()).unwrap_or_default();
    let tests: Vec<_> =
        TESTS.map(|split| (split, of(split))).into_iter().filter(|(_, files)| !files.is_empty()).collect();
    if train.is_empty()
        && tests.is_empty()
        && folders.is_empty()
        && direct.iter().all(|path| words(&file_name(path)).is_empty())
    {
        // Files that name no split are training images, as on the hub; beside folders they may be a table of anything.
        train = direct.clone();
    }
    if train.is_empty() && tests.is_empty() {
        return None;
    }
    let is_read = |file: &PathBuf| train.contains(file) || tests.iter().any(|(_, files)| files.contains(file));
    let beside = folders.iter().filter(|folder| {
        let files = parquet_files(folder);
        !files.is_empty() && !files.iter().any(is_read)
    });
    let passed = direct.iter().filter(|file| !is_read(file)).chain(beside).cloned().collect();
    Some(Shards { root: folder.to_owned(), train, tests, passed })
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let mut folders = listed(folder);
    folders.retain(|path| !file_name(path).starts_with('.') && path.is_dir());
    if folders.len() > MOST_FOLDERS { vec![] } else { folders }
}

/// The Parquet files of a folder in the order of their numbers.
fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = listed(folder);
    files.retain(|path| is_parquet(path) && path.is_file());
    files.sort_by_cached_key(|path| in_order(&file_name(path)));
    files
}

/// What is in a folder, sorted; nothing if it cannot be listed, which whatever reads it says.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// A name as texts and numbers in turn: `train-2` comes before `train-10`.
fn in_order(name: &str) -> Vec<(u128, String)> {
    let mut parts = vec![(0u128, String::new())];
    let mut number = false;
    for letter in name.chars() {
        if let (true, Some(digit), Some((value, _))) = (number, letter.to_digit(10), parts.last_mut()) {
            *value = value.saturating_mul(10).saturating_add(u128::from(digit));
        } else if let Some(digit) = letter.to_digit(10) {
            parts.push((u128::from(digit), String::new()));
            number = true;
        } else if let Some((_, text)) = parts.last_mut() {
            text.push(letter);
            number = false;
        }
    }
    parts
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

fn has_magic(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"PAR1"
}

/// Checks that of `train-00000-of-00003.parquet`, or `train-00000-of-00003-HASH.parquet`, all are there, each once.
fn complete(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let name = file_name(file);
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let Some(promised) = name.split_once("-of-").and_then(|(_, count)| digits(count).parse::<usize>().ok()) else {
            continue;
        };
        ensure!(
            files.len() == promised,
            "{}: its name promises {promised} files, {} found beside it: {}",
            file.display(),
            files.len(),
            files.iter().map(|file| file_name(file)).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// Checks that what stands before the split in the files' names is the same but for numbers: `a_train` and `b_train` are two data sets.
fn of_one_set(files: &[PathBuf]) -> Result<()> {
    let before = |file: &PathBuf| {
        let name = file_name(file).to_lowercase();
        let parts = name.split(|letter: char| !letter.is_alphabetic()).filter(|part| !part.is_empty());
        parts.take_while(|part| split_of(part).is_none()).map(String::from).collect::<Vec<_>>()
    };
    let told = || files.iter().filter(|file| !words(&file_name(file)).is_empty());
    if let Some(first) = told().next()
        && let Some(other) = told().find(|file| before(file) != before(first))
    {
        bail!(
            "{} and {} in one folder: are they of one data set?\n  accepted: the folder of one as the source; or names that are the \
             same before the split, as train-0.parquet and train-1.parquet",
            first.display(),
            file_name(other)
        );
    }
    Ok(())
}

impl Shards {
    /// The training files.
    ///
    /// # Errors
    /// None are there.
    pub fn training(&self) -> Result<&[PathBuf]> {
        ensure!(
            !self.train.is_empty(),
            "{}: no train-*.parquet in this folder, though the {} split is",
            self.root.display(),
            self.tests.first().map_or("test", |(name, _)| name)
        );
        Ok(&self.train)
    }

    /// What lies beside the files and is not read, if anything does.
    pub fn remark(&self) -> Option<String> {
        let shown = self.passed.iter().take(5).map(|path| format!("`{}`", self.shown(path))).collect::<Vec<_>>();
        let more = if self.passed.len() > 5 { ", ..." } else { "" };
        (!shown.is_empty()).then(|| format!("Parquet files that are not read: {}{more}", shown.join(", ")))
    }

    /// How a file is called in what is said of it.
    pub fn shown(&self, file: &Path) -> String {
        let base = if self.root.is_dir() { self.root.as_path() } else { self.root.parent().unwrap_or(&self.root) };
        file.strip_prefix(base).unwrap_or(file).display().to_string()
    }
}

/// Checks magic and footer length, so that a cut file is told as such.
///
/// # Errors
/// What is no whole Parquet file.
pub fn check_frame(path: &Path) -> Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path).context("cannot be opened")?;
    let size = file.metadata()?.len();
    let mut magic = [0; 4];
    let mut tail = [0; 8];
    if size >= 12 {
        file.read_exact(&mut magic).context("cannot be read")?;
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut tail).context("cannot be read")?;
    }
    let head = foreign::beginning(path).unwrap_or_default();
    if !head.starts_with(b"PAR1") {
        foreign::refuse(&head, "a Parquet file")?;
    }
    ensure!(&magic == b"PAR1", "not a Parquet file ({size} bytes, without `PAR1` at its start)");
    ensure!(&tail[4..] == b"PAR1", "a truncated Parquet file ({size} bytes, without `PAR1` at its end)");
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    ensure!(footer + 12 <= size, "a damaged Parquet file: a footer of {footer} bytes in a file of {size}");
    Ok(())
}
