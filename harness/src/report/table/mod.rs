//! A table of a report: cells that hold their values beside how they are written, so that every form of it says the same.

mod frame;
mod latex;
mod markdown;

use super::numbers::{decimals, quantity};

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// File name without its ending.
    pub name: String,
    /// What it shows, in a line of plain text.
    pub title: String,
    /// All of as many cells; the first one names the rows.
    columns: Vec<Column>,
    /// What stands under it: lines of Markdown.
    pub notes: Vec<String>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its head, as plain text.
    title: String,
    /// Names of the values that each cell has.
    keys: Vec<String>,
    cells: Vec<Cell>,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// As it is written: plain text, which every form escapes in its own way.
    text: String,
    /// Whether it is to be seen first.
    bold: bool,
    /// One for each key of the column; none at all where there is nothing to say.
    values: Vec<Value>,
}

/// A value behind a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// There is none.
    Missing,
    /// A text.
    Text(String),
    /// A count.
    Count(u64),
    /// A number.
    Number(f64),
}

impl Table {
    /// A table without columns.
    pub fn new(name: impl Into<String>, title: impl Into<String>) -> Self {
        Self { name: name.into(), title: title.into(), columns: Vec::new(), notes: Vec::new() }
    }

    /// Adds a column whose cells have these values; with more or fewer cells than the first one it would be no table.
    pub fn column<const N: usize>(
        &mut self,
        title: impl Into<String>,
        keys: [&str; N],
        cells: impl IntoIterator<Item = Cell>,
    ) {
        let (title, keys, cells) = (title.into(), keys.map(String::from).to_vec(), Vec::from_iter(cells));
        debug_assert!(cells.iter().all(|cell| cell.values.is_empty() || cell.values.len() == N), "{title}: {cells:?}");
        debug_assert!(self.columns.is_empty() || self.rows() == cells.len(), "{title}: {} rows", self.rows());
        self.columns.push(Column { title, keys, cells });
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.cells.len())
    }

    /// Its rows, cell by cell.
    fn lines(&self) -> impl Iterator<Item = impl Iterator<Item = &Cell>> {
        (0..self.rows()).map(|row| self.columns.iter().filter_map(move |column| column.cells.get(row)))
    }
}

impl Cell {
    /// Nothing is known, or nothing is to be said.
    pub fn missing() -> Self {
        Self::shown("–", [])
    }

    /// Nothing at all, as where the row goes on from the one above.
    pub fn empty() -> Self {
        Self::shown("", [])
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::shown(text.clone(), [Value::Text(text)])
    }

    /// A count in four digits.
    pub fn quantity(count: u64) -> Self {
        Self::shown(quantity(count), [Value::Count(count)])
    }

    /// A whole number in all its digits.
    pub fn whole(count: u64) -> Self {
        Self::shown(count.to_string(), [count.into()])
    }

    /// How many there are, in all digits.
    pub fn count(count: usize) -> Self {
        Self::whole(count as u64)
    }

    /// A number with so many decimals.
    pub fn number(value: f64, count: usize) -> Self {
        Self::shown(decimals(value, count), [Value::Number(value)])
    }

    /// These values, written so.
    pub fn shown<const N: usize>(text: impl Into<String>, values: [Value; N]) -> Self {
        Self { text: text.into(), bold: false, values: values.to_vec() }
    }

    /// The same, to be seen first if so.
    pub fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }

    /// A cell of what there is, if there is anything.
    pub fn of<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or_else(Self::missing, cell)
    }
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}
