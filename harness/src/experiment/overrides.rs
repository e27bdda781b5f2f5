//! `--set a.b=value`: the command line's last word on any key.
//!
//! The value is read as TOML; what is no TOML counts as a text, so that `--set method.name=ghost` needs no quotes.
//! - A key of a section replaces the file's value, in the section and in every grid that sets it.
//! - An array that would be an axis in a grid (see [`super::sweep`]) becomes one, in every grid.
//! - `method.OPTION` applies to the methods that have that option, and leaves the others as they are.
//! - `method.name` replaces the method everywhere; options that the file gives go with the name they stood beside.

use toml::Value;

use super::error::{At, Complaint, ExperimentError};
use super::field::Field;
use super::keys::{KEYS, SECTIONS, lookup};
use super::parse::{Block, Document, Entry, find};
use super::sweep::{is_axis, names_of};
use crate::methods;

/// Applies one `KEY=VALUE`.
///
/// # Errors
/// No `=`; a key that does not exist or that no method of the experiment has; a block.
pub fn apply(document: &mut Document, assignment: &str) -> Result<(), ExperimentError> {
    apply_at(document, assignment, At::Option(format!("--set {assignment}")))
}

/// [`apply`] for what was written elsewhere on the command line: messages name that place.
///
/// # Errors
/// As [`apply`].
pub fn apply_at(document: &mut Document, assignment: &str, at: At) -> Result<(), ExperimentError> {
    let fail = |document: &Document, complaint| Err(document.error(&at, complaint));
    let Some((key, text)) = assignment.split_once('=') else {
        return fail(document, Complaint::new("no `=` found", assignment, "KEY=VALUE, e.g. recipe.epochs=1"));
    };
    let (key, value) = (key.trim(), value(text.trim()));
    let head = key.split('.').next().unwrap_or(key);
    if matches!(head, "grid" | "layer") {
        let accepted = "keys outside of blocks, e.g. method.depth=2: that replaces the key in every grid";
        return fail(document, Complaint::new(format!("blocks of `{head}` cannot be set"), key, accepted));
    }
    if SECTIONS.contains(&key) {
        let accepted = format!("one of its keys, e.g. {}", example(key));
        return fail(document, Complaint::new(format!("`{key}` is a section"), key, accepted));
    }
    let entry = Entry { key: key.into(), value, at: at.clone() };
    match key.strip_prefix("method.") {
        Some("name") => {
            set_method(document, entry);
            Ok(())
        }
        Some(option) => set_option(document, option, entry),
        None => match lookup(key, &[], KEYS) {
            Err(complaint) => fail(document, complaint),
            Ok(field) => {
                set_key(document, field, entry);
                Ok(())
            }
        },
    }
}

/// TOML, or the text itself; in a flat array every element by itself, so that `[vanilla, ghost]` needs no quotes either.
fn value(text: &str) -> Value {
    if let Ok(value) = text.parse() {
        return value;
    }
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) if !inside.contains(['[', '"', '\'']) => {
            Value::Array(inside.split(',').map(|element| value(element.trim())).collect())
        }
        _ => Value::String(text.into()),
    }
}

fn example(section: &str) -> &'static str {
    KEYS.iter().map(|field| field.key).find(|key| key.starts_with(&format!("{section}."))).unwrap_or("recipe.epochs")
}

fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|there| there.key == entry.key) {
        Some(there) => *there = entry,
        None => entries.push(entry),
    }
}

fn replace(entries: &mut [Entry], entry: &Entry) {
    entries.iter_mut().filter(|there| there.key == entry.key).for_each(|there| *there = entry.clone());
}

fn set_key(document: &mut Document, field: &Field, entry: Entry) {
    // Names and threads belong to the experiment as a whole: no axis.
    let varies = entry.key.contains('.') && !entry.key.starts_with("run.");
    if varies && is_axis(&field.kind, &entry.value) {
        if document.grids.is_empty() {
            document.grids.push(Block { at: entry.at.clone(), entries: vec![] });
        }
        document.grids.iter_mut().for_each(|grid| put(&mut grid.entries, entry.clone()));
    } else {
        document.grids.iter_mut().for_each(|grid| replace(&mut grid.entries, &entry));
        put(&mut document.base, entry);
    }
}

fn set_method(document: &mut Document, entry: Entry) {
    let of_method = |there: &Entry| there.key.starts_with("method.");
    // What an earlier `--set` asked for stays.
    let keep = |there: &Entry| !of_method(there) || (matches!(there.at, At::Option(_)) && there.key != "method.name");
    if entry.value.is_array() && document.grids.is_empty() {
        document.grids.push(Block { at: entry.at.clone(), entries: vec![entry.clone()] });
    }
    for grid in &mut document.grids {
        if entry.value.is_array() || grid.entries.iter().any(of_method) {
            grid.entries.retain(keep);
            grid.entries.insert(0, entry.clone());
        }
    }
    if !entry.value.is_array() {
        document.base.retain(keep);
        document.base.push(entry);
    }
}

fn set_option(document: &mut Document, option: &str, entry: Entry) -> Result<(), ExperimentError> {
    let has = |name: &str| methods::option_of(&[name], option).is_ok();
    let base = document.base_method().map(String::from);
    let base_has = base.as_deref().is_some_and(has);
    let mut used = if document.grids.is_empty() { names_of(&[], base.as_deref()) } else { vec![] };
    let mut grids = Vec::new();
    for grid in std::mem::take(&mut document.grids) {
        let names = names_of(&grid.entries, base.as_deref());
        used.extend(names.iter().cloned());
        let (with, without): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| has(name));
        if with.is_empty() {
            grids.push(grid);
            continue;
        }
        if !without.is_empty() {
            grids.push(narrow(&grid, without));
        }
        let mut grid = if find(&grid.entries, "method.name").is_some() { narrow(&grid, with) } else { grid };
        put(&mut grid.entries, entry.clone());
        grids.push(grid);
    }
    document.grids = grids;
    if base_has && (document.grids.is_empty() || !is_array_axis(base.as_deref(), option, &entry.value)) {
        if document.grids.is_empty() && is_array_axis(base.as_deref(), option, &entry.value) {
            document.grids.push(Block { at: entry.at.clone(), entries: vec![entry.clone()] });
        } else {
            put(&mut document.base, entry.clone());
        }
    }
    // An unknown method is reported where it is written, when the file is resolved.
    if used.iter().all(|name| methods::find(name).is_some()) && !used.iter().any(|name| has(name)) {
        let mut options: Vec<&str> = Vec::new();
        for field in used.iter().filter_map(|name| methods::find(name)).flat_map(|method| method.options) {
            if !options.contains(&field.key) {
                options.push(field.key);
            }
        }
        used.dedup();
        let complaint = Complaint::unknown(&format!("option of {}", used.join(", ")), option, &options);
        return Err(document.error(&entry.at, complaint));
    }
    Ok(())
}

fn is_array_axis(method: Option<&str>, option: &str, value: &Value) -> bool {
    method.and_then(|name| methods::option_of(&[name], option).ok()).is_some_and(|field| is_axis(&field.kind, value))
}

/// The grid for some of its methods only.
fn narrow(grid: &Block, names: Vec<String>) -> Block {
    let mut grid = grid.clone();
    for entry in grid.entries.iter_mut().filter(|entry| entry.key == "method.name") {
        entry.value = Value::Array(names.iter().cloned().map(Value::String).collect());
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "name = 'x'\n[recipe]\nepochs = 5\n[[grid]]\nmethod.name = ['vanilla', 'compconv']\n\
        recipe.lr = [0.1, 0.2]\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 2]\n";

    fn with(sets: &[&str]) -> Result<Document, ExperimentError> {
        let mut document = Document::parse("x.toml", FILE).unwrap();
        sets.iter().try_for_each(|set| apply(&mut document, set)).map(|()| document)
    }

    fn entries(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
    }

    #[test]
    fn a_section_key_wins_everywhere() {
        let document = with(&["recipe.lr=0.5", "recipe.epochs=1", "name=short"]).unwrap();
        assert_eq!(entries(&document.base), ["name=\"short\"", "recipe.epochs=1", "recipe.lr=0.5"]);
        let grid = entries(&document.grids[0].entries);
        assert_eq!(grid, ["method.name=[\"vanilla\", \"compconv\"]", "recipe.lr=0.5"]);
    }

    #[test]
    fn an_option_reaches_only_the_methods_that_have_it() {
        let document = with(&["method.depth=3"]).unwrap();
        let grids: Vec<_> = document.grids.iter().map(|grid| entries(&grid.entries)).collect();
        assert_eq!(
            grids,
            [
                vec!["method.name=[\"vanilla\"]", "recipe.lr=[0.1, 0.2]"],
                vec!["method.name=[\"compconv\"]", "recipe.lr=[0.1, 0.2]", "method.depth=3"],
                vec!["method.name=[\"compconv\"]", "method.depth=3"],
            ]
        );
    }

    #[test]
    fn another_method_drops_the_options_of_the_one_it_replaces() {
        let document = with(&["method.depth=3", "method.name=compconv"]).unwrap();
        assert!(document.grids.iter().all(|grid| entries(&grid.entries).iter().all(|e| !e.contains("[1, 2]"))));
        assert_eq!(document.base_method(), Some("compconv"));
        let document = with(&["method.name=ghost"]).unwrap();
        assert_eq!(entries(&document.grids[1].entries), ["method.name=\"ghost\""]);
    }

    #[test]
    fn arrays_become_axes_and_bare_words_texts() {
        let document = with(&["recipe.batch=[32, 64]", "recipe.schedule=step", "recipe.milestones=[0.5]"]).unwrap();
        assert!(document.grids.iter().all(|grid| find(&grid.entries, "recipe.batch").is_some()));
        assert_eq!(document.get("recipe.schedule").unwrap().value.as_str(), Some("step"));
        assert!(document.get("recipe.milestones").is_some(), "a list by nature is a value");
    }

    #[test]
    fn words_need_no_quotes() {
        for (text, read) in [
            ("ghost", "\"ghost\""),
            ("[vanilla, ghost]", "[\"vanilla\", \"ghost\"]"),
            ("[1, 2]", "[1, 2]"),
            ("1e-3", "0.001"),
            ("[[1, x]]", "\"[[1, x]]\""),
        ] {
            assert_eq!(value(text).to_string(), read, "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for (set, part) in [
            ("recipe.epcohs=1", "did you mean `recipe.epochs`?"),
            ("method.dept=1", "did you mean `depth`?"),
            ("recipe.epochs", "no `=` found"),
            ("grid.0=1", "cannot be set"),
            ("recipe=1", "is a section"),
        ] {
            let error = with(&[set]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(&format!("--set {set}")), "{error}");
        }
    }
}
