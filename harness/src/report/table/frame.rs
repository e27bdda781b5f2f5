//! Tables as polars frames, and so as CSV and Parquet.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use polars::prelude::{AnyValue, Column as Series, CsvWriter, DataFrame, DataType, ParquetWriter, SerWriter};

use super::{Column, Table, Value};

impl Table {
    /// All values behind its cells, a column for each key; null where there is none.
    ///
    /// # Errors
    /// Columns that polars cannot put beside each other: a defect.
    pub fn frame(&self) -> Result<DataFrame> {
        let (mut series, mut names) = (Vec::new(), BTreeSet::new());
        for column in &self.columns {
            for (place, key) in column.keys.iter().enumerate() {
                // Stages of a network, say, may be called as any other column is.
                let mut name = key.clone();
                while !names.insert(name.clone()) {
                    name.push('_');
                }
                series.push(column.series(&name, place)?);
            }
        }
        DataFrame::new(self.rows(), series).with_context(|| format!("table {} as a frame", self.name))
    }

    /// As CSV.
    ///
    /// # Errors
    /// Those of [`Table::frame`].
    pub fn csv(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        CsvWriter::new(&mut bytes).finish(&mut self.frame()?).with_context(|| format!("table {} as CSV", self.name))?;
        Ok(bytes)
    }

    /// As Parquet.
    ///
    /// # Errors
    /// Those of [`Table::frame`].
    pub fn parquet(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let written = ParquetWriter::new(&mut bytes).finish(&mut self.frame()?);
        written.with_context(|| format!("table {} as Parquet", self.name))?;
        Ok(bytes)
    }
}

impl Column {
    /// Value number `place` of all cells, in the narrowest type that holds them.
    fn series(&self, name: &str, place: usize) -> Result<Series> {
        let values: Vec<&Value> =
            self.cells.iter().map(|cell| cell.values.get(place).unwrap_or(&Value::Missing)).collect();
        let any = |test: fn(&Value) -> bool| values.iter().any(|value| test(value));
        let dtype = if any(|value| matches!(value, Value::Text(_))) {
            DataType::String
        } else if any(|value| matches!(value, Value::Count(_))) && !any(|value| matches!(value, Value::Number(_))) {
            DataType::UInt64
        } else {
            DataType::Float64
        };
        let texts = dtype == DataType::String;
        let cells: Vec<AnyValue<'_>> = values
            .into_iter()
            .map(|value| match value {
                Value::Missing => AnyValue::Null,
                Value::Text(text) => AnyValue::String(text),
                Value::Count(count) if texts => AnyValue::StringOwned(count.to_string().into()),
                Value::Number(number) if texts => AnyValue::StringOwned(number.to_string().into()),
                Value::Count(count) if dtype == DataType::Float64 => AnyValue::Float64(*count as f64),
                Value::Count(count) => AnyValue::UInt64(*count),
                Value::Number(number) => AnyValue::Float64(*number),
            })
            .collect();
        let series = polars::prelude::Series::from_any_values_and_dtype(name.into(), &cells, &dtype, false);
        Ok(series.with_context(|| format!("column {name}"))?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Cell;

    #[test]
    fn values_are_exact_where_the_text_is_short() {
        let mut table = Table::new("x", "X");
        table.column("Method", ["method"], [Cell::text("a, \"b\""), Cell::text("c")]);
        table.column("MACs", ["macs"], [Cell::quantity(40_551_040), Cell::missing()]);
        let delta = Cell::shown("-0.12 [..]", [(-0.123_456).into(), Value::Missing]);
        table.column("Δ", ["delta", "delta_low"], [delta, Cell::missing()]);
        table.column("a stage", ["macs"], [Cell::quantity(1), Cell::number(0.5, 1)]);
        let frame = table.frame().unwrap();
        let types: Vec<String> =
            frame.columns().iter().map(|column| format!("{} {}", column.name(), column.dtype())).collect();
        assert_eq!(types, ["method str", "macs u64", "delta f64", "delta_low f64", "macs_ f64"]);
        let csv = String::from_utf8(table.csv().unwrap()).unwrap();
        assert_eq!(csv, "method,macs,delta,delta_low,macs_\n\"a, \"\"b\"\"\",40551040,-0.123456,,1.0\nc,,,,0.5\n");
    }
}
