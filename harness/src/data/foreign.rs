//! Files that are something else than their names or places say. A sound file of another format is never called damaged.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};

/// Bytes that are enough to tell: a tar has its mark at the 257th.
pub const HEAD: usize = 512;

/// Marks that files begin with.
const MARKS: [(&[u8], &str); 19] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file, which `git lfs pull` in the clone gets"),
    (b"\x93NUMPY", "an array of numpy (.npy)"),
    (b"\x89HDF", "HDF5"),
    (b"MATLAB ", "a MATLAB file"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\0\0\x08\x01", "an IDX file"),
    (b"\0\0\x08\x03", "an IDX file"),
    (b"\x80\x04\x95", "a pickle of Python"),
];

/// What a file is that begins with `head`, if that can be told; of an empty one nothing is, which may be of any format, cut short.
pub fn kind(head: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(kind);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("a tar archive");
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Some("HEIF, AVIF or a film");
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match text {
        [b'<', b'!' | b'?' | b'a'..=b'z' | b'A'..=b'Z', ..] => Some("a web page, saved under this name"),
        [b'{' | b'[', rest @ ..]
            if matches!(rest.trim_ascii_start(), [b'"' | b'{' | b'[' | b'}' | b']' | b'0'..=b'9', ..]) =>
        {
            Some("JSON")
        }
        _ => None,
    }
}

/// What the file at `path` is, if that can be told.
pub fn kind_of(path: &Path) -> Option<&'static str> {
    kind(&beginning(path)?)
}

/// The first bytes of a file; none where it cannot be read.
pub fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD as u64).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Refuses what begins with `head`, which is not `expected`, if it can be told what it is instead.
///
/// # Errors
/// It can; says what it is.
pub fn refuse(head: &[u8], expected: &str) -> Result<()> {
    match kind(head) {
        Some(kind) => bail!("{kind}, where {expected} is expected"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_archives_are_told_by_how_they_begin() {
        for page in ["<!DOCTYPE html>", "\u{feff}\n <html>", "<!-- a comment --><html>", "<?xml ?>", "<HEAD>"] {
            assert!(kind(page.as_bytes()).is_some_and(|kind| kind.contains("web page")), "{page}");
        }
        for json in ["{\"error\": 404}", "[\n  {}", "{}", "[1, 2]"] {
            assert_eq!(kind(json.as_bytes()), Some("JSON"), "{json}");
        }
        assert_eq!(kind(b"BZh91AY"), Some("bzip2"));
        for other in [&b""[..], b"< 3", b"{ok", b"no image", b"\x07\x01\x02", b"<"] {
            assert_eq!(kind(other), None, "{other:02x?}");
        }
    }
}
