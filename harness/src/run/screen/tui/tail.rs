//! The end of a log file, as lines that are safe to show.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::run::screen::text::clean;

/// Most bytes that are read of a log.
const MOST: u64 = 64 << 10;

/// The last lines of the file. Bytes that are no text, escape sequences and what a carriage return overwrote are left out.
///
/// # Errors
/// No such file, or none that can be read.
pub fn read(path: &Path) -> io::Result<Vec<String>> {
    // A pipe would keep the reader waiting.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(MOST);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(MOST).read_to_end(&mut bytes)?;
    let mut lines = lines(&bytes);
    if skipped > 0 && !lines.is_empty() {
        // The first one began before.
        lines[0] = format!("({} KiB before this are not shown)", skipped.div_ceil(1024));
    }
    Ok(lines)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = without_escapes(&String::from_utf8_lossy(bytes));
    let shown = |line: &str| {
        let line = line.trim_end_matches('\r');
        clean(line.rsplit('\r').next().unwrap_or(line)).trim_end().to_owned()
    };
    text.lines().map(shown).collect()
}

/// Text without the sequences that terminals obey: ESC [ ... letter, ESC ] ... BEL, ESC and one character.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next_if(|c| !('@'..='~').contains(c) && *c != '\n').is_some() {},
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while chars.next_if(|c| !matches!(c, '\x07' | '\x1b' | '\n')).is_some() {}
            }
            Some('\n') => {
                plain.push('\n');
                continue;
            }
            _ => continue,
        }
        // The end of the sequence, but never the line's.
        if chars.next_if(|c| *c != '\n') == Some('\x1b') {
            chars.next_if_eq(&'\\');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let log = b"\x1b[1;31merror\x1b[0m: bad\r\n10 %\r50 %\r100 %\n\x1b]0;title\x07a\x1b]8;;x\x1b\\b\n\xff\xfe\0ok\t.\x1b\nc\x1b[";
        assert_eq!(lines(log), ["error: bad", "100 %", "ab", "\u{fffd}\u{fffd}ok    .", "c"]);
    }

    #[test]
    fn only_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, format!("{}\nlast\n", "x".repeat(100 << 10))).unwrap();
        assert_eq!(read(&path).unwrap(), ["(37 KiB before this are not shown)", "last"]);
        std::fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap().is_empty());
        assert!(read(folder.path()).is_err());
        assert!(read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn any_bytes_are_some_lines() {
        let mut state = 1u32;
        for length in 0..2_000 {
            let bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"\x1b[]\\;0mA\r\n\x07\xff\xe2\x9b"[(state >> 16) as usize % 14]
                })
                .collect();
            for line in lines(&bytes) {
                assert!(line.chars().all(|c| !c.is_control()), "{bytes:?}: {line:?}");
            }
        }
    }
}
