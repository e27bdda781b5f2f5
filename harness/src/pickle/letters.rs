//! Texts as the oldest protocol writes them.

use anyhow::{Context, Result};

/// Latin-1 with `\\uXXXX` and `\\UXXXXXXXX` for all other letters.
pub(super) fn unescaped(line: &[u8]) -> Result<String> {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let [byte, tail @ ..] = rest {
        let digits = match (byte, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(*byte));
                rest = tail;
                continue;
            }
        };
        let code = tail.get(1..1 + digits).and_then(|code| u32::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        out.push(code.and_then(char::from_u32).context("an escape that is no letter")?);
        rest = &tail[1 + digits..];
    }
    Ok(out)
}

/// A text in Python's quotes.
pub(super) fn unquoted(line: &str) -> Result<Vec<u8>> {
    let quoted = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    let inside = quoted('\'').or_else(|| quoted('"')).context("a text without quotes")?;
    let (mut out, mut letters) = (Vec::new(), inside.chars());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match letters.next().context("an escape without a letter")? {
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'x' => {
                let digits: String = letters.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).context("an escape that is no byte")?);
            }
            other => out.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}
