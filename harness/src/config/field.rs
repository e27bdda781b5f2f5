//! Keys of an experiment, each with its type, range and meaning: what checks a file also explains it.

use std::fmt;

use toml::Value;

use super::error::{Complaint, nearest};

/// One key, or one option of a method.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Dotted from the top (`recipe.epochs`); an option of a method by its bare name (`depth`).
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// One line for people.
    pub meaning: &'static str,
}

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
    Filled(&'static Kind),
    /// A single value, or a list of such.
    OneOrList(&'static Kind),
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
pub const POSITIVE: Kind =
    Kind::Number(Bounds { low: 0.0, low_included: false, high: f64::INFINITY, high_included: false });
/// A number of at least 0.
pub const NOT_NEGATIVE: Kind =
    Kind::Number(Bounds { low: 0.0, low_included: true, high: f64::INFINITY, high_included: false });
/// A number in [0, 1).
pub const SHARE: Kind = Kind::Number(Bounds { low: 0.0, low_included: true, high: 1.0, high_included: false });
/// A number in (0, 1].
pub const FACTOR: Kind = Kind::Number(Bounds { low: 0.0, low_included: false, high: 1.0, high_included: true });
/// A number in (0, 1).
pub const INSIDE: Kind = Kind::Number(Bounds { low: 0.0, low_included: false, high: 1.0, high_included: false });

impl Kind {
    /// Whether `value` has the type, whatever its range. Decides what an array in a `[[grid]]` means.
    pub fn has_type(&self, value: &Value) -> bool {
        match self {
            Self::Flag => value.is_bool(),
            Self::Integer(..) | Self::Odd => value.is_integer(),
            Self::Number(_) => value.is_integer() || value.is_float(),
            Self::Text | Self::Choice(_) | Self::Form(..) => value.is_str(),
            Self::List(element) | Self::Filled(element) => {
                value.as_array().is_some_and(|list| list.iter().all(|v| element.has_type(v)))
            }
            Self::OneOrList(element) => element.has_type(value) || Self::List(element).has_type(value),
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
    pub fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Integer(low, high) => value.as_integer().is_some_and(|v| (*low..=*high).contains(&v)),
            Self::Odd => value.as_integer().is_some_and(|v| v > 0 && v % 2 == 1),
            Self::Number(bounds) => number(value).is_some_and(|v| bounds.contains(v)),
            Self::Choice(names) => value.as_str().is_some_and(|v| names().contains(&v)),
            Self::Form(fits, _) => value.as_str().is_some_and(fits),
            Self::List(element) => value.as_array().is_some_and(|list| list.iter().all(|v| element.accepts(v))),
            Self::Filled(element) => {
                value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(|v| element.accepts(v)))
            }
            Self::OneOrList(element) => element.accepts(value) || Self::Filled(element).accepts(value),
            Self::Flag | Self::Text => self.has_type(value),
        }
    }
}

impl Field {
    /// Checks type and range; `shown` is how messages call the key.
    ///
    /// # Errors
    /// What was found and what would be accepted.
    pub fn check(&self, shown: &str, value: &Value) -> Result<(), Complaint> {
        if self.kind.accepts(value) {
            return Ok(());
        }
        let what = match (&self.kind, value) {
            _ if !self.kind.has_type(value) => format!("`{shown}` has the wrong type"),
            (Kind::Choice(_), Value::String(name)) => format!("unknown `{shown}` \"{name}\""),
            (_, Value::Array(list)) if list.is_empty() => format!("`{shown}` is empty"),
            _ => format!("`{shown}` is out of range"),
        };
        let complaint = Complaint::new(what, describe(value), self.kind.to_string());
        if let (Kind::Choice(names), Some(found)) = (&self.kind, value.as_str())
            && let Some(name) = nearest(found, &names())
        {
            return Err(complaint.help(format!("did you mean \"{name}\"?")));
        }
        Err(complaint)
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
            Self::Filled(element) => write!(f, "a list of at least one element, each {element}"),
            Self::OneOrList(element) => write!(f, "{element}, or a list of such"),
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

/// The value as TOML with its type, cut to a line.
pub fn describe(value: &Value) -> String {
    let text = value.to_string();
    let shown: String =
        if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text };
    let kind = match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "a flag",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    format!("{shown} ({kind})")
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|v| v as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.parse::<Value>().unwrap()
    }

    #[test]
    fn ranges_keep_their_ends() {
        for (kind, accepted, refused) in [
            (SHARE, "0", "1"),
            (SHARE, "0.999", "-0.001"),
            (FACTOR, "1", "0"),
            (POSITIVE, "1e-9", "0.0"),
            (POSITIVE, "1", "inf"),
            (NOT_NEGATIVE, "0", "nan"),
            (Kind::Integer(0, 6), "6", "7"),
            (at_least(1), "1", "0"),
            (at_least(1), "1", "1.0"),
            (Kind::Odd, "3", "4"),
            (Kind::OneOrList(&SHARE), "[0.1, 0.2]", "[]"),
            (Kind::OneOrList(&SHARE), "0.1", "[0.1, 1.5]"),
            (Kind::List(&Kind::Integer(1, 9)), "[]", "[0]"),
            (Kind::Filled(&Kind::Text), "['a']", "[]"),
        ] {
            assert!(kind.accepts(&value(accepted)), "{kind} takes {accepted}");
            assert!(!kind.accepts(&value(refused)), "{kind} refuses {refused}");
        }
    }

    #[test]
    fn complaints_tell_type_from_range() {
        let field = Field { key: "recipe.epochs", kind: at_least(1), meaning: "" };
        let wrong = field.check("recipe.epochs", &value("'ten'")).unwrap_err();
        assert_eq!(
            (wrong.what.as_str(), wrong.found.as_str()),
            ("`recipe.epochs` has the wrong type", "\"ten\" (a text)")
        );
        let wrong = field.check("recipe.epochs", &value("0")).unwrap_err();
        assert_eq!(
            (wrong.what.as_str(), wrong.accepted.as_str()),
            ("`recipe.epochs` is out of range", "an integer of at least 1")
        );
    }
}
