//! `harness measure FOLDER`: what the networks of a folder cost to run, measured again. And the process that measures one of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::Reply;
use crate::experiment::keys::MOST_THREADS;
use crate::experiment::{self, RunSettings};
use crate::files::shell_word;
use crate::report;
use crate::results::RunFolder;
use crate::run::measuring::{MeasuringEnd, MeasuringOptions, measure_folder};
use crate::run::{ProbeOptions, run_probe};

/// Measure what the networks of a run folder cost to run, then write its report
///
/// Latency of one image and of a batch, memory, energy where the machine tells, and the multiplications that were executed: of
/// every network that a finished trial ended in, in turns, each time in a fresh process. Takes the place of what was measured
/// before. A run does this by itself once all its trials are over (`run.measure`).
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// A run folder, e.g. reports/cifar.
    folder: PathBuf,
    /// Rounds in which every network is measured once [default: run.measure_rounds of the experiment, else 5].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Images of a batch [default: run.measure_batch of the experiment, else those of a training step].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Threads that compute [default: run.threads of the experiment, else all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
}

#[derive(Args, Debug)]
pub struct ProbeArgs {
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long, value_delimiter = ',')]
    processors: Vec<usize>,
}

/// Runs `harness measure`.
pub fn measure(args: &MeasureArgs) -> anyhow::Result<Reply> {
    let folder = RunFolder::open(&args.folder)?;
    // A folder may be of an experiment that this binary does not understand; its trials say what they are.
    let document = experiment::read(&folder.experiment(), &[]);
    let mut settings = document.ok().and_then(|document| RunSettings::of(&document).ok()).unwrap_or_default();
    settings.threads = args.threads.map(usize::from).or(settings.threads);
    settings.measure_rounds = args.rounds.map_or(settings.measure_rounds, usize::from);
    settings.measure_batch = args.batch.map(|images| images as usize).or(settings.measure_batch);
    let mut reply = measured(&folder, &settings, true, None)?;
    if reply.code == 0 {
        let report = report::write(&folder)?;
        report.written.iter().for_each(|path| reply.text += &format!("{}\n", path.display()));
    }
    Ok(reply)
}

/// Measures the networks of a folder, those known before too if `anew`, if it takes no longer than `within`; with exit code 3 where
/// it was stopped.
///
/// # Errors
/// Those of [`measure_folder`].
pub(super) fn measured(
    folder: &RunFolder,
    settings: &RunSettings,
    anew: bool,
    within: Option<Duration>,
) -> anyhow::Result<Reply> {
    let options = MeasuringOptions {
        program: std::env::current_exe().context("finding this program")?,
        threads: settings.threads,
        rounds: settings.measure_rounds,
        images: settings.measure_batch,
        anew,
        within,
    };
    let again = |folder: &Path| format!("`harness measure {}` does it", shell_word(folder));
    Ok(match measure_folder(folder, &options)? {
        MeasuringEnd::Known => String::new().into(),
        MeasuringEnd::Measured(notes) => notes.iter().map(|note| format!("{note}\n")).collect::<String>().into(),
        MeasuringEnd::Left(why) => format!("not measured: {why}; {}\n", again(folder.root())).into(),
        MeasuringEnd::Stopped => Reply { text: format!("measuring was stopped; {}\n", again(folder.root())), code: 3 },
    })
}

/// Runs `harness probe`.
pub fn probe(args: ProbeArgs) -> anyhow::Result<Reply> {
    Ok(run_probe(&ProbeOptions { threads: args.threads, processors: args.processors })?.into())
}
