//! What networks cost to run, beside what they were counted to cost: columns of the main table, lines under it, and a table of
//! its own.

use super::aggregate::{Group, SettingRow};
use super::caption::stamp_of;
use super::tables::{Column, dash, markdown, quantity};
use crate::measure::noise::{QUIET, noisy, spread};
use crate::results::{Measured, MeasuredNetwork, MeasuredTraining, MeasuredUse};

/// Marks times of a machine that was not quiet.
const NOISY: &str = "‡";
/// Marks times of networks off the engine.
const OFF_ENGINE: &str = "§";
/// Memory by the plan and as it was measured differ by no more than this share of the larger.
const ALIKE: f64 = 0.10;

/// A use of a network: one image, or a batch.
type Of = fn(&MeasuredNetwork) -> Option<&MeasuredUse>;

/// A row's network, with the vanilla network beside it.
#[derive(Clone, Copy)]
struct Shown<'m> {
    network: &'m MeasuredNetwork,
    vanilla: Option<&'m MeasuredNetwork>,
}

impl<'m> Shown<'m> {
    /// None where the network of none of its trials was measured.
    fn of(measured: Option<&'m Measured>, row: &SettingRow<'_>) -> Option<Self> {
        let measured = measured?;
        let network = row.trials.iter().find_map(|record| measured.network(&record.trial.key))?;
        Some(Self { network, vanilla: measured.vanilla(network) })
    }

    /// `0.85 (1.42×)`, marked where it has to be: milliseconds, and how many times as fast as vanilla.
    fn latency(&self, of: Of) -> String {
        let Some(used) = of(self.network) else { return dash() };
        let speedup = self.vanilla.and_then(|vanilla| used.speedup(of(vanilla)?));
        let speedup = speedup.map_or_else(String::new, |speedup| format!(" ({speedup:.2}×)"));
        let marks = [(noisy(&used.rounds_ms) == Some(true), NOISY), (used.off_engine.is_some(), OFF_ENGINE)];
        let marks: String = marks.iter().filter(|(shown, _)| *shown).map(|(_, mark)| format!(" {mark}")).collect();
        format!("{}{speedup}{marks}", digits(used.ms[0]))
    }

    /// How many times fewer multiply-accumulates than vanilla.
    fn theory(&self) -> String {
        let macs = self.network.macs;
        let vanilla = self.vanilla.filter(|_| macs > 0);
        vanilla.map_or_else(dash, |vanilla| format!("{:.2}×", vanilla.macs as f64 / macs as f64))
    }

    fn uses(&self) -> impl Iterator<Item = &'m MeasuredUse> {
        [&self.network.one, &self.network.many].into_iter().flatten()
    }
}

fn one(network: &MeasuredNetwork) -> Option<&MeasuredUse> {
    network.one.as_ref()
}

fn many(network: &MeasuredNetwork) -> Option<&MeasuredUse> {
    network.many.as_ref()
}

/// The rows of a group that were measured.
fn shown<'g>(group: &'g Group<'_>) -> Vec<(&'g str, Shown<'g>)> {
    let rows = group.rows.iter();
    rows.filter_map(|row| Some((row.label.as_str(), Shown::of(group.measured, row)?))).collect()
}

/// Images of a batch; none where nothing was measured.
fn images(group: &Group<'_>) -> Option<usize> {
    shown(group).first().map(|(_, shown)| shown.network.images)
}

/// Columns of the main table: what multiply-accumulates promise, and what inference takes.
pub(super) fn columns<'g>(group: &'g Group<'_>) -> Vec<Column<'g>> {
    let Some(images) = images(group) else { return Vec::new() };
    let measured = group.measured;
    let column = |title: String, cell: fn(Shown<'_>) -> String| Column {
        title,
        cell: Box::new(move |row: &SettingRow<'_>| Shown::of(measured, row).map_or_else(dash, cell)),
    };
    let mut columns = vec![
        column("Speed-up by MACs".into(), |shown| shown.theory()),
        column("b1 (ms)".into(), |shown| shown.latency(one)),
    ];
    if images > 1 {
        columns.push(column(format!("b{images} (ms)"), |shown| shown.latency(many)));
    }
    columns.push(column("Memory (MiB)".into(), |shown| {
        many(shown.network).and_then(|used| used.memory_measured_mib).map_or_else(dash, digits)
    }));
    columns
}

/// What stands of it under the main table.
pub(super) fn caption(group: &Group<'_>) -> String {
    let (Some(measured), Some(images)) = (group.measured, images(group)) else { return String::new() };
    let rows = shown(group);
    let (column, batch) = match images {
        1 => (String::new(), String::new()),
        _ => (format!(", b{images}"), format!(" and of {images}")),
    };
    let pinned = if measured.pinned { "kept to its processors" } else { "not kept to any processors" };
    let mut lines = vec![
        format!(
            "**Measured** (b1{column}, Memory): median inference of 1 image{batch}, in brackets how many times as fast as vanilla, \
             beside what *Speed-up by MACs* promises; the peak memory of a process that infers {images} at a time. After training, all \
             networks in turns, {} round{}, each time in a fresh process, {pinned}.",
            measured.rounds,
            if measured.rounds == 1 { "" } else { "s" },
        ),
        format!("**Measured with** {}.", stamp_of(&measured.environment, false)),
    ];
    let known = |label: &str| rows.iter().any(|(known, _)| *known == label);
    let missing: Vec<&str> = group.rows.iter().map(|row| &*row.label).filter(|label| !known(label)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        lines.push(format!("**Not measured**: {missing}. `harness measure` measures all networks, these too."));
    }
    for (label, shown) in &rows {
        lines.extend(shown.network.problem.iter().map(|why| format!("**Not measured**: {label} ({why}).")));
    }
    lines.extend(noise(measured, &rows));
    for (why, labels) in off_engine(&rows) {
        let labels = labels.join(", ");
        lines.push(format!("**{OFF_ENGINE} Not on the engine**: {labels} inferred operation by operation ({why})."));
    }
    for (label, shown) in &rows {
        let counted = shown.network.macs;
        if let Some(executed) = shown.uses().map(|used| used.macs_executed).find(|&executed| executed != counted) {
            let (counted, executed) = (quantity(counted), quantity(executed));
            lines.push(format!(
                "**Counted is not executed**: {label} was counted {counted} MACs, and executed {executed}."
            ));
        }
    }
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

/// What tells that the machine was not quiet.
fn noise(measured: &Measured, rows: &[(&str, Shown<'_>)]) -> Vec<String> {
    let (most, mut lines) = (100.0 * QUIET, Vec::new());
    if rows.iter().any(|(_, shown)| shown.network.noisy() == Some(true)) {
        lines.push(format!(
            "**{NOISY} The machine was not quiet**: the rounds of such a time differ by more than {most:.0} %, and so may the time."
        ));
    }
    let drifted = measured.ends.iter().filter(|ends| noisy(&**ends) == Some(true)).count();
    if drifted > 0 {
        lines.push(format!(
            "**The machine changed**: in {drifted} of {} rounds the two ends, where {} was measured, differ by more than {most:.0} %.",
            measured.ends.len(),
            measured.reference
        ));
    }
    lines
}

/// Why networks inferred off the engine, each with their rows.
fn off_engine<'g>(rows: &[(&'g str, Shown<'g>)]) -> Vec<(&'g str, Vec<&'g str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (label, shown) in rows {
        for why in shown.uses().filter_map(|used| used.off_engine.as_deref()) {
            match reasons.iter_mut().find(|(known, _)| *known == why) {
                Some((_, labels)) if labels.contains(label) => {}
                Some((_, labels)) => labels.push(*label),
                None => reasons.push((why, vec![*label])),
            }
        }
    }
    reasons
}

/// A table of all that was measured; empty where nothing was.
pub(super) fn section(group: &Group<'_>) -> String {
    let (Some(measured), Some(images)) = (group.measured, images(group)) else { return String::new() };
    let uses: Vec<(String, Of)> = match images {
        1 => vec![("b1".into(), one as Of)],
        _ => vec![("b1".into(), one as Of), (format!("b{images}"), many)],
    };
    let trains = group.rows.iter().any(|row| training(measured, row).is_some());
    let energy = shown(group).iter().flat_map(|(_, shown)| shown.uses()).any(|used| used.energy_mj.is_some());
    let mut header = vec!["Method".to_owned()];
    for (name, _) in &uses {
        header.extend([format!("{name} p50 (ms)"), "p90".into(), "p99".into(), "rounds".into()]);
    }
    header.extend(["MACs executed".into(), "multiplied".into()]);
    header.extend(uses.iter().map(|(name, _)| format!("{name} memory (MiB)")));
    header.extend(trains.then(|| "training memory (MiB)".to_owned()));
    header.extend(uses.iter().filter(|_| energy).map(|(name, _)| format!("{name} energy (mJ)")));
    let mut rows = Vec::new();
    for row in &group.rows {
        let Some(Shown { network, .. }) = Shown::of(Some(measured), row) else { continue };
        let mut cells = vec![row.label.clone()];
        for (_, of) in &uses {
            let Some(used) = of(network) else {
                cells.extend([dash(), dash(), dash(), dash()]);
                continue;
            };
            cells.extend(used.ms.map(digits));
            cells.push(spread(&used.rounds_ms).map_or_else(dash, |spread| format!("+{:.0} %", 100.0 * spread)));
        }
        let of_many = |value: fn(&MeasuredUse) -> u64| many(network).map_or_else(dash, |used| quantity(value(used)));
        cells.extend([of_many(|used| used.macs_executed), of_many(|used| used.multiplications_executed)]);
        let memory = |used: &MeasuredUse| both(used.memory_analytic_mib, used.memory_measured_mib);
        cells.extend(uses.iter().map(|(_, of)| of(network).map_or_else(dash, memory)));
        if trains {
            let memory = |training: &MeasuredTraining| both(training.memory_analytic_mib, training.memory_measured_mib);
            cells.push(training(measured, row).map_or_else(dash, memory));
        }
        let joules = |of: Of| of(network).and_then(|used| used.energy_mj).map_or_else(dash, digits);
        cells.extend(uses.iter().filter(|_| energy).map(|(_, of)| joules(*of)));
        rows.push(cells);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    format!("\n### Measured costs\n\n{}\n{}", markdown(&header, &rows), notes(group, energy))
}

/// What stands under the table of all that was measured.
fn notes(group: &Group<'_>, energy: bool) -> String {
    let energy = if energy {
        "Energy is for an image, and that of the whole processor packages, whatever else they did."
    } else {
        "This machine exposes no energy counter."
    };
    format!(
        "- Quantiles are over the times of all rounds; *rounds*: by how much the slowest round's median exceeds the fastest's.\n\
         - *MACs executed*: of the operations that were run for an image, as the direct sum has them; *multiplied*: what the kernels of \
         batches multiply for it, of which Winograd's form saves a part.\n\
         - Memory by the engine's plan (parameters, images, values, packed weights; in training gradients and momentum) / as measured: the \
         peak beyond what the process held before it made the network. **Bold** where they differ by more than {:.0} %: the plan leaves \
         out what threads work in and tables of pixels, and the allocator takes memory in pieces of 2 MiB and keeps some of what was given \
         back, which shows beside small networks. Training is of {} images a step.\n\
         - {energy}\n",
        100.0 * ALIKE,
        group.first().trial.config.recipe.batch,
    )
}

fn training<'m>(measured: &'m Measured, row: &SettingRow<'_>) -> Option<&'m MeasuredTraining> {
    row.trials.iter().find_map(|record| measured.training(&record.trial.key))
}

/// `12.3 / 12.9`: by the plan, and as measured; bold where they differ.
fn both(analytic: Option<f64>, measured: Option<f64>) -> String {
    let text = format!("{} / {}", analytic.map_or_else(dash, digits), measured.map_or_else(dash, digits));
    match analytic.zip(measured) {
        Some((plan, found)) if (plan - found).abs() > ALIKE * plan.max(found) => format!("**{text}**"),
        _ => text,
    }
}

/// Three digits.
fn digits(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
