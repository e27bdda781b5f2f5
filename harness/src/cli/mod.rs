//! The command line: one file a group of commands. Commands return what goes to stdout; progress and errors go to stderr.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory, Parser, Subcommand};

mod bench;
mod choice;
mod compare;
mod cost;
mod deployed;
mod diff;
mod evaluate;
mod export;
mod gate;
mod init;
mod kernels;
mod keys;
mod layers;
mod list;
mod measure;
mod peak;
mod plan;
mod predict;
mod reproduce;
mod results;
mod run;
mod sight;
mod slurm;
mod split_sizes;
mod starts;
mod table;
mod totals;
mod trial;
mod tuning;
mod view;

use crate::config::error::{explain, nearest};
use crate::data::hush_caught_panics;
use crate::experiment::Experiment;
use crate::report;
use crate::results::RunFolder;
use crate::run::was_asked_to_stop;
use table::Format;

/// How long the last lines may take to be written by a process that was asked to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Compares compact convolutions with each other: one TOML file in, tables and plots out.
///
/// `harness FILE.toml` trains what the file asks for (what is done already is skipped) and writes the report. A first file
/// comes from `harness init`.
#[derive(Parser, Debug)]
#[command(name = "harness", version, arg_required_else_help = true)]
#[command(override_usage = "harness FILE.toml [OPTIONS]\n       harness COMMAND ...")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train an experiment (or resume it), then write its report; the same as `harness FILE.toml`
    Run(run::RunArgs),
    /// List an experiment's trials with their costs; trains nothing
    Plan(PlanArgs),
    /// Write tables, plots and page from the results that are there; trains nothing
    ///
    /// Of several folders: one report on all their trials, into a folder of its own. What shares data, backbone and recipe stands in
    /// one table there, whichever experiment it is from.
    Report {
        /// Run folders, e.g. reports/cifar.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Folder of the report on several.
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
        /// Its title.
        #[arg(long, requires = "output")]
        title: Option<String>,
    },
    Reproduce(reproduce::ReproduceArgs),
    Compare(compare::CompareArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Evaluate(evaluate::EvaluateArgs),
    Predict(predict::PredictArgs),
    Measure(measure::MeasureArgs),
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
    /// The process that measures one network; started by the harness
    #[command(hide = true)]
    Probe(measure::ProbeArgs),
    /// Measured training and inference times, beside vanilla's; `bench peak`: the machine's own limits
    ///
    /// Medians, with p10, p90 and p99, over rounds in which the networks take turns. Vanilla always runs along: speed-ups
    /// are against it. A network that is pruned is measured as it is after the cut. Where a network's rounds differ by more than
    /// 10 %, the machine was noisy.
    Bench(BenchArgs),
    /// Exact cost per layer, of a network or of each trial of an experiment
    Cost(cost::CostArgs),
    /// List the keys of an experiment with type, range, default and meaning
    Keys {
        /// Only those of this section, e.g. recipe.
        section: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the methods with their options
    Methods {
        /// Only this one.
        name: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
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
    limits: Option<BenchLimit>,
    #[command(flatten)]
    networks: Option<bench::NetworkArgs>,
}

#[derive(Subcommand, Debug)]
enum BenchLimit {
    /// The most that this machine computes and copies, all threads together
    ///
    /// The best of several rounds. fma: multiply-adds on registers, by the widest instructions of each kernel path that
    /// the processor has, two operations a lane. copy: from one block of 256 MiB to another; every byte counts once as
    /// it is read and once as it is written.
    Peak(peak::PeakArgs),
    /// Whether this build is slower than another one, for a gate of changes: exit code 1 if so
    ///
    /// Both builds measure one network in pairs of fresh processes, in alternating order; as many pairs as tell 5 % on this machine, which is
    /// found by measuring the other build against itself. What alarms is measured anew, and fails only if it alarms again: of equal builds
    /// fewer than 1 in 1,000 fail, of builds that are slower by 5 % at least 95 %, both shown by simulation.
    Gate(gate::GateArgs),
}

#[derive(Subcommand, Debug)]
enum ResultsCommand {
    /// What every column of the files of results means
    Columns(ListArgs),
    /// Check every file of a run folder against its checksums
    Verify {
        /// A run folder, e.g. reports/cifar.
        folder: PathBuf,
    },
    /// Write learning curves for TensorBoard, of finished trials and of those under way; again to bring them up to date
    Tensorboard {
        /// A run folder, e.g. reports/cifar.
        folder: PathBuf,
        /// Where to; what `tensorboard --logdir` is given [default: FOLDER/tensorboard].
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
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
    /// Weights that networks start from, as of a run; the same as init.file.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Standard deviation, in points of top-1, of the difference of two methods between seeds: what the seeds can see depends on it
    /// [default: that of the results in the run folder].
    #[arg(long, value_name = "POINTS", value_parser = view::points)]
    spread: Option<f64>,
    /// Folder of the results [default: reports/NAME].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
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
struct Reply {
    text: String,
    /// Not 0: something that was asked for was not done, though the rest was.
    code: u8,
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// Runs the command line. Exit codes: 0 done; 1 some trials failed, files are damaged, or a compared method is worse; 2 nothing
/// could be done as asked; 3 stopped before the end, and the same command goes on; 4 compared methods cannot be told apart.
pub fn main() -> ExitCode {
    hush_caught_panics();
    let command = match arguments(std::env::args_os().collect()) {
        Ok(arguments) => Cli::parse_from(arguments).command,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    match dispatch(command) {
        Ok(outcome) => {
            print(outcome.text);
            ExitCode::from(outcome.code)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", explain(&error));
            ExitCode::from(2)
        }
    }
}

/// Prints to stdout. Whoever was asked to stop does not wait for a terminal that takes nothing more.
fn print(text: String) {
    let printing = thread::spawn(move || {
        // Whoever reads may have enough (`| head`): no error.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    });
    let started = Instant::now();
    while !(printing.is_finished() || was_asked_to_stop() && started.elapsed() > FAREWELL) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn dispatch(command: Command) -> anyhow::Result<Reply> {
    match command {
        Command::Run(args) => run::train_and_report(&args),
        Command::Reproduce(args) => reproduce::reproduce(&args),
        Command::Compare(args) => compare::compare_methods(&args),
        Command::Diff(args) => diff::show(&args),
        Command::Evaluate(args) => evaluate::evaluate(&args).map(Reply::from),
        Command::Predict(args) => predict::predict(&args).map(Reply::from),
        Command::Export(args) => export::export(&args).map(Reply::from),
        Command::Measure(args) => measure::measure(&args),
        Command::Probe(args) => measure::probe(args),
        Command::Results(ResultsCommand::Columns(args)) => Ok(results::columns(args.format).into()),
        Command::Results(ResultsCommand::Verify { folder }) => results::check(&folder),
        Command::Results(ResultsCommand::Tensorboard { folder, output }) => {
            results::tensorboard(&folder, output).map(Reply::from)
        }
        Command::Submit(args) => slurm::submit(&args),
        Command::Status { folder, format } => slurm::status(&folder, format),
        Command::Cancel(args) => slurm::cancel(&args),
        Command::Trial(args) => Ok(trial::train(args)),
        Command::Plan(args) => {
            let view = view::View { only: args.only, format: args.format, spread: args.spread, output: args.output };
            plan::print_plan(&args.file, &run::overrides(&args.set, args.init.as_deref()), &view)?;
            Ok(String::new().into())
        }
        Command::Report { folders, output, title } => {
            let folders: Vec<RunFolder> =
                folders.iter().map(|folder| RunFolder::open(folder)).collect::<anyhow::Result<_>>()?;
            let report = match (&folders[..], output) {
                ([folder], None) => report::write(folder)?,
                (folders, Some(output)) => report::merge(folders, &output, title.as_deref())?,
                (_, None) => {
                    anyhow::bail!("a report on several folders needs one of its own\n  accepted: --output FOLDER")
                }
            };
            if let Some(line) = &report.unfinished {
                // Paths alone go to stdout.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Ok(report.written.iter().map(|path| format!("{}\n", path.display())).collect::<String>().into())
        }
        Command::Bench(BenchArgs { limits: Some(BenchLimit::Peak(args)), .. }) => {
            peak::measure_limits(&args).map(Reply::from)
        }
        Command::Bench(BenchArgs { limits: Some(BenchLimit::Gate(args)), .. }) => gate::gate(&args),
        Command::Bench(BenchArgs { networks: Some(args), .. }) => bench::compare(&args).map(Reply::from),
        Command::Bench(_) => {
            anyhow::bail!("bench of what?\n  accepted: --backbone NAME --method NAME, or `peak`")
        }
        Command::Cost(args) => cost::list_costs(&args).map(Reply::from),
        Command::Keys { section, list } => keys::list(section.as_deref(), list.format).map(Reply::from),
        Command::Methods { name, list } => list::methods(name.as_deref(), list.format).map(Reply::from),
        Command::Datasets(args) => Ok(list::datasets(args.format).into()),
        Command::Backbones(args) => Ok(list::backbones(args.format).into()),
        Command::Init { path } => init::write(&path).map(Reply::from),
    }
}

/// `harness FILE.toml ...` is `harness run FILE.toml ...`: what begins with a file or an option is a run. A word that is
/// neither that nor a command is an error that names the commands there are.
fn arguments(mut given: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let Some(first) = given.get(1) else { return Ok(given) };
    let parser = Cli::command();
    let word = first.to_str().unwrap_or_default();
    if parser.find_subcommand(word).is_some() || ["help", "-h", "--help", "-V", "--version"].contains(&word) {
        return Ok(given);
    }
    // What looks like a file and is none is for the run to complain about: it knows what may be wrong with it.
    let file = word.starts_with('-') || Path::new(first).extension().is_some() || Path::new(first).exists();
    let commands: Vec<&str> =
        parser.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
    match nearest(word, &commands) {
        Some(command) if !Path::new(first).exists() => {
            anyhow::bail!("`{word}` is neither a file nor a command; did you mean `{command}`?")
        }
        _ if !file => anyhow::bail!(
            "`{word}` is neither a file nor a command\n  accepted: FILE.toml, or one of {}",
            commands.join(", ")
        ),
        _ => {
            given.insert(1, "run".into());
            Ok(given)
        }
    }
}

fn select(experiment: Experiment, only: Option<&str>) -> anyhow::Result<Experiment> {
    match only {
        Some(filter) => experiment.only(filter),
        None => Ok(experiment),
    }
}
