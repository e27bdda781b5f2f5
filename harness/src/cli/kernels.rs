//! `harness cost --layers`: which kernel does which pass of every layer that the engine runs.

use std::fmt::Write;

use anyhow::Result;
use conv_core::{EngineLayer, OffEngine, Pass};

use super::table::{Cell, Format, Table};
use crate::data::geometry;
use crate::experiment::Trial;
use crate::measure::bench::Entrant;
use crate::measure::layers::{LayerNames, Use, planned};

const COLUMNS: &[&str] = &[
    "layer",
    "kind",
    "input",
    "output",
    "macs",
    "forward",
    "input_gradient",
    "weight_gradient",
    "infer",
    "infer_b1",
    "remark",
    "trial",
];

/// What the columns mean, for people who have them before their eyes.
const LEGEND: &str = "
forward, input gradient, weight gradient: the kernel of each pass of a training step
infer, infer b1: the kernel in inference of a batch, and of one image
operations: not the engine's; empty: not done, as a norm in inference that the convolution before it does on its way
";

/// What stands for a kernel where the engine runs none.
const OFF_ENGINE: &str = "operations";

/// The layers of each of these trials.
///
/// # Errors
/// Networks that cannot be made.
pub fn table(trials: &[&Trial], format: Format) -> Result<String> {
    let (mut all, mut text) = (Table::new(COLUMNS), String::new());
    for &trial in trials {
        let (entrant, mut own) = (Entrant::new(&trial.config, &geometry(&trial.config.dataset)?)?, Table::new(COLUMNS));
        let notes = push(if format == Format::Table { &mut own } else { &mut all }, trial, &entrant, format)?;
        if format == Format::Table {
            let (config, gap) = (&trial.config, if text.is_empty() { "" } else { "\n" });
            let names = [&*config.backbone.name, &config.dataset.name, &trial.label].join(", ");
            let batch = config.recipe.batch;
            let _ = write!(text, "{gap}{names}, batch {batch}\n\n{}", own.render(format));
            notes.iter().for_each(|note| text += &format!("\n{note}\n"));
        }
    }
    Ok(if format == Format::Table { text + LEGEND } else { all.render(format) })
}

/// A row a layer; returns what is to be said of the uses that are off the engine, which rows for programs say themselves.
fn push(table: &mut Table, trial: &Trial, entrant: &Entrant, format: Format) -> Result<Vec<String>> {
    let uses = Use::ALL.into_iter().map(|purpose| planned(entrant, trial.config.recipe.batch, purpose));
    let uses: Vec<Result<Vec<EngineLayer>, OffEngine>> = uses.collect::<Result<_>>()?;
    let names = LayerNames::of_network(entrant);
    let kernel = |purpose: usize, layer: usize, pass: Pass| match &uses[purpose] {
        Err(_) => Cell::text(OFF_ENGINE),
        Ok(layers) => {
            let work = layers[layer].passes.iter().find(|work| work.pass == pass);
            work.map_or(Cell::Empty, |work| Cell::text(work.kernel))
        }
    };
    let why = Use::ALL.iter().zip(&uses).filter_map(|(purpose, layers)| Some((purpose, layers.as_ref().err()?)));
    let why = why.map(|(purpose, why)| format!("{} runs operation by operation: {why}", purpose.name()));
    let notes: Vec<String> = why.collect();
    let remark = || if format == Format::Table { Cell::Empty } else { Cell::text(notes.join("; ")) };
    // The layers are the same in every use; what runs on the engine in none has none.
    let layers = uses.iter().find_map(|layers| layers.as_ref().ok()).map(Vec::as_slice).unwrap_or_default();
    for (index, layer) in layers.iter().enumerate() {
        let shape =
            |(channels, height, width): (usize, usize, usize)| Cell::Text(format!("{channels}x{height}x{width}"));
        table.push(vec![
            Cell::text(names.of(layer)),
            Cell::text(&*layer.kind),
            shape(layer.input),
            shape(layer.output),
            layer.passes.first().map_or(Cell::Empty, |work| Cell::Count(work.macs)),
            kernel(0, index, Pass::Forward),
            kernel(0, index, Pass::InputGradient),
            kernel(0, index, Pass::WeightGradient),
            kernel(1, index, Pass::Forward),
            kernel(2, index, Pass::Forward),
            remark(),
            Cell::text(&*trial.label),
        ]);
    }
    if layers.is_empty() {
        let mut row = vec![
            Cell::text("all"),
            Cell::text("the whole network"),
            Cell::Empty,
            Cell::Empty,
            Cell::Count(trial.network.cost.macs),
        ];
        row.extend((0..5).map(|_| Cell::text(OFF_ENGINE)));
        row.extend([remark(), Cell::text(&*trial.label)]);
        table.push(row);
    }
    Ok(notes)
}
