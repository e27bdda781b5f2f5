//! Checksums beside the files they are of: a file `checksums` per folder, in the form that `b3sum --check` reads.
//!
//! ```text
//! 9f86d081...e3  config.toml
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::files::{self, write_atomic};

/// The file's name.
pub const CHECKSUMS: &str = "checksums";

/// Checksums of a folder's files: name, relative to the folder, and blake3 in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, String>);

/// A file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl Checksums {
    /// The folder's; none where nothing was summed yet.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let Some(bytes) = files::read(&dir.join(CHECKSUMS))? else { return Ok(None) };
        // A damaged line is a line that fits no file, and a file without a line is damage too.
        let text = String::from_utf8_lossy(&bytes);
        let pairs = text.lines().filter_map(|line| line.split_once("  "));
        Ok(Some(Self(pairs.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect())))
    }

    /// Adds a file's content.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.to_owned(), sum(bytes));
    }

    /// Adds a file of the folder, if it is there.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn add_file(&mut self, dir: &Path, name: &str) -> Result<()> {
        if let Some(bytes) = files::read(&dir.join(name))? {
            self.add(name, &bytes);
        }
        Ok(())
    }

    /// Writes them into the folder.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let lines: String = self.0.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        write_atomic(&dir.join(CHECKSUMS), lines.as_bytes())
    }

    /// Removes a folder's checksums, for files that are about to change.
    ///
    /// # Errors
    /// A file that is there and cannot be removed; names it.
    pub fn remove(dir: &Path) -> Result<()> {
        files::remove(&dir.join(CHECKSUMS))
    }

    /// Names of the files summed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Why `bytes` are not what was written as `name`, if they are not.
    pub fn damage(&self, name: &str, bytes: &[u8]) -> Option<&'static str> {
        match self.0.get(name) {
            None => Some("has no checksum"),
            Some(hash) if *hash != sum(bytes) => Some("is not what was written: its checksum differs"),
            Some(_) => None,
        }
    }

    /// What is wrong with a file of the folder, if anything is.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn check(&self, dir: &Path, name: &str) -> Result<Option<Damage>> {
        let path = dir.join(name);
        let what = files::read(&path)?.map_or(Some("is missing"), |bytes| self.damage(name, &bytes));
        Ok(what.map(|what| Damage { path, what }))
    }
}

fn sum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "content").unwrap();
        fs::write(path("b"), "other").unwrap();
        let mut sums = Checksums::default();
        sums.add_file(dir.path(), "a").unwrap();
        sums.add_file(dir.path(), "never there").unwrap();
        sums.add("b", b"other");
        sums.write(dir.path()).unwrap();
        let sums = Checksums::read(dir.path()).unwrap().unwrap();
        assert_eq!(sums.names().collect::<Vec<_>>(), ["a", "b"]);
        let check = |name: &str| sums.check(dir.path(), name).unwrap().map(|damage| damage.what);
        assert_eq!((check("a"), check("b")), (None, None));
        fs::write(path("a"), "c0ntent").unwrap();
        fs::remove_file(path("b")).unwrap();
        fs::write(path("c"), "").unwrap();
        assert!(check("a").unwrap().contains("checksum differs"));
        assert_eq!((check("b"), check("c")), (Some("is missing"), Some("has no checksum")));
        fs::write(path(CHECKSUMS), [0xff, 0xfe, b'\n']).unwrap();
        assert_eq!(Checksums::read(dir.path()).unwrap().unwrap(), Checksums::default());
    }
}
