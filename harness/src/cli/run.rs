//! `harness FILE.toml`: trains, then reports.

use std::path::PathBuf;

use clap::Args;

use super::table::Format;
use super::{Outcome, plan, select};
use crate::experiment::Experiment;
use crate::experiment::keys::MOST_THREADS;
use crate::report;
use crate::results::RunFolder;
use crate::run::{self, RunOptions};

#[derive(Args, Debug)]
pub struct RunArgs {
    /// The experiment.
    pub file: PathBuf,
    /// Say what would be trained, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Only trials that fit: part of a label, or KEY=VALUE,... such as method=compconv,depth=2.
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
    /// Overrides any key, in sections and grids, e.g. --set recipe.epochs=1.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Threads that compute; changes no result [default: run.threads of the file, else all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Folder of the results [default: reports/NAME].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// No progress.
    #[arg(long)]
    quiet: bool,
    /// How --dry-run prints its rows.
    #[arg(long, value_enum, default_value_t, requires = "dry_run")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &RunArgs) -> anyhow::Result<Outcome> {
    let experiment = select(Experiment::load(&args.file, &args.set)?, args.only.as_deref())?;
    if args.dry_run {
        return Ok(plan::render(&experiment, args.format).into());
    }
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from("reports").join(&experiment.name));
    let options = RunOptions {
        output: output.clone(),
        threads: args.threads.map(usize::from).or(experiment.run.threads).unwrap_or(0),
        // Chosen above already.
        only: None,
        quiet: args.quiet,
    };
    let summary = run::run(&experiment, &options)?;
    // What finished is reported, whatever failed.
    let mut text =
        format!("{} trained, {} done before, {} failed\n", summary.trained, summary.skipped, summary.failed.len());
    for failure in &summary.failed {
        text += &format!("failed: {}: {}\n", failure.trial, failure.error);
    }
    if summary.trained + summary.skipped > 0 {
        for path in report::write(&RunFolder::open(&output)?)? {
            text += &format!("{}\n", path.display());
        }
    }
    Ok(Outcome { text, failed: !summary.failed.is_empty() })
}
