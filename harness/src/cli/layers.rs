//! `harness bench --layers`: where the time of a network goes.

use anyhow::Result;

use super::table::{Cell, Format, Table};
use crate::config::Precision;
use crate::measure::bench::{Entrant, Rounds};
use crate::measure::layers::{LayerTimes, Limits, Use, time_layers};

const COLUMNS: &[&str] = &[
    "method",
    "use",
    "layer",
    "kind",
    "pass",
    "kernel",
    "ms",
    "share",
    "gflop_per_s",
    "peak_share",
    "gb_per_s",
    "bound",
    "remark",
];

/// What the columns mean, for people who have them before their eyes.
const LEGEND: &str = "\
ms: of all threads together, divided by their number (infer_b1: from a layer's first task to its last); the median over rounds
share: of the whole step or inference; everything else is packing weights, laying images out, loss, update and waiting
gflop_per_s: operations of the direct sum, two a multiply-accumulate; Winograd's form makes 4 of 9 of them and may pass the peak
gb_per_s: inputs, outputs and weights, once for every pass over them; from the caches it may pass what copies of memory reach
bound: what would take longer at the limits, the kernel's own multiplications or its bytes
";

/// A row for every pass of every layer of every network.
///
/// # Errors
/// Those of training and inference.
pub fn table(entrants: &[Entrant], labels: &[String], batch: usize, rounds: Rounds, format: Format) -> Result<String> {
    let mut limits: Vec<(Precision, Limits)> = Vec::new();
    for precision in entrants.iter().map(Entrant::precision) {
        if limits.iter().all(|(known, _)| *known != precision) {
            limits.push((precision, Limits::measure(precision)?));
        }
    }
    let mut table = Table::new(COLUMNS);
    for ((entrant, times), label) in entrants.iter().zip(time_layers(entrants, batch, rounds)?).zip(labels) {
        if let Some((_, limits)) = limits.iter().find(|(precision, _)| *precision == entrant.precision()) {
            push(&mut table, &times, label, limits);
        }
    }
    let text = table.render(format);
    let lines: String = limits.iter().map(limits_line).collect();
    Ok(if format == Format::Table { format!("{text}\n{lines}{LEGEND}") } else { text })
}

fn limits_line((precision, limits): &(Precision, Limits)) -> String {
    let (gflops, gbytes, threads) = (limits.gflops, limits.gbytes, rayon::current_num_threads());
    let of = if *precision == Precision::Bf16 { "products of bf16" } else { "multiply-adds" };
    let plural = if threads == 1 { "" } else { "s" };
    format!("limits: {gflops:.1} GFLOP/s of {of} and {gbytes:.1} GB/s of copies, on {threads} thread{plural}\n")
}

fn push(table: &mut Table, times: &LayerTimes, label: &str, limits: &Limits) {
    for purpose in Use::ALL {
        let whole = times.whole.get(&purpose).copied().unwrap_or_default();
        let share = |ms: f64| if whole > 0.0 { Cell::Share(ms / whole) } else { Cell::Empty };
        let mut rest = whole;
        for layer in times.layers.iter().filter(|layer| layer.purpose == purpose) {
            let computes = layer.work.macs > 0;
            rest -= layer.ms();
            table.push(vec![
                Cell::text(label),
                Cell::text(purpose.name()),
                Cell::text(&*layer.name),
                Cell::text(&*layer.kind),
                Cell::text(layer.work.pass.name()),
                Cell::text(layer.work.kernel),
                Cell::Real(layer.ms()),
                share(layer.ms()),
                if computes { Cell::Real(layer.gflops()) } else { Cell::Empty },
                if computes { Cell::Share(layer.gflops() / limits.gflops) } else { Cell::Empty },
                Cell::Real(layer.gbytes()),
                Cell::text(layer.bound(limits)),
                Cell::Empty,
            ]);
        }
        let off_engine = times.off_engine.get(&purpose);
        let mut row = vec![Cell::text(label), Cell::text(purpose.name())];
        row.push(Cell::text(if off_engine.is_some() { "all, operation by operation" } else { "everything else" }));
        row.extend([Cell::Empty, Cell::Empty, Cell::Empty, Cell::Real(rest.max(0.0)), share(rest.max(0.0))]);
        row.extend((0..4).map(|_| Cell::Empty));
        row.push(off_engine.map_or(Cell::Empty, |why| Cell::Text(format!("not on the engine: {why}"))));
        table.push(row);
    }
}
