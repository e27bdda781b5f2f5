//! `harness diff`: what changed between two run folders.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Reply;
use crate::report::diff::diff;
use crate::results::RunFolder;

/// What changed from one run folder to another: costs, accuracies paired by seed, times, and which trials came to the same bits. Trains
/// nothing.
///
/// For two builds, or before and after a change: the same experiment run by either, into folders of their own. A table is compared with
/// that of the same backbone and data set; where recipe or data differ, it is said, and no difference of accuracies is drawn.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The older run folder.
    old: PathBuf,
    /// The newer one.
    new: PathBuf,
    /// Writes a page, `index.html`, with its tables into this folder instead of printing Markdown.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Folders that cannot be read or have nothing in common; a folder of something else to write into.
pub fn show(args: &DiffArgs) -> Result<Reply> {
    let found = diff(&RunFolder::open(&args.old)?, &RunFolder::open(&args.new)?)?;
    let Some(output) = &args.output else { return Ok(found.markdown().into()) };
    Ok(found.write(output)?.iter().map(|path| format!("{}\n", path.display())).collect::<String>().into())
}
