//! What an override (see [`super::overrides`]) does to a single block.

use toml::Value;

use super::axes::{all_names, is_axis};
use super::document::{Block, BlockKind, Condition, Document, Entry, EntryGroup, Rule, find};
use super::keys::Keys;
use crate::config::field::Field;

/// The block's methods that have the key, and those that have not.
pub fn split(keys: &Keys, block: &Block, base: &str, key: &str) -> (Vec<String>, Vec<String>) {
    let has = |name: &String| keys.lookup(key, &[name]).is_ok();
    all_names(block, base).into_iter().partition(has)
}

pub fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|there| there.key == entry.key) {
        Some(there) => *there = entry,
        None => entries.push(entry),
    }
}

/// Takes a key out of a block: rows and cases, and (unless its place is to be `kept`) its own values.
pub fn clear(block: &mut Block, key: &str, kept: bool) {
    block.lists_mut().skip(usize::from(kept)).for_each(|list| list.retain(|entry| entry.key != key));
    block.cases.retain(|case| !case.entries.is_empty());
}

/// Adds a case with one key: for every setting of the block, or for those of some methods.
pub fn add_case(block: &mut Block, methods: Option<Vec<String>>, entry: &Entry) {
    if block.entries.is_empty() && block.rows.iter().all(|row| row.entries.is_empty()) {
        // Nothing is left that the block could be of any kind for.
        *block = Block { kind: BlockKind::Grid, rows: vec![], entries: vec![entry.clone()], ..block.clone() };
        return;
    }
    let condition = methods.map(|names| Condition {
        rule: Rule::If,
        text: format!("method.name in [{}]", names.join(", ")),
        at: entry.at.clone(),
    });
    let case = EntryGroup { at: entry.at.clone(), condition, entries: vec![entry.clone()] };
    // Methods before anything that depends on them.
    let first = if entry.key == "method.name" { 0 } else { block.cases.len() };
    block.cases.insert(first, case);
}

/// Sets a key of a block as an axis, for all of its methods.
pub fn put_axis(block: &mut Block, entry: &Entry) {
    let in_place = match block.kind {
        BlockKind::Grid | BlockKind::Draw { .. } => true,
        BlockKind::Zip => find(&block.entries, &entry.key).is_some_and(|there| there.value.is_array()),
        BlockKind::List => false,
    };
    clear(block, &entry.key, in_place);
    if in_place { put(&mut block.entries, entry.clone()) } else { add_case(block, None, entry) }
}

/// Notes it where a single value takes the place of several.
pub fn note(document: &mut Document, index: usize, field: &Field, entry: &Entry) {
    let block = &document.blocks[index];
    let within = |groups: &[EntryGroup]| groups.iter().any(|group| find(&group.entries, &entry.key).is_some());
    let what = match find(&block.entries, &entry.key).map(|there| &there.value) {
        Some(there @ Value::Array(values)) if block.kind != BlockKind::List && is_axis(&field.kind, there) => {
            format!("an axis of {} values", values.len())
        }
        Some(Value::Table(_)) => "a range".to_string(),
        _ if within(&block.rows) => "the values of rows".to_string(),
        _ if within(&block.cases) => "the values of cases".to_string(),
        _ => return,
    };
    let (set, place) = (document.place(&entry.at), document.place(&block.at));
    document.notes.push(format!("{set} replaces {what} in the [[{}]] at {place}", block.kind.name()));
}
