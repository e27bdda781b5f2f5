//! The command line: one file a group of commands. Commands return what goes to stdout; progress and errors go to stderr.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod bench;
mod cost;
mod init;
mod list;
mod peak;
mod plan;
mod results;
mod run;
mod slurm;
mod table;
mod trial;

use crate::experiment::Experiment;
use crate::experiment::error::{explain, nearest};
use crate::report;
use crate::results::RunFolder;
use table::Format;

/// Compares compact convolutions with each other: one TOML file in, tables and plots out.
///
/// `harness FILE.toml` trains what the file asks for (what is done already is skipped) and writes the report. A first file
/// comes from `harness init`.
#[derive(Parser, Debug)]
#[command(name = "harness", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<run::RunArgs>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train an experiment (or resume it), then write its report; the same as `harness FILE.toml`
    Run(run::RunArgs),
    /// List an experiment's trials with their costs; trains nothing
    Plan(PlanArgs),
    /// Write tables, plots and page from the results that are there; trains nothing
    Report {
        /// A run folder, e.g. reports/cifar.
        folder: PathBuf,
    },
    /// Look after the files of a run
    #[command(subcommand)]
    Results(ResultsCommand),
    /// Put an experiment's missing trials into the queue of a cluster; results land in the same run folder
    Submit(slurm::SubmitArgs),
    /// How submitted trials stand
    Status {
        /// A run folder, e.g. reports/cifar.
        folder: PathBuf,
        /// How rows are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Take submitted trials out of the queue; those that run stop after a checkpoint
    Cancel(slurm::CancelArgs),
    /// The process of one trial; started by the harness
    #[command(hide = true)]
    Trial(trial::TrialArgs),
    /// Measured training and inference times, beside vanilla's; `bench peak`: the machine's own limits
    ///
    /// Medians, with p10 and p90, over rounds in which the networks take turns. Vanilla always runs along: speed-ups
    /// are against it. A network that is pruned is measured as it is after the cut.
    Bench(BenchArgs),
    /// Closed-form cost per layer, of a network or of each trial of an experiment
    Cost(cost::CostArgs),
    /// List the methods with their options
    Methods(ListArgs),
    /// List the data sets and how they are set
    Datasets(ListArgs),
    /// List the networks and how they are set
    Backbones(ListArgs),
    /// Write a commented experiment that runs as it is
    Init {
        /// Where to; never overwrites.
        #[arg(default_value = "experiment.toml")]
        path: PathBuf,
    },
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct BenchArgs {
    #[command(subcommand)]
    limits: Option<Limits>,
    #[command(flatten)]
    networks: Option<bench::NetworkArgs>,
}

#[derive(Subcommand, Debug)]
enum Limits {
    /// The most that this machine computes and copies, all threads together
    ///
    /// The best of several rounds. fma: multiply-adds on registers, by the widest instructions of each kernel path that
    /// the processor has, two operations a lane. copy: from one block of 256 MiB to another; every byte counts once as
    /// it is read and once as it is written.
    Peak(peak::PeakArgs),
}

#[derive(Subcommand, Debug)]
enum ResultsCommand {
    /// Check every file of a run folder against its checksums
    Verify {
        /// A run folder, e.g. reports/cifar.
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
struct PlanArgs {
    /// The experiment.
    file: PathBuf,
    /// Only trials that fit: part of a label, or KEY=VALUE,... such as method=compconv,depth=2.
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
    /// Overrides any key, e.g. --set recipe.epochs=1.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What a command came to.
struct Outcome {
    text: String,
    /// Not 0: something that was asked for was not done, though the rest was.
    code: u8,
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// Runs the command line. Exit codes: 0 done; 1 some trials failed, or files are damaged; 2 nothing could be done as asked;
/// 3 stopped before the end, and the same command goes on.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Trial(args)) = cli.command {
        return trial::run(args);
    }
    match dispatch(cli) {
        Ok(outcome) => {
            // Whoever reads may have enough (`| head`): no error.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(outcome.text.as_bytes()).and_then(|()| stdout.flush());
            ExitCode::from(outcome.code)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", explain(&error));
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Results(ResultsCommand::Verify { folder })) => results::check(&folder),
        Some(Command::Submit(args)) => slurm::submit(&args),
        Some(Command::Status { folder, format }) => slurm::status(&folder, format),
        Some(Command::Cancel(args)) => slurm::cancel(&args),
        Some(Command::Trial(_)) => anyhow::bail!("a trial is a process of its own"),
        Some(Command::Plan(args)) => {
            let experiment = select(Experiment::load(&args.file, &args.set)?, args.only.as_deref())?;
            Ok(plan::render(&experiment, args.format).into())
        }
        Some(Command::Report { folder }) => {
            let written = report::write(&RunFolder::open(&folder)?)?;
            Ok(written.iter().map(|path| format!("{}\n", path.display())).collect::<String>().into())
        }
        Some(Command::Bench(BenchArgs { limits: Some(Limits::Peak(args)), .. })) => peak::run(&args).map(Outcome::from),
        Some(Command::Bench(BenchArgs { networks: Some(args), .. })) => bench::run(&args).map(Outcome::from),
        Some(Command::Bench(_)) => {
            anyhow::bail!("bench of what?\n  accepted: --backbone NAME --method NAME, or `peak`")
        }
        Some(Command::Cost(args)) => cost::run(&args).map(Outcome::from),
        Some(Command::Methods(args)) => Ok(list::methods(args.format).into()),
        Some(Command::Datasets(args)) => Ok(list::datasets(args.format).into()),
        Some(Command::Backbones(args)) => Ok(list::backbones(args.format).into()),
        Some(Command::Init { path }) => init::write(&path).map(Outcome::from),
        None => match cli.run {
            Some(args) => {
                misspelt(&args.file)?;
                run::run(&args)
            }
            None => anyhow::bail!("nothing to do; `harness --help` lists the commands"),
        },
    }
}

/// A word that is no file may be a command with a slip in it.
fn misspelt(file: &std::path::Path) -> anyhow::Result<()> {
    let commands = [
        "run",
        "plan",
        "report",
        "results",
        "submit",
        "status",
        "cancel",
        "bench",
        "cost",
        "methods",
        "datasets",
        "backbones",
        "init",
        "help",
    ];
    match file.to_str().and_then(|word| nearest(word, &commands)) {
        Some(command) if !file.exists() => {
            anyhow::bail!("`{}` is neither a file nor a command; did you mean `{command}`?", file.display())
        }
        _ => Ok(()),
    }
}

fn select(experiment: Experiment, only: Option<&str>) -> anyhow::Result<Experiment> {
    match only {
        Some(filter) => experiment.only(filter),
        None => Ok(experiment),
    }
}
