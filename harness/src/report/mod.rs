//! Tables, plots and a page from result files; never trains.

pub mod aggregate;
pub mod comparison;
pub mod conventions;
pub mod diff;
pub mod markup;
pub mod numbers;
pub mod plots;
pub mod published;
pub mod section;
pub mod seeds;
pub mod speeds;
pub mod table;

mod caption;
mod completion;
mod failures;
mod layers;
mod measured;
mod output;
mod page;
mod sources;
mod tasks;
mod tuning;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::error::explain;
use crate::files::{shell_word, write_atomic};
use crate::results::checksums::Checksums;
use crate::results::{Collected, Headings, RunFolder};
use aggregate::{Group, SHORT_SCHEDULE};
use completion::Completion;
use output::{write_plots, write_tables};
use plots::{Plot, Width};
use section::{Part, Section};
use sources::Sources;

/// What was written.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every path, `README.md` first.
    pub written: Vec<PathBuf>,
    /// What of the experiment is not done, in a line that the report begins with, too; none where everything is.
    pub unfinished: Option<String>,
}

/// All that there is to say of a group.
struct Chapter {
    sections: Vec<Section>,
    plots: Vec<Plot>,
}

/// What a report is called and where it goes.
struct Cover {
    root: PathBuf,
    name: String,
    title: String,
    /// Markdown.
    description: String,
    unfinished: Option<String>,
    /// How it was made, in Markdown.
    how: String,
}

/// Writes the report of all finished trials into the folder: `index.html`, `README.md`, `plots/*` and `tables/*` in every format, and
/// the frames that it stands on (`results.csv`, `results.parquet`).
///
/// # Errors
/// No finished trial; a result file that cannot be read (named); those of the file system.
pub fn write(folder: &RunFolder) -> Result<Report> {
    let _lock = folder.lock()?;
    let folders = [folder.clone()];
    let sources = Sources::of(&folders)?;
    let Headings { title, description, tune } = folder.headings()?;
    let title = title.unwrap_or_else(|| folder.name().to_owned());
    let cover = Cover {
        root: folder.root().to_owned(),
        name: folder.name().to_owned(),
        title: format!("{title}{}", if tune.only { ": tries of its tuning" } else { "" }),
        description: description.unwrap_or_default(),
        unfinished: unfinished(folder, sources.trials()),
        how: how(folder),
    };
    write_sources(&sources, &cover)
}

/// Writes one report on the finished trials of several folders into `root`, which is new, empty, or such a report already. A trial that
/// is in several of them stands once.
///
/// # Errors
/// As of [`write`]; a folder that holds something else.
pub fn merge(folders: &[RunFolder], root: &Path, title: Option<&str>) -> Result<Report> {
    let name = root.file_name().map_or_else(|| "merged".into(), |name| name.to_string_lossy().into_owned());
    sources::claim(root)?;
    let sources = Sources::of(folders)?;
    let names: Vec<&str> = folders.iter().map(RunFolder::name).collect();
    let unfinished: Vec<String> = folders
        .iter()
        .zip(sources.parts())
        .filter_map(|(folder, trials)| Some(format!("{}: {}", folder.name(), unfinished(folder, trials)?)))
        .collect();
    let paths: Vec<String> = folders.iter().map(|folder| folder.root().display().to_string()).collect();
    let cover = Cover {
        root: root.to_owned(),
        title: title.map_or_else(|| names.join(" and "), str::to_owned),
        name,
        description: format!("The results of {} experiments: {}.", names.len(), names.join(", ")),
        unfinished: (!unfinished.is_empty()).then(|| format!("Unfinished: {}", unfinished.join("; "))),
        how: format!(
            "\n## How this was made\n\nFrom the results in {}; each has its own experiment. The report again:\n\n\
             ```\ncargo run -p harness -- report {} --output {}\n```\n",
            paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "),
            folders.iter().map(|folder| shell_word(folder.root())).collect::<Vec<_>>().join(" "),
            shell_word(root)
        ),
    };
    write_sources(&sources, &cover)
}

fn write_sources(sources: &Sources<'_>, cover: &Cover) -> Result<Report> {
    let trials = sources.trials();
    if trials.done.is_empty() {
        let failed = match trials.failed.len() {
            0 => String::new(),
            count => format!(" ({count} failed)"),
        };
        bail!("results {}: no trial is finished yet{failed}; there is nothing to report", cover.root.display());
    }
    let root = &*cover.root;
    // While files change, there is nothing they could be checked against.
    Checksums::remove(root)?;
    let mut slugs = BTreeSet::new();
    let groups: Vec<(String, Group<'_>)> = aggregate::groups(&trials.done)
        .into_iter()
        .map(|group| (slug(&group, &mut slugs), sources.measured_of(&group), group))
        .map(|(name, measured, group)| (name, group.with(measured)))
        .collect();
    let chapters = groups.iter().map(|(name, group)| chapter(sources, name, group)).collect::<Result<Vec<_>>>()?;
    let plain: Vec<&Group<'_>> = groups.iter().map(|(_, group)| group).collect();
    let after: Vec<Section> = tasks::section(&plain).into_iter().chain(failures::section(&trials.failed)).collect();
    let speeds = speeds::section(&groups);

    let mut lead = format!("# {}\n\n", cover.title);
    if !cover.description.is_empty() {
        lead += &format!("{}\n\n", cover.description.trim());
    }
    lead += &warnings(&plain, cover.unfinished.as_deref());
    let mut text = format!("{}\n", lead.trim_end());
    text.extend(chapters.iter().flat_map(|chapter| &chapter.sections).map(Section::markdown));
    let mut end: String = after.iter().map(Section::markdown).collect();
    end += &cover.how;
    end.extend(speeds.iter().map(Section::markdown));
    text += &end;
    // The page draws the comparison and the plots itself.
    let notes = chapters.iter().flat_map(|chapter| &chapter.sections).filter(|section| !section.is_drawn());
    let notes = notes.map(Section::markdown).collect::<String>() + &end;
    let around = page::Around {
        title: &cover.title,
        name: &cover.name,
        root,
        lead: &lead,
        notes: &notes,
        failed: trials.failed.len(),
    };
    let page = page::html(sources, &groups, &around)?;

    let sections = chapters.iter().flat_map(|chapter| &chapter.sections).chain(&after).chain(&speeds);
    let mut written = vec![root.join("README.md")];
    written.extend(sources.write_frames(root)?);
    written.extend(write_tables(root, sections.flat_map(Section::tables))?);
    written.extend(write_plots(root, chapters.iter().flat_map(|chapter| &chapter.plots))?);
    write_atomic(&written[0], text.as_bytes())?;
    let index = root.join(PAGE);
    write_atomic(&index, page.as_bytes())?;
    written.push(index);
    let mut sums = Checksums::default();
    for path in &written {
        let name = path.strip_prefix(root).unwrap_or(path);
        sums.add_file(root, &name.to_string_lossy())?;
    }
    sums.write(root)?;
    Ok(Report { written, unfinished: cover.unfinished.clone() })
}

fn chapter(sources: &Sources<'_>, name: &str, group: &Group<'_>) -> Result<Chapter> {
    let plots = plots::all(group, name, |key| sources.epochs(key))?;
    let mut sections = vec![comparison::section(group, name)];
    sections.extend(tuning::section(group, name));
    let shown = plots.iter().filter(|plot| plot.width == Width::Page);
    sections.extend(shown.map(|Plot { name, title, lacking, .. }| {
        let mut parts = vec![Part::Plot(name.clone(), title.clone())];
        if !lacking.is_empty() {
            let letters: String = lacking.iter().collect();
            parts.push(Part::Text(format!(
                "No font of this machine has {letters}: PNG and PDF show boxes for them. The SVG is set in the fonts of whoever reads \
                 it; with a font that has them (Noto Sans CJK, say) a new report shows them everywhere."
            )));
        }
        Section::of_group(title.clone(), parts)
    }));
    sections.extend(seeds::sections(group, name));
    sections.extend(measured::section(group, name));
    sections.extend(layers::section(group, name, |key| sources.costs(key))?);
    sections.extend(published::section(group, name));
    Ok(Chapter { sections, plots })
}

/// The report's page.
const PAGE: &str = "index.html";

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
fn warnings(groups: &[&Group<'_>], unfinished: Option<&str>) -> String {
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
    let root = folder.root();
    let (file, root) = (shell_word(&root.join("experiment.toml")), shell_word(root));
    let name = folder.name();
    format!(
        "\n## How this was made\n\n\
         [`experiment.toml`](experiment.toml) is the experiment `{name}` as it was run, with what was set on the command line. Again, from the start or from \
         where it stopped, and the report alone:\n\n\
         ```\ncargo run -p harness -- {file} --output {root}\ncargo run -p harness -- report {root}\n```\n\n\
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
