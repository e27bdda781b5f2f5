//! Tables and plots as files, in every format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::plots::Plot;
use super::table::Table;
use crate::files::write_atomic;

/// Every table in every format.
pub fn write_tables<'t>(root: &Path, tables: impl Iterator<Item = &'t Table>) -> Result<Vec<PathBuf>> {
    let dir = root.join("tables");
    let mut written = Vec::new();
    for table in tables {
        let markdown = format!("{}\n{}", table.markdown(), table.markdown_notes());
        let formats = [
            ("md", markdown.into_bytes()),
            ("tex", table.latex().into_bytes()),
            ("csv", table.csv()?),
            ("parquet", table.parquet()?),
        ];
        for (ending, bytes) in formats {
            written.push((dir.join(format!("{}.{ending}", table.name)), bytes));
        }
    }
    write_folder(&dir, written)
}

/// Every plot in every format.
pub fn write_plots<'p>(root: &Path, plots: impl Iterator<Item = &'p Plot>) -> Result<Vec<PathBuf>> {
    let dir = root.join("plots");
    let formats = plots.flat_map(|Plot { name, svg, png, pdf, .. }| {
        [("svg", svg.as_bytes()), ("png", png), ("pdf", pdf)]
            .map(|(ending, bytes)| (dir.join(format!("{name}.{ending}")), bytes.to_vec()))
    });
    let files = formats.collect();
    write_folder(&dir, files)
}

/// Writes these files, and removes what an earlier report has left beside them.
fn write_folder(dir: &Path, files: Vec<(PathBuf, Vec<u8>)>) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
    for (path, bytes) in &files {
        write_atomic(path, bytes)?;
    }
    let written: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    let remove_stale = || -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| FORMATS.contains(&ending)) && !written.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    remove_stale().with_context(|| format!("{}: what an earlier report left cannot be removed", dir.display()))?;
    Ok(written)
}

/// The formats of tables and plots.
const FORMATS: [&str; 7] = ["md", "tex", "csv", "parquet", "svg", "png", "pdf"];
