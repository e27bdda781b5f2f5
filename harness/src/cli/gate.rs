//! `harness bench gate`: whether this build is slower than another one.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, ensure};
use clap::Args;

use super::table::{Cell, Format, Table};
use super::{Reply, cost};
use crate::experiment::Experiment;
use crate::experiment::keys::MOST_THREADS;
use crate::run::gate::{GateEnd, METRICS, compare};
use crate::statistics::gate::Finding;

#[derive(Args, Debug)]
pub struct GateArgs {
    /// The harness of the other build, e.g. of the commit before.
    old: PathBuf,
    /// A network, as `harness backbones` lists them.
    #[arg(long)]
    backbone: String,
    /// A method with options, such as compconv,depth=2.
    #[arg(long, value_name = "NAME[,OPTION=VALUE...]")]
    method: String,
    /// Images of a batch.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Threads that compute [default: all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command: exit code 0 not slower, 1 slower, 3 stopped.
pub fn gate(args: &GateArgs) -> anyhow::Result<Reply> {
    ensure!(args.old.is_file(), "{}: is no program\n  accepted: the harness of another build", args.old.display());
    let document = cost::document("gate", &args.backbone, Some(&args.method), None, ["recipe.epochs=1"; 0])?;
    let mut trials = Experiment::from_document(&document)?.trials;
    ensure!(trials.len() == 1, "--method {}: describes {} networks; one is measured", args.method, trials.len());
    let config = trials.remove(0).config;
    let threads = args.threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let new = std::env::current_exe().context("finding this program")?;
    let Some(end) = compare(&args.old, &new, &config, args.batch as usize, threads)? else {
        return Ok(Reply { text: "stopped: nothing is said of either program\n".into(), code: 3 });
    };
    Ok(Reply { text: told(&end, args.format), code: u8::from(end.failed()) })
}

fn told(end: &GateEnd, format: Format) -> String {
    let mut table = Table::new(&["metric", "pairs", "new_over_old", "p", "again", "again_p", "verdict"]);
    for (name, (first, second)) in METRICS.iter().zip(&end.findings) {
        let verdict = match (first.alarms, second) {
            (false, _) => "not slower",
            (true, Some(Finding { alarms: true, .. })) => "SLOWER, twice",
            (true, _) => "an alarm that did not repeat",
        };
        table.push(vec![
            Cell::text(*name),
            Cell::Count(end.pairs as u64),
            Cell::Real(first.ratio),
            Cell::Real(first.p),
            second.map_or(Cell::Empty, |second| Cell::Real(second.ratio)),
            second.map_or(Cell::Empty, |second| Cell::Real(second.p)),
            Cell::text(verdict),
        ]);
    }
    table.render(format)
}
