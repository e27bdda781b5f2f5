//! Rows for people (aligned) and for programs (CSV, JSON).

use clap::ValueEnum;
use serde_json::{Map, Value};

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
    /// A measured value; shown to four digits.
    Real(f64),
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

    fn shown(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => thousands(*count),
            Self::Large(value) => format!("{value:.2e}"),
            Self::Share(share) => format!("{:.1} %", 100.0 * share),
            Self::Real(value) if *value >= 1000.0 => format!("{value:.0}"),
            Self::Real(value) => format!("{value:.*}", 3 - (value.max(1.0).log10() as usize).min(3)),
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Count(count) => count.to_string(),
            Self::Large(value) => format!("{value:e}"),
            Self::Share(share) => format!("{share:.6}"),
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
            Self::Large(value) | Self::Share(value) | Self::Real(value) => (*value).into(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Large(_) | Self::Share(_) | Self::Real(_))
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
        match format {
            Format::Table => self.aligned(),
            Format::Csv => {
                let rows = self.rows.iter().map(|row| row.iter().map(Cell::csv).collect::<Vec<_>>().join(",") + "\n");
                format!("{}\n{}", self.columns.join(","), rows.collect::<String>())
            }
            Format::Json => {
                let object = |row: &Vec<Cell>| {
                    let fields = self.columns.iter().zip(row).map(|(column, cell)| (column.to_string(), cell.json()));
                    Value::Object(fields.collect::<Map<_, _>>())
                };
                let rows = Value::Array(self.rows.iter().map(object).collect());
                format!("{rows:#}\n")
            }
        }
    }

    fn aligned(&self) -> String {
        let used: Vec<usize> =
            (0..self.columns.len()).filter(|&column| self.rows.iter().any(|row| row[column] != Cell::Empty)).collect();
        let numeric = |column: usize| self.rows.iter().any(|row| row[column].is_number());
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| used.iter().map(|&column| row[column].shown()).collect()).collect();
        let header: Vec<String> = used.iter().map(|&column| self.columns[column].replace('_', " ")).collect();
        let width = |i: usize| shown.iter().chain([&header]).map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..used.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(i, text)| {
                let gap = " ".repeat(widths[i] - text.chars().count());
                if numeric(used[i]) { gap + text } else { text.clone() + &gap }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
        };
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        [&header, &rule].into_iter().chain(&shown).map(line).collect()
    }
}

/// `1234567` -> `1,234,567`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
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
    fn thousands_are_grouped() {
        assert_eq!([0, 12, 123, 1234, 1234567].map(thousands), ["0", "12", "123", "1,234", "1,234,567"]);
    }
}
