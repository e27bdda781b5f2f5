//! Quantities that files write as texts, with their units.

use std::fmt;

use conv_core::options::Kind;

/// What a number of bytes may be written as.
pub const SIZE: Kind = Kind::Form(|text| bytes(text).is_some(), "a size, e.g. \"500MiB\", \"4GiB\", \"4G\"");

/// A number of bytes, as files write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
}

/// A type whose values stand in files as texts, read by a function and written as they are displayed.
macro_rules! text_form {
    ($($type:ty, $read:expr;)*) => {
        $(
            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                    $read(&text).ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" cannot be read")))
                }
            }

            impl conv_core::options::OptionType for $type {
                fn literal(&self) -> conv_core::options::Literal<'_> {
                    conv_core::options::Literal::Text(self.to_string().into())
                }
            }
        )*
    };
}

pub(crate) use text_form;

text_form! {
    Size, |text| bytes(text).map(Size);
}

/// `500MiB`, `4GiB`, `2GB`, `1024B`, and `4G` or `500M` as Slurm has them, which are of 1024: bytes; more than nothing.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" | "K" | "k" => 1024.0,
        "MiB" | "M" | "m" => 1048576.0,
        "GiB" | "G" | "g" => 1073741824.0,
        "TiB" | "T" | "t" => 1099511627776.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..1e18).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!((bytes("4G"), bytes("500m"), bytes("1T")), (Some(4 << 30), Some(500 << 20), Some(1 << 40)));
        assert_eq!(bytes("1.5GiB"), Some(3 << 29));
        assert_eq!(bytes("500 MB"), Some(500_000_000));
        for refused in ["", "4", "GiB", "0MB", "-4GiB", "4gib", "1e30GB"] {
            assert_eq!(bytes(refused), None, "{refused}");
        }
    }
}
