//! A condition's text -> its words, values and signs.

use toml::Value;

use crate::config::error::Complaint;

/// A word, value or sign of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A key or a text without quotes.
    Word(String),
    /// A number or a text in quotes.
    Literal(Value),
    /// An operator, a bracket or a comma.
    Symbol(&'static str),
}

const SYMBOLS: [&str; 13] = ["<=", ">=", "!=", "==", "&&", "||", "=", "<", ">", "(", ")", "[", "]"];

/// Takes a condition's text apart.
///
/// # Errors
/// What no condition has in it.
pub fn tokens(text: &str) -> Result<Vec<Token>, Complaint> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let run = |fits: fn(char) -> bool| rest.split_at(rest.find(|c| !fits(c)).unwrap_or(rest.len()));
        if first.is_ascii_alphabetic() || first == '_' {
            let (word, tail) = run(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
            tokens.push(Token::Word(word.into()));
            rest = tail;
        } else if first.is_ascii_digit() || "+-.".contains(first) {
            let (digits, tail) = run(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
            tokens.push(Token::Literal(number_of(digits)?));
            rest = tail;
        } else if first == '\'' || first == '"' {
            let Some((inside, tail)) = rest[1..].split_once(first) else {
                return Err(Complaint::new("a text in quotes does not end", rest, format!("{first} at its end")));
            };
            tokens.push(Token::Literal(Value::String(inside.into())));
            rest = tail;
        } else if let Some(symbol) = SYMBOLS.iter().chain(&[","]).find(|symbol| rest.starts_with(**symbol)) {
            let instead = match *symbol {
                "==" => "=",
                "&&" => "and",
                "||" => "or",
                _ => "",
            };
            if !instead.is_empty() {
                let complaint =
                    Complaint::new(format!("unknown operator `{symbol}`"), format!("`{symbol}`"), OPERATORS);
                return Err(complaint.help(format!("did you mean `{instead}`?")));
            }
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let complaint = Complaint::new("a character that no condition has", format!("`{first}`"), OPERATORS);
            return Err(if first == '!' { complaint.help("did you mean `not`?") } else { complaint });
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

const OPERATORS: &str = "= != < <= > >= in [..], and, or, not, ( )";

fn number_of(text: &str) -> Result<Value, Complaint> {
    let plain = text.replace('_', "");
    let integer = plain.parse().ok().map(Value::Integer);
    let number = || plain.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float);
    integer
        .or_else(number)
        .ok_or_else(|| Complaint::new("this is no number", format!("`{text}`"), "e.g. 3, 0.1 or 2e6"))
}

/// The complaint about a token in the wrong place; none: about the end.
pub fn unexpected(token: Option<&Token>, accepted: &str) -> Complaint {
    let found = match token {
        None => "its end".to_string(),
        Some(Token::Word(word)) => format!("`{word}`"),
        Some(Token::Literal(value)) => value.to_string(),
        Some(Token::Symbol(symbol)) => format!("`{symbol}`"),
    };
    Complaint::new("the condition cannot be read", found, accepted)
}
