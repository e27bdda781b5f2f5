//! Rows for people (aligned) and for programs (CSV, JSON).

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::data::range;
use crate::report::markup::escaped;
use crate::report::numbers::thousands;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned for a terminal.
    #[default]
    Table,
    /// Comma-separated, with a header.
    Csv,
    /// A list of objects.
    Json,
    /// A table of Markdown.
    Markdown,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// Text.
    Text(String),
    /// An exact count.
    Count(u64),
    /// A count too large for exactness to matter.
    Large(f64),
    /// A ratio; shown in percent.
    Share(f64),
    /// By how much something is more (or, below 0, less), relatively; shown in percent.
    Difference(f64),
    /// A measured value; shown to four digits.
    Real(f64),
    /// Counts, of each class for one; shown as the fewest and the most.
    Counts(Vec<usize>),
}

impl Cell {
    /// Text, or nothing where it is empty.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }

    /// `part / whole`; nothing where there is no whole.
    pub fn share(part: u64, whole: u64) -> Self {
        if whole == 0 { Self::Empty } else { Self::Share(part as f64 / whole as f64) }
    }

    /// A count, if there is one.
    pub fn count(count: Option<usize>) -> Self {
        count.map_or(Self::Empty, |count| Self::Count(count as u64))
    }

    /// The value with a dagger, as text: for people, where it does not compare with the others of its column.
    pub fn marked(&self) -> Self {
        Self::Text(format!("{} †", self.shown()))
    }

    fn shown(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => thousands(*count),
            Self::Counts(counts) => range(counts),
            Self::Large(value) => format!("{value:.2e}"),
            Self::Share(share) => format!("{:.1} %", 100.0 * share),
            Self::Difference(more) => format!("{:+.1} %", 100.0 * more),
            Self::Real(value) if *value >= 1000.0 => format!("{value:.0}"),
            Self::Real(value) => format!("{value:.*}", 3 - (value.max(1.0).log10() as usize).min(3)),
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Count(count) => count.to_string(),
            Self::Counts(counts) => range(counts),
            Self::Large(value) => format!("{value:e}"),
            Self::Share(value) | Self::Difference(value) => format!("{value:.6}"),
            Self::Real(value) => format!("{value:.4}"),
            Self::Text(text) if text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
            Self::Text(text) => text.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Count(count) => (*count).into(),
            Self::Counts(counts) => counts.clone().into(),
            Self::Large(value) | Self::Share(value) | Self::Difference(value) | Self::Real(value) => (*value).into(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Large(_) | Self::Share(_) | Self::Difference(_) | Self::Real(_))
    }
}

/// Rows under named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: vec![] }
    }

    /// One more row, as many cells as columns.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// The rows as text. Aligned columns that are empty throughout are left out there (and only there).
    pub fn render(&self, format: Format) -> String {
        let mut layout = Layout::new(self.columns, format);
        self.rows.iter().for_each(|row| layout.see(row));
        let rows = self.rows.iter().enumerate().map(|(index, row)| layout.row(row, index == 0));
        layout.head() + &rows.collect::<String>() + layout.foot(self.rows.is_empty())
    }
}

/// How rows become text, one at a time.
#[derive(Clone, Debug)]
pub struct Layout {
    columns: &'static [&'static str],
    format: Format,
    /// Of each column the width of its widest cell, whether it has a number, whether it has anything.
    seen: Vec<(usize, bool, bool)>,
}

impl Layout {
    /// For rows of these columns.
    pub fn new(columns: &'static [&'static str], format: Format) -> Self {
        let seen = columns.iter().map(|column| (column.chars().count(), false, false)).collect();
        Self { columns, format, seen }
    }

    /// Makes room for a row, where they are aligned: every one has to be seen before the first is written.
    pub fn see(&mut self, row: &[Cell]) {
        debug_assert_eq!(row.len(), self.columns.len());
        if self.format == Format::Table {
            for ((width, number, used), cell) in self.seen.iter_mut().zip(row) {
                *width = (*width).max(cell.shown().chars().count());
                *number |= cell.is_number();
                *used |= *cell != Cell::Empty;
            }
        }
    }

    /// What comes before the rows.
    pub fn head(&self) -> String {
        match self.format {
            Format::Table => {
                let rule = self.seen.iter().map(|(width, ..)| "-".repeat(*width));
                let names = self.columns.iter().map(|column| column.replace('_', " "));
                self.aligned(names) + &self.aligned(rule)
            }
            Format::Csv => self.columns.join(",") + "\n",
            Format::Json => "[".into(),
            Format::Markdown => {
                let names = self.columns.iter().map(|column| column.replace('_', " ")).collect::<Vec<_>>();
                format!("| {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len()))
            }
        }
    }

    /// One row; `first`: none came before it.
    pub fn row(&self, row: &[Cell], first: bool) -> String {
        match self.format {
            Format::Table => self.aligned(row.iter().map(Cell::shown)),
            Format::Csv => row.iter().map(Cell::csv).collect::<Vec<_>>().join(",") + "\n",
            Format::Markdown => {
                let cells = row.iter().map(|cell| escaped(&cell.shown())).collect::<Vec<_>>();
                format!("| {} |\n", cells.join(" | "))
            }
            Format::Json => {
                let fields = self.columns.iter().zip(row).map(|(column, cell)| (column.to_string(), cell.json()));
                let object = format!("{:#}", Value::Object(fields.collect::<Map<_, _>>()));
                format!("{}\n  {}", if first { "" } else { "," }, object.replace('\n', "\n  "))
            }
        }
    }

    /// What comes after the rows.
    pub fn foot(&self, empty: bool) -> &'static str {
        match self.format {
            Format::Json if empty => "]\n",
            Format::Json => "\n]\n",
            Format::Table | Format::Csv | Format::Markdown => "",
        }
    }

    fn aligned(&self, cells: impl Iterator<Item = String>) -> String {
        let mut line = String::new();
        for (&(width, number, _), text) in self.seen.iter().zip(cells).filter(|((.., used), _)| *used) {
            let gap = " ".repeat(width.saturating_sub(text.chars().count()));
            line.extend(if number { [&gap, &text, "  "] } else { [&text, &gap, "  "] }.map(|part: &str| part));
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["layer", "macs", "depth", "share", "remark"]);
        table.push(vec![
            Cell::text("conv1"),
            Cell::Count(442368),
            Cell::Empty,
            Cell::share(1, 2),
            Cell::text("a, \"b\""),
        ]);
        table.push(vec![Cell::text("total"), Cell::Count(7), Cell::Empty, Cell::share(1, 0), Cell::text("")]);
        table
    }

    #[test]
    fn aligned_for_people() {
        insta::assert_snapshot!(table().render(Format::Table), @r#"
        layer     macs   share  remark
        -----  -------  ------  ------
        conv1  442,368  50.0 %  a, "b"
        total        7
        "#);
    }

    #[test]
    fn exact_for_programs() {
        insta::assert_snapshot!(table().render(Format::Csv), @r#"
        layer,macs,depth,share,remark
        conv1,442368,,0.500000,"a, ""b"""
        total,7,,,
        "#);
        let json: Value = serde_json::from_str(&table().render(Format::Json)).unwrap();
        assert_eq!(json[0]["macs"], 442368);
        assert_eq!((&json[0]["depth"], &json[0]["share"]), (&Value::Null, &Value::from(0.5)));
    }

    #[test]
    fn for_documents() {
        let mut table = Table::new(&["key", "in_all"]);
        table.push(vec![Cell::text("a*|b"), Cell::Count(1234)]);
        assert_eq!(table.render(Format::Markdown), "| key | in all |\n| --- | --- |\n| a\\*\\|b | 1,234 |\n");
    }
}
