//! What is shown of a plan.

use std::path::{Path, PathBuf};

use super::sight::Spread;
use super::table::Format;
use crate::experiment::Document;
use crate::experiment::resolve::file_name;

/// What is shown of a plan.
#[derive(Clone, Debug)]
pub struct View {
    /// Trials that fit a filter, or all.
    pub only: Option<String>,
    /// How rows are printed.
    pub format: Format,
    /// How a difference varies between seeds, in points, as it was stated.
    pub spread: Option<f64>,
    /// Folder of the results; otherwise that of the experiment's name.
    pub output: Option<PathBuf>,
}

impl View {
    /// The run folder of the experiment `name`.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.output.clone().unwrap_or_else(|| Path::new("reports").join(name))
    }

    /// The spread that was stated, or else is known from results of the experiment `name`.
    pub fn spread_of(&self, name: &str) -> anyhow::Result<Option<Spread>> {
        match self.spread {
            Some(points) => Ok(Some(Spread::stated(points))),
            None => Spread::found(&self.folder(name)),
        }
    }
}

/// A spread as it is given on the command line.
///
/// # Errors
/// What is no number above 0 and below 100.
pub fn points(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|points| *points > 0.0 && *points < 100.0);
    number.ok_or_else(|| "a spread is a number of percentage points above 0 and below 100, e.g. 0.3".to_owned())
}

/// The folder of an experiment's results.
///
/// # Errors
/// An experiment without a name that a folder could have.
pub fn output(document: &Document, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(match given {
        Some(folder) => folder.to_owned(),
        None => Path::new("reports").join(file_name(document)?),
    })
}
