//! Conditions: `method.depth >= 3 and not (recipe.lr in [0.1, 0.2] or backbone = vgg16)`.
//!
//! A test compares a key with a value: `=`, `!=`, `<`, `<=`, `>`, `>=`, `in [..]`, `not in [..]`. Tests are joined by `and`,
//! `or` (binds less), `not` and parentheses. Keys are those of a file, dotted, or as labels show them (`lr`, `depth`,
//! `backbone`); what they are compared with is what a trial has, defaults included. `params`, `macs`, `macs_share` (of
//! vanilla's) and `seed` can be asked for too. Texts need quotes only where they hold other than letters, digits, `_`, `-`
//! and `.`.
//!
//! **A test of an option that a trial's method has not, or that is left unset and has no default, does not hold**; `!=` and
//! `not in` are the opposites of `=` and `in`, and do.

use std::borrow::Cow;

use toml::Value;

use super::keys::{Key, Keys, TypedKey};
use super::tokens::{Token, tokens, unexpected};
use super::vocabulary::resolve;
use crate::config::error::Complaint;

/// Deeper nesting is a slip, and would cost stack.
const DEEPEST: usize = 64;

/// A condition as a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// Every one holds.
    All(Vec<Expression>),
    /// Any one holds.
    Any(Vec<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
    /// The key's value compares so with one of these.
    Test(Key, Operator, Vec<Value>),
}

/// How a key's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`, `in`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is no condition; keys that do not exist; values that a key never has.
    pub fn parse(keys: &Keys, text: &str) -> Result<Self, Complaint> {
        let mut parser = Parser { keys, tokens: tokens(text)?, at: 0 };
        let expression = parser.any(0)?;
        match parser.next() {
            None => Ok(expression),
            Some(token) => Err(unexpected(Some(&token), "`and`, `or`, or the end")),
        }
    }

    /// Whether it holds, given what a trial has under each key.
    pub fn holds<'a>(&self, value: &impl Fn(&Key) -> Option<Cow<'a, Value>>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(value)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(value)),
            Self::Not(part) => !part.holds(value),
            Self::Test(key, operator, wanted) => {
                value(key).is_some_and(|found| wanted.iter().any(|wanted| operator.holds(&found, wanted)))
            }
        }
    }

    /// Whether it asks for such a key.
    pub fn asks(&self, such: &impl Fn(&Key) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.asks(such)),
            Self::Not(part) => part.asks(such),
            Self::Test(key, ..) => such(key),
        }
    }
}

impl Operator {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (number(found), number(wanted)) {
            (Some(found), Some(wanted)) => found.partial_cmp(&wanted),
            _ => same(found, wanted).then_some(Equal),
        };
        match self {
            Self::Equal => order == Some(Equal),
            Self::Less => order == Some(Less),
            Self::LessEqual => matches!(order, Some(Less | Equal)),
            Self::Greater => order == Some(Greater),
            Self::GreaterEqual => matches!(order, Some(Greater | Equal)),
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => number(a).zip(number(b)).map_or_else(|| a == b, |(a, b)| a == b),
    }
}

struct Parser<'k> {
    keys: &'k Keys,
    tokens: Vec<Token>,
    at: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Goes on if the next token is this word or symbol.
    fn skip(&mut self, what: &str) -> bool {
        let there = match self.tokens.get(self.at) {
            Some(Token::Word(word)) => word == what,
            Some(Token::Symbol(symbol)) => *symbol == what,
            _ => false,
        };
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Complaint> {
        if self.skip(symbol) { Ok(()) } else { Err(unexpected(self.tokens.get(self.at), &format!("`{symbol}`"))) }
    }

    fn any(&mut self, depth: usize) -> Result<Expression, Complaint> {
        let mut parts = vec![self.all(depth)?];
        while self.skip("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() > 1 { Expression::Any(parts) } else { parts.remove(0) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Complaint> {
        let mut parts = vec![self.one(depth)?];
        while self.skip("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() > 1 { Expression::All(parts) } else { parts.remove(0) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, Complaint> {
        if depth == DEEPEST {
            return Err(Complaint::new("the condition is nested too deeply", "", format!("at most {DEEPEST} levels")));
        }
        if self.skip("not") {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.skip("(") {
            let inside = self.any(depth + 1)?;
            return self.expect(")").map(|()| inside);
        }
        match self.next() {
            Some(Token::Word(word)) => self.test(&word),
            token => Err(unexpected(token.as_ref(), "a key, e.g. method.depth or lr")),
        }
    }

    fn test(&mut self, word: &str) -> Result<Expression, Complaint> {
        let name = resolve(self.keys, word)?;
        let negated = self.skip("not");
        if self.skip("in") {
            self.expect("[")?;
            let values = self.list(false)?;
            if values.is_empty() {
                return Err(Complaint::new(format!("`{word} in []` never holds"), "[]", "at least one value"));
            }
            values.iter().try_for_each(|value| name.check(word, value))?;
            return Ok(opposite(negated, Expression::Test(name.key, Operator::Equal, values)));
        }
        let operator = match self.next() {
            Some(Token::Symbol("=")) if !negated => (false, Operator::Equal),
            Some(Token::Symbol("!=")) if !negated => (true, Operator::Equal),
            Some(Token::Symbol("<")) if !negated => (false, Operator::Less),
            Some(Token::Symbol("<=")) if !negated => (false, Operator::LessEqual),
            Some(Token::Symbol(">")) if !negated => (false, Operator::Greater),
            Some(Token::Symbol(">=")) if !negated => (false, Operator::GreaterEqual),
            token if negated => return Err(unexpected(token.as_ref(), "`in [..]`")),
            token => {
                return Err(unexpected(token.as_ref(), &format!("`{word}` with = != < <= > >= or in [..] after it")));
            }
        };
        let value = self.value()?;
        self.compare(word, name, operator, value)
    }

    fn compare(
        &self,
        word: &str,
        name: TypedKey,
        (negated, operator): (bool, Operator),
        value: Value,
    ) -> Result<Expression, Complaint> {
        if operator != Operator::Equal && !(name.has_order() && number(&value).is_some()) {
            let what = format!("`{word}` cannot be more or less than this");
            let accepted = if name.has_order() { "a number" } else { "= != or in [..]: its values have no order" };
            return Err(Complaint::new(what, crate::config::field::describe(&value), accepted));
        }
        name.check(word, &value)?;
        Ok(opposite(negated, Expression::Test(name.key, operator, vec![value])))
    }

    fn value(&mut self) -> Result<Value, Complaint> {
        match self.next() {
            Some(Token::Word(word)) if word == "true" || word == "false" => Ok(Value::Boolean(word == "true")),
            Some(Token::Word(word)) => Ok(Value::String(word)),
            Some(Token::Literal(value)) => Ok(value),
            Some(Token::Symbol("[")) => self.list(true).map(Value::Array),
            token => Err(unexpected(token.as_ref(), "a number, a text, true, false or a list")),
        }
    }

    /// What follows `[`; `plain`: no lists in it.
    fn list(&mut self, plain: bool) -> Result<Vec<Value>, Complaint> {
        let mut values = Vec::new();
        while !self.skip("]") {
            if !values.is_empty() {
                self.expect(",")?;
                if self.skip("]") {
                    break;
                }
            }
            if plain && self.tokens.get(self.at) == Some(&Token::Symbol("[")) {
                return Err(unexpected(self.tokens.get(self.at), "a list of plain values"));
            }
            values.push(self.value()?);
        }
        Ok(values)
    }
}

fn opposite(negated: bool, test: Expression) -> Expression {
    if negated { Expression::Not(Box::new(test)) } else { test }
}

#[cfg(test)]
mod tests {
    use super::super::document::Entry;
    use super::super::sample;
    use super::super::vocabulary::value_of;
    use super::*;
    use crate::config::error::At;

    fn holds(text: &str) -> bool {
        let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.parse().unwrap(), at: At::File };
        let entries = [
            entry("method.name", "'compconv'"),
            entry("method.depth", "3"),
            entry("recipe.lr", "0.1"),
            entry("recipe.milestones", "[0.5, 0.75]"),
            entry("backbone.name", "'vgg16'"),
        ];
        let value = |key: &Key| match key {
            Key::Set(key) => value_of(sample::keys(), &entries, key),
            Key::Macs => Some(Cow::Owned(Value::Integer(2_000_000))),
            Key::MacsShare => Some(Cow::Owned(Value::Float(0.25))),
            Key::Params => Some(Cow::Owned(Value::Integer(7))),
            Key::Seed => Some(Cow::Owned(Value::Integer(4))),
        };
        Expression::parse(sample::keys(), text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&value)
    }

    #[test]
    fn what_holds_and_what_does_not() {
        for text in [
            "method.depth = 3",
            "depth >= 3 and lr > 0.05",
            "depth=3 and lr<=1e-1",
            "depth != 2",
            "not depth = 2",
            "method = compconv",
            "method.name = 'compconv'",
            "backbone in [vgg16, \"resnet20\"]",
            "backbone not in [resnet20, resnet32,]",
            "recipe.milestones = [0.5, 0.75]",
            "milestones in [[0.5], [0.5, 0.75]]",
            // Defaults, of the recipe and of the method.
            "epochs = 10 and shuffle = 2 and tail = depthwise and backbone.replace.stem = false",
            "macs < 2e6 or macs_share <= 0.25",
            "params = 7 and seed > 3.5",
            // `and` binds more than `or`.
            "depth = 3 or depth = 2 and lr = 7",
            "(depth = 2 or depth = 3) and not (lr = 7 or lr = 8)",
            // What the method has not, or what has no default.
            "not width = 0.5",
            "width != 0.5",
            "not c0 <= 8",
        ] {
            assert!(holds(text), "{text}");
            assert!(!holds(&format!("not ({text})")), "not ({text})");
        }
        assert!(!holds("width < 0.5 or width >= 0.5"), "no value of an option that is not there");
    }

    #[test]
    fn slips_are_explained() {
        for (text, part) in [
            ("method.dept = 1", "did you mean `method.depth`?"),
            ("dept = 1", "did you mean `depth`?"),
            ("recipe.depth = 1", "did you mean `method.depth`?"),
            ("frobnicate = 1", "unknown key `frobnicate` in a condition"),
            ("run.threads = 1", "unknown key"),
            ("depth == 3", "did you mean `=`?"),
            ("depth = 3 && lr = 1", "did you mean `and`?"),
            ("!(depth = 3)", "did you mean `not`?"),
            ("method = compcon", "did you mean \"compconv\"?"),
            ("depth = two", "an integer from 0 to 6"),
            ("lr > fast", "accepted: a number"),
            ("method > ghost", "no order"),
            ("test = 1", "true or false"),
            ("depth", "with = != < <= > >= or in [..] after it"),
            ("depth = ", "its end"),
            ("depth in 3", "accepted: `[`"),
            ("depth in []", "never holds"),
            ("depth in [1, two]", "an integer from 0 to 6"),
            ("depth = 3 lr = 1", "`and`, `or`, or the end"),
            ("(depth = 3", "accepted: `)`"),
            ("", "a key, e.g. method.depth or lr"),
            ("depth = 'three", "does not end"),
            ("lr = 0.1.2", "this is no number"),
            ("lr = 1e999", "this is no number"),
            ("milestones in [[[0.5]]]", "a list of plain values"),
            ("0.1 < lr", "a key, e.g."),
            ("lr ? 1", "a character that no condition has"),
        ] {
            let error = Expression::parse(sample::keys(), text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let nested = "(".repeat(100_000) + "lr = 1";
        assert!(Expression::parse(sample::keys(), &nested).unwrap_err().to_string().contains("nested too deeply"));
        assert!(Expression::parse(sample::keys(), &("not ".repeat(100_000) + "lr = 1")).is_err());
    }
}
