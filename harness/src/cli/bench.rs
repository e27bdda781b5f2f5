//! `harness bench`: measured training and inference times beside vanilla's, from one run.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use conv_core::Cost;

use super::table::{Cell, Format, Table};
use super::{cost, deployed, layers};
use crate::config::TrialConfig;
use crate::config::schema::off_engine_remark;
use crate::experiment::Experiment;
use crate::experiment::keys::MOST_THREADS;
use crate::experiment::price::{Price, price};
use crate::measure::bench::{Entrant, Rounds, Times, quantile, race};
use crate::measure::layers::{Use, planned};
use crate::measure::memory::peak_memory;
use crate::run::compute_threads;
use crate::{data, methods};

#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// A network, as `harness backbones` lists them.
    #[arg(long)]
    backbone: String,
    /// A method with options, such as compconv,depth=2; may be given several times.
    #[arg(long, value_name = "NAME[,OPTION=VALUE...]", required = true)]
    method: Vec<String>,
    /// Images per training step and per inference.
    #[arg(long, default_value_t = 128, value_parser = count)]
    batch: usize,
    /// Threads that compute [default: all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// Measured rounds.
    #[arg(long, default_value_t = 9, value_parser = count)]
    rounds: usize,
    /// Sets image size and classes [default: imagenet for resnet18/34/50, else cifar10].
    #[arg(long)]
    dataset: Option<String>,
    /// Sets any key for all networks, e.g. --set backbone.head=mlp; --set recipe.kernels=candle measures candle's own
    /// operations. Options of the method (--set method.depth=2) leave the vanilla network beside it alone.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leaves out the peak memory, for which each network trains in a process of its own.
    #[arg(long)]
    no_memory: bool,
    /// Measures every pass of every layer by itself instead of the whole network: which kernel does it, how long it takes of
    /// all threads together, how fast that is, and whether computing or memory bounds it.
    #[arg(long)]
    layers: bool,
    /// Measures inference of a batch beside that of ONNX Runtime and OpenVINO on the exported network: the same threads and images, in
    /// turns. Speed-ups are against vanilla in the same runtime.
    #[arg(long, conflicts_with = "layers")]
    deployed: bool,
    /// The Python that has these runtimes [default: $HARNESS_PYTHON, or python3].
    #[arg(long, requires = "deployed", value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Only trains the one method a step and prints the process's peak memory in MiB.
    #[arg(long, hide = true)]
    memory: bool,
}

/// A number of at least 1, and of no more than anyone can mean.
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("accepted: an integer from 1 to {MOST}"))
}

/// Larger batches and more rounds are slips.
const MOST: usize = 1_000_000;

/// Runs the command.
pub fn compare(args: &NetworkArgs) -> Result<String> {
    compute_threads(args.threads.map_or(0, usize::from))?.install(|| measure(args))
}

fn measure(args: &NetworkArgs) -> Result<String> {
    let mut specs: Vec<&str> = args.method.iter().map(String::as_str).collect();
    if !args.memory {
        specs.retain(|spec| *spec != methods::reference());
        specs.insert(0, methods::reference());
    }
    let configs = specs.iter().map(|spec| config(args, spec)).collect::<Result<Vec<_>>>()?;
    let rounds = Rounds { measured: args.rounds, warm_up: 2 };
    if args.deployed {
        let (threads, python) = (rayon::current_num_threads(), args.python.as_deref());
        let settings = deployed::Settings { batch: args.batch, threads, rounds, python };
        return Ok(deployed::table(&configs, &settings)?.render(args.format));
    }
    let entrant = |config: &TrialConfig| Entrant::new(config, &data::geometry(&config.dataset)?);
    let entrants = configs.iter().map(entrant).collect::<Result<Vec<_>>>()?;
    if args.memory {
        for entrant in &entrants {
            entrant.train_once(args.batch)?;
        }
        return Ok(format!("{}\n", peak_memory().context("this system does not tell its peak memory")?));
    }
    let prices: Vec<Price> =
        configs.iter().map(|config| price(config).map_err(|error| anyhow!("{}", error.why))).collect::<Result<_>>()?;
    for ((entrant, price), spec) in entrants.iter().zip(&prices).zip(&specs) {
        let (there, priced) = (entrant.params(), price.total.params);
        ensure!(there == priced, "{spec}: {there} parameters where its price says {priced}: a defect");
    }
    if args.layers {
        let labels: Vec<String> = configs.iter().map(|config| methods::label(&config.method)).collect();
        return layers::table(&entrants, &labels, args.batch, rounds, args.format);
    }
    let times = race(&entrants, args.batch, rounds)?;
    let mut table = Table::new(columns(args.batch));
    for (((config, spec), price), (entrant, measured)) in
        configs.iter().zip(&specs).zip(&prices).zip(entrants.iter().zip(&times))
    {
        let mut cells = row(args, config, price, measured, &times[0], memory(args, spec))?;
        let off_engine = planned(entrant, args.batch, Use::Train)?.err();
        if off_engine.is_some() && args.format == Format::Table {
            let trained = columns(args.batch).iter().zip(&mut cells).filter(|(name, _)| name.starts_with("train_"));
            trained.for_each(|(_, cell)| *cell = cell.marked());
        }
        cells.push(off_engine.map_or(Cell::Empty, |why| Cell::Text(format!("† {}", off_engine_remark(why)))));
        table.push(cells);
    }
    Ok(table.render(args.format))
}

/// The trial that a method's specification describes.
fn config(args: &NetworkArgs, spec: &str) -> Result<TrialConfig> {
    let document = cost::document("bench", &args.backbone, Some(spec), args.dataset.as_deref(), sets(args, spec))?;
    let mut trials = Experiment::from_document(&document)?.trials;
    ensure!(trials.len() == 1, "--method {spec}: describes {} networks; one is measured at a time", trials.len());
    Ok(trials.remove(0).config)
}

/// What `--set` says to this network: a method's options are nothing to the vanilla network that runs along.
fn sets<'a>(args: &'a NetworkArgs, spec: &'a str) -> impl Iterator<Item = &'a String> {
    let reference = methods::reference();
    let beside = spec == reference && args.method.iter().any(|method| method != reference);
    args.set.iter().filter(move |set| !(beside && set.trim_start().starts_with("method.")))
}

/// Peak memory of a training step, in a process of its own.
fn memory(args: &NetworkArgs, spec: &str) -> Option<f64> {
    if args.no_memory {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["bench", "--memory", "--backbone", &args.backbone, "--method", spec]);
    command.args(["--batch", &args.batch.to_string()]);
    command.args(args.threads.iter().flat_map(|threads| ["--threads".to_owned(), threads.to_string()]));
    command.args(sets(args, spec).flat_map(|set| ["--set", set]));
    command.args(args.dataset.iter().flat_map(|dataset| ["--dataset", dataset]));
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The names carry the batch size; a bench's table is made once per process. In batches of one image, inference of a batch
/// is that of one image.
fn columns(batch: usize) -> &'static [&'static str] {
    let infer = |suffix: &str| format!("infer_b{batch}_ms{suffix}");
    let mut names = vec![
        "backbone".into(),
        "method".into(),
        "params".into(),
        "macs".into(),
        "train_step_ms".into(),
        "train_step_ms_p10".into(),
        "train_step_ms_p90".into(),
        "train_step_ms_p99".into(),
        "infer_b1_ms".into(),
        "infer_b1_ms_p10".into(),
        "infer_b1_ms_p90".into(),
        "infer_b1_ms_p99".into(),
        infer(""),
        infer("_p10"),
        infer("_p90"),
        infer("_p99"),
        "peak_mib".into(),
        "train_gflop_per_s".into(),
        "infer_gflop_per_s".into(),
        "theoretical_speedup".into(),
        "train_speedup".into(),
        "infer_b1_speedup".into(),
        format!("infer_b{batch}_speedup"),
        "kernels".into(),
        "noisy".into(),
        "remark".into(),
    ];
    let mut known = HashSet::new();
    names.retain(|name: &String| known.insert(name.clone()));
    names.into_iter().map(|name| &*name.leak()).collect::<Vec<_>>().leak()
}

fn row(
    args: &NetworkArgs,
    config: &TrialConfig,
    price: &Price,
    times: &Times,
    vanilla: &Times,
    memory: Option<f64>,
) -> Result<Vec<Cell>> {
    let four = |times: &[f64]| [0.5, 0.1, 0.9, 0.99].map(|q| Cell::Real(quantile(times, q)));
    let ratio = |of: fn(&Times) -> &Vec<f64>| Cell::Real(quantile(of(vanilla), 0.5) / quantile(of(times), 0.5));
    // A multiply-accumulate is two operations; a training step is counted as three forward passes.
    let flop = |cost: &Cost| 2.0 * cost.macs as f64 * args.batch as f64;
    let rate = |flop: f64, times: &[f64]| Cell::Real(flop / (quantile(times, 0.5) * 1e6));
    // A pruned network is trained as it is after the cut here, a fused one as it is before.
    let trained = if price.fused { &price.trained } else { &price.total };
    let mut row = vec![
        Cell::text(&config.backbone.name),
        Cell::text(methods::label(&config.method)),
        Cell::Count(price.total.params),
        Cell::Count(price.total.macs),
    ];
    let one = args.batch == 1;
    row.extend(four(&times.train_step));
    row.extend(four(&times.infer_one));
    if !one {
        row.extend(four(&times.infer_batch));
    }
    row.push(memory.map_or(Cell::Empty, Cell::Real));
    row.push(rate(3.0 * flop(trained), &times.train_step));
    row.push(rate(flop(&price.total), if one { &times.infer_one } else { &times.infer_batch }));
    row.push(Cell::Real(price.vanilla.macs as f64 / price.total.macs as f64));
    row.push(ratio(|times| &times.train_step));
    row.push(ratio(|times| &times.infer_one));
    if !one {
        row.push(ratio(|times| &times.infer_batch));
    }
    row.push(Cell::Text(config.recipe.kernel_path()?));
    row.push(times.noisy().map_or(Cell::Empty, |noisy| Cell::text(if noisy { "noisy" } else { "quiet" })));
    Ok(row)
}
