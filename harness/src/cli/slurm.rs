//! `harness submit`, `status` and `cancel`: trials on a Slurm cluster.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Reply;
use super::run::SweepArgs;
use super::table::{Cell, Format, Table};
use crate::files::shell_word;
use crate::results::RunFolder;
use crate::run::slurm::{self, SubmittedTrial, TaskState};

/// What runs trials beyond this machine.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Engine {
    /// An array job of Slurm's, one task a trial.
    #[default]
    Slurm,
}

#[derive(Args, Debug)]
pub struct SubmitArgs {
    /// The experiment.
    file: PathBuf,
    #[command(flatten)]
    sweep: SweepArgs,
    /// Whose queue.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Most trials that run at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    at_once: Option<u16>,
    /// Options for sbatch, after `--`, e.g. -- --partition=long --time=12:00:00
    #[arg(last = true, value_name = "SBATCH OPTION")]
    options: Vec<String>,
}

/// Submits what is missing.
pub fn submit(args: &SubmitArgs) -> anyhow::Result<Reply> {
    let Engine::Slurm = args.engine;
    let (experiment, options) = args.sweep.resolve(&args.file)?;
    let done = slurm::submit(&experiment, &options, &args.options, args.at_once.map(usize::from))?;
    let mut text = String::new();
    for (job, tasks) in &done.jobs {
        text += &format!("array job {job}: {tasks} {}\n", if *tasks == 1 { "trial" } else { "trials" });
    }
    text += &format!(
        "{} submitted, {} in the queue before, {} done before\n",
        done.jobs.iter().map(|(_, tasks)| tasks).sum::<usize>(),
        done.queued,
        done.done
    );
    if done.beyond > 0 {
        text += &format!("{} more than Slurm takes at a time: submit again once there is room\n", done.beyond);
    }
    if done.output != options.output {
        text += "these are the tries of settings that are tuned: submit again once they are done\n";
    }
    if let Some(dir) = &done.dir {
        let folder = shell_word(&done.output);
        text += &format!("{}\nfollow them: harness status {folder}\n", dir.join("job.sh").display());
    }
    Ok(text.into())
}

/// A row a submitted trial.
pub fn status(folder: &Path, format: Format) -> anyhow::Result<Reply> {
    let trials = slurm::status(&RunFolder::open(folder)?)?;
    if trials.is_empty() && format == Format::Table {
        return Ok(never_submitted(folder).into());
    }
    let mut table = Table::new(&["trial", "seed", "key", "task", "state", "epochs", "note", "output"]);
    for trial in &trials {
        let (state, note) = words(&trial.state);
        let (done, all) = trial.epochs;
        table.push(vec![
            Cell::text(&trial.label),
            trial.seed.map_or(Cell::Empty, Cell::Count),
            Cell::text(&trial.key),
            Cell::text(format!("{}_{}", trial.task.0, trial.task.1)),
            Cell::text(state),
            Cell::text(all.map_or_else(|| done.to_string(), |all| format!("{done}/{all}"))),
            // A terminal is only so wide; the whole of it is in the trial's failed.json.
            Cell::text(if format == Format::Table { note.chars().take(60).collect() } else { note }),
            Cell::text(trial.output.display().to_string()),
        ]);
    }
    Ok(table.render(format).into())
}

fn words(state: &TaskState) -> (String, String) {
    match state {
        TaskState::Done => ("done".into(), String::new()),
        TaskState::Failed(why) => ("FAILED".into(), why.clone()),
        TaskState::Queued(state, more) => (state.to_lowercase(), more.clone()),
        TaskState::Preempted => {
            ("preempted".into(), "made room for another job: submit again, and it goes on from its checkpoint".into())
        }
        TaskState::Gone(why) => {
            let why = why.map_or(String::new(), |why| format!("{why}: "));
            ("gone".into(), format!("{why}no result, and not in the queue: submit again"))
        }
    }
}

#[derive(Args, Debug)]
pub struct CancelArgs {
    /// A run folder, e.g. reports/cifar.
    folder: PathBuf,
    /// Only trials whose label or key has this in it.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

fn never_submitted(folder: &Path) -> String {
    format!("no trial of {} was ever submitted\n", folder.display())
}

/// Takes trials out of the queue.
pub fn cancel(args: &CancelArgs) -> anyhow::Result<Reply> {
    let fits = |trial: &SubmittedTrial| {
        args.only.as_ref().is_none_or(|part| trial.label.contains(part) || trial.key.contains(part))
    };
    let slurm::Cancelled { submitted, fitting, cancelled } = slurm::cancel(&RunFolder::open(&args.folder)?, fits)?;
    Ok(match (submitted, fitting, cancelled) {
        (0, ..) => never_submitted(&args.folder),
        (_, 0, _) => format!("0 cancelled: none of {submitted} submitted trials fits\n"),
        (.., 0) => format!("0 cancelled: none of {fitting} is in the queue\n"),
        _ => format!("{cancelled} cancelled; what they had trained is in their checkpoints\n"),
    }
    .into())
}
