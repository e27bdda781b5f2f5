//! `--only FILTER`: which trials are meant.

use toml::Value;

use super::document::plain;
use crate::config::Complaint;

/// Whether every comma-separated term fits a trial of these labels: `KEY=VALUE` compares `method` (the name), an option of
/// the method, `seed`, or a key of another section, whose value `value_of` gives; anything else must be a part of a label.
pub fn fits(filter: &str, labels: &[&str], seed: u64, value_of: impl Fn(&str) -> Option<Value>) -> bool {
    // With a value in it, only whole words: `c0=6` is not `c0=64`.
    let part = |text: &str| match text.contains('=') {
        true => labels.iter().any(|label| format!(" {label} ").contains(&format!(" {text} "))),
        false => labels.iter().any(|label| label.contains(text)),
    };
    // As a whole first: labels can have commas in them.
    part(filter)
        || terms(filter).into_iter().all(|term| match term.split_once('=') {
            Some(("method" | "method.name", name)) => labels.iter().any(|label| label.split(' ').next() == Some(name)),
            Some(("seed", wanted)) => seed.to_string() == wanted,
            Some((key, value)) => {
                // Lists are written without spaces in labels.
                let value = if value.starts_with('[') { &*value.replace(' ', "") } else { value };
                part(&format!("{}={value}", key.trim_start_matches("method.")))
                    || value_of(&dotted(key)).is_some_and(|found| plain(&found) == value)
            }
            None => part(term),
        })
}

/// The terms of a filter: a comma within brackets or quotes belongs to a value.
fn terms(filter: &str) -> Vec<&str> {
    let (mut terms, mut start, mut depth, mut quote) = (Vec::new(), 0, 0usize, None);
    for (at, letter) in filter.char_indices() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('[' | '{' | '(', None) => depth += 1,
            (']' | '}' | ')', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                terms.push(filter[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(filter[start..].trim());
    terms
}

/// The key that a word of a filter stands for.
fn dotted(key: &str) -> String {
    match key {
        "backbone" | "dataset" => format!("{key}.name"),
        _ if key.contains('.') => key.to_string(),
        _ => format!("recipe.{key}"),
    }
}

/// Labels that are shown where a filter fits no trial.
pub const SHOWN: usize = 12;

/// The complaint where no trial of these labels fits.
pub fn none_fits<'a>(filter: &str, labels: impl Iterator<Item = &'a str>) -> Complaint {
    let mut shown: Vec<&str> = labels.take(SHOWN).collect();
    shown.dedup();
    let accepted = format!("KEY=VALUE,... or a part of a label, such as {}", shown.join(" | "));
    Complaint::new(format!("--only {filter}: no trial fits"), filter, accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_within_brackets_or_quotes_belongs_to_the_value() {
        assert_eq!(terms("method=pruned, only=[2, 4] ,seed=1"), ["method=pruned", "only=[2, 4]", "seed=1"]);
        assert_eq!(terms("sources=[\"a,b\"],lr=0.1"), ["sources=[\"a,b\"]", "lr=0.1"]);
        assert_eq!(terms("ghost"), ["ghost"]);
        let fits = |filter: &str| fits(filter, &["pruned only=[2,4] ratio=0.3"], 0, |_| None);
        assert!(fits("method=pruned,only=[2,4]") && fits("method=pruned,only=[2, 4],ratio=0.3"));
        assert!(!fits("method=pruned,only=[2,5]") && !fits("only=[2]"));
    }
}
