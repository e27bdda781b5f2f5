//! An experiment file as data: every value under its dotted key, with the place it stands in.

use std::borrow::Borrow;
use std::fmt::Write;

use toml::{Table, Value};

use super::keys::Keys;
use crate::config::error::{At, Complaint, ExperimentError};

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

/// Values that stand together: a `[[layer]]` block, a row of a `[[list]]`, a block's `[[*.case]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryGroup {
    /// Its first line.
    pub at: At,
    /// The `if` of a case; without one it applies to every setting of the block.
    pub condition: Option<Condition>,
    /// Its values.
    pub entries: Vec<Entry>,
}

/// How a block makes settings of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `[[grid]]`: every combination.
    Grid,
    /// `[[zip]]`: axes in step.
    Zip,
    /// `[[list]]`: one setting, or one a row.
    List,
    /// `[[draw]]`: settings drawn at random.
    Draw {
        /// How many.
        count: u64,
        /// Decides which.
        seed: u64,
    },
}

impl BlockKind {
    /// As the block's header calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Zip => "zip",
            Self::List => "list",
            Self::Draw { .. } => "draw",
        }
    }
}

/// What a condition decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Drops what it holds for.
    Exclude,
    /// Drops what it does not hold for.
    When,
    /// Applies a `case` to what it holds for.
    If,
}

impl Rule {
    /// The key that it is written under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclude => "exclude",
            Self::When => "when",
            Self::If => "if",
        }
    }
}

/// A condition as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What it decides.
    pub rule: Rule,
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub at: At,
}

/// A block that makes settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// How.
    pub kind: BlockKind,
    /// Its first line.
    pub at: At,
    /// Its values, in the order in which they were written.
    pub entries: Vec<Entry>,
    /// `rows` of a list.
    pub rows: Vec<EntryGroup>,
    /// Its cases, in order.
    pub cases: Vec<EntryGroup>,
    /// Its `when` and `exclude`.
    pub conditions: Vec<Condition>,
}

impl Block {
    /// A grid without anything in it.
    pub fn grid(at: At) -> Self {
        Self { kind: BlockKind::Grid, at, entries: vec![], rows: vec![], cases: vec![], conditions: vec![] }
    }

    /// Its own values, then those of each row and of each case.
    pub fn lists(&self) -> impl Iterator<Item = &Vec<Entry>> {
        std::iter::once(&self.entries).chain(self.rows.iter().chain(&self.cases).map(|group| &group.entries))
    }

    /// The same, to be changed.
    pub fn lists_mut(&mut self) -> impl Iterator<Item = &mut Vec<Entry>> {
        let groups = self.rows.iter_mut().chain(&mut self.cases);
        std::iter::once(&mut self.entries).chain(groups.map(|group| &mut group.entries))
    }
}

/// A file that another one includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedFile {
    /// Its path, for messages.
    pub file: String,
    /// Its text, for messages.
    pub text: String,
}

/// An experiment file, taken apart but not yet resolved.
#[derive(Clone, Debug)]
pub struct Document {
    /// The keys that it may set.
    pub keys: &'static Keys,
    /// As the user named it.
    pub file: String,
    /// Its text, for messages.
    pub text: String,
    /// The files that were included.
    pub included: Vec<IncludedFile>,
    /// Paths that are still to be included (see [`super::include`]).
    pub include: Vec<Entry>,
    /// Values outside of blocks.
    pub base: Vec<Entry>,
    /// What `[tune]` searches: keys with the values or ranges to draw from.
    pub search: Vec<Entry>,
    /// `when` and `exclude` outside of blocks: they hold for all of these.
    pub conditions: Vec<Condition>,
    /// `[[grid]]`, `[[zip]]`, `[[list]]` and `[[draw]]` blocks, in the order of the file.
    pub blocks: Vec<Block>,
    /// `[[layer]]` blocks.
    pub layers: Vec<EntryGroup>,
    /// What the user should know of how overrides were understood.
    pub notes: Vec<String>,
}

impl Document {
    /// A document in which nothing is set yet.
    pub(super) fn new(keys: &'static Keys, file: &str, text: &str) -> Self {
        Self {
            keys,
            file: file.into(),
            text: text.into(),
            included: vec![],
            include: vec![],
            base: vec![],
            search: vec![],
            conditions: vec![],
            blocks: vec![],
            layers: vec![],
            notes: vec![],
        }
    }

    /// The complaint with its place in this document.
    pub fn error(&self, at: &At, complaint: Complaint) -> ExperimentError {
        let (file, text, at) = match at {
            At::Included { file, line } => match self.included.get(*file) {
                Some(source) => (&source.file, &source.text, At::Line(*line)),
                None => (&self.file, &self.text, At::File),
            },
            at => (&self.file, &self.text, at.clone()),
        };
        let source_line = match at {
            At::Line(line) => text.lines().nth(line - 1).map(String::from),
            _ => None,
        };
        ExperimentError { file: file.clone(), at, source_line, complaint: Box::new(complaint) }
    }

    /// A place in words: `x.toml:3`, or the option of the command line.
    pub fn place(&self, at: &At) -> String {
        match self.error(at, Complaint::new("", "", "")) {
            ExperimentError { file, at: At::Line(line), .. } => format!("{file}:{line}"),
            ExperimentError { at: At::Option(option), .. } => option,
            ExperimentError { file, .. } => file,
        }
    }

    /// The value outside of blocks under `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        find(&self.base, key)
    }

    /// Sets a value outside of blocks, whether or not there was one.
    pub fn set_value(&mut self, key: &str, value: Value) {
        let at = At::Option(format!("{key}={value}"));
        self.base.retain(|entry| entry.key != key);
        self.base.push(Entry { key: key.into(), value, at });
    }

    /// The method that the sections name.
    pub fn base_method(&self) -> Option<&str> {
        self.get("method.name").and_then(|entry| entry.value.as_str())
    }

    /// The method of what names none: that of the sections, or the default.
    pub fn method(&self) -> &str {
        self.base_method().unwrap_or(self.keys.default_method())
    }

    /// The document as TOML: parsing it gives the same trials in the same order. Overrides and included files are in it;
    /// comments are not.
    pub fn to_toml(&self) -> String {
        let mut root = Table::new();
        for rule in [Rule::When, Rule::Exclude] {
            root.extend(texts(&self.conditions, rule).map(|value| (rule.name().to_string(), value)));
        }
        for entry in &self.base {
            insert(&mut root, &entry.key, entry.value.clone());
        }
        for entry in &self.search {
            insert(&mut root, &format!("tune.{}", entry.key), entry.value.clone());
        }
        let mut text = toml::to_string(&root).expect("a table of plain values has a TOML form");
        let mut group = |header: &str, settings: Vec<(&str, Value)>, entries: &[Entry]| {
            let own = settings.into_iter().map(|(key, value)| format!("{key} = {value}\n"));
            // Dotted keys, one a line: a table of tables would gather them by section, and axes vary in their order.
            let values = entries.iter().map(|entry| format!("{} = {}\n", entry.key, entry.value));
            let _ = write!(text, "\n[[{header}]]\n{}", own.chain(values).collect::<String>());
        };
        for layer in &self.layers {
            group("layer", vec![], &layer.entries);
        }
        for block in &self.blocks {
            let mut settings = Vec::new();
            if let BlockKind::Draw { count, seed } = block.kind {
                let number = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
                settings.extend([("count", number(count)), ("seed", number(seed))]);
            }
            for rule in [Rule::When, Rule::Exclude] {
                settings.extend(texts(&block.conditions, rule).map(|value| (rule.name(), value)));
            }
            let row = |row: &EntryGroup| {
                let mut table = Table::new();
                row.entries.iter().for_each(|entry| insert(&mut table, &entry.key, entry.value.clone()));
                Value::Table(table)
            };
            if !block.rows.is_empty() {
                settings.push(("rows", Value::Array(block.rows.iter().map(row).collect())));
            }
            let name = block.kind.name();
            group(name, settings, &block.entries);
            for case in &block.cases {
                let condition = case.condition.iter().map(|condition| ("if", Value::String(condition.text.clone())));
                group(&format!("{name}.case"), condition.collect(), &case.entries);
            }
        }
        text
    }

    /// Every place in it.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut At> {
        fn of(entries: &mut [Entry]) -> impl Iterator<Item = &mut At> {
            entries.iter_mut().map(|entry| &mut entry.at)
        }
        fn conditions(conditions: &mut [Condition]) -> impl Iterator<Item = &mut At> {
            conditions.iter_mut().map(|condition| &mut condition.at)
        }
        fn groups(groups: &mut [EntryGroup]) -> impl Iterator<Item = &mut At> {
            groups.iter_mut().flat_map(|EntryGroup { at, condition, entries }| {
                of(entries).chain([at]).chain(condition.iter_mut().map(|condition| &mut condition.at))
            })
        }
        let blocks = self.blocks.iter_mut().flat_map(|block| {
            let own = of(&mut block.entries).chain([&mut block.at]).chain(conditions(&mut block.conditions));
            own.chain(groups(&mut block.rows)).chain(groups(&mut block.cases))
        });
        of(&mut self.base)
            .chain(of(&mut self.search))
            .chain(of(&mut self.include))
            .chain(conditions(&mut self.conditions))
            .chain(groups(&mut self.layers))
            .chain(blocks)
    }
}

/// The conditions of one rule as a value: a text, or a list of texts.
fn texts(conditions: &[Condition], rule: Rule) -> Option<Value> {
    let texts = conditions.iter().filter(|condition| condition.rule == rule);
    let mut texts: Vec<Value> = texts.map(|condition| Value::String(condition.text.clone())).collect();
    if texts.len() > 1 { Some(Value::Array(texts)) } else { texts.pop() }
}

/// The entry with this key.
pub fn find<'a, E: Borrow<Entry>>(entries: &'a [E], key: &str) -> Option<&'a Entry> {
    entries.iter().map(Borrow::borrow).find(|entry| entry.key == key)
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

/// A value as labels show it: texts without quotes but in lists, no blanks but in texts.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        // The shortest that reads back: 1e-5, not 0.00001; 1e30, not thirty zeros.
        Value::Float(number) => format!("{number:?}"),
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_str) => {
            format!("[{}]", list.iter().map(Value::to_string).collect::<Vec<_>>().join(","))
        }
        other => other.to_string().replace(' ', ""),
    }
}
