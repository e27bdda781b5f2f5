//! Tables and plots from result files; never trains.

pub mod aggregate;
pub mod conventions;
pub mod plots;
pub mod published;
pub mod seeds;
pub mod speeds;
pub mod tables;

mod caption;
mod completion;
mod layers;
mod measured;
mod tasks;
mod tuning;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::config::error::explain;
use crate::files::write_atomic;
use crate::results::checksums::Checksums;
use crate::results::{Collected, Headings, RunFolder, write_frames};
use aggregate::{Group, SHORT_SCHEDULE};
use completion::Completion;

/// What was written.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every path, `README.md` first.
    pub written: Vec<PathBuf>,
    /// What of the experiment is not done, in a line that the report begins with, too; none where everything is.
    pub unfinished: Option<String>,
}

/// Writes the report of all finished trials into the folder: `README.md`, `plots/*.svg` and `*.png`, and the frames it
/// stands on (`results.csv`, `results.parquet`).
///
/// # Errors
/// No finished trial; a result file that cannot be read (named); those of the file system.
pub fn write(folder: &RunFolder) -> Result<Report> {
    let _lock = folder.lock()?;
    let mut trials = folder.collected()?;
    folder.count_test_images(&mut trials.done)?;
    if trials.done.is_empty() {
        let failed = match trials.failed.len() {
            0 => String::new(),
            count => format!(" ({count} failed)"),
        };
        bail!("results {}: no trial is finished yet{failed}; there is nothing to report", folder.root().display());
    }
    // While files change, there is nothing they could be checked against.
    Checksums::remove(folder.root())?;
    let measures = folder.measured()?;
    let mut groups = aggregate::groups(&trials.done);
    groups.iter_mut().for_each(|group| group.measured = measures.as_ref());
    let mut written = vec![folder.root().join("README.md")];
    written.extend(write_frames(folder, &trials)?);

    let plots_dir = folder.root().join("plots");
    fs::create_dir_all(&plots_dir).with_context(|| format!("{}: the folder cannot be made", plots_dir.display()))?;
    let Headings { title, description, tune } = folder.headings()?;
    let title = title.as_deref().unwrap_or(folder.name());
    let mut page = format!("# {title}{}\n\n", if tune.only { ": tries of its tuning" } else { "" });
    if let Some(description) = description {
        page += &format!("{}\n\n", description.trim());
    }
    let unfinished = unfinished(folder, &trials);
    page += &warnings(&groups, unfinished.as_deref());
    let mut slugs = BTreeSet::new();
    for group in &groups {
        page = format!("{}\n\n## {}\n\n{}", page.trim_end(), group.title(), tables::comparison(group));
        page += &tuning::section(group);
        for plot in plots::all(group, &slug(group, &mut slugs), |key| folder.epochs(key))? {
            for (ending, bytes) in [("svg", plot.svg.as_bytes()), ("png", &plot.png)] {
                let path = plots_dir.join(format!("{}.{ending}", plot.name));
                write_atomic(&path, bytes)?;
                written.push(path);
            }
            let name = &plot.name;
            page += &format!("\n### {}\n\n[![{0}](plots/{name}.png)](plots/{name}.svg)\n", plot.title);
        }
        page += &seeds::sections(group);
        page += &measured::section(group);
        if let Some(table) = layers::table(group, |key| folder.costs(key))? {
            page += &format!("\n### Where the MACs are\n\n{table}\n{}", layers::CAPTION);
        }
        if let Some(published) = published::beside(group) {
            page += &format!("\n### Published figures\n\n{published}");
        }
    }
    page += &tasks::section(&groups);
    page += &tables::failures(&trials.failed);
    page += &how(folder);
    page += &speeds::section(&groups);
    drop_stale(&plots_dir, &written)?;
    write_atomic(&written[0], page.as_bytes())?;
    let mut sums = Checksums::default();
    for path in &written {
        let name = path.strip_prefix(folder.root()).unwrap_or(path);
        sums.add_file(folder.root(), &name.to_string_lossy())?;
    }
    sums.write(folder.root())?;
    Ok(Report { written, unfinished })
}

/// A line that says what of the experiment is not done, if anything.
fn unfinished(folder: &RunFolder, trials: &Collected) -> Option<String> {
    match Completion::of(folder, trials) {
        Ok(completion) => completion.missing().map(|missing| format!("Unfinished: {missing}")),
        // The results of another harness's experiment can be reported all the same.
        Err(error) => {
            let why = explain(&error);
            Some(format!("Open trials are not known: {}", why.lines().next().unwrap_or_default()))
        }
    }
}

/// What a reader must know before the first number.
fn warnings(groups: &[Group<'_>], unfinished: Option<&str>) -> String {
    let mut text = String::new();
    let trained = || groups.iter().filter(|group| !group.cost_only());
    if trained().any(|group| group.first().trial.data.synthetic) {
        text += "> **SYNTHETIC data**: procedural images stand in for real ones. The figures show that the machinery works, and \
                 nothing about the methods.\n\n";
    }
    if let Some((heading, line)) = unfinished.and_then(|line| line.split_once(": ")) {
        text += &format!("> **{heading}**: {line}.\n\n");
    }
    if trained().any(|group| group.first().trial.config.recipe.epochs < SHORT_SCHEDULE) {
        text += "> **Short schedule**: a first look, not a benchmark. Compact modules lose more than vanilla by training short.\n\n";
    }
    let epochs: BTreeSet<usize> = trained().map(|group| group.first().trial.config.recipe.epochs).collect();
    if epochs.len() > 1 {
        let list: Vec<String> = epochs.iter().map(ToString::to_string).collect();
        text += &format!(
            "> **Different epochs**: trials were trained for {} epochs. Accuracies do not compare between tables of different \
             epochs: longer training alone makes a difference.\n\n",
            list.join(", ")
        );
    }
    if groups.len() > 1 {
        text += &format!(
            "Results fall into {} groups by data, backbone and recipe; nothing compares across them.\n",
            groups.len()
        );
    }
    text
}

fn how(folder: &RunFolder) -> String {
    let root = folder.root().display();
    let name = folder.name();
    format!(
        "\n## How this was made\n\n\
         [`experiment.toml`](experiment.toml) is the experiment `{name}` as it was run, with what was set on the command line. Again, from the start or from \
         where it stopped, and the report alone:\n\n\
         ```\ncargo run -p harness -- {root}/experiment.toml --output {root}\ncargo run -p harness -- report {root}\n```\n\n\
         Every trial with every option, exact counts and its environment stamp is a row of [`results.csv`](results.csv) and \
         `results.parquet`; `trials/` holds each one's configuration, log by epoch, result and weights. Code and machine stand \
         under each table.\n"
    )
}

/// Start of a group's file names, e.g. `resnet20-cifar10`; unique in the folder.
fn slug(group: &Group<'_>, taken: &mut BTreeSet<String>) -> String {
    let record = group.first();
    let data =
        if record.trial.data.synthetic && !group.cost_only() { "synthetic" } else { &record.trial.config.dataset.name };
    let base = format!("{}-{data}", record.trial.config.backbone.name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let slug = std::iter::once(base.clone()).chain(numbered).find(|slug| !taken.contains(slug)).unwrap_or(base);
    taken.insert(slug.clone());
    slug
}

/// Removes plots of an earlier report that this one did not draw.
fn drop_stale(plots: &std::path::Path, written: &[PathBuf]) -> Result<()> {
    let stale = || -> std::io::Result<()> {
        for entry in fs::read_dir(plots)? {
            let path = entry?.path();
            let drawn = path.extension().is_some_and(|ending| ending == "svg" || ending == "png");
            if drawn && !written.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    stale().with_context(|| format!("{}: old plots cannot be removed", plots.display()))
}
