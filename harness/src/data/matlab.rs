//! Numeric variables of MATLAB files, level 5, compressed or not, as MATLAB before 7.3 and scipy write them.
//! Format: <https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf>

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::ZlibDecoder;

use super::foreign;

/// Bytes before the first element.
const HEADER: usize = 128;
const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;

/// A numeric variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Its dimensions, the first of which runs fastest.
    pub shape: Vec<usize>,
    pub values: Values,
}

/// Its numbers as they are stored, which may take less than what the variable's type would.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Bytes(Vec<u8>),
    Others(Vec<f64>),
}

impl Matrix {
    /// Its numbers.
    ///
    /// # Errors
    /// One that is not whole.
    pub fn integers(&self) -> Result<Vec<i64>> {
        match &self.values {
            Values::Bytes(bytes) => Ok(bytes.iter().map(|&byte| i64::from(byte)).collect()),
            Values::Others(values) => {
                let whole = |&value: &f64| {
                    ensure!(
                        value.fract() == 0.0 && value.abs() < 1e15,
                        "holds {value}, where whole numbers are expected"
                    );
                    Ok(value as i64)
                };
                values.iter().map(whole).collect()
            }
        }
    }
}

/// The variables of these names, none of which may take more than `most` bytes; those of other kinds are left out.
///
/// # Errors
/// No such file, or a damaged one.
pub fn read(path: &Path, names: &[&str], most: usize) -> Result<BTreeMap<String, Matrix>> {
    let bytes = fs::read(path).context("cannot be read")?;
    ensure!(
        !bytes.starts_with(b"\x89HDF") && !bytes.starts_with(b"MATLAB 7.3"),
        "a MATLAB file of version 7.3 (HDF5)\n  accepted: one that `save -v7` wrote"
    );
    if !bytes.starts_with(b"MATLAB ") {
        foreign::refuse(&bytes, "a MATLAB file")?;
    }
    let head = bytes.get(..HEADER).context("shorter than the header of a MATLAB file: truncated")?;
    ensure!(
        &head[126..] == b"IM" && head[125] == 1,
        "not a MATLAB file of level 5 with its small ends first, as SVHN's are: begins with {:02x?}",
        &head[..4]
    );
    let (mut rest, mut found) = (&bytes[HEADER..], BTreeMap::new());
    while !rest.is_empty() {
        let (kind, data, after) = element(rest, false).context("a truncated or damaged MATLAB file")?;
        rest = after;
        let inflated;
        let content = match kind {
            COMPRESSED => {
                inflated = inflate(data, most)?;
                let (kind, content, _) =
                    element(&inflated, true).context("a damaged MATLAB file: a compressed variable")?;
                if kind != MATRIX {
                    continue;
                }
                content
            }
            MATRIX => data,
            _ => continue,
        };
        if let Some((name, matrix)) = variable(content, names).context("a damaged MATLAB file")? {
            found.insert(name, matrix);
        }
    }
    Ok(found)
}

/// The plain bytes, if there are no more than a variable may have with its names.
fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>> {
    let most = most + (1 << 16);
    let mut plain = Vec::new();
    ZlibDecoder::new(data).take(most as u64 + 1).read_to_end(&mut plain).context("a truncated or damaged variable")?;
    ensure!(plain.len() <= most, "a variable of more than {most} bytes");
    Ok(plain)
}

/// The first element's type and data, and what follows it.
fn element(bytes: &[u8], last: bool) -> Option<(u32, &[u8], &[u8])> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let tag = word(0)?;
    // Up to four bytes lie within the tag.
    if tag >> 16 != 0 {
        let data = bytes.get(4..8)?.get(..(tag >> 16) as usize)?;
        return Some((tag & 0xFFFF, data, &bytes[8..]));
    }
    let length = word(4)? as usize;
    let data = bytes.get(8..)?.get(..length)?;
    // All but compressed elements fill up to eight bytes.
    let end = 8 + if tag == COMPRESSED || last { length } else { length.checked_next_multiple_of(8)? };
    Some((tag, data, bytes.get(end..).unwrap_or(&[])))
}

/// Name and contents of a variable, if it is one of those and numeric.
fn variable(content: &[u8], names: &[&str]) -> Result<Option<(String, Matrix)>> {
    let next = |bytes| element(bytes, false).context("a variable that is cut short");
    let ((_, flags, rest), class_at) = (next(content)?, 0);
    let class = *flags.get(class_at).context("a variable without a class")?;
    let (_, dimensions, rest) = next(rest)?;
    let (_, name, rest) = next(rest)?;
    let name = String::from_utf8_lossy(name).into_owned();
    // Cells, structures, objects, texts and sparse ones come before the numeric classes; the second byte's fourth bit is for complex ones.
    if !names.contains(&name.as_str()) || !(6..=15).contains(&class) || flags.get(1).is_some_and(|flags| flags & 8 != 0)
    {
        return Ok(None);
    }
    let side = |bytes: &[u8]| usize::try_from(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let shape = dimensions.chunks_exact(4).map(side).collect::<Result<Vec<_>, _>>().context("a negative dimension")?;
    let (kind, data, _) = next(rest)?;
    let values = numbers(kind, data)?;
    let count = match &values {
        Values::Bytes(bytes) => bytes.len(),
        Values::Others(values) => values.len(),
    };
    ensure!(
        shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side)) == Some(count),
        "`{name}` is said to be {shape:?}, and has {count} numbers"
    );
    Ok(Some((name, Matrix { shape, values })))
}

fn numbers(kind: u32, data: &[u8]) -> Result<Values> {
    macro_rules! of {
        ($type:ty) => {
            data.chunks_exact(size_of::<$type>())
                .map(|bytes| bytes.try_into().map_or(f64::NAN, |bytes| <$type>::from_le_bytes(bytes) as f64))
                .collect()
        };
    }
    Ok(Values::Others(match kind {
        2 => return Ok(Values::Bytes(data.to_vec())),
        1 => of!(i8),
        3 => of!(i16),
        4 => of!(u16),
        5 => of!(i32),
        6 => of!(u32),
        7 => of!(f32),
        9 => of!(f64),
        12 => of!(i64),
        13 => of!(u64),
        other => bail!("numbers of the unknown type {other}"),
    }))
}
