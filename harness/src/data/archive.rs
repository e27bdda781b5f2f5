//! Archives as data sets are published in: tar, gzipped or not, told by content and not by name.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use super::foreign;

/// What is expected of a file that is none.
const EXPECTED: &str = "an archive of the release (tar, gzipped or not)";
/// Endings of the archives that people take for the release's.
const ENDINGS: [&str; 11] =
    [".tar.gz", ".tgz", ".tar", ".gz", ".zip", ".7z", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".rar"];

/// Calls `take` with the name (without folders) and the contents of every file of an archive.
///
/// # Errors
/// What is no archive, or a truncated or damaged one; what `take` refuses.
pub fn each_file(path: &Path, mut take: impl FnMut(&str, &mut dyn Read) -> Result<()>) -> Result<()> {
    let named = || path.display().to_string();
    let damaged = || format!("{}: a truncated or damaged archive", path.display());
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    if !is_archive(path) {
        let head = foreign::beginning(path).unwrap_or_default();
        foreign::refuse(&head, EXPECTED).with_context(named)?;
        ensure!(!head.is_empty(), "{}: an empty file, where {EXPECTED} is expected", path.display());
        // Shorter than any archive.
        ensure!(head.len() >= 20, "{}: neither gzip nor tar, where {EXPECTED} is expected", path.display());
    }
    let file = BufReader::new(file);
    let mut plain: Box<dyn Read> = if is_gzip(path) { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut head = Vec::new();
    // What cannot be unpacked is told below, where it is read again.
    let unpacked = plain.by_ref().take(foreign::HEAD as u64).read_to_end(&mut head);
    if is_gzip(path) && unpacked.is_ok() && !is_tar(&head) {
        foreign::refuse(&head, EXPECTED).with_context(|| format!("{}: unpacked", path.display()))?;
    }
    unpacked.with_context(damaged)?;
    let mut archive = tar::Archive::new(Cursor::new(head).chain(plain));
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let entry_path = entry.path().with_context(damaged)?.into_owned();
        let name = entry_path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) {
            take(name, &mut entry).with_context(damaged)?;
        }
    }
    // gzip's checksum comes last: it is only compared once everything was read.
    io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(damaged)?;
    Ok(())
}

/// Whether a file is an archive, by what it begins with: gzip, or a tar's own mark.
pub fn is_archive(path: &Path) -> bool {
    is_gzip(path) || foreign::beginning(path).is_some_and(|head| is_tar(&head))
}

/// Whether its name says that a file is an archive.
pub fn is_named_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS[..3].iter().any(|ending| name.ends_with(ending))
}

/// The archive in a folder whose name begins with one of `names`, as browsers write `NAME (1).tar.gz`; else a file that is called
/// like one, whatever it is instead.
pub fn find_in(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    files.retain(|file| names.iter().any(|known| name(file).starts_with(known)) && file.is_file());
    let found = files.iter().find(|file| is_archive(file));
    found.or_else(|| files.iter().find(|file| ENDINGS.iter().any(|ending| name(file).ends_with(ending)))).cloned()
}

fn is_gzip(path: &Path) -> bool {
    foreign::beginning(path).is_some_and(|head| head.starts_with(&[0x1f, 0x8b]))
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}
