//! Archives as data sets are published in: tar, gzipped or not, told by content and not by name.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

/// Calls `take` with the name (without folders) and the contents of every file of an archive.
///
/// # Errors
/// What is no archive, or a truncated or damaged one; what `take` refuses.
pub fn each_file(path: &Path, mut take: impl FnMut(&str, &mut dyn Read) -> Result<()>) -> Result<()> {
    let damaged = || format!("{}: a truncated or damaged archive", path.display());
    if let Some(what) = no_archive(path) {
        bail!("{}: {what}, where an archive of the release is expected", path.display());
    }
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    let file = BufReader::new(file);
    let plain: Box<dyn Read> = if is_gzip(path) { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = tar::Archive::new(plain);
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
    is_gzip(path) || begins(path).is_some_and(|head| &head[257..] == b"ustar")
}

/// Whether its name says that a file is an archive.
pub fn is_named_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    [".tar.gz", ".tgz", ".tar"].iter().any(|ending| name.ends_with(ending))
}

fn begins(path: &Path) -> Option<[u8; 262]> {
    let mut head = [0; 262];
    let mut file = File::open(path).ok()?;
    let mut filled = 0;
    while filled < head.len() {
        match file.read(&mut head[filled..]).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    Some(head)
}

fn is_gzip(path: &Path) -> bool {
    begins(path).is_some_and(|head| head.starts_with(&[0x1f, 0x8b]))
}

/// What a file is that is known not to be an archive; a damaged one may be anything.
fn no_archive(path: &Path) -> Option<String> {
    let head = begins(path)?;
    let text = String::from_utf8_lossy(&head).trim_start().to_lowercase();
    let page = ["<!doctype", "<html", "<?xml"].iter().any(|start| text.starts_with(start));
    match fs::metadata(path).ok()?.len() {
        0 => Some("an empty file".into()),
        _ if page => Some("a web page, saved under this name".into()),
        _ if head.starts_with(b"PK") => Some("a zip archive".into()),
        // Shorter than any archive.
        1..20 => Some("neither gzip nor tar".into()),
        _ => None,
    }
}
