//! TOML text -> [`Document`]: every value under its dotted key, with the line it stands in.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::MOST;
use super::document::{Block, BlockKind, Condition, Document, Entry, EntryGroup, Rule};
use super::keys::{BLOCKS, Keys, searched, varies};
use crate::config::error::{At, Complaint, ExperimentError};
use crate::config::field::describe;
use crate::config::hints;

impl Document {
    /// Takes a file's text apart. Keys are checked for existence (options of methods later, when the method is settled),
    /// values not yet. No other file is read.
    ///
    /// # Errors
    /// What is no TOML; unknown sections and keys; empty blocks.
    pub fn parse(keys: &'static Keys, file: &str, text: &str) -> Result<Self, ExperimentError> {
        let document = Self::new(keys, file, text);
        let lines = Lines::new(text);
        let syntax = |error: toml::de::Error| {
            let at = error.span().map_or(At::File, |span| lines.at(span.start));
            let complaint = Complaint::new(error.message().replace('\n', ", "), "", "TOML 1.0");
            let line = if let At::Line(line) = at { text.lines().nth(line - 1) } else { None };
            document.error(
                &at,
                match line.and_then(hints::line) {
                    Some(hint) => complaint.help(hint),
                    None => complaint,
                },
            )
        };
        // Twice: once for the values, once for the places they stand in.
        let values = toml::from_str::<Table>(text).map_err(syntax)?;
        let spans = DeTable::parse(text).map_err(syntax)?;
        let mut parser = Parser { keys, document, lines, starts: vec![] };
        items((&values, spans.get_ref())).try_for_each(|item| parser.section(item))?;
        // TOML gathers blocks by their name; settings come in the order of the file.
        let Parser { mut document, starts, .. } = parser;
        let mut blocks: Vec<(usize, Block)> = starts.into_iter().zip(document.blocks).collect();
        blocks.sort_by_key(|(start, _)| *start);
        document.blocks = blocks.into_iter().map(|(_, block)| block).collect();
        Ok(document)
    }
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn at(&self, offset: usize) -> At {
        At::Line(self.0.partition_point(|start| *start <= offset))
    }
}

/// A table with the places of its keys.
type Spans<'a, 's> = (&'a Table, &'a DeTable<'s>);

/// A key of a table, where it begins, and its value.
#[derive(Clone, Copy)]
struct Item<'a, 's> {
    word: &'a str,
    start: usize,
    value: &'a Value,
    spans: &'a Spanned<DeValue<'s>>,
}

fn items<'a, 's>((table, spans): Spans<'a, 's>) -> impl Iterator<Item = Item<'a, 's>> {
    spans.iter().filter_map(|(key, spans)| {
        let word = key.get_ref().as_ref();
        Some(Item { word, start: key.span().start, value: table.get(word)?, spans })
    })
}

/// The value as a table, if it is one.
fn table<'a, 's>(value: &'a Value, spans: &'a Spanned<DeValue<'s>>) -> Option<Spans<'a, 's>> {
    match (value, spans.get_ref()) {
        (Value::Table(table), DeValue::Table(spans)) => Some((table, spans)),
        _ => None,
    }
}

struct Parser {
    keys: &'static Keys,
    document: Document,
    lines: Lines,
    /// Where each block of the document begins.
    starts: Vec<usize>,
}

impl Parser {
    fn fail<T>(&self, at: &At, complaint: Complaint) -> Result<T, ExperimentError> {
        Err(self.document.error(at, complaint))
    }

    fn section(&mut self, item: Item<'_, '_>) -> Result<(), ExperimentError> {
        let Item { word: name, value, spans, .. } = item;
        let at = self.lines.at(item.start);
        match (name, table(value, spans)) {
            ("include", _) => {
                let accepted = "a path in quotes, relative to this file, or a list of such";
                let texts = self.texts(name, value, &at, accepted)?;
                let entry = |text| Entry { key: name.into(), value: Value::String(text), at: at.clone() };
                self.document.include.extend(texts.into_iter().map(entry));
            }
            ("when" | "exclude", _) => {
                let conditions = self.conditions(name, value, &at)?;
                self.document.conditions.extend(conditions);
            }
            ("layer", _) => {
                for (start, table) in self.tables("[[layer]]", item)? {
                    let layer = self.layer(start, table)?;
                    self.document.layers.push(layer);
                }
            }
            _ if BLOCKS.contains(&name) => {
                for (start, table) in self.tables(&format!("[[{name}]]"), item)? {
                    let block = self.block(name, start, table)?;
                    self.document.blocks.push(block);
                    self.starts.push(start);
                }
            }
            (_, Some(table)) => {
                if !self.keys.sections.contains(&name) {
                    return self.fail(&at, Complaint::unknown("section", name, &self.keys.sections));
                }
                for entry in self.flatten(name, table) {
                    match searched(&entry.key).map(String::from) {
                        Some(key) => {
                            let entry = Entry { key, ..entry };
                            self.check_key(&entry)?;
                            self.document.search.push(entry);
                        }
                        None => {
                            self.check_key(&entry)?;
                            self.document.base.push(entry);
                        }
                    }
                }
            }
            _ if self.keys.sections.contains(&name) => {
                let accepted = format!("a table: [{name}] on a line of its own, its keys below");
                let what = format!("`{name}` has the wrong type");
                return self.fail(&at, Complaint::new(what, describe(value), accepted));
            }
            _ => {
                let entry = Entry { key: name.into(), value: value.clone(), at };
                self.check_key(&entry)?;
                self.document.base.push(entry);
            }
        }
        Ok(())
    }

    /// An array of tables, each with the place where it begins.
    fn tables<'a, 's>(&self, header: &str, item: Item<'a, 's>) -> Result<Vec<(usize, Spans<'a, 's>)>, ExperimentError> {
        let Item { word: name, value, spans, start } = item;
        let at = self.lines.at(start);
        let wrong = |found: String| {
            let accepted = format!("blocks of their own, each headed {header}");
            self.document.error(&at, Complaint::new(format!("`{name}` has the wrong type"), found, accepted))
        };
        let (Value::Array(values), DeValue::Array(spans)) = (value, spans.get_ref()) else {
            return Err(wrong(String::new()));
        };
        if values.is_empty() {
            return self.fail(&at, Complaint::new(format!("`{name}` is empty"), "[]", format!("{header} blocks")));
        }
        let block = |(value, spans): (&'a Value, &'a Spanned<DeValue<'s>>)| {
            let block = table(value, spans).ok_or_else(|| wrong(describe(value)))?;
            Ok((spans.span().start, block))
        };
        values.iter().zip(spans.iter()).map(block).collect()
    }

    fn layer(&self, start: usize, table: Spans<'_, '_>) -> Result<EntryGroup, ExperimentError> {
        let at = self.lines.at(start);
        let entries = self.flatten("", table);
        if entries.is_empty() {
            let accepted = "match = \"layer3.*\" and method.name = \"vanilla\"";
            return self.fail(&at, Complaint::new("[[layer]] is empty", "", accepted));
        }
        for entry in entries.iter().filter(|entry| !entry.key.starts_with("method.")) {
            self.keys.lookup_layer(&entry.key, &[]).or_else(|complaint| self.fail(&entry.at, complaint))?;
        }
        Ok(EntryGroup { at, condition: None, entries })
    }

    fn block(&self, name: &str, start: usize, table: Spans<'_, '_>) -> Result<Block, ExperimentError> {
        let mut block = Block::grid(self.lines.at(start));
        let (mut count, mut seed) = (None, 0);
        let is_draw = name == "draw";
        let mut values = Vec::new();
        for item in items(table) {
            let Item { word, value, .. } = item;
            let at = self.lines.at(item.start);
            match word {
                "when" | "exclude" => block.conditions.extend(self.conditions(word, value, &at)?),
                "case" => {
                    let header = format!("[[{name}.case]]");
                    for (start, case) in self.tables(&header, item)? {
                        block.cases.push(self.case(name, start, case)?);
                    }
                }
                "rows" if name == "list" => {
                    for (start, row) in self.tables("{ ... } in rows = [...]", item)? {
                        let entries = self.varying(name, self.flatten("", row))?;
                        block.rows.push(EntryGroup { at: self.lines.at(start), condition: None, entries });
                    }
                }
                "count" if is_draw => count = Some(self.whole(word, value, &at, 1, MOST)?),
                "seed" if is_draw => seed = self.whole(word, value, &at, 0, i64::MAX as u64)?,
                _ => self.descend("", item, &mut values),
            }
        }
        block.entries = self.varying(name, sorted(values))?;
        if block.entries.is_empty() && block.rows.is_empty() {
            let accepted = match name {
                "draw" => "at least one key, e.g. recipe.lr = { log_uniform = [0.01, 1.0] }",
                "list" => "at least one key, or rows = [{ recipe.lr = 0.1 }, { recipe.lr = 0.2 }]",
                _ => "at least one key, e.g. method.name = [\"vanilla\", \"compconv\"]",
            };
            return self.fail(&block.at, Complaint::new(format!("[[{name}]] is empty"), "", accepted));
        }
        block.kind = match (name, count) {
            ("zip", _) => BlockKind::Zip,
            ("list", _) => BlockKind::List,
            ("draw", Some(count)) => BlockKind::Draw { count, seed },
            ("draw", None) => {
                let complaint = Complaint::new("the key `count` of [[draw]] is missing", "", "e.g. count = 20");
                return self.fail(&block.at, complaint);
            }
            _ => BlockKind::Grid,
        };
        Ok(block)
    }

    fn case(&self, name: &str, start: usize, table: Spans<'_, '_>) -> Result<EntryGroup, ExperimentError> {
        let mut case = EntryGroup { at: self.lines.at(start), condition: None, entries: vec![] };
        let mut values = Vec::new();
        for item in items(table) {
            match (item.word, item.value) {
                ("if", Value::String(text)) => {
                    let at = self.lines.at(item.start);
                    case.condition = Some(Condition { rule: Rule::If, text: text.clone(), at });
                }
                ("if", other) => {
                    let complaint = Complaint::new("`if` has the wrong type", describe(other), CONDITION);
                    return self.fail(&self.lines.at(item.start), complaint);
                }
                _ => self.descend("", item, &mut values),
            }
        }
        case.entries = self.varying(name, sorted(values))?;
        if case.entries.is_empty() {
            let accepted = "keys for the settings that its `if` holds for, e.g. method.depth = [1, 2]";
            return self.fail(&case.at, Complaint::new(format!("[[{name}.case]] is empty"), "", accepted));
        }
        Ok(case)
    }

    /// Values of a block, all of which may vary.
    fn varying(&self, name: &str, entries: Vec<Entry>) -> Result<Vec<Entry>, ExperimentError> {
        for entry in &entries {
            let top = self.keys.fields.iter().any(|field| field.key == entry.key) && !entry.key.contains('.');
            if top || entry.key.contains('.') && !varies(&entry.key) {
                let what = format!("`{}` cannot vary in a [[{name}]]", entry.key);
                let accepted = "keys of dataset, backbone, method, recipe and protocol";
                return self.fail(&entry.at, Complaint::new(what, "", accepted));
            }
            if !entry.key.contains('.') && !self.keys.sections.contains(&entry.key.as_str()) {
                let words = match name {
                    "list" => &["when", "exclude", "case", "if", "rows"][..],
                    "draw" => &["when", "exclude", "case", "if", "count", "seed"],
                    _ => &["when", "exclude", "case", "if"],
                };
                let complaint = Complaint::unknown(&format!("key of [[{name}]]"), &entry.key, words);
                let accepted = format!("{}, and keys such as recipe.lr", complaint.accepted);
                return self.fail(&entry.at, Complaint { accepted, ..complaint });
            }
            self.check_key(entry)?;
        }
        Ok(entries)
    }

    fn whole(&self, word: &str, value: &Value, at: &At, low: u64, high: u64) -> Result<u64, ExperimentError> {
        match value.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| (low..=high).contains(n)) {
            Some(n) => Ok(n),
            None => {
                let what = format!("`{word}` of [[draw]] is out of range");
                self.fail(at, Complaint::new(what, describe(value), format!("an integer from {low} to {high}")))
            }
        }
    }

    fn conditions(&self, word: &str, value: &Value, at: &At) -> Result<Vec<Condition>, ExperimentError> {
        let rule = if word == "when" { Rule::When } else { Rule::Exclude };
        let texts = self.texts(word, value, at, CONDITION)?;
        Ok(texts.into_iter().map(|text| Condition { rule, text, at: at.clone() }).collect())
    }

    fn texts(&self, word: &str, value: &Value, at: &At, accepted: &str) -> Result<Vec<String>, ExperimentError> {
        texts(value).map_or_else(
            || self.fail(at, Complaint::new(format!("`{word}` has the wrong type"), describe(value), accepted)),
            Ok,
        )
    }

    /// Whether the key exists; a method's options are left for later.
    fn check_key(&self, entry: &Entry) -> Result<(), ExperimentError> {
        if entry.key.starts_with("method.") {
            return Ok(());
        }
        self.keys.lookup(&entry.key, &[]).map(drop).or_else(|complaint| self.fail(&entry.at, complaint))
    }

    /// Every value of a table under its dotted key, in the order of the file.
    fn flatten(&self, prefix: &str, table: Spans<'_, '_>) -> Vec<Entry> {
        let mut values = Vec::new();
        items(table).for_each(|item| self.descend(prefix, item, &mut values));
        sorted(values)
    }

    fn descend(&self, prefix: &str, item: Item<'_, '_>, out: &mut Vec<(usize, Entry)>) {
        let Item { word, start, value, spans } = item;
        let key = if prefix.is_empty() { word.to_string() } else { format!("{prefix}.{word}") };
        // A table that stands for a value is the value: a range to draw from, or something of the wrong type.
        let known = || self.keys.fields.iter().any(|field| field.key == key);
        let leaf = key.starts_with("method.") || searched(&key).is_some() || known();
        match table(value, spans).filter(|(inner, _)| !inner.is_empty() && !leaf) {
            Some(inner) => items(inner).for_each(|item| self.descend(&key, item, out)),
            None => out.push((start, Entry { key, value: value.clone(), at: self.lines.at(start) })),
        }
    }
}

/// What a condition looks like, for messages.
const CONDITION: &str = "a condition in quotes, e.g. \"method.depth >= 3 and recipe.lr > 0.1\"";

/// TOML gathers `method.a`, `recipe.b`, `method.c` by table; axes vary in the order in which they are written.
fn sorted(mut values: Vec<(usize, Entry)>) -> Vec<Entry> {
    values.sort_by_key(|(start, _)| *start);
    values.into_iter().map(|(_, entry)| entry).collect()
}

/// A text, or a list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(String::from)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn parse(text: &str) -> Result<Document, ExperimentError> {
        Document::parse(sample::keys(), "x.toml", text)
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
        let grid: Vec<_> = document.blocks[0].entries.iter().map(|e| (e.key.as_str(), e.at.clone())).collect();
        assert_eq!(grid, [("method.depth", at(7)), ("recipe.lr", at(9))]);
    }

    #[test]
    fn the_frozen_form_parses_to_the_same_blocks_in_the_same_order() {
        let text = "name = 'x'\nwhen = 'lr < 1'\nexclude = ['depth = 3', \"tail = 'full'\"]\n[method]\nname = 'ghost'\nratio = 2\n\
            [recipe]\nmilestones = [0.5]\n[[zip]]\nrecipe.lr = [0.1, 0.2]\nmethod.name = 'thin'\nrecipe.batch = [1, 2]\n\
            [[layer]]\nmatch = 'a*'\nmethod = { name = 'vanilla' }\n[[grid]]\nrecipe.lr = [0.1]\nmethod.name = ['compconv', 'ghost']\n\
            recipe.batch = 3\nwhen = 'batch = 3'\n[[grid.case]]\nif = \"method = 'compconv'\"\nmethod.depth = [1, 2]\n[[grid.case]]\n\
            recipe.gamma = 0.5\n[[list]]\nrecipe.epochs = 3\nrows = [{ recipe.lr = 1, method.name = 'vanilla' }, { recipe.lr = 2 }]\n\
            [[draw]]\ncount = 3\nseed = 7\nrecipe.lr = { log_uniform = [1e-3, 1.0] }\nexclude = 'lr > 0.5'\n[[zip]]\nrecipe.lr = 1\n";
        let strip = |mut document: Document| {
            document.places_mut().for_each(|at| *at = At::File);
            document.base.sort_by(|a, b| a.key.cmp(&b.key));
            document.conditions.sort_by(|a, b| a.text.cmp(&b.text));
            (document.base, document.conditions, document.blocks, document.layers)
        };
        let first = parse(text).unwrap();
        let kinds: Vec<&str> = first.blocks.iter().map(|block| block.kind.name()).collect();
        assert_eq!(kinds, ["zip", "grid", "list", "draw", "zip"], "as in the file");
        assert_eq!((first.blocks[1].cases.len(), first.blocks[2].rows.len()), (2, 2));
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
            ("[[draw]]\nrecipe.lr = { uniform = [0.1, 1] }", At::Line(1), "the key `count` of [[draw]] is missing"),
            ("[[draw]]\ncuont = 3\ncount = 3", At::Line(2), "did you mean `count`?"),
            ("[[draw]]\ncount = 0\nrecipe.lr = 1", At::Line(2), "from 1 to 10000000"),
            ("[[draw]]\ncount = 1e18\nrecipe.lr = 1", At::Line(2), "from 1 to 10000000"),
            ("[[draw]]\ncount = 1\nseed = -1\nrecipe.lr = 1", At::Line(3), "from 0"),
            ("[[grid]]\nrows = [{ recipe.lr = 1 }]", At::Line(2), "unknown key of [[grid]] `rows`"),
            ("[[list]]\nrows = [1]", At::Line(2), "{ ... } in rows = [...]"),
            ("[[list]]\nrows = []", At::Line(2), "`rows` is empty"),
            ("[[list]]\nrows = [{ name = 'x' }]", At::Line(2), "cannot vary in a [[list]]"),
            ("[[zip]]\nwhen = 'lr = 1'", At::Line(1), "[[zip]] is empty"),
            ("[[grid]]\nrecipe.lr = 1\nwhen = 3", At::Line(3), "a condition in quotes"),
            ("[[grid]]\nrecipe.lr = 1\n[[grid.case]]\nif = 'lr = 1'", At::Line(3), "[[grid.case]] is empty"),
            ("[[grid]]\nrecipe.lr = 1\n[[grid.case]]\nif = true\nrecipe.lr = 1", At::Line(4), "a condition in quotes"),
            ("[[grid]]\nrecipe.lr = 1\ncase = 3", At::Line(3), "[[grid.case]]"),
            ("include = 3", At::Line(1), "a path in quotes"),
            ("exclude = ['lr = 1', 2]", At::Line(1), "a condition in quotes"),
            ("[backbone]\nreplace = { stm = true }", At::Line(2), "did you mean `backbone.replace.stem`?"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.at, line, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
