//! `harness FILE.toml`: trains, then reports.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::table::Format;
use super::view::{View, output};
use super::{Reply, measure, plan, select};
use crate::config::error::explain;
use crate::experiment::keys::MOST_THREADS;
use crate::experiment::run_settings::duration;
use crate::experiment::{Experiment, read};
use crate::measure::latency::Latencies;
use crate::report;
use crate::results::RunFolder;
use crate::run::screen::ScreenKind;
use crate::run::{self, RunOptions, RunSummary};

/// Which trials, and how each is executed.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// Only trials that fit: part of a label, or KEY=VALUE,... such as method=compconv,depth=2.
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
    /// Overrides any key, in sections and grids, e.g. --set recipe.epochs=1.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Weights that networks start from, safetensors or a state dict of PyTorch's; the same as init.file.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Threads that compute, of each trial; changes no result [default: run.threads of the file, else all there are, shared
    /// among the jobs].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Take finished trials over from this run folder; may be given more than once.
    #[arg(long, value_name = "FOLDER")]
    reuse: Vec<PathBuf>,
    /// Let trials go on from checkpoints of another kernel path (another processor): the row will say so.
    #[arg(long)]
    allow_path_change: bool,
    /// Where settings are tuned: train the tries alone; the same command without this goes on with what they found.
    #[arg(long)]
    only_tuning: bool,
    /// Folder of the results [default: reports/NAME].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Overrides of any key, and that of the file of weights.
pub(super) fn overrides(set: &[String], init: Option<&Path>) -> Vec<String> {
    let file = |path: &Path| format!("init.file={}", toml::Value::from(path.to_string_lossy().as_ref()));
    set.iter().cloned().chain(init.map(file)).collect()
}

impl SweepArgs {
    /// All overrides, those that have an option of their own among them.
    fn overrides(&self) -> Vec<String> {
        overrides(&self.set, self.init.as_deref())
    }

    /// The experiment, cut to what was asked for, and how it is to be run.
    ///
    /// # Errors
    /// Those of the experiment; a filter that no trial passes.
    pub fn resolve(&self, file: &Path) -> anyhow::Result<(Experiment, RunOptions)> {
        let document = read(file, &self.overrides())?;
        let mut output = output(&document, self.output.as_deref())?;
        let latencies = Latencies::new(RunFolder::latencies(&output)?);
        let mut experiment = select(Experiment::timed(&document, &latencies)?, self.only.as_deref())?;
        if self.only_tuning || experiment.only_tries && self.output.is_none() {
            output = RunFolder::tuning(&output);
        }
        if self.only_tuning {
            experiment = experiment.into_tries()?;
        }
        let mut settings = experiment.run.clone();
        settings.threads = self.threads.map(usize::from).or(settings.threads);
        let options = RunOptions {
            output,
            program: std::env::current_exe().context("finding this program")?,
            settings,
            deadline: None,
            reuse: self.reuse.clone(),
            allow_path_change: self.allow_path_change,
            progress: ScreenKind::default(),
        };
        Ok((experiment, options))
    }
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// The experiment.
    pub file: PathBuf,
    #[command(flatten)]
    how: HowArgs,
}

/// How it is run.
#[derive(Args, Debug)]
pub struct HowArgs {
    #[command(flatten)]
    sweep: SweepArgs,
    /// Say what would be trained, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Trials that run at once [default: run.jobs of the file, else 1].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    jobs: Option<u16>,
    /// Stop before that much time has passed, e.g. 6h; running trials write checkpoints, and the next run goes on.
    #[arg(long, value_name = "TIME", value_parser = time)]
    deadline: Option<Duration>,
    /// How progress is shown [default: a dashboard on a terminal, else plain lines].
    #[arg(long, value_enum, default_value_t)]
    progress: ScreenKind,
    /// How --dry-run prints its rows.
    #[arg(long, value_enum, default_value_t, requires = "dry_run")]
    format: Format,
}

/// Runs the command.
pub fn train_and_report(RunArgs { file, how }: &RunArgs) -> anyhow::Result<Reply> {
    train_file(file, how)
}

/// Trains what the file asks for, measures it and reports it.
///
/// # Errors
/// Those of the file; results that cannot be written.
pub(super) fn train_file(file: &Path, args: &HowArgs) -> anyhow::Result<Reply> {
    if args.dry_run {
        let SweepArgs { only, threads, output, .. } = &args.sweep;
        // They decide how long it takes.
        let machine = [("threads", *threads), ("jobs", args.jobs)];
        let machine = machine.iter().filter_map(|(key, number)| Some(format!("run.{key}={}", (*number)?)));
        let set: Vec<String> = args.sweep.overrides().into_iter().chain(machine).collect();
        let view = View { only: only.clone(), format: args.format, spread: None, output: output.clone() };
        plan::print_plan(file, &set, &view)?;
        return Ok(String::new().into());
    }
    let started = Instant::now();
    let (experiment, mut options) = args.sweep.resolve(file)?;
    options.settings.jobs = args.jobs.map_or(options.settings.jobs, usize::from);
    options.deadline = args.deadline;
    options.progress = args.progress;
    let summary = run::run_experiment(&experiment, &options)?;
    let mut text = summary.tries.iter().map(|tries| format!("tuning: {}", describe(tries))).collect::<String>();
    text += &describe(&summary);
    let mut stopped = false;
    // What finished is measured and reported, whatever failed.
    if summary.trained + summary.skipped + summary.reused > 0 {
        let folder = RunFolder::open(&options.output)?;
        let trains = experiment.trials.iter().any(|trial| trial.config.recipe.epochs > 0);
        if options.settings.measure.unwrap_or(trains) && summary.open == 0 {
            let within = args.deadline.map(|deadline| deadline.saturating_sub(started.elapsed()));
            match measure::measured(&folder, &options.settings, false, within) {
                Ok(reply) => (text, stopped) = (text + &reply.text, reply.code != 0),
                // Trials are no worse for it.
                Err(error) => text += &format!("not measured: {}\n", explain(&error)),
            }
        }
        let report = report::write(&folder)?;
        report.unfinished.iter().for_each(|line| text += &format!("{line}\n"));
        report.written.iter().for_each(|path| text += &format!("{}\n", path.display()));
    }
    let code = match &summary {
        RunSummary { failed, .. } if !failed.is_empty() => 1,
        RunSummary { open: 1.., .. } => 3,
        _ if stopped => 3,
        _ => 0,
    };
    Ok(Reply { text, code })
}

fn describe(summary: &RunSummary) -> String {
    let RunSummary { trained, skipped, reused, failed, open, stopped, tries: _ } = summary;
    let mut text = format!("{trained} trained, {skipped} done before, {} failed", failed.len());
    if *reused > 0 {
        text += &format!(", {reused} taken from elsewhere");
    }
    if *open > 0 {
        text += &format!(", {open} still open: the same command goes on with them");
    }
    text.push('\n');
    if let Some(why) = stopped {
        text += &format!("stopped: {why}\n");
    }
    for failure in failed {
        text += &format!("failed: {}: {}\n  log: {}\n", failure.trial, failure.error, failure.log.display());
    }
    text
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a time is a number with a unit, e.g. 90s, 30min, 6h".to_owned())
}
