//! The words of conditions, and what a setting has under each key.

use std::borrow::{Borrow, Cow};

use toml::Value;

use super::document::{Entry, find};
use super::keys::{Keys, TypedKey};
use crate::config::Complaint;
use crate::config::error::nearest;

/// The key that a word of a condition names: dotted, or as labels show it.
///
/// # Errors
/// A word that names none, or several.
pub fn resolve(keys: &Keys, word: &str) -> Result<TypedKey, Complaint> {
    let known = &keys.names;
    if let Some((_, name)) = known.iter().find(|(dotted, _)| dotted == word) {
        return Ok(name.clone());
    }
    let mut fitting: Vec<&(String, TypedKey)> = known.iter().filter(|(dotted, _)| short(dotted) == word).collect();
    // Methods name their options as they please: beside a key of the same name, the option is meant.
    if let Some(option) = fitting.iter().position(|(dotted, _)| dotted.starts_with("method.")) {
        fitting = vec![fitting[option]];
    }
    match fitting[..] {
        [(_, name)] => Ok(name.clone()),
        [] => {
            let names = known.iter().flat_map(|(dotted, _)| [dotted.as_str(), short(dotted)]).collect::<Vec<_>>();
            let accepted = "keys such as method.depth or lr, and params, macs, macs_share, seed";
            let complaint =
                Complaint::new(format!("unknown key `{word}` in a condition"), format!("`{word}`"), accepted);
            Err(match nearest(word, &names) {
                Some(name) => complaint.help(format!("did you mean `{name}`?")),
                None => complaint,
            })
        }
        _ => {
            let names: Vec<&str> = fitting.iter().map(|(dotted, _)| dotted.as_str()).collect();
            Err(Complaint::new(format!("`{word}` may be several keys"), format!("`{word}`"), names.join(" or ")))
        }
    }
}

/// What a setting has under a key: what was set, or the default. Names of data sets and networks have none.
pub fn value_of<'a>(keys: &'a Keys, entries: &'a [impl Borrow<Entry>], key: &str) -> Option<Cow<'a, Value>> {
    if let Some(entry) = find(entries, key) {
        return Some(Cow::Borrowed(&entry.value));
    }
    match key.strip_prefix("method.") {
        None if key.ends_with(".name") => None,
        None => keys.default_of(key).map(Cow::Borrowed),
        Some("name") => Some(Cow::Owned(Value::String(keys.default_method().into()))),
        Some(option) => {
            let name = find(entries, "method.name").and_then(|entry| entry.value.as_str());
            let method = keys.method(name.unwrap_or(keys.default_method()))?;
            method.defaults.get(option).map(Cow::Borrowed)
        }
    }
}

/// A key as labels show it: `recipe.lr` as `lr`, `backbone.name` as `backbone`.
pub fn short(key: &str) -> &str {
    match key.strip_suffix(".name") {
        Some(section) => section,
        None => key.rsplit('.').next().unwrap_or(key),
    }
}
