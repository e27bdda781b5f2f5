//! One Parquet file: its column of images and its column of classes, found by what they hold and what they are called.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use polars::io::parquet::metadata::FileMetadataRef;
use polars::prelude::{ArrowDataType, ArrowSchema, DataType, ParquetReader, SerReader, Series};

use super::layout::check_frame;
use super::without_panics;

/// What columns of images are called, where several hold bytes.
const IMAGE: [&str; 6] = ["img", "image", "images", "imgs", "picture", "photo"];
/// What columns of classes are called.
const LABEL: [&str; 9] =
    ["label", "labels", "fine_label", "fine_labels", "coarse_label", "coarse_labels", "target", "class", "category"];
/// Rows that are read at once.
const PIECE: usize = 1 << 15;

/// A file whose columns are known.
pub struct Table {
    path: PathBuf,
    metadata: FileMetadataRef,
    /// Places of the columns.
    image: usize,
    label: usize,
    /// What the classes are called, where the file says it, in the order of their numbers.
    pub classes: Option<Vec<String>>,
}

/// Some rows.
pub struct Rows {
    /// Number of the first.
    pub first: usize,
    images: Series,
    /// Class of each.
    pub labels: Vec<Option<i64>>,
}

impl Table {
    /// Looks at a file; `preferred` are names of the label column that go before all others.
    ///
    /// # Errors
    /// A damaged file; no column of images or of classes, or several; says which there are.
    pub fn open(path: &Path, preferred: &[&str]) -> Result<Self> {
        check_frame(path)?;
        let mut reader = ParquetReader::new(File::open(path)?);
        let (metadata, schema) = without_panics(|| Ok((reader.get_metadata()?.clone(), reader.schema()?)))?;
        let rows = metadata.row_groups.iter().fold(0usize, |all, group| all.saturating_add(group.num_rows()));
        let size = fs::metadata(path)?.len();
        ensure!(rows as u64 <= size, "a damaged Parquet file: {rows} images in a file of {size} bytes");
        let image = image_column(&schema)?;
        let label = label_column(&schema, preferred)?;
        let entries = metadata.key_value_metadata.iter().flatten();
        let info = entries.filter(|entry| entry.key == "huggingface").find_map(|entry| entry.value.as_deref());
        let name = schema.get_at_index(label).map_or("", |(name, _)| name.as_str());
        let classes = info.and_then(|info| class_names(info, name));
        Ok(Self { path: path.to_owned(), metadata, image, label, classes })
    }

    /// All rows, some at a time: what a damaged header claims is not asked for at once.
    pub fn rows(&self) -> impl Iterator<Item = Result<Rows>> + '_ {
        let mut end = 0usize;
        let pieces = self.metadata.row_groups.iter().flat_map(move |group| {
            let start = end;
            end = start.saturating_add(group.num_rows());
            let end = end;
            (start..end).step_by(PIECE).map(move |first| (first, PIECE.min(end - first)))
        });
        pieces.map(|(first, count)| self.read(first, count))
    }

    /// The class of every row; images are not read.
    ///
    /// # Errors
    /// A damaged file.
    pub fn labels(&self) -> Result<Vec<Option<i64>>> {
        let mut reader = ParquetReader::new(File::open(&self.path)?);
        reader.set_metadata(self.metadata.clone());
        let reader = reader.with_projection(Some(vec![self.label]));
        let frame = without_panics(|| Ok(reader.finish()?))?;
        let column = frame.select_at_idx(0).context("a damaged Parquet file: a column is missing")?;
        Ok(column.as_materialized_series().cast(&DataType::Int64)?.i64()?.iter().collect())
    }

    fn read(&self, first: usize, count: usize) -> Result<Rows> {
        let mut reader = ParquetReader::new(File::open(&self.path)?);
        reader.set_metadata(self.metadata.clone());
        let mut places = vec![self.image, self.label];
        places.sort_unstable();
        let reader = reader.with_projection(Some(places)).with_slice(Some((first, count)));
        let frame = without_panics(|| Ok(reader.finish()?))?;
        let column = |place: usize| {
            let column = frame.select_at_idx(place).context("a damaged Parquet file: a column is missing")?;
            Ok::<_, anyhow::Error>(column.as_materialized_series().clone())
        };
        let order = usize::from(self.image > self.label);
        let (mut images, labels) = (column(order)?, column(1 - order)?);
        if matches!(images.dtype(), DataType::Struct(_)) {
            images = images.struct_()?.field_by_name("bytes").context("the image column has no field `bytes`")?;
        }
        let labels: Vec<Option<i64>> = labels.cast(&DataType::Int64)?.i64()?.iter().collect();
        ensure!(
            images.len() == count && labels.len() == count,
            "a damaged Parquet file: {} images and {} classes, where its header promises {count}",
            images.len(),
            labels.len()
        );
        Ok(Rows { first, images, labels })
    }
}

impl Rows {
    /// The encoded images; none where a row has only a path, or nothing.
    ///
    /// # Errors
    /// A damaged column.
    pub fn images(&self) -> Result<Vec<Option<&[u8]>>> {
        Ok(self.images.binary().context("the image column does not hold binary data")?.iter().collect())
    }
}

fn image_column(schema: &ArrowSchema) -> Result<usize> {
    let holds_images = |kind: &ArrowDataType| match kind {
        ArrowDataType::Struct(fields) => fields.iter().any(|field| field.name == "bytes" && is_binary(&field.dtype)),
        other => is_binary(other),
    };
    let fields = || schema.iter_values().enumerate();
    let mut found: Vec<usize> = fields().filter(|(_, field)| holds_images(&field.dtype)).map(|(at, _)| at).collect();
    if found.len() > 1 {
        let named: Vec<usize> = fields()
            .filter(|(at, field)| found.contains(at) && IMAGE.contains(&field.name.as_str()))
            .map(|(at, _)| at)
            .collect();
        found = if named.is_empty() { found } else { named };
    }
    match found[..] {
        [only] => Ok(only),
        [] => bail!(
            "no image column: found {}, expected one of encoded images: bytes, or a structure with `bytes` in it",
            described(schema)
        ),
        _ => bail!(
            "several columns could be the images: {}\n  accepted: files with one of them, or one that is called {}",
            names(schema, &found),
            IMAGE.join(" or ")
        ),
    }
}

fn label_column(schema: &ArrowSchema, preferred: &[&str]) -> Result<usize> {
    let place = |name: &&str| schema.index_of(name);
    let found = match preferred.iter().find_map(place) {
        Some(preferred) => vec![preferred],
        None => LABEL.iter().filter_map(place).collect::<Vec<_>>(),
    };
    match found[..] {
        [] => {
            let expected = if preferred.is_empty() { &LABEL[..] } else { preferred };
            bail!("no label column: found {}, expected {}", described(schema), expected.join(" or "))
        }
        [only] => {
            let holds = schema.get_at_index(only).map(|(name, field)| (name.as_str(), &field.dtype));
            match holds {
                Some((name, kind)) if !is_integer(kind) => {
                    bail!("the label column `{name}` holds {}, where whole numbers are expected", words(kind))
                }
                _ => Ok(only),
            }
        }
        _ => {
            bail!("several columns could be the classes: {}\n  accepted: files with one of them", names(schema, &found))
        }
    }
}

fn names(schema: &ArrowSchema, places: &[usize]) -> String {
    let name = |&place: &usize| schema.get_at_index(place).map_or(String::new(), |(name, _)| name.to_string());
    places.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Every column with what it holds.
fn described(schema: &ArrowSchema) -> String {
    let one = |field: &polars::prelude::ArrowField| format!("{} ({})", field.name, words(&field.dtype));
    schema.iter_values().map(one).collect::<Vec<_>>().join(", ")
}

fn is_binary(kind: &ArrowDataType) -> bool {
    matches!(kind, ArrowDataType::Binary | ArrowDataType::LargeBinary | ArrowDataType::BinaryView)
}

fn is_integer(kind: &ArrowDataType) -> bool {
    use ArrowDataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
    matches!(kind, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64)
}

/// What a column holds, for people.
fn words(kind: &ArrowDataType) -> &'static str {
    use ArrowDataType as Kind;
    match kind {
        kind if is_integer(kind) => "whole numbers",
        kind if is_binary(kind) => "bytes",
        Kind::Utf8 | Kind::LargeUtf8 | Kind::Utf8View => "text",
        Kind::Float16 | Kind::Float32 | Kind::Float64 => "fractions",
        Kind::Decimal(..) | Kind::Decimal256(..) => "decimal numbers",
        Kind::Boolean => "true or false",
        Kind::Struct(_) => "a structure",
        Kind::List(_) | Kind::LargeList(_) | Kind::FixedSizeList(..) => "lists",
        Kind::Date32 | Kind::Date64 | Kind::Time32(_) | Kind::Time64(_) | Kind::Timestamp(..) => "times",
        Kind::Null => "nothing",
        _ => "values of another kind",
    }
}

/// The names of a column's classes, as the hub writes them into its files: `info.features.COLUMN.names`.
fn class_names(info: &str, column: &str) -> Option<Vec<String>> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    let names = info.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}
