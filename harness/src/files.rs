//! Files: read if they are there, and never half written.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, Serialize};

/// Prefix of files that are being written; what an interruption leaves is not anyone's content.
pub const TEMPORARY: &str = ".writing-";

/// A path as a word of a shell's command line: quoted where it holds anything that a shell would not leave as it is.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+:@%,=".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A file's content, if it is there.
///
/// # Errors
/// A file that is there and cannot be read; names it.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(bytes.with_context(|| format!("{}: cannot be read", path.display()))?)),
    }
}

/// A text file's content, if it is there.
///
/// # Errors
/// A file that is there and cannot be read, or is no text; names it.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    let text = read(path)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{}: cannot be read", path.display()))
}

/// Removes a file, if it is there.
///
/// # Errors
/// A file that is there and cannot be removed; names it.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that it is, at any time, either the old or the new one, even if the machine stops: a temporary file
/// in the same folder, flushed to disk, then renamed.
///
/// # Errors
/// A file that cannot be written; names it.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        // A temporary file is private by default; results are as readable as any file the user makes.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself lives in the folder.
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    // Whoever takes a lock clears away what looks left behind, and may take what is just being written by one without it.
    let written = (0..10)
        .map(|_| write())
        .find(|written| !written.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound && dir.is_dir()));
    written.unwrap_or_else(write).with_context(|| format!("{}: cannot be written", path.display()))
}

/// A value as indented JSON with a line's end.
///
/// # Errors
/// A value that JSON cannot hold.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Removes what a process that was killed while writing has left in a folder. Only for who holds that folder's lock.
pub fn remove_temporary(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads a number that JSON could not hold: the loss of a diverged training is written as `null` and is NaN again.
///
/// # Errors
/// What is neither a number nor `null`.
pub fn nan_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_path_as_one_word() {
        let words =
            ["reports/cifar-10", "my results/a", "it's", "a$b", "数据/x", ""].map(|path| shell_word(Path::new(path)));
        assert_eq!(words, ["reports/cifar-10", "'my results/a'", r"'it'\''s'", "'a$b'", "数据/x", "''"]);
    }
}
