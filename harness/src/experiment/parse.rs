//! TOML text -> [`Document`]: every value under its dotted key, with the line it stands in.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::{At, Complaint, ExperimentError};
use super::keys::{self, KEYS, LAYER_KEYS, SECTIONS};

/// One value of a file or of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Dotted key, e.g. `recipe.epochs`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub at: At,
}

/// A `[[grid]]` or `[[layer]]` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its first line.
    pub at: At,
    /// Its values; for a grid, in the order in which they vary (the first slowest).
    pub entries: Vec<Entry>,
}

/// An experiment file, taken apart but not yet resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// As the user named it.
    pub file: String,
    /// Its text, for messages.
    pub text: String,
    /// Values outside of blocks.
    pub base: Vec<Entry>,
    /// `[[grid]]` blocks.
    pub grids: Vec<Block>,
    /// `[[layer]]` blocks.
    pub layers: Vec<Block>,
}

impl Document {
    /// Takes a file's text apart. Keys are checked for existence (options of methods later, when the method is settled),
    /// values not yet.
    ///
    /// # Errors
    /// What is no TOML; unknown sections and keys; empty grids.
    pub fn parse(file: &str, text: &str) -> Result<Self, ExperimentError> {
        let mut document = Self { file: file.into(), text: text.into(), base: vec![], grids: vec![], layers: vec![] };
        let syntax = |error: toml::de::Error| {
            let at = error.span().map_or(At::File, |span| At::Line(line_of(text, &span)));
            document.error(&at, Complaint::new(error.message().replace('\n', ", "), "", "TOML 1.0"))
        };
        // Twice: once for the values, once for the places they stand in.
        let values = toml::from_str::<Table>(text).map_err(syntax)?;
        let spans = DeTable::parse(text).map_err(syntax)?;
        for (key, spanned) in spans.get_ref().iter() {
            let Some(value) = values.get(key.get_ref().as_ref()) else { continue };
            document.section(key, value, spanned)?;
        }
        Ok(document)
    }

    fn section(
        &mut self,
        key: &Spanned<toml::de::DeString<'_>>,
        value: &Value,
        spanned: &Spanned<DeValue<'_>>,
    ) -> Result<(), ExperimentError> {
        let name: &str = key.get_ref();
        let at = At::Line(line_of(&self.text, &key.span()));
        match (name, value, spanned.get_ref()) {
            ("grid" | "layer", Value::Array(values), DeValue::Array(spans)) if values.iter().all(Value::is_table) => {
                if values.is_empty() {
                    return Err(self.error(&at, Complaint::new(format!("`{name}` is empty"), "[]", "[[grid]] blocks")));
                }
                for (value, span) in values.iter().zip(spans.iter()) {
                    let block = self.block(name, value, span)?;
                    if name == "grid" { self.grids.push(block) } else { self.layers.push(block) }
                }
            }
            ("grid" | "layer", ..) => {
                let accepted = format!("blocks of their own, each headed [[{name}]]");
                return Err(self.error(&at, Complaint::new(format!("`{name}` has the wrong type"), "", accepted)));
            }
            (_, Value::Table(table), DeValue::Table(spans)) => {
                if !SECTIONS.contains(&name) {
                    return Err(self.error(&at, Complaint::unknown("section", name, SECTIONS)));
                }
                let mut entries = Vec::new();
                flatten(&self.text, name, table, spans, &mut entries);
                for entry in &entries {
                    self.known(entry, KEYS)?;
                }
                self.base.append(&mut entries);
            }
            _ if SECTIONS.contains(&name) => {
                let accepted = format!("a table: [{name}] on a line of its own, its keys below");
                let found = super::field::describe(value);
                return Err(self.error(&at, Complaint::new(format!("`{name}` has the wrong type"), found, accepted)));
            }
            _ => {
                let entry = Entry { key: name.into(), value: value.clone(), at };
                self.known(&entry, KEYS)?;
                self.base.push(entry);
            }
        }
        Ok(())
    }

    fn block(&self, name: &str, value: &Value, span: &Spanned<DeValue<'_>>) -> Result<Block, ExperimentError> {
        let at = At::Line(line_of(&self.text, &span.span()));
        let mut entries = Vec::new();
        if let (Value::Table(table), DeValue::Table(spans)) = (value, span.get_ref()) {
            flatten(&self.text, "", table, spans, &mut entries);
        }
        // TOML gathers `method.a`, `recipe.b`, `method.c` by table; axes vary in the order in which they are written.
        entries.sort_by_key(|entry| match entry.at {
            At::Line(line) => line,
            _ => 0,
        });
        if entries.is_empty() {
            let accepted = match name {
                "grid" => "at least one key, e.g. method.name = [\"vanilla\", \"compconv\"]",
                _ => "match = \"layer3.*\" and method.name = \"vanilla\"",
            };
            return Err(self.error(&at, Complaint::new(format!("[[{name}]] is empty"), "", accepted)));
        }
        for entry in &entries {
            self.known(entry, if name == "grid" { KEYS } else { LAYER_KEYS })?;
            if name == "grid" && (!entry.key.contains('.') || entry.key.starts_with("run.")) {
                let what = format!("`{}` cannot vary in a [[grid]]", entry.key);
                let accepted = "keys of dataset, backbone, method, recipe and protocol";
                return Err(self.error(&entry.at, Complaint::new(what, "", accepted)));
            }
        }
        Ok(Block { at, entries })
    }

    /// Whether the key exists; a method's options are left for later.
    fn known(&self, entry: &Entry, keys: &'static [super::field::Field]) -> Result<(), ExperimentError> {
        if entry.key.starts_with("method.") {
            return Ok(());
        }
        keys::lookup(&entry.key, &[], keys).map(drop).map_err(|complaint| self.error(&entry.at, complaint))
    }

    /// The complaint with its place in this document.
    pub fn error(&self, at: &At, complaint: Complaint) -> ExperimentError {
        let source_line = match at {
            At::Line(line) => self.text.lines().nth(line - 1).map(String::from),
            _ => None,
        };
        ExperimentError { file: self.file.clone(), at: at.clone(), source_line, complaint: Box::new(complaint) }
    }

    /// The value outside of blocks under `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        find(&self.base, key)
    }

    /// The method that grids without one of their own use.
    pub fn base_method(&self) -> Option<&str> {
        self.get("method.name").and_then(|entry| entry.value.as_str())
    }

    /// The document as TOML: parsing it gives the same trials, in another order where a grid mixes
    /// sections. Overrides are in it; comments are not.
    pub fn to_toml(&self) -> String {
        let mut root = Table::new();
        for entry in &self.base {
            insert(&mut root, &entry.key, entry.value.clone());
        }
        for (name, blocks) in [("layer", &self.layers), ("grid", &self.grids)] {
            let tables = blocks.iter().map(|block| {
                let mut table = Table::new();
                block.entries.iter().for_each(|entry| insert(&mut table, &entry.key, entry.value.clone()));
                Value::Table(table)
            });
            if !blocks.is_empty() {
                root.insert(name.into(), Value::Array(tables.collect()));
            }
        }
        // A table of plain values always has a TOML form.
        toml::to_string(&root).unwrap_or_default()
    }
}

/// The entry with this key.
pub fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// Puts a value under its dotted key.
pub fn insert(table: &mut Table, dotted: &str, value: Value) {
    match dotted.split_once('.') {
        None => {
            table.insert(dotted.into(), value);
        }
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn flatten(text: &str, prefix: &str, table: &Table, spans: &DeTable<'_>, out: &mut Vec<Entry>) {
    for (key, span) in spans.iter() {
        let name: &str = key.get_ref();
        let Some(value) = table.get(name) else { continue };
        let dotted = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        match (value, span.get_ref()) {
            (Value::Table(inner), DeValue::Table(spans)) if !inner.is_empty() => {
                flatten(text, &dotted, inner, spans, out);
            }
            _ => out.push(Entry { key: dotted, value: value.clone(), at: At::Line(line_of(text, &key.span())) }),
        }
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, ExperimentError> {
        Document::parse("x.toml", text)
    }

    #[test]
    fn entries_know_their_lines_and_blocks() {
        let document = parse(
            "name = 'x'\n\n[backbone]\nname = 'vgg16'\nreplace.stem = true\n[[grid]]\nmethod.depth = [1,\n2]\nrecipe.lr = 1\n",
        )
        .unwrap();
        let base: Vec<_> = document.base.iter().map(|e| (e.key.as_str(), e.at.clone())).collect();
        let at = |line| At::Line(line);
        assert_eq!(base, [("name", at(1)), ("backbone.name", at(4)), ("backbone.replace.stem", at(5))]);
        let grid: Vec<_> = document.grids[0].entries.iter().map(|e| (e.key.as_str(), e.at.clone())).collect();
        assert_eq!(grid, [("method.depth", at(7)), ("recipe.lr", at(9))]);
    }

    #[test]
    fn the_frozen_form_parses_to_the_same_values() {
        let text = "name = 'x'\n[method]\nname = 'ghost'\nratio = 2\n[recipe]\nmilestones = [0.5]\n[[grid]]\nrecipe.lr = [0.1, 0.2]\nmethod.name = 'thin'\n[[layer]]\nmatch = 'a*'\nmethod = { name = 'vanilla' }\n";
        let strip = |document: Document| {
            let plain = |entries: Vec<Entry>| entries.into_iter().map(|e| (e.key, e.value)).collect::<Vec<_>>();
            let blocks = |blocks: Vec<Block>| blocks.into_iter().map(|b| plain(b.entries)).collect::<Vec<_>>();
            let mut base = plain(document.base);
            base.sort_by(|a, b| a.0.cmp(&b.0));
            (base, blocks(document.grids), blocks(document.layers))
        };
        let first = parse(text).unwrap();
        let again = parse(&first.to_toml()).unwrap();
        assert_eq!(strip(first), strip(again));
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        for (text, line, part) in [
            ("name = 'x'\nname = 'y'", At::Line(2), "duplicate key"),
            ("name = 'x", At::Line(1), ""),
            ("name = 'x'\n[recipie]\nepochs = 1", At::Line(2), "did you mean `recipe`?"),
            ("[recipe]\nepcohs = 1", At::Line(2), "did you mean `recipe.epochs`?"),
            ("[protocol]\n\nepochs = 1", At::Line(3), "did you mean `recipe.epochs`?"),
            ("backbone = 'vgg16'", At::Line(1), "[backbone] on a line of its own"),
            ("name = 'x'\n[[grid]]\n", At::Line(2), "[[grid]] is empty"),
            ("grid = []", At::Line(1), "`grid` is empty"),
            ("[grid]\nmethod.depth = [1]", At::Line(1), "headed [[grid]]"),
            ("[[grid]]\nname = ['a', 'b']", At::Line(2), "cannot vary"),
            ("[[layer]]\nmach = 'a'", At::Line(2), "did you mean `match`?"),
            ("[backbone]\nreplace = { stm = true }", At::Line(2), "did you mean `backbone.replace.stem`?"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.at, line, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
