//! The values that options take, and values as they are looked at.

use std::borrow::Cow;
use std::fmt;

use super::Field;

/// The values that a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// An integer, both ends included.
    Integer(i64, i64),
    /// An odd integer of at least 1.
    Odd,
    /// A number; integers count as numbers.
    Number(Bounds),
    /// Any text.
    Text,
    /// One of these texts.
    Choice(fn() -> Vec<&'static str>),
    /// A text of a certain form: the test it has to pass, and what would be accepted in words.
    Form(fn(&str) -> bool, &'static str),
    /// A list; may be empty.
    List(&'static Kind),
    /// A list of at least one element.
    NonEmptyList(&'static Kind),
    /// A single value, or a list of such.
    OneOrList(&'static Kind),
    /// A table of options of its own.
    Table(&'static [Field]),
}

/// Ends of a range of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Lower end.
    pub low: f64,
    /// Whether the lower end itself is accepted.
    pub low_included: bool,
    /// Upper end; infinite: none.
    pub high: f64,
    /// Whether the upper end itself is accepted.
    pub high_included: bool,
}

/// An integer of at least `low`.
pub const fn at_least(low: i64) -> Kind {
    Kind::Integer(low, i64::MAX)
}

/// A number above 0.
pub const POSITIVE: Kind = between(0.0, false, f64::INFINITY, false);
/// A number of at least 0.
pub const NOT_NEGATIVE: Kind = between(0.0, true, f64::INFINITY, false);
/// A number in [0, 1).
pub const SHARE: Kind = between(0.0, true, 1.0, false);
/// A number in (0, 1].
pub const FACTOR: Kind = between(0.0, false, 1.0, true);
/// A number in (0, 1).
pub const INSIDE: Kind = between(0.0, false, 1.0, false);

const fn between(low: f64, low_included: bool, high: f64, high_included: bool) -> Kind {
    Kind::Number(Bounds { low, low_included, high, high_included })
}

/// A value as a [`Kind`] sees it, whatever it was written in.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal<'a> {
    /// Nothing: an option that is left out.
    Absent,
    /// `true` or `false`.
    Flag(bool),
    /// An integer.
    Integer(i128),
    /// A number with a fraction.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Literal<'a>>),
    /// A table.
    Table,
    /// What no option is made of, by its name.
    Other(&'a str),
}

/// A type that an option can have.
pub trait OptionType {
    /// Its value, to be checked.
    fn literal(&self) -> Literal<'_>;
}

impl OptionType for bool {
    fn literal(&self) -> Literal<'_> {
        Literal::Flag(*self)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl OptionType for $type {
            fn literal(&self) -> Literal<'_> {
                Literal::Integer(*self as i128)
            }
        })*
    };
}
integers!(u8, u16, u32, u64, usize, i32, i64);

impl OptionType for f64 {
    fn literal(&self) -> Literal<'_> {
        Literal::Number(*self)
    }
}

impl OptionType for String {
    fn literal(&self) -> Literal<'_> {
        Literal::Text(self.into())
    }
}

impl<T: OptionType> OptionType for Option<T> {
    fn literal(&self) -> Literal<'_> {
        self.as_ref().map_or(Literal::Absent, T::literal)
    }
}

impl<T: OptionType> OptionType for Vec<T> {
    fn literal(&self) -> Literal<'_> {
        Literal::List(self.iter().map(T::literal).collect())
    }
}

impl Kind {
    /// Whether `value` has the type, whatever its range.
    pub fn has_type(&self, value: &Literal<'_>) -> bool {
        match (self, value) {
            (Self::Flag, Literal::Flag(_))
            | (Self::Integer(..) | Self::Odd | Self::Number(_), Literal::Integer(_))
            | (Self::Number(_), Literal::Number(_))
            | (Self::Text | Self::Choice(_) | Self::Form(..), Literal::Text(_))
            | (Self::Table(_), Literal::Table) => true,
            (Self::List(element) | Self::NonEmptyList(element), Literal::List(list)) => {
                list.iter().all(|v| element.has_type(v))
            }
            (Self::OneOrList(element), value) => element.has_type(value) || Self::List(element).has_type(value),
            _ => false,
        }
    }

    /// Whether its values are numbers (or may be lists of such), and so have an order.
    pub fn is_number(&self) -> bool {
        match self {
            Self::Integer(..) | Self::Odd | Self::Number(_) => true,
            Self::OneOrList(element) => element.is_number(),
            _ => false,
        }
    }

    /// Whether `value` has the type and lies in the range.
    pub fn accepts(&self, value: &Literal<'_>) -> bool {
        match (self, value) {
            (Self::Integer(low, high), Literal::Integer(v)) => (i128::from(*low)..=i128::from(*high)).contains(v),
            (Self::Odd, Literal::Integer(v)) => *v > 0 && v % 2 == 1,
            (Self::Number(bounds), Literal::Integer(v)) => bounds.contains(*v as f64),
            (Self::Number(bounds), Literal::Number(v)) => bounds.contains(*v),
            (Self::Choice(names), Literal::Text(text)) => names().contains(&&**text),
            (Self::Form(fits, _), Literal::Text(text)) => fits(text),
            (Self::List(element), Literal::List(list)) => list.iter().all(|v| element.accepts(v)),
            (Self::NonEmptyList(element), Literal::List(list)) => {
                !list.is_empty() && list.iter().all(|v| element.accepts(v))
            }
            (Self::OneOrList(element), value) => element.accepts(value) || Self::NonEmptyList(element).accepts(value),
            _ => self.has_type(value),
        }
    }
}

impl Bounds {
    fn contains(&self, value: f64) -> bool {
        let above = if self.low_included { value >= self.low } else { value > self.low };
        let below = if self.high_included { value <= self.high } else { value < self.high };
        // Infinity is above every bound and still no usable number.
        above && below && value.is_finite()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer(low, i64::MAX) => write!(f, "an integer of at least {low}"),
            Self::Integer(low, high) => write!(f, "an integer from {low} to {high}"),
            Self::Odd => f.write_str("an odd integer of at least 1"),
            Self::Number(bounds) => bounds.fmt(f),
            Self::Text => f.write_str("a text in quotes"),
            Self::Choice(names) => write!(f, "one of {}", names().join(", ")),
            Self::Form(_, accepted) => f.write_str(accepted),
            Self::List(element) => write!(f, "a list, each element {element}"),
            Self::NonEmptyList(element) => write!(f, "a list of at least one element, each {element}"),
            Self::OneOrList(element) => write!(f, "{element}, or a list of such"),
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, low_included, high, high_included } = *self;
        match (low_included, high.is_infinite()) {
            (true, true) => write!(f, "a number of at least {low}"),
            (false, true) => write!(f, "a number above {low}"),
            (_, false) => {
                let (open, close) = (if low_included { '[' } else { '(' }, if high_included { ']' } else { ')' });
                write!(f, "a number in {open}{low}, {high}{close}")
            }
        }
    }
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Flag(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Table => f.write_str("a table"),
            Self::Other(name) => f.write_str(name),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_ends() {
        let (integer, number) = (Literal::Integer, Literal::Number);
        for (kind, accepted, refused) in [
            (SHARE, integer(0), integer(1)),
            (SHARE, number(0.999), number(-0.001)),
            (FACTOR, integer(1), integer(0)),
            (POSITIVE, number(1e-9), number(0.0)),
            (POSITIVE, integer(1), number(f64::INFINITY)),
            (NOT_NEGATIVE, integer(0), number(f64::NAN)),
            (Kind::Integer(0, 6), integer(6), integer(7)),
            (at_least(1), integer(1), integer(0)),
            (at_least(1), integer(1), number(1.0)),
            (Kind::Odd, integer(3), integer(4)),
            (Kind::OneOrList(&SHARE), Literal::List(vec![number(0.1), number(0.2)]), Literal::List(vec![])),
            (Kind::OneOrList(&SHARE), number(0.1), Literal::List(vec![number(0.1), number(1.5)])),
            (Kind::List(&Kind::Integer(1, 9)), Literal::List(vec![]), Literal::List(vec![integer(0)])),
            (Kind::NonEmptyList(&Kind::Text), Literal::List(vec![Literal::Text("a".into())]), Literal::List(vec![])),
            (Kind::Flag, Literal::Flag(false), integer(0)),
            (Kind::Text, Literal::Text("".into()), Literal::Absent),
        ] {
            assert!(kind.accepts(&accepted), "{kind} takes {accepted}");
            assert!(!kind.accepts(&refused), "{kind} refuses {refused}");
        }
    }
}
