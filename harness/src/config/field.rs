//! Keys of an experiment, each with its type, range and meaning: what checks a file also explains it.

pub use conv_core::options::{Bounds, FACTOR, Field, INSIDE, Kind, Literal, NOT_NEGATIVE, POSITIVE, SHARE, at_least};
use toml::Value;

use super::error::{Complaint, nearest};
use super::hints;

/// A value of a file as a [`Kind`] sees it.
pub fn literal(value: &Value) -> Literal<'_> {
    match value {
        Value::Boolean(value) => Literal::Flag(*value),
        Value::Integer(value) => Literal::Integer((*value).into()),
        Value::Float(value) => Literal::Number(*value),
        Value::String(text) => Literal::Text(text.into()),
        Value::Array(list) => Literal::List(list.iter().map(literal).collect()),
        Value::Datetime(_) => Literal::Other("a date"),
        Value::Table(_) => Literal::Table,
    }
}

/// Checks a value of a file against a [`Field`].
pub trait Check {
    /// Checks type and range; `shown` is how messages call the key.
    ///
    /// # Errors
    /// What was found and what would be accepted.
    fn check(&self, shown: &str, value: &Value) -> Result<(), Complaint>;
}

impl Check for Field {
    fn check(&self, shown: &str, value: &Value) -> Result<(), Complaint> {
        if self.kind.accepts(&literal(value)) {
            return Ok(());
        }
        let what = match (&self.kind, value) {
            _ if !self.kind.has_type(&literal(value)) => format!("`{shown}` has the wrong type"),
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
        // What a person means by a value without brackets or quotes is plain, but not what TOML reads it as.
        let written = match (&self.kind, value) {
            (Kind::List(_) | Kind::NonEmptyList(_), Value::String(_) | Value::Integer(_) | Value::Float(_)) => {
                Some(format!("write [{value}], in brackets"))
            }
            (Kind::Form(..), Value::Datetime(_)) => Some(format!("write \"{value}\", in quotes")),
            (Kind::Integer(..), Value::Float(float)) if float.fract() == 0.0 && float.abs() < 1e15 => {
                Some(format!("write {float:.0}"))
            }
            _ => None,
        };
        if let Some(written) = written.filter(|_| !self.kind.has_type(&literal(value))) {
            return Err(complaint.help(written));
        }
        if let (true, Some(hint)) = (self.kind.is_number(), value.as_str().and_then(hints::number)) {
            return Err(complaint.help(hint));
        }
        Err(complaint)
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
            (Kind::NonEmptyList(&Kind::Text), "['a']", "[]"),
        ] {
            assert!(kind.accepts(&literal(&value(accepted))), "{kind} takes {accepted}");
            assert!(!kind.accepts(&literal(&value(refused))), "{kind} refuses {refused}");
        }
    }

    #[test]
    fn complaints_tell_type_from_range() {
        let field = Field::new("recipe.epochs", at_least(1), "");
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
        let rate = Field::new("recipe.lr", POSITIVE, "");
        let help = |text: &str| rate.check("recipe.lr", &value(text)).unwrap_err().help;
        assert_eq!(help("'.1'").as_deref(), Some("write 0.1"));
        assert_eq!(help("'0,1'").as_deref(), Some("write 0.1, with a point"));
    }
}
