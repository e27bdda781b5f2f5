//! `harness plan`: what a file would train. Trains nothing.

use conv_core::{Path, peak_gflops};

use super::table::{Cell, Format, Table};
use crate::data;
use crate::experiment::{Experiment, Trial};

const COLUMNS: &[&str] = &[
    "trial",
    "seed",
    "params",
    "macs",
    "vanilla_share",
    "depth",
    "training_macs",
    "estimated_minutes",
    "aliases",
    "remarks",
];

/// What of the machine's multiply-adds a training step gets done: between four and eight tenths, large networks more.
const USED: f64 = 0.5;

/// Every trial with its price.
pub fn render(experiment: &Experiment, format: Format) -> String {
    let mut table = Table::new(COLUMNS);
    let notes = format == Format::Table;
    // A measurement, of a fraction of a second: only where something is to be trained.
    let work: Vec<Option<f64>> = experiment.trials.iter().map(training_macs).collect();
    let peak = if work.iter().any(Option::is_some) { peak_gflops(Path::best()) } else { None };
    let minutes = |macs: f64| peak.map(|peak| macs * 2.0 / (USED * peak * 1e9) / 60.0);
    for (trial, &macs) in experiment.trials.iter().zip(&work) {
        table.push(vec![
            Cell::text(&trial.label),
            Cell::Count(trial.config.seed),
            Cell::Count(trial.cost.params),
            Cell::Count(trial.cost.macs),
            Cell::share(trial.cost.macs, trial.vanilla.macs),
            Cell::count(trial.depth),
            macs.map_or(Cell::Empty, Cell::Large),
            macs.and_then(minutes).map_or(Cell::Empty, Cell::Real),
            Cell::text(trial.aliases.join(" = ")),
            if notes { Cell::Empty } else { Cell::text(trial.remarks.join(" | ")) },
        ]);
    }
    let total = work.into_iter().sum::<Option<f64>>();
    if !notes {
        return table.render(format);
    }
    let mut text = table.render(format);
    let count = experiment.trials.len();
    text += &format!("\n{}: {count} {}", experiment.name, if count == 1 { "trial" } else { "trials" });
    if let Some(total) = total {
        text += &format!(", {total:.2e} multiply-accumulates of training in all (forward and backward: 3 a forward)");
        if let (Some(minutes), Some(peak)) = (minutes(total), peak) {
            text += &format!(
                "\nabout {minutes:.0} min of training, were half of the {peak:.0} GFLOP/s used that this machine has now"
            );
        }
    }
    text += "\n";
    // Seeds and costs aside, a remark belongs to a setting.
    let mut told = Vec::new();
    for trial in experiment.trials.iter().filter(|trial| !trial.remarks.is_empty()) {
        if !told.contains(&&trial.label) {
            told.push(&trial.label);
            text += &format!("\n{}\n", trial.label);
            trial.remarks.iter().for_each(|remark| text += &format!("  {remark}\n"));
        }
    }
    text
}

/// Multiply-accumulates of the whole training: three times the forward pass of every image in every epoch, of the whole
/// network before a cut and of the smaller one after it. None where nothing is trained, or where the number of images is
/// known only once the data is there.
fn training_macs(trial: &Trial) -> Option<f64> {
    let config = &trial.config;
    if config.recipe.epochs == 0 {
        return None;
    }
    let images = match config.recipe.subset {
        0 => {
            let info = data::describe_all().into_iter().find(|info| info.name == config.dataset.name);
            info?.images?.0.checked_sub(config.validation)?
        }
        subset => subset,
    };
    let recipe = &config.recipe;
    let cut = if config.method.name == "pruned" { recipe.finetune_epochs.min(recipe.epochs) } else { 0 };
    let whole = if config.method.name == "pruned" { trial.vanilla.macs } else { trial.cost.macs };
    let epochs = whole as f64 * (recipe.epochs - cut) as f64 + trial.cost.macs as f64 * cut as f64;
    Some(3.0 * images as f64 * epochs)
}
