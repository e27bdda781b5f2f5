//! What was found of files, for the next time: a million photographs take hours to decode, and a sweep is started more than once.
//!
//! Kept in the user's cache, one text a folder; a file counts as known if its path, length and time of change are those that were
//! written down. Should one have changed all the same, its hash tells when it is read for training.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::decode::Unusual;
use super::photographs::ContentHash;
use crate::files::write_atomic;

/// Fewer files are decoded sooner than anyone notices.
const LEAST: usize = 5000;
/// Of how the lines below are written, and what was looked for.
const FORMAT: &str = "images 1";

/// What decoding a file told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub hash: ContentHash,
    /// `(c, h, w)`
    pub shape: (usize, usize, usize),
    pub unusual: Option<Unusual>,
}

/// Length, and time of change in nanoseconds.
type Version = (u64, u128);

/// What is known of the files of a folder.
#[derive(Default)]
pub(super) struct Ledger {
    /// Where it lies; nowhere for a folder of few files.
    path: Option<PathBuf>,
    known: HashMap<String, (Version, Facts)>,
    grown: bool,
}

impl Ledger {
    /// That of a folder with so many files.
    pub fn of(root: &Path, files: usize) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let name = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
        let path = super::entries::cache().filter(|_| files >= LEAST).map(|cache| cache.join(&name[..16]));
        path.map_or_else(Self::default, Self::at)
    }

    fn at(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let known = match text.split_once('\n') {
            Some((FORMAT, lines)) => lines.lines().filter_map(parsed).collect(),
            _ => HashMap::new(),
        };
        Self { path: Some(path), known, grown: false }
    }

    /// What is known of a file that has not changed since.
    pub fn get(&self, name: &str, file: &Metadata) -> Option<Facts> {
        let (version, facts) = self.known.get(name)?;
        (Some(*version) == version_of(file)).then_some(*facts)
    }

    /// Notes what was found.
    pub fn add(&mut self, name: &str, file: &Metadata, facts: Facts) {
        if let (Some(version), true) = (version_of(file), self.path.is_some()) {
            self.known.insert(name.to_owned(), (version, facts));
            self.grown = true;
        }
    }

    /// Writes it, if there is anything new. It only saves time, so that a cache that cannot be written is no error.
    pub fn save(&self) {
        let Some(path) = self.path.as_ref().filter(|_| self.grown) else { return };
        let lines = self.known.iter().map(|(name, ((length, time), Facts { hash, shape: (c, h, w), unusual }))| {
            let hash = u128::from_le_bytes(*hash);
            let unusual = unusual.map_or("-", Unusual::name);
            format!("{length}\t{time}\t{hash}\t{c}\t{h}\t{w}\t{unusual}\t{name}\n")
        });
        let text = format!("{FORMAT}\n") + &lines.collect::<String>();
        let made = path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok());
        if !made || write_atomic(path, text.as_bytes()).is_err() {
            say!("data: {} cannot be written, so that images are decoded once more at the next start", path.display());
        }
    }
}

fn version_of(file: &Metadata) -> Option<Version> {
    Some((file.len(), file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos()))
}

fn parsed(line: &str) -> Option<(String, (Version, Facts))> {
    let mut parts = line.splitn(8, '\t');
    let (length, time) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let hash = parts.next()?.parse::<u128>().ok()?.to_le_bytes();
    let shape = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let unusual = match parts.next()? {
        "-" => None,
        name => Some(Unusual::ALL.into_iter().find(|unusual| unusual.name() == name)?),
    };
    Some((parts.next()?.to_owned(), ((length, time), Facts { hash, shape, unusual })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("cache/ledger"), dir.path().join("a\tb.png"));
        fs::write(&file, "image").unwrap();
        let facts = Facts { hash: [7; 16], shape: (3, 40, 50), unusual: Some(Unusual::Cmyk) };
        let metadata = || fs::metadata(&file).unwrap();
        let mut ledger = Ledger::at(path.clone());
        ledger.add("train/a\tb.png", &metadata(), facts);
        ledger.save();
        let again = Ledger::at(path.clone());
        assert_eq!(again.get("train/a\tb.png", &metadata()), Some(facts));
        assert_eq!(again.get("train/other.png", &metadata()), None);
        fs::write(&file, "another image").unwrap();
        assert_eq!(again.get("train/a\tb.png", &metadata()), None);
        fs::write(&path, "of another format\n1\t2\t3").unwrap();
        assert_eq!(Ledger::at(path).known.len(), 0);
    }
}
