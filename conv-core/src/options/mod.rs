//! Options stated once: [`options!`](crate::options!) writes a struct, its defaults, how it is read, and what checks and explains
//! it.
//!
//! ```
//! use conv_core::options::{Described, FACTOR, Kind, at_least};
//!
//! conv_core::options! {
//!     /// A method of some kind.
//!     #[derive(Copy)]
//!     Halves = "halves", "what one line says of it" {
//!         /// Parts of the output.
//!         parts: usize = 2, at_least(2);
//!         /// Side of the kernel; the layer's own when absent.
//!         kernel: Option<usize> = None, Kind::Odd;
//!         /// Share of the channels that each part gets.
//!         share: f64 = 0.5, FACTOR;
//!     }
//!     knob = parts
//! }
//!
//! assert_eq!(Halves::default().parts, 2);
//! let error = Halves { parts: 1, ..Halves::default() }.check_options().unwrap_err().to_string();
//! assert!(error.starts_with("halves: parts = 1 is out of range; accepted: an integer of at least 2"));
//! assert_eq!(Halves::OPTIONS[1].meaning, "Side of the kernel; the layer's own when absent.");
//! assert_eq!(Halves::KNOBS, ["parts"]);
//! ```
//!
//! A field's lines of documentation are its meaning to people who never see the code. A table of results has a column of the
//! field's name; `column = Some("other_name")` at the end of the line gives it another one, and `column = None` none. After the
//! braces, `knob = option` names the option that sets how much a method compresses (several, with commas, where several do it
//! together), and then `check = function` a `fn(&Self) -> candle_core::Result<()>` for what options must hold together. Values
//! may be flags, numbers, texts, [`choice!`](crate::choice!)s, lists and [`Option`]s of them, tables of options (of
//! [`Kind::Table`]), or whatever implements [`OptionType`].

mod kind;

use candle_core::{Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use kind::{Bounds, FACTOR, INSIDE, Kind, Literal, NOT_NEGATIVE, OptionType, POSITIVE, SHARE, at_least};

/// A table of options that knows its own name, keys, ranges and defaults. Written by [`options!`](crate::options!).
pub trait Described: Default + Serialize + DeserializeOwned + 'static {
    /// As an experiment calls it.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
    /// Every option.
    const OPTIONS: &'static [Field];
    /// The options that set how much it compresses: what is solved for, where a network is to meet a budget.
    const KNOBS: &'static [&'static str];

    /// The value of every option, in the order of [`Described::OPTIONS`].
    fn values(&self) -> Vec<Literal<'_>>;

    /// Checks every option's range, then what the options must hold together.
    ///
    /// # Errors
    /// The first option out of its range, with what would be accepted.
    fn check_options(&self) -> Result<()>;
}

/// One option, or one key of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// An option by its bare name (`depth`); a key dotted from the top (`recipe.epochs`).
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// One line for people.
    pub meaning: &'static str,
    /// As a table of results calls its column; none where it has no column of its own.
    pub column: Option<&'static str>,
}

impl Field {
    /// A key by itself, of no table.
    pub const fn new(key: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { key, kind, meaning, column: None }
    }
}

/// Whether an option is left out where its table is written.
#[doc(hidden)]
pub fn is_absent(value: &impl OptionType) -> bool {
    value.literal() == Literal::Absent
}

/// Checks the range of every option of `table`.
#[doc(hidden)]
pub fn check_ranges<T: Described>(table: &T) -> Result<()> {
    for (Field { key, kind, .. }, value) in T::OPTIONS.iter().zip(table.values()) {
        if value != Literal::Absent && !kind.accepts(&value) {
            bail!("{}: {key} = {value} is out of range; accepted: {kind}", T::NAME);
        }
    }
    Ok(())
}

/// Writes a table of options: the struct (`Clone`, `Debug`, `PartialEq`, serde), its defaults, and [`Described`]. See
/// [`options`](crate::options).
#[macro_export]
macro_rules! options {
    (@column $key:ident) => { Some(stringify!($key)) };
    (@column $key:ident $column:expr) => { $column };
    (
        $(#[$meta:meta])*
        $table:ident = $name:literal, $about:literal {
            $( $(#[doc = $meaning:literal])+ $key:ident : $type:ty = $default:expr, $kind:expr $(, column = $column:expr)?; )*
        }
        $(knob = $($knob:ident),+)?
        $(check = $check:expr)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "conv_core::serde", default, deny_unknown_fields)]
        pub struct $table {
            $(
                $(#[doc = $meaning])+
                #[serde(skip_serializing_if = "conv_core::options::is_absent")]
                pub $key: $type,
            )*
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }

        impl $crate::options::Described for $table {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
            const OPTIONS: &'static [$crate::options::Field] = &[$(
                $crate::options::Field {
                    key: stringify!($key),
                    kind: $kind,
                    meaning: concat!($($meaning),+).trim_ascii(),
                    column: $crate::options!(@column $key $($column)?),
                }
            ),*];
            const KNOBS: &'static [&'static str] = &[$($({
                // Names an option, or does not compile.
                let _ = |table: &Self| {
                    let _ = &table.$knob;
                };
                stringify!($knob)
            }),+)?];

            fn values(&self) -> Vec<$crate::options::Literal<'_>> {
                vec![$($crate::options::OptionType::literal(&self.$key)),*]
            }

            fn check_options(&self) -> $crate::candle_core::Result<()> {
                $crate::options::check_ranges(self)?;
                $( let check: fn(&Self) -> $crate::candle_core::Result<()> = $check; check(self)?; )?
                Ok(())
            }
        }

        impl $crate::options::OptionType for $table {
            fn literal(&self) -> $crate::options::Literal<'_> {
                $crate::options::Literal::Table
            }
        }
    };
}

/// Writes an option that is one of a few names: the enum, how it is read, and [`OptionType`].
///
/// ```
/// use conv_core::options::Kind;
///
/// conv_core::choice! {
///     /// How channels pass a stride.
///     Downsample {
///         /// Mean of each window.
///         Average = "average",
///         /// Every n-th pixel.
///         Slice = "slice",
///     }
/// }
///
/// assert_eq!(Kind::Choice(Downsample::names).to_string(), "one of average, slice");
/// ```
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $choice:ident { $( $(#[$about:meta])+ $variant:ident = $name:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "conv_core::serde")]
        pub enum $choice {
            $( $(#[$about])+ #[serde(rename = $name)] $variant, )+
        }

        impl $choice {
            /// Every name, as an experiment writes it.
            pub fn names() -> Vec<&'static str> {
                vec![$($name),+]
            }

            /// Its name, as an experiment writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl $crate::options::OptionType for $choice {
            fn literal(&self) -> $crate::options::Literal<'_> {
                $crate::options::Literal::Text(self.name().into())
            }
        }
    };
}
