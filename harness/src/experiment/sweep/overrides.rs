//! `--set a.b=value`: the command line's last word on any key.
//!
//! The value is read as TOML; what is no TOML counts as a text, so that `--set method.name=ghost` needs no quotes.
//! - A key of a section replaces the file's value, in the section and wherever a block sets it.
//! - An array that would be an axis in a grid (see [`super`]) becomes one, in every block: a factor of a grid or list,
//!   something to draw from in a draw, and in a zip an axis in step where it replaces one, else a factor.
//! - `method.OPTION` applies to the methods that have that option, and leaves the others as they are.
//! - `method.name` replaces the method everywhere; options that the file gives go with the name they stood beside.
//! - A range (`recipe.lr={uniform=[0.1,1.0]}`) goes into every draw; `draw.count` and `draw.seed` are those of every draw.
//! - `when` and `exclude` replace those that stand outside of blocks.
//! - `tune.recipe.lr` sets what is searched: a range, an array, a value.

use toml::Value;

use super::MOST;
use super::axes::is_axis;
use super::document::{Block, BlockKind, Condition, Document, Entry, Rule, find};
use super::edits::{add_case, clear, note, put, put_axis, split};
use super::keys::{BLOCKS, Keys, searched, varies};
use super::parse::texts;
use crate::config::error::{At, Complaint, ExperimentError};
use crate::config::field::{Field, describe};

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
/// No `=`; a key that does not exist or that no method of the experiment has; a block.
pub fn apply_at(document: &mut Document, assignment: &str, at: At) -> Result<(), ExperimentError> {
    let fail = |document: &Document, complaint| Err(document.error(&at, complaint));
    let Some((key, text)) = assignment.split_once('=') else {
        return fail(document, Complaint::new("no `=` found", assignment, "KEY=VALUE, e.g. recipe.epochs=1"));
    };
    let (key, value) = (key.trim(), value(text.trim()));
    let head = key.split('.').next().unwrap_or(key);
    match key {
        "draw.count" | "draw.seed" => return set_draws(document, key, &value, &at),
        "when" | "exclude" => return set_conditions(document, key, &value, &at),
        "include" => {
            let complaint = Complaint::new("`include` cannot be set", "", "include = \"base.toml\" in the file");
            return fail(document, complaint);
        }
        _ => {}
    }
    if head == "layer" || BLOCKS.contains(&head) {
        let accepted =
            "keys outside of blocks, e.g. method.depth=2: that replaces the key in every block; draw.count, draw.seed";
        return fail(document, Complaint::new(format!("blocks of `{head}` cannot be set"), key, accepted));
    }
    let keys = document.keys;
    if keys.sections.contains(&key) {
        let accepted = format!("one of its keys, e.g. {}", example(keys, key));
        return fail(document, Complaint::new(format!("`{key}` is a section"), key, accepted));
    }
    if let Some(key) = searched(key) {
        // That options of methods cannot be searched is said where all that is searched is checked.
        if !key.starts_with("method.") {
            keys.lookup(key, &[]).map_err(|complaint| document.error(&at, complaint))?;
        }
        put(&mut document.search, Entry { key: key.into(), value, at });
        return Ok(());
    }
    let entry = Entry { key: key.into(), value, at: at.clone() };
    if entry.value.is_table() && keys.lookup(key, &keys.methods_with(key)).is_ok() {
        return set_range(document, &entry);
    }
    match key.strip_prefix("method.") {
        Some("name") => {
            set_method(document, entry);
            Ok(())
        }
        Some(option) => set_option(document, option, entry),
        None => match keys.lookup(key, &[]) {
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

fn example(keys: &Keys, section: &str) -> &'static str {
    keys.fields
        .iter()
        .map(|field| field.key)
        .find(|key| key.starts_with(&format!("{section}.")))
        .unwrap_or("recipe.epochs")
}

fn set_draws(document: &mut Document, key: &str, value: &Value, at: &At) -> Result<(), ExperimentError> {
    let low = if key == "draw.count" { 1..=MOST } else { 0..=i64::MAX as u64 };
    let Some(number) = value.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| low.contains(n)) else {
        let accepted = format!("an integer from {} to {}", low.start(), low.end());
        return Err(document.error(at, Complaint::new(format!("`{key}` is out of range"), describe(value), accepted)));
    };
    let mut any = false;
    for block in &mut document.blocks {
        if let BlockKind::Draw { count, seed } = &mut block.kind {
            *(if key == "draw.count" { count } else { seed }) = number;
            any = true;
        }
    }
    if any { Ok(()) } else { Err(no_draw(document, key, at)) }
}

fn no_draw(document: &Document, key: &str, at: &At) -> ExperimentError {
    let what = "there is no [[draw]] block that this could be for";
    document.error(at, Complaint::new(what, key, "a single value, or an array for an axis"))
}

fn set_conditions(document: &mut Document, key: &str, value: &Value, at: &At) -> Result<(), ExperimentError> {
    let Some(texts) = texts(value) else {
        let complaint =
            Complaint::new(format!("`{key}` has the wrong type"), describe(value), "a condition, or a list of such");
        return Err(document.error(at, complaint));
    };
    let rule = if key == "when" { Rule::When } else { Rule::Exclude };
    document.conditions.retain(|condition| condition.rule != rule);
    document.conditions.extend(texts.into_iter().map(|text| Condition { rule, text, at: at.clone() }));
    Ok(())
}

/// Sets a range to draw from, in every draw whose methods have the key.
fn set_range(document: &mut Document, entry: &Entry) -> Result<(), ExperimentError> {
    let (keys, base) = (document.keys, document.method().to_owned());
    let mut any = false;
    for block in document.blocks.iter_mut().filter(|block| matches!(block.kind, BlockKind::Draw { .. })) {
        let (with, without) = split(keys, block, &base, &entry.key);
        if with.is_empty() {
            continue;
        }
        any = true;
        clear(block, &entry.key, without.is_empty());
        if without.is_empty() { put(&mut block.entries, entry.clone()) } else { add_case(block, Some(with), entry) }
    }
    if any { Ok(()) } else { Err(no_draw(document, &entry.key, &entry.at)) }
}

fn set_key(document: &mut Document, field: &Field, entry: Entry) {
    // Names and threads belong to the experiment as a whole: no axis.
    if varies(&entry.key) && is_axis(&field.kind, &entry.value) {
        if document.blocks.is_empty() {
            document.blocks.push(Block::grid(entry.at.clone()));
        }
        document.blocks.iter_mut().for_each(|block| put_axis(block, &entry));
        return;
    }
    for index in 0..document.blocks.len() {
        note(document, index, field, &entry);
        let all = document.blocks[index].lists_mut().flatten();
        all.filter(|there| there.key == entry.key).for_each(|there| *there = entry.clone());
    }
    put(&mut document.base, entry);
}

fn set_method(document: &mut Document, entry: Entry) {
    let of_method = |there: &Entry| there.key.starts_with("method.");
    // Options that an earlier `--set` set are kept.
    let keep = |there: &Entry| !of_method(there) || (matches!(there.at, At::Option(_)) && there.key != "method.name");
    let several = entry.value.is_array();
    if several && document.blocks.is_empty() {
        document.blocks.push(Block::grid(entry.at.clone()));
    }
    for block in &mut document.blocks {
        if !several && !block.lists().flatten().any(of_method) {
            continue;
        }
        block.lists_mut().for_each(|list| list.retain(keep));
        block.cases.retain(|case| !case.entries.is_empty());
        if several && matches!(block.kind, BlockKind::Zip | BlockKind::List) {
            add_case(block, None, &entry);
        } else {
            block.entries.insert(0, entry.clone());
        }
    }
    if !several {
        document.base.retain(keep);
        document.base.push(entry);
    }
}

fn set_option(document: &mut Document, option: &str, entry: Entry) -> Result<(), ExperimentError> {
    let (keys, own) = (document.keys, document.method().to_owned());
    let field = keys.option_of(&[&own], option);
    let mut used = if document.blocks.is_empty() { vec![own.clone()] } else { vec![] };
    let axis = field.as_ref().is_ok_and(|field| is_axis(&field.kind, &entry.value));
    if document.base_method().is_some() && field.is_ok() {
        if !axis {
            put(&mut document.base, entry.clone());
        } else if document.blocks.is_empty() {
            document.blocks.push(Block { entries: vec![entry.clone()], ..Block::grid(entry.at.clone()) });
        }
    }
    for index in 0..document.blocks.len() {
        let (with, without) = split(keys, &document.blocks[index], &own, &entry.key);
        used.extend(with.iter().chain(&without).cloned());
        let Some(field) = with.first().and_then(|name| keys.option_of(&[name], option).ok()) else { continue };
        note(document, index, field, &entry);
        let block = &mut document.blocks[index];
        // Rows and cases with methods of their own take none of the block's options.
        let apart = block.lists().skip(1).any(|list| find(list, "method.name").is_some());
        if !without.is_empty() || apart {
            clear(block, &entry.key, false);
            add_case(block, Some(with), &entry);
        } else if is_axis(&field.kind, &entry.value) {
            put_axis(block, &entry);
        } else {
            clear(block, &entry.key, true);
            put(&mut block.entries, entry.clone());
        }
    }
    // An unknown method is reported where it is written, when the file is resolved.
    let has = |name: &String| keys.option_of(&[name], option).is_ok();
    if used.iter().all(|name| keys.method(name).is_some()) && !used.iter().any(has) {
        let mut options: Vec<&str> = Vec::new();
        for field in used.iter().filter_map(|name| keys.method(name)).flat_map(|method| method.options) {
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

#[cfg(test)]
mod tests {
    use super::super::combine::{Combination, Combinations};
    use super::super::{Sweep, sample};
    use super::*;

    const FILE: &str = "name = 'x'\n[recipe]\nepochs = 5\n[[grid]]\nmethod.name = ['vanilla', 'compconv']\n\
        recipe.lr = [0.1, 0.2]\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 2]\n";

    fn with(sets: &[&str]) -> Result<Document, ExperimentError> {
        let mut document = Document::parse(sample::keys(), "x.toml", FILE).unwrap();
        sets.iter().try_for_each(|set| apply(&mut document, set)).map(|()| document)
    }

    fn entries(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
    }

    #[test]
    fn a_section_key_wins_everywhere() {
        let document = with(&["recipe.lr=0.5", "recipe.epochs=1", "name=short"]).unwrap();
        assert_eq!(entries(&document.base), ["name=\"short\"", "recipe.epochs=1", "recipe.lr=0.5"]);
        let grid = entries(&document.blocks[0].entries);
        assert_eq!(grid, ["method.name=[\"vanilla\", \"compconv\"]", "recipe.lr=0.5"]);
    }

    #[test]
    fn an_option_reaches_only_the_methods_that_have_it() {
        let document = with(&["method.depth=3"]).unwrap();
        let grids: Vec<_> = document.blocks.iter().map(|grid| entries(&grid.entries)).collect();
        assert_eq!(
            grids,
            [
                vec!["method.name=[\"vanilla\", \"compconv\"]", "recipe.lr=[0.1, 0.2]"],
                vec!["method.name=\"compconv\"", "method.depth=3"],
            ]
        );
        let case = &document.blocks[0].cases[0];
        assert_eq!(entries(&case.entries), ["method.depth=3"]);
        assert_eq!(case.condition.as_ref().unwrap().text, "method.name in [compconv]");
    }

    /// The settings of blocks under overrides, and what is noted.
    fn settings(blocks: &str, sets: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut document = Document::parse(sample::keys(), "x.toml", blocks).unwrap();
        sets.iter().for_each(|set| apply(&mut document, set).unwrap_or_else(|error| panic!("{error}")));
        // What is frozen is the same.
        let again = Document::parse(sample::keys(), "x.toml", &document.to_toml()).unwrap();
        let all = |document: &Document| -> Vec<String> {
            let sweep = Sweep::new(document).unwrap_or_else(|error| panic!("{error}"));
            let shown =
                |entry: &Entry| format!("{}={}", entry.key.rsplit('.').next().unwrap(), entry.value).replace('"', "");
            let setting = |c: Combination<'_>| {
                let mut texts: Vec<_> = c.into_entries().iter().map(|entry| shown(entry)).collect();
                texts.sort();
                texts.join(" ")
            };
            Combinations::new(&sweep).map(|c| setting(c.unwrap())).collect()
        };
        let settings = all(&document);
        assert_eq!(settings, all(&again), "{}", document.to_toml());
        (settings, document.notes)
    }

    #[test]
    fn every_kind_of_block_takes_values_and_axes() {
        const ZIP: &str = "[[zip]]\nrecipe.lr = [0.1, 0.2]\nrecipe.batch = [1, 2]\n";
        let (zip, notes) = settings(ZIP, &["recipe.lr=0.5"]);
        assert_eq!(zip, ["batch=1 lr=0.5", "batch=2 lr=0.5"]);
        assert_eq!(notes, ["--set recipe.lr=0.5 replaces an axis of 2 values in the [[zip]] at x.toml:1"]);
        assert_eq!(settings(ZIP, &["recipe.lr=[0.3, 0.4]"]).0, ["batch=1 lr=0.3", "batch=2 lr=0.4"], "in step");
        assert_eq!(settings(ZIP, &["recipe.epochs=[3, 4]"]).0.len(), 4, "a factor");
        assert_eq!(settings(ZIP, &["method.name=[vanilla, ghost]"]).0.len(), 4);
        assert_eq!(
            settings("[[zip]]\nmethod.name = 'ghost'\n", &["method.name=[thin, ghost]"]).0,
            ["name=thin", "name=ghost"]
        );

        const LIST: &str =
            "[[list]]\nrecipe.lr = 0.1\nrows = [{ recipe.batch = 1 }, { recipe.batch = 2, recipe.lr = 0.2 }]\n";
        assert_eq!(settings(LIST, &["recipe.lr=0.5"]).0, ["batch=1 lr=0.5", "batch=2 lr=0.5"]);
        assert_eq!(settings(LIST, &["recipe.lr=[0.5, 0.6]"]).0.len(), 4);
        assert_eq!(settings("[[list]]\nrecipe.lr = 0.1", &["recipe.lr=[0.5, 0.6]"]).0, ["lr=0.5", "lr=0.6"]);
        let rows = "[[list]]\nrows = [{ method.name = 'vanilla' }, { method.name = 'compconv', method.depth = 1 }]\n";
        assert_eq!(settings(rows, &["method.depth=2"]).0, ["name=vanilla", "depth=2 name=compconv"]);

        const DRAW: &str = "[[draw]]\ncount = 3\nrecipe.lr = { uniform = [0.1, 0.9] }\n";
        let (fixed, notes) = settings(DRAW, &["recipe.lr=0.5"]);
        assert_eq!((fixed, notes.len()), (vec!["lr=0.5".to_string(); 3], 1));
        assert_eq!(settings(DRAW, &["draw.count=5"]).0[..3], settings(DRAW, &[]).0);
        assert_ne!(settings(DRAW, &["draw.seed=5"]).0, settings(DRAW, &[]).0);
        let drawn = settings(DRAW, &["recipe.lr=[0.5, 0.6]"]).0;
        assert!(drawn.len() == 3 && drawn.iter().all(|one| one == "lr=0.5" || one == "lr=0.6"), "{drawn:?}");
        let drawn = settings(DRAW, &["recipe.batch={uniform=[5, 6]}"]).0;
        assert!(drawn.iter().all(|one| one.starts_with("batch=5 ") || one.starts_with("batch=6 ")), "{drawn:?}");
        assert_eq!(settings(DRAW, &["run.jobs=3", "protocol.seeds=[1, 2]"]).0.len(), 3);

        const CASE: &str = "[[grid]]\nmethod.name = ['vanilla', 'compconv']\n[[grid.case]]\nif = 'method = compconv'\nmethod.depth = [1, 2]\n";
        assert_eq!(settings(CASE, &["method.depth=3"]).0, ["name=vanilla", "depth=3 name=compconv"]);
        assert_eq!(settings(CASE, &["method.name=ghost"]).0, ["name=ghost"]);
    }

    #[test]
    fn conditions_are_replaced() {
        let mut document = Document::parse(sample::keys(), "x.toml", "exclude = 'lr = 1'\nwhen = 'lr = 2'").unwrap();
        apply(&mut document, "exclude=lr > 3 and depth = 1").unwrap();
        let texts: Vec<&str> = document.conditions.iter().map(|condition| condition.text.as_str()).collect();
        assert_eq!(texts, ["lr = 2", "lr > 3 and depth = 1"]);
    }

    #[test]
    fn another_method_drops_the_options_of_the_one_it_replaces() {
        let document = with(&["method.depth=3", "method.name=compconv"]).unwrap();
        assert!(document.blocks.iter().all(|grid| entries(&grid.entries).iter().all(|e| !e.contains("[1, 2]"))));
        assert_eq!(document.base_method(), Some("compconv"));
        let document = with(&["method.name=ghost"]).unwrap();
        assert_eq!(entries(&document.blocks[1].entries), ["method.name=\"ghost\""]);
    }

    #[test]
    fn arrays_become_axes_and_bare_words_texts() {
        let document = with(&["recipe.batch=[32, 64]", "recipe.schedule=step", "recipe.milestones=[0.5]"]).unwrap();
        assert!(document.blocks.iter().all(|grid| find(&grid.entries, "recipe.batch").is_some()));
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
            ("zip.0=1", "cannot be set"),
            ("include=a.toml", "cannot be set"),
            ("draw.count=0", "from 1 to"),
            ("draw.count=3", "no [[draw]] block"),
            ("recipe.lr={uniform=[0.1,0.2]}", "no [[draw]] block"),
            ("exclude=3", "a condition"),
        ] {
            let error = with(&[set]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(&format!("--set {set}")), "{error}");
        }
    }
}
