//! What networks cost to run, beside what they were counted to cost: columns of the main table, lines under it, and a table of
//! its own.

use super::aggregate::{Group, SettingRow};
use super::caption::stamp_of;
use super::comparison::cells;
use super::markup::escaped;
use super::numbers::{quantity, three_digits};
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
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
    fn of(group: &Group<'m>, row: &SettingRow<'_>) -> Option<Self> {
        let network = group.network(row)?;
        Some(Self { network, vanilla: group.measured?.vanilla(network) })
    }

    /// How many times as fast as vanilla.
    fn speedup(&self, of: Of) -> Option<f64> {
        of(self.network)?.speedup(of(self.vanilla?)?)
    }

    /// `0.85 (1.42×)`, marked where it has to be: milliseconds, and how many times as fast as vanilla.
    fn latency(&self, of: Of) -> Cell {
        let Some(used) = of(self.network) else { return Cell::missing() };
        let speedup = self.speedup(of);
        let shown = speedup.map_or_else(String::new, |speedup| format!(" ({speedup:.2}×)"));
        let marks = [(noisy(&used.rounds_ms) == Some(true), NOISY), (used.off_engine.is_some(), OFF_ENGINE)];
        let marks: String = marks.iter().filter(|(shown, _)| *shown).map(|(_, mark)| format!(" {mark}")).collect();
        Cell::shown(format!("{}{shown}{marks}", three_digits(used.ms[0])), [used.ms[0].into(), speedup.into()])
    }

    /// How many times fewer multiply-accumulates than vanilla.
    fn theory(&self) -> Option<f64> {
        let macs = self.network.macs;
        self.vanilla.filter(|_| macs > 0).map(|vanilla| vanilla.macs as f64 / macs as f64)
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
    rows.filter_map(|row| Some((row.label.as_str(), Shown::of(group, row)?))).collect()
}

/// Images of a batch; none where nothing was measured.
fn images(group: &Group<'_>) -> Option<usize> {
    shown(group).first().map(|(_, shown)| shown.network.images)
}

/// Columns of the main table: what multiply-accumulates promise, and what inference takes.
pub(super) fn columns(table: &mut Table, group: &Group<'_>) {
    let Some(images) = images(group) else { return };
    let column = |cell: fn(Shown<'_>) -> Cell| cells(&group.rows, move |row| Cell::of(Shown::of(group, row), cell));
    let theory =
        |shown: Shown<'_>| Cell::of(shown.theory(), |theory| Cell::shown(format!("{theory:.2}×"), [theory.into()]));
    table.column("Speed-up by MACs", ["speedup_by_macs"], column(theory));
    table.column("b1 (ms)", ["b1_ms", "b1_speedup"], column(|shown| shown.latency(one)));
    if images > 1 {
        let keys = [&*format!("b{images}_ms"), &*format!("b{images}_speedup")];
        table.column(format!("b{images} (ms)"), keys, column(|shown| shown.latency(many)));
    }
    table.column(
        "Memory (MiB)",
        ["memory_mib"],
        column(|shown| Cell::of(many(shown.network).and_then(|used| used.memory_measured_mib), three)),
    );
}

/// A number in three digits.
fn three(value: f64) -> Cell {
    Cell::shown(three_digits(value), [value.into()])
}

/// What stands of it under the main table.
pub(super) fn caption(group: &Group<'_>) -> Vec<String> {
    let (Some(measured), Some(images)) = (group.measured, images(group)) else { return Vec::new() };
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
        format!("**Measured with** {}.", escaped(&stamp_of(&measured.environment, false))),
    ];
    let known = |label: &str| rows.iter().any(|(known, _)| *known == label);
    let missing: Vec<&str> = group.rows.iter().map(|row| &*row.label).filter(|label| !known(label)).collect();
    if !missing.is_empty() {
        let missing = escaped(&missing.join(", "));
        lines.push(format!("**Not measured**: {missing}. `harness measure` measures all networks, these too."));
    }
    for (label, shown) in &rows {
        lines.extend(
            shown.network.problem.iter().map(|why| format!("**Not measured**: {} ({}).", escaped(label), escaped(why))),
        );
    }
    lines.extend(noise(measured, &rows));
    for (why, labels) in off_engine(&rows) {
        let labels = escaped(&labels.join(", "));
        lines.push(format!("**{OFF_ENGINE} Not on the engine**: {labels} inferred operation by operation ({why})."));
    }
    for (label, shown) in &rows {
        let counted = shown.network.macs;
        if let Some(executed) = shown.uses().map(|used| used.macs_executed).find(|&executed| executed != counted) {
            let (counted, executed, label) = (quantity(counted), quantity(executed), escaped(label));
            lines.push(format!(
                "**Counted is not executed**: {label} was counted {counted} MACs, and executed {executed}."
            ));
        }
    }
    lines
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

/// A table of all that was measured; none where nothing was.
pub(super) fn section(group: &Group<'_>, name: &str) -> Option<Section> {
    let (measured, images) = (group.measured?, images(group)?);
    let uses: &[(String, Of)] = match images {
        1 => &[("b1".into(), one)],
        _ => &[("b1".into(), one), (format!("b{images}"), many)],
    };
    let rows: Vec<(&SettingRow<'_>, &MeasuredNetwork)> =
        group.rows.iter().filter_map(|row| Some((row, group.network(row)?))).collect();
    let of_use = |of: Of, cell: fn(&MeasuredUse) -> Cell| {
        rows.iter().map(move |(_, network)| Cell::of(of(network), cell)).collect::<Vec<_>>()
    };
    let mut table = Table::new(format!("{name}-measured"), format!("{}: measured costs", group.title()));
    table.column("Method", ["label"], rows.iter().map(|(row, _)| Cell::text(&row.label)));
    for (of_name, of) in uses {
        let key = |what: &str| format!("{of_name}_{what}");
        table.column(format!("{of_name} p50 (ms)"), [&*key("p50_ms")], of_use(*of, |used| three(used.ms[0])));
        table.column("p90", [&*key("p90_ms")], of_use(*of, |used| three(used.ms[1])));
        table.column("p99", [&*key("p99_ms")], of_use(*of, |used| three(used.ms[2])));
        let rounds = |used: &MeasuredUse| {
            Cell::of(spread(&used.rounds_ms), |spread| {
                Cell::shown(format!("+{:.0} %", 100.0 * spread), [spread.into()])
            })
        };
        table.column("rounds", [&*key("rounds_spread")], of_use(*of, rounds));
    }
    let executed = of_use(many, |used| Cell::quantity(used.macs_executed));
    table.column("MACs executed", ["macs_executed"], executed);
    let multiplied = of_use(many, |used| Cell::quantity(used.multiplications_executed));
    table.column("multiplied", ["multiplications_executed"], multiplied);
    for (of_name, of) in uses {
        let keys = ["memory_planned_mib", "memory_measured_mib"].map(|key| format!("{of_name}_{key}"));
        let memory = |used: &MeasuredUse| both(used.memory_analytic_mib, used.memory_measured_mib);
        table.column(format!("{of_name} memory (MiB)"), [&*keys[0], &*keys[1]], of_use(*of, memory));
    }
    if rows.iter().any(|(row, _)| training(measured, row).is_some()) {
        let memory = |training: &MeasuredTraining| both(training.memory_analytic_mib, training.memory_measured_mib);
        let cells = rows.iter().map(|(row, _)| Cell::of(training(measured, row), memory));
        let keys = ["training_memory_planned_mib", "training_memory_measured_mib"];
        table.column("training memory (MiB)", keys, cells);
    }
    let energy = shown(group).iter().flat_map(|(_, shown)| shown.uses()).any(|used| used.energy_mj.is_some());
    for (of_name, of) in uses.iter().filter(|_| energy) {
        let key = format!("{of_name}_energy_mj");
        table.column(format!("{of_name} energy (mJ)"), [&*key], of_use(*of, |used| Cell::of(used.energy_mj, three)));
    }
    table.notes = notes(group, energy);
    Some(Section::of_group("Measured costs", vec![Part::Table(table)]))
}

/// What stands under the table of all that was measured.
fn notes(group: &Group<'_>, energy: bool) -> Vec<String> {
    let energy = if energy {
        "Energy is for an image, and that of the whole processor packages, whatever else they did."
    } else {
        "This machine exposes no energy counter."
    };
    let memory = format!(
        "Memory by the engine's plan (parameters, images, values, packed weights; in training gradients and momentum) / as measured: the \
         peak beyond what the process held before it made the network. **Bold** where they differ by more than {:.0} %: the plan leaves \
         out what threads work in and tables of pixels, and the allocator takes memory in pieces of 2 MiB and keeps some of what was given \
         back, which shows beside small networks. Training is of {} images a step.",
        100.0 * ALIKE,
        group.first().trial.config.recipe.batch,
    );
    vec![
        "Quantiles are over the times of all rounds; *rounds*: by how much the slowest round's median exceeds the fastest's.".into(),
        "*MACs executed*: of the operations that were run for an image, as the direct sum has them; *multiplied*: what the kernels of \
         batches multiply for it, of which Winograd's form saves a part."
            .into(),
        memory,
        energy.into(),
    ]
}

fn training<'m>(measured: &'m Measured, row: &SettingRow<'_>) -> Option<&'m MeasuredTraining> {
    row.trials.iter().find_map(|record| measured.training(&record.trial.key))
}

/// `12.3 / 12.9`: by the plan, and as measured; bold where they differ.
fn both(analytic: Option<f64>, measured: Option<f64>) -> Cell {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), three_digits);
    let differ = analytic.zip(measured).is_some_and(|(plan, found)| (plan - found).abs() > ALIKE * plan.max(found));
    let values: [Value; 2] = [analytic.into(), measured.into()];
    Cell::shown(format!("{} / {}", shown(analytic), shown(measured)), values).bold(differ)
}
