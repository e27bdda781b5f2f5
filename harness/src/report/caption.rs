//! What stands under a table: everything that a reader needs to judge it.

use std::collections::BTreeMap;
use std::fmt::Write;

use baselines::pruning::Weights;
use conv_core::options::Described;

use super::aggregate::{Group, SHORT_SCHEDULE, SettingRow};
use super::comparison::{by, names, varies};
use super::markup::{code, escaped};
use super::section::Part;
use super::{conventions, measured, tuning};
use crate::config::{Kernels, Precision, Recipe, Schedule, UpdateRule};
use crate::data::transform::Deviations;
use crate::experiment::choice::Choice;
use crate::experiment::tuning::without;
use crate::methods::Compression;
use crate::results::TrialRecord;
use crate::stamp::Environment;

/// What stands under the main table: lines of Markdown.
pub(super) fn lines(group: &Group<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |line: String| lines.push(line);
    let record = group.first();
    let tuned = record.trial.tuned.as_ref();
    if group.cost_only() {
        say("**Nothing was trained**: exact cost per image.".into());
    } else {
        say(format!(
            "**Data**: {}, from {}. {}",
            escaped(&group.data()),
            code(&record.trial.data.source),
            conventions::splits(record)
        ));
        let dataset = &record.trial.config.dataset;
        let augmentation = match Deviations::of(dataset) {
            // Told by itself, below.
            Some(_) => ".",
            None if dataset.augment => ", crops and flips.",
            None => ", no augmentation.",
        };
        say(format!("**Recipe**: {}", recipe(&record.trial.config.recipe, tuned, augmentation)));
        conventions::images(record).into_iter().for_each(&mut say);
        tuning::captions(group).into_iter().for_each(&mut say);
        say(conventions::reported(group));
        say(seeds(group));
        if group.vanilla().is_none() {
            say("**No vanilla trial** is finished in this group: no difference to it can be given.".into());
        }
    }
    if group.rows.iter().any(|row| !row.budgets().is_empty()) {
        say("**Budgets** are shares of the vanilla network; what is off is relative to the budget, and of a latency to the time that \
             was measured for it."
            .into());
    }
    if group.rows.iter().any(|row| !row.control_of().is_empty()) {
        say("**Controls** stand under the pruned network that they belong to: pruning has to be better than they are."
            .into());
    }
    say(conventions::counted(group));
    conventions::fused(group).into_iter().for_each(&mut say);
    for (methods, replaced) in replaced_layers(group, |_| true) {
        say(format!("**Replaced layers** ({}): {}", escaped(&methods), escaped(&replaced)));
    }
    for row in &group.rows {
        if let Some(compression) = row.compression().filter(|_| !group.cost_only()) {
            say(compressed(row, &compression));
        }
        if !row.first().trial.aliases.is_empty() {
            let all = format!("{} = {}", row.label, row.first().trial.aliases.join(" = "));
            say(format!("**Same network**: {}", escaped(&all)));
        }
        let size = |record: &TrialRecord| (record.network.cost.params, record.network.cost.macs);
        if row.trials.iter().any(|record| size(record) != size(row.first())) {
            say(format!("**Widths differ by seed**: cost of {} is a mean.", escaped(&row.label)));
        }
    }
    if group.rows.iter().any(|row| row.params_nonzero().is_some()) {
        say("**Nonzero** parameters and MACs leave out what is masked. Masks save no executed multiplication: what is stored and computed \
             is what the columns before them say."
            .into());
    }
    for (bases, rows) in by(group, SettingRow::bases) {
        if bases.is_some_and(|bases| !bases.is_empty()) && rows.len() > 1 {
            let rows: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
            let rows = escaped(&rows.join(", "));
            say(format!("**One base**: {rows} begin with the same trained network, seed by seed."));
        }
    }
    for (init, rows) in by(group, |row| row.first().trial.config.init.clone()) {
        if !init.is_fresh() {
            let rows = escaped(&names(group, &rows).join(", "));
            say(format!("**Given weights**: {rows} start from {}.", escaped(&init.name())));
        }
    }
    lines.extend(measured::caption(group));
    lines.extend(stamps(group));
    lines
}

/// How the epochs of a network that is smaller than what was trained are spent.
fn compressed(row: &SettingRow<'_>, compression: &Compression) -> String {
    let (recipe, epochs) = (&row.first().trial.config.recipe, row.epochs());
    let after = recipe.finetune_epochs;
    let label = escaped(&row.label);
    let before = recipe.epochs.saturating_sub(after);
    if let Compression::Pruned(pruned) = compression
        && pruned.weights() != Weights::Kept
    {
        let compute = match pruned.weights() {
            Weights::ScratchCompute => ", as many as cost what the pruned network's own training does",
            Weights::Scratch | Weights::Kept => "",
        };
        let chosen = if pruned.is_global() {
            format!(
                " Its widths are what a network that was trained for {before} epochs before chose; no weight of that is left."
            )
        } else {
            String::new()
        };
        return format!(
            "**From scratch**: {label} has a cut network's widths and trains them from fresh weights for {epochs} epochs{compute}.{chosen}"
        );
    }
    let whole = epochs.saturating_sub(after);
    let before = match whole {
        0 => "starts from given weights".to_owned(),
        _ => format!("trains for {whole} of its {epochs} epochs"),
    };
    let rate = recipe.finetune_lr;
    let (title, done, each) = compression.done();
    match compression.steps() {
        1 => format!(
            "**{title}**: {label} {before}, is {done}, and trains for the last {after} at a peak rate of {rate}."
        ),
        steps => format!(
            "**{title}**: {label} {before}, and is {done} {steps} times by an equal factor; the last {after} are \
             divided among what follows each {each}, at a peak rate of {rate} every time."
        ),
    }
}

/// Methods (or rows, where those of a method differ) with the layers that they replaced, among the rows that are `shown`.
/// Vanilla replaces nothing; saying so would only repeat it.
pub fn replaced_layers(group: &Group<'_>, shown: impl Fn(&SettingRow<'_>) -> bool) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (replaced, rows) in by(group, |row| row.first().network.replaced.clone()) {
        let rows: Vec<&SettingRow<'_>> = rows.into_iter().filter(|row| !row.is_vanilla() && shown(row)).collect();
        if !rows.is_empty() {
            all.push((names(group, &rows).join(", "), replaced));
        }
    }
    all
}

/// A recipe in one sentence. Values that were chosen for each row by itself are said to be.
fn recipe(recipe: &Recipe, tuned: Option<&Choice>, augmentation: &str) -> String {
    let keys = || tuned.iter().flat_map(|choice| choice.terms.space.keys());
    let value = |key: &str, value: String| if keys().any(|tuned| tuned == key) { "tuned".to_owned() } else { value };
    // Of others than these four nothing is said but that they were tuned.
    let recipe = &without(recipe, keys().filter(|key| !TUNED_IN_PLACE.contains(&key.as_str())));
    let short = if recipe.epochs < SHORT_SCHEDULE {
        " (a short schedule: the literature trains 160 to 400, and compact modules lose more than vanilla by it)"
    } else {
        ""
    };
    let schedule = match recipe.schedule {
        Schedule::Cosine => "cosine to 0".to_owned(),
        Schedule::Linear => "linear to 0".to_owned(),
        Schedule::Step => format!("times {} at {:?} of the training", recipe.gamma, recipe.milestones),
        Schedule::Constant => "constant".to_owned(),
    };
    let adam = || {
        let (beta1, beta2) = recipe.betas();
        format!(" (betas {beta1} and {beta2}, eps {:e})", recipe.eps())
    };
    let optimizer = match recipe.rule() {
        UpdateRule::Sgd => {
            let momentum = if recipe.nesterov { "Nesterov momentum" } else { "momentum" };
            format!("SGD with {momentum} {}", value("momentum", recipe.momentum.to_string()))
        }
        UpdateRule::Adam => format!("Adam{}", adam()),
        UpdateRule::AdamW => format!("AdamW{}", adam()),
    };
    let spared = if recipe.decay_norm_and_bias { "" } else { " (batch norm and biases spared)" };
    let mut text = format!(
        "{} epoch{}{short}, batch {}, {optimizer}, rate {} {schedule}",
        recipe.epochs,
        if recipe.epochs == 1 { "" } else { "s" },
        value("batch", recipe.batch.to_string()),
        value("lr", recipe.lr.to_string())
    );
    if recipe.warmup_epochs > 0.0 {
        let _ = write!(text, ", warm-up {} epochs", recipe.warmup_epochs);
    }
    let _ = write!(text, ", weight decay {}{spared}", value("weight_decay", recipe.weight_decay.to_string()));
    if recipe.label_smoothing > 0.0 {
        let _ = write!(text, ", label smoothing {}", recipe.label_smoothing);
    }
    if let Some(decay) = recipe.average {
        let _ = write!(text, ", weights averaged over the steps (decay {decay})");
    }
    text += match recipe.kernels {
        Kernels::Own => "",
        Kernels::Direct => ", computed without Winograd's convolutions",
        Kernels::Candle => ", computed by candle's own operations",
    };
    if recipe.precision() == Precision::Bf16 {
        text += ", values and weights in bfloat16 (parameters, sums and statistics in f32)";
    }
    let default = Recipe::default();
    let values = recipe.values().into_iter().zip(default.values());
    for (field, (value, usual)) in Recipe::OPTIONS.iter().zip(values) {
        if !TOLD.split(' ').any(|key| key == field.key) && value != usual {
            let _ = write!(text, ", `{}` = {value}", field.key);
        }
    }
    for key in keys().filter(|key| !TUNED_IN_PLACE.contains(&key.as_str())) {
        let _ = write!(text, ", `{key}` tuned");
    }
    text + augmentation
}

/// Keys whose place in a caption says that they were tuned, where they were.
const TUNED_IN_PLACE: [&str; 4] = ["batch", "lr", "momentum", "weight_decay"];

/// Keys of a recipe that a caption tells in words of their own: in [`recipe`], with the images, or of the cut. Any other is told
/// as it is written in a file, where it is not at its default.
const TOLD: &str = "epochs batch lr schedule milestones gamma warmup_epochs optimizer beta1 beta2 eps momentum nesterov weight_decay \
    decay_norm_and_bias label_smoothing average subset finetune_epochs finetune_lr kernels precision";

fn seeds(group: &Group<'_>) -> String {
    let mut all: Vec<u64> = group.rows.iter().flat_map(SettingRow::seeds).collect();
    all.sort_unstable();
    all.dedup();
    if let [seed] = all[..] {
        return format!("**One seed** ({seed}): no spread is known; small differences mean nothing.");
    }
    let list = all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let partly = if varies(group, |row| row.seeds()) { " Not every row has every seed (yet)." } else { "" };
    format!(
        "**Seeds** {list}: mean ± sample standard deviation; differences are paired by seed, with their 95 % interval \
         (Student t) in brackets, bold where it leaves out 0 (each row by itself, not corrected for the number of rows). A row \
         with one seed is a plain number.{partly}"
    )
}

/// Where and with what the trials were made; several stamps are said to be several.
fn stamps(group: &Group<'_>) -> Vec<String> {
    let mut stamps: BTreeMap<String, usize> = BTreeMap::new();
    for record in group.trials() {
        *stamps.entry(stamp(record)).or_default() += 1;
    }
    let mixed = "**Mixed stamps**: the trials were not all made with the same code and machine.";
    let mut lines: Vec<String> = (stamps.len() > 1).then(|| mixed.to_owned()).into_iter().collect();
    lines.extend(stamps.iter().map(|(stamp, trials)| {
        let plural = if *trials == 1 { "" } else { "s" };
        format!("**Made with** {}: {trials} trial{plural}", escaped(stamp))
    }));
    lines
}

fn stamp(record: &TrialRecord) -> String {
    stamp_of(&record.environment, record.off_engine().is_some())
}

/// Everything that a stamp says.
pub(super) fn stamp_of(environment: &Environment, off_engine: bool) -> String {
    let lock = if environment.lock.is_empty() { String::new() } else { format!(", Cargo.lock {}", environment.lock) };
    let features = if environment.features.is_empty() { "" } else { ", features " };
    let off_engine = if off_engine { " operation by operation" } else { "" };
    format!(
        "{}{lock}{features}{}, {}, {} thread{}, {} kernels{off_engine}, harness {}, candle {}, {}, {}",
        environment.build(),
        environment.features,
        environment.cpu,
        environment.threads,
        if environment.threads == 1 { "" } else { "s" },
        environment.kernels,
        environment.harness,
        environment.candle,
        environment.rustc,
        environment.os
    )
}

/// What was remarked. A remark on layers is `LAYERS: TEXT`, and their list is shortened to the first and a count.
pub(super) fn remarks(group: &Group<'_>) -> Option<Part> {
    let mut lines = String::new();
    for row in &group.rows {
        for remark in row.first().network.remarks.iter().chain(&row.budgets().remarks()) {
            let folded = match remark.split_once(": ") {
                Some((layers, text)) => match layers.split_once(", ") {
                    Some((first, others)) => {
                        format!("`{first}` and {} more: {}", others.split(", ").count(), escaped(text))
                    }
                    None => format!("`{layers}`: {}", escaped(text)),
                },
                None => escaped(remark),
            };
            lines += &format!("- {}: {folded}\n", escaped(&row.label));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let count = lines.lines().count();
    Some(Part::Text(format!("<details><summary>Remarks on layers ({count})</summary>\n\n{lines}\n</details>\n")))
}

#[cfg(test)]
mod tests {
    use conv_core::options::Kind;
    use toml::{Table, Value};

    use super::*;

    /// A value that is not the one there is.
    fn other(kind: &Kind, value: Option<&Value>) -> Value {
        match kind {
            Kind::Flag => Value::Boolean(value.and_then(Value::as_bool) != Some(true)),
            Kind::Integer(low, _) => Value::Integer(value.and_then(Value::as_integer).unwrap_or(*low) + 1),
            Kind::Number(_) => Value::Float(0.25),
            Kind::Choice(names) => {
                // The first of an absent one may be what absence means.
                let mut others = names().into_iter().filter(|name| value.and_then(Value::as_str) != Some(name));
                Value::String(others.next_back().unwrap().into())
            }
            Kind::List(element) => Value::Array(vec![other(element, None)]),
            kind => panic!("no other value of {kind} is known here"),
        }
    }

    #[test]
    fn every_key_of_a_recipe_is_told() {
        let base = Table::try_from(Recipe { schedule: Schedule::Step, ..Recipe::default() }).unwrap();
        let adam = Table::try_from(Recipe { optimizer: Some(UpdateRule::Adam), ..Recipe::default() }).unwrap();
        let text = |table: &Table| recipe(&table.clone().try_into().unwrap(), None, ".");
        for field in Recipe::OPTIONS {
            let base = if ["optimizer", "beta1", "beta2", "eps"].contains(&field.key) { &adam } else { &base };
            let mut changed = base.clone();
            changed.insert(field.key.into(), other(&field.kind, base.get(field.key)));
            // These stand in other lines of the caption.
            let elsewhere = ["subset", "finetune_epochs", "finetune_lr"].contains(&field.key);
            assert_eq!(text(&changed) == text(base), elsewhere, "{}", field.key);
        }
        assert!(TOLD.split(' ').all(|key| Recipe::OPTIONS.iter().any(|field| field.key == key)));
    }
}
