//! Images of any size from Parquet files: their encoded bytes are copied to one file of the cache, where each can be read by itself
//! whenever it is needed. A Parquet file gives rows by the thousand only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::layout::Shards;
use super::{Table, test_split};
use crate::data::listing::{FileList, Files, Listing};
use crate::files::write_atomic;

/// Of how the pack and its index are written.
const FORMAT: &str = "pack 1";

/// What is in a pack.
#[derive(Serialize, Deserialize)]
struct Index {
    classes: Vec<String>,
    /// Training and test.
    splits: [Split; 2],
    remarks: Vec<String>,
}

/// A split's rows, in order.
#[derive(Default, Serialize, Deserialize)]
struct Split {
    /// Each file with the number of its rows.
    shards: Vec<(String, usize)>,
    /// Bytes of each image.
    lengths: Vec<u64>,
    labels: Vec<u16>,
}

/// The images of Parquet files; they are unpacked to the folder `cache` unless they were before. `share` of each class becomes test
/// images where it is set.
///
/// # Errors
/// A missing column, a damaged file, a label that is none, a share where there is a test split; a cache that cannot be written.
/// Names the file.
pub fn listing(shards: &Shards, share: Option<f64>, cache: &Path) -> Result<Listing> {
    let mut remarks = Vec::new();
    let train = shards.training()?;
    let test = test_split(shards, &[], &mut remarks)?;
    ensure!(
        share.is_none() || test.is_empty(),
        "{}: has a test split, and dataset.test_share is for data without one\n  accepted: one of the two",
        shards.root.display()
    );
    let stem = cache.join(identity(train, &test)?);
    let (pack, index) = (stem.with_extension("pack"), stem.with_extension("json"));
    let known = fs::read(&index).ok().and_then(|text| serde_json::from_slice::<Index>(&text).ok());
    let known = known.filter(|known| fs::metadata(&pack).is_ok_and(|file| file.len() == known.bytes()));
    let known = match known {
        Some(known) => known,
        None => {
            let shown = |file: &Path| shards.shown(file);
            let made = unpack(train, &test, &pack, &shown)?;
            write_atomic(&index, &serde_json::to_vec(&made)?)?;
            made
        }
    };
    let Index { classes, splits: [train, test], remarks: mut all } = known;
    all.extend(remarks);
    let mut offset = 0;
    let [train, test] = [train, test].map(|split| split.files(&pack, &mut offset));
    let mut listing = Listing { classes, train, test, remarks: all };
    if let Some(share) = share {
        listing.share(share);
    }
    listing.remark_classes();
    Ok(listing)
}

/// A name for what these files hold, as long as they are not changed.
fn identity(train: &[PathBuf], test: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(FORMAT.as_bytes());
    for files in [train, test] {
        hasher.update(&(files.len() as u64).to_le_bytes());
        for file in files {
            let found = fs::metadata(file).with_context(|| file.display().to_string())?;
            let changed = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let path = file.canonicalize().unwrap_or_else(|_| file.clone());
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(&found.len().to_le_bytes());
            hasher.update(&changed.map_or(0, |time| time.as_nanos()).to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Copies the images of both splits to the file `pack`.
fn unpack(train: &[PathBuf], test: &[PathBuf], pack: &Path, shown: &dyn Fn(&Path) -> String) -> Result<Index> {
    let folder = pack.parent().unwrap_or(Path::new("."));
    let cannot = || {
        format!(
            "{}: cannot be written, where the images of Parquet files are unpacked to\n  accepted: room there; XDG_CACHE_HOME names \
             another folder",
            folder.display()
        )
    };
    fs::create_dir_all(folder).with_context(cannot)?;
    say!("data: the images of {} Parquet files are unpacked once, to {}", train.len() + test.len(), pack.display());
    let mut out = BufWriter::new(NamedTempFile::new_in(folder).with_context(cannot)?);
    let (mut names, mut rows) = (None, Vec::new());
    let mut splits = [Split::default(), Split::default()];
    for (split, files) in splits.iter_mut().zip([train, test]) {
        let mut labels = Vec::new();
        for file in files {
            let named = || file.display().to_string();
            let table = Table::open(file, &[]).with_context(named)?;
            let before = split.lengths.len();
            for piece in table.rows() {
                let piece = piece.with_context(named)?;
                for image in piece.images().with_context(named)? {
                    // A row without an image is one that cannot be decoded.
                    let image = image.unwrap_or_default();
                    out.write_all(image).with_context(cannot)?;
                    split.lengths.push(image.len() as u64);
                }
                let missing = piece.labels.iter().position(Option::is_none);
                ensure!(missing.is_none(), "{}: row {} has no label", named(), piece.first + missing.unwrap_or(0));
                labels.extend(piece.labels.into_iter().flatten());
            }
            split.shards.push((shown(file), split.lengths.len() - before));
            names = names.or(table.classes);
        }
        rows.push(labels);
    }
    let places = Places::of(names, &rows[0], &train[0])?;
    for (split, labels) in splits.iter_mut().zip(&rows) {
        let label = |(index, label): (usize, &i64)| {
            places
                .of_label(*label)
                .with_context(|| format!("{} has label {label}, {}", split.name(index), places.accepted()))
        };
        split.labels = labels.iter().enumerate().map(label).collect::<Result<_>>()?;
    }
    let file = out.into_inner().map_err(|error| error.into_error()).with_context(cannot)?;
    file.persist(pack).map_err(|error| error.error).with_context(cannot)?;
    let remarks = if places.are_numbers {
        vec!["classes are called by their numbers: the files name none".into()]
    } else {
        vec![]
    };
    Ok(Index { classes: places.names, splits, remarks })
}

/// The classes of labels: those that the files name, else those that training images have, in order.
struct Places {
    names: Vec<String>,
    places: BTreeMap<i64, u16>,
    are_numbers: bool,
}

impl Places {
    fn of(names: Option<Vec<String>>, labels: &[i64], file: &Path) -> Result<Self> {
        let are_numbers = names.is_none();
        let (names, numbers) = match names {
            Some(names) => {
                let numbers = (0..names.len() as i64).collect();
                (names, numbers)
            }
            None => {
                let numbers: std::collections::BTreeSet<i64> = labels.iter().copied().collect();
                (numbers.iter().map(i64::to_string).collect(), numbers)
            }
        };
        let count = names.len();
        ensure!((1..=1 << 16).contains(&count), "{}: {count} classes, 1 to 65,536 are accepted", file.display());
        let places = numbers.into_iter().zip(0..=u16::MAX).collect();
        Ok(Self { names, places, are_numbers })
    }

    fn of_label(&self, label: i64) -> Option<u16> {
        self.places.get(&label).copied()
    }

    fn accepted(&self) -> String {
        match self.are_numbers {
            true => "which no training image has".into(),
            false => format!("where 0 to {} are possible", self.names.len() - 1),
        }
    }
}

impl Index {
    /// Bytes of all images.
    fn bytes(&self) -> u64 {
        self.splits.iter().flat_map(|split| &split.lengths).fold(0, |sum, length| sum.saturating_add(*length))
    }
}

impl Split {
    /// What row `index` of the split is called.
    fn name(&self, mut index: usize) -> String {
        for (file, rows) in &self.shards {
            if index < *rows {
                return format!("{file} row {index}");
            }
            index -= rows;
        }
        format!("row {index}")
    }

    /// The images, which begin at `offset` of the pack.
    fn files(self, pack: &Path, offset: &mut u64) -> Files {
        let mut list = FileList::packed(pack);
        let rows = self.shards.iter().flat_map(|(file, rows)| (0..*rows).map(move |row| format!("{file} row {row}")));
        for (name, length) in rows.zip(&self.lengths) {
            list.push_stretch(&name, (*offset, *length));
            *offset += length;
        }
        Files { list, labels: self.labels }
    }
}
