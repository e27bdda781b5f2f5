//! `harness bench peak`: what the machine can do at most.

use clap::Args;
use conv_core::{Isa, Precision, copy_gbytes, kernel_path_in, peak_gflops, peak_gflops_of_bf16};

use super::table::{Cell, Format, Table};
use crate::experiment::keys::MOST_THREADS;
use crate::measure::COPIED;
use crate::run::compute_threads;

#[derive(Args, Debug)]
pub struct PeakArgs {
    /// Threads that compute [default: all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn measure_limits(args: &PeakArgs) -> anyhow::Result<String> {
    compute_threads(args.threads.map_or(0, usize::from))?.install(|| measure(args.format))
}

fn measure(format: Format) -> anyhow::Result<String> {
    let threads = Cell::Count(rayon::current_num_threads() as u64);
    let mut table = Table::new(&["name", "threads", "value", "unit"]);
    let mut row = |name: String, value: f64, unit: &str| {
        table.push(vec![Cell::Text(name), threads.clone(), Cell::Real(value), Cell::text(unit)]);
    };
    for isa in Isa::available() {
        row(format!("fma {}", isa.name()), peak_gflops(isa), "GFLOP/s");
    }
    row(format!("bf16 {}", kernel_path_in(Precision::Bf16)?), peak_gflops_of_bf16()?, "GFLOP/s");
    row("copy (read + write)".into(), copy_gbytes(COPIED), "GB/s");
    Ok(table.render(format))
}
