//! Values of some keys, and the combinations of them that a block makes: products, steps, rows and draws.

use std::borrow::{Borrow, Cow};

use toml::Value;

use super::document::{Block, Document, Entry, EntryGroup, find};
use super::draw::{self, Draws, Range};
use super::keys::varies;
use crate::config::error::{Complaint, ExperimentError};
use crate::config::field::{Check, Field, Kind, describe, literal};

/// Axes, and how they are combined.
#[derive(Debug)]
pub(super) enum Axes {
    /// Every combination, the first axis varying slowest.
    Product(Vec<Axis>),
    /// The first values of all, the second ones, and so on; a single value goes with each.
    Step(Vec<Axis>),
    /// Combinations that were written down.
    Rows(Vec<Vec<Entry>>),
    /// So many combinations drawn at random; each axis with what decides its draws.
    Draw(Vec<(Axis, Draws)>, u64),
}

/// A key's values.
#[derive(Debug)]
pub(super) struct Axis {
    /// At least one; for a range the range itself.
    values: Vec<Entry>,
    range: Option<Range>,
    /// Whether it was written as an array.
    listed: bool,
}

impl Axes {
    /// `count` draws.
    pub fn draw(axes: Vec<Axis>, count: u64, seed: u64) -> Self {
        let draws = |axis: &Axis| Draws::new(seed, &axis.values[0].key);
        Self::Draw(
            axes.into_iter().map(|axis| (draws(&axis), axis)).map(|(draws, axis)| (axis, draws)).collect(),
            count,
        )
    }

    /// How many combinations there are; none: more than can be counted.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Product(axes) => axes.iter().try_fold(1u64, |n, axis| n.checked_mul(axis.values.len() as u64)),
            Self::Step(axes) => Some(axes.iter().map(|axis| axis.values.len()).max().unwrap_or(1) as u64),
            Self::Rows(rows) => Some(rows.len() as u64),
            Self::Draw(_, count) => Some(*count),
        }
    }

    /// One of the combinations.
    pub fn at(&self, index: u64) -> Vec<Cow<'_, Entry>> {
        match self {
            Self::Product(axes) => {
                let mut rest = index;
                let pick = |axis: &'_ Axis| {
                    let count = axis.values.len() as u64;
                    let at = (rest % count) as usize;
                    rest /= count;
                    at
                };
                let picked: Vec<usize> = axes.iter().rev().map(pick).collect();
                axes.iter().zip(picked.iter().rev()).map(|(axis, at)| Cow::Borrowed(&axis.values[*at])).collect()
            }
            Self::Step(axes) => {
                let value = |axis: &'_ Axis| (index as usize).min(axis.values.len() - 1);
                axes.iter().map(|axis| Cow::Borrowed(&axis.values[value(axis)])).collect()
            }
            Self::Rows(rows) => rows[index as usize].iter().map(Cow::Borrowed).collect(),
            Self::Draw(axes, _) => axes.iter().map(|(axis, draws)| axis.draw(draws, index)).collect(),
        }
    }

    /// Every value of every axis.
    pub fn values(&self) -> Box<dyn Iterator<Item = &Entry> + '_> {
        match self {
            Self::Product(axes) | Self::Step(axes) => Box::new(axes.iter().flat_map(|axis| &axis.values)),
            Self::Draw(axes, _) => Box::new(axes.iter().flat_map(|(axis, _)| &axis.values)),
            Self::Rows(rows) => Box::new(rows.iter().flatten()),
        }
    }

    /// Keys that every combination sets.
    pub fn throughout(&self) -> Vec<&str> {
        match self {
            Self::Product(axes) | Self::Step(axes) => axes.iter().map(|axis| axis.values[0].key.as_str()).collect(),
            Self::Draw(axes, _) => axes.iter().map(|(axis, _)| axis.values[0].key.as_str()).collect(),
            Self::Rows(rows) => {
                let first = rows.first().map(Vec::as_slice).unwrap_or_default();
                let everywhere = |entry: &&Entry| rows.iter().all(|row| find(row, &entry.key).is_some());
                first.iter().filter(everywhere).map(|entry| entry.key.as_str()).collect()
            }
        }
    }
}

impl Axis {
    fn draw(&self, draws: &Draws, index: u64) -> Cow<'_, Entry> {
        let first = &self.values[0];
        match self.range {
            Some(range) => {
                let Entry { key, at, .. } = first;
                let value = range.draw(&mut draws.stream(index));
                Cow::Owned(Entry { key: key.clone(), value, at: at.clone() })
            }
            None if self.values.len() == 1 => Cow::Borrowed(first),
            None => Cow::Borrowed(&self.values[draw::choice(&mut draws.stream(index), self.values.len())]),
        }
    }
}

/// `method.depth` and its like, but not `method.name`.
pub(super) fn is_option(key: &str) -> bool {
    key.starts_with("method.") && key != "method.name"
}

/// Whether an array is an axis for a key of this kind.
pub(super) fn is_axis(kind: &Kind, value: &Value) -> bool {
    match value {
        Value::Array(elements) if elements.is_empty() => !matches!(kind, Kind::List(_)),
        Value::Array(elements) => elements.iter().all(|element| kind.has_type(&literal(element))),
        _ => false,
    }
}

/// The methods that these values name; where they name none, `base`.
pub(super) fn names_of(entries: &[Entry], base: &str) -> Vec<String> {
    match find(entries, "method.name").map(|entry| &entry.value) {
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str().map(String::from)).collect(),
        Some(Value::String(name)) => vec![name.clone()],
        Some(_) => vec![],
        None => vec![base.to_string()],
    }
}

/// Every method that settings of a block may have.
pub(super) fn all_names(block: &Block, base: &str) -> Vec<String> {
    let named = |list: &&Vec<Entry>| find(list, "method.name").is_some();
    let others = block.lists().skip(1).filter(named);
    std::iter::once(&block.entries).chain(others).flat_map(|list| names_of(list, base)).collect()
}

/// Puts the values of `over` in the place of those of `entries`. If `over` names another method, the options of the one before
/// are removed.
pub(super) fn overlay<E: Borrow<Entry>>(entries: &mut Vec<E>, over: Vec<E>) {
    let name = |entries: &[E]| find(entries, "method.name").map(|entry| entry.value.clone());
    let other = name(&over).is_some_and(|new| name(entries).as_ref() != Some(&new));
    entries.retain(|entry| {
        let key = &entry.borrow().key;
        !(other && key.starts_with("method.")) && find(&over, key).is_none()
    });
    entries.extend(over);
}

/// Each key's values, checked; `ranges`: whether they may be drawn from.
pub(super) fn axes(
    document: &Document,
    entries: &[Entry],
    names: &[String],
    ranges: bool,
) -> Result<Vec<Axis>, ExperimentError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Methods first: whether another key is an option depends on them.
    if let Some(entry) = find(entries, "method.name") {
        axis(document, entry, &names, ranges)?;
    }
    entries.iter().map(|entry| axis(document, entry, &names, ranges)).collect()
}

fn axis(document: &Document, entry: &Entry, names: &[&str], ranges: bool) -> Result<Axis, ExperimentError> {
    let field = document.keys.lookup(&entry.key, names).map_err(|complaint| document.error(&entry.at, complaint))?;
    let fail = |complaint| Err(document.error(&entry.at, complaint));
    let values = match &entry.value {
        Value::Table(_) if ranges => {
            let range = Range::read(&entry.value, field, &entry.key);
            let range = range.map_err(|complaint| document.error(&entry.at, complaint))?;
            return Ok(Axis { values: vec![entry.clone()], range: Some(range), listed: false });
        }
        Value::Array(elements) if is_axis(&field.kind, &entry.value) => {
            if elements.is_empty() {
                let accepted = format!("at least one value, each {}", field.kind);
                return fail(Complaint::new(format!("the axis `{}` is empty", entry.key), "[]", accepted));
            }
            elements.clone()
        }
        // A list in which not everything fits was meant as an axis, unless the key takes lists.
        Value::Array(elements) if !field.kind.has_type(&literal(&entry.value)) => {
            let culprit =
                elements.iter().find(|element| !field.kind.has_type(&literal(element))).unwrap_or(&entry.value);
            let what = format!("`{}` has a value of the wrong type", entry.key);
            return fail(Complaint::new(what, describe(culprit), field.kind.to_string()));
        }
        value => vec![value.clone()],
    };
    let listed = is_axis(&field.kind, &entry.value);
    let values: Vec<Entry> = values.into_iter().map(|value| Entry { value, ..entry.clone() }).collect();
    for entry in &values {
        check(document, entry, Ok(field))?;
    }
    Ok(Axis { values, range: None, listed })
}

/// A case's values. Without a method of its own, each option has to be one of some method of the block.
pub(super) fn case_axes(
    document: &Document,
    block: &Block,
    case: &EntryGroup,
    ranges: bool,
) -> Result<Vec<Axis>, ExperimentError> {
    if find(&case.entries, "method.name").is_some() {
        return axes(document, &case.entries, &names_of(&case.entries, document.method()), ranges);
    }
    let names = all_names(block, document.method());
    let one = |entry: &Entry| {
        let mut refused = None;
        let has = |name: &&String| is_option(&entry.key) && document.keys.lookup(&entry.key, &[name]).is_ok();
        for name in names.iter().filter(has) {
            match axis(document, entry, &[name], ranges) {
                Ok(axis) => return Ok(axis),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        refused.map_or_else(|| axis(document, entry, &names, ranges), Err)
    };
    case.entries.iter().map(one).collect()
}

/// Axes that are all equally long, single values aside.
pub(super) fn in_step(document: &Document, axes: Vec<Axis>) -> Result<Vec<Axis>, ExperimentError> {
    let mut listed = axes.iter().filter(|axis| axis.listed);
    let Some(first) = listed.next() else { return Ok(axes) };
    if let Some(other) = listed.find(|axis| axis.values.len() != first.values.len()) {
        let (a, b) = (&first.values[0], &other.values[0]);
        let what = format!("the axes `{}` and `{}` of the [[zip]] are not equally long", a.key, b.key);
        let found = format!("{} values ({}) and {}", first.values.len(), document.place(&a.at), other.values.len());
        let complaint = Complaint::new(what, found, "as many values for each, or a single one outside of brackets");
        return Err(document.error(&b.at, complaint.help("[[grid]] makes every combination")));
    }
    Ok(axes)
}

/// A list's settings, each with what the block sets for all of them.
pub(super) fn rows(document: &Document, block: &Block) -> Result<Vec<Vec<Entry>>, ExperimentError> {
    let mut rows = vec![block.entries.clone(); block.rows.len().max(1)];
    for (entries, row) in rows.iter_mut().zip(&block.rows) {
        overlay(entries, row.entries.clone());
    }
    for entries in &rows {
        let names = names_of(entries, document.method());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (first, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.key == "method.name");
        for entry in first.into_iter().chain(rest) {
            check(document, entry, document.keys.lookup(&entry.key, &names))?;
        }
    }
    Ok(rows)
}

/// Checks the options of `[method]`, if settings of a block with these values have them.
pub(super) fn base_options(document: &Document, entries: &[Entry]) -> Result<(), ExperimentError> {
    let base = document.base_method();
    let used = match find(entries, "method.name") {
        None => true,
        Some(_) => base.is_some_and(|base| names_of(entries, base).iter().any(|name| name == base)),
    };
    let mut options = document.base.iter().filter(|entry| used && is_option(&entry.key));
    let field = |entry: &Entry| document.keys.lookup(&entry.key, &[document.method()]);
    options.try_for_each(|entry| check(document, entry, field(entry)))
}

/// Checks a single value.
///
/// # Errors
/// A key that `field` does not know; a value of the wrong type or out of range.
pub fn check(
    document: &Document,
    entry: &Entry,
    field: Result<&'static Field, Complaint>,
) -> Result<(), ExperimentError> {
    field.and_then(|field| field.check(&entry.key, &entry.value)).map_err(|complaint| {
        let sweepable = varies(&entry.key);
        let complaint = match (&complaint.help, &entry.value) {
            (None, Value::Array(_)) if sweepable => {
                complaint.help("to try several values, put the key into a [[grid]] block")
            }
            (None, Value::Table(_)) if sweepable => complaint.help("ranges are drawn from in [[draw]] blocks"),
            _ => complaint,
        };
        document.error(&entry.at, complaint)
    })
}
