//! What changed between two run folders: of an older and a newer build, or before and after a change of a method.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::aggregate::{Group, SettingRow, Split, Unlike, groups, unlike};
use super::caption::stamp_of;
use super::markup::escaped;
use super::numbers::{difference, p_value, quantity, signed, three_digits};
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use super::{output, page, sources};
use crate::files::write_atomic;
use crate::measure::noise::noisy;
use crate::results::{Collected, Measured, MeasuredNetwork, MeasuredUse, RunFolder, TrialRecord};
use crate::statistics::{Comparison, Tested, Verdict, test_together};

/// Marks times of a machine that was not quiet.
const NOISY: &str = "‡";

/// What changed, as text: to be printed, or written as a page.
#[derive(Clone, Debug)]
pub struct Diff {
    title: String,
    /// What it comes to, as lines of Markdown.
    finding: Vec<String>,
    sections: Vec<Section>,
}

/// A folder with what is in it.
struct Side {
    name: String,
    trials: Collected,
    measured: Option<Measured>,
}

impl Side {
    fn of(folder: &RunFolder) -> Result<Self> {
        let name = folder.root().display().to_string();
        Ok(Self { name, trials: folder.collected()?, measured: folder.measured()? })
    }

    fn groups(&self) -> Vec<Group<'_>> {
        groups(&self.trials.done).into_iter().map(|group| group.with(self.measured.as_ref())).collect()
    }
}

/// A setting of both folders.
struct Both<'a> {
    old: SettingRow<'a>,
    new: SettingRow<'a>,
    /// New less old, by itself and as one of the table's; none where the two were not made alike.
    comparison: Option<(Comparison, Option<Tested>)>,
    /// Trials of seeds that both have, and how many of them have the same numbers to the last bit.
    repeated: (usize, usize),
}

impl Both<'_> {
    fn verdict(&self) -> Option<Verdict> {
        let (comparison, tested) = self.comparison?;
        Some(Verdict::of(tested?.adjusted, comparison.difference?.mean))
    }

    fn costs_changed(&self) -> bool {
        (self.old.params(), self.old.macs()) != (self.new.params(), self.new.macs())
    }
}

/// Tables that show the same network on the same data.
struct Pair<'a> {
    old: Group<'a>,
    new: Group<'a>,
    /// Why accuracies do not compare.
    unlike: Vec<Unlike>,
    rows: Vec<Both<'a>>,
    split: Split,
}

impl<'a> Pair<'a> {
    fn of(old: Group<'a>, new: Group<'a>) -> Self {
        let unlike = unlike(old.first(), new.first());
        let test = [&old, &new].iter().all(|group| group.split() == Split::Test);
        let split = if test { Split::Test } else { Split::Validation };
        let mut rows: Vec<Both<'a>> = Vec::new();
        for row in &new.rows {
            let Some(before) = old.rows.iter().find(|before| before.label == row.label) else { continue };
            let compared = unlike.is_empty() && !new.cost_only();
            let comparison = compared.then(|| (row.compare(before, split), None));
            rows.push(Both { old: before.clone(), new: row.clone(), comparison, repeated: repeated(before, row) });
        }
        let comparisons: Vec<Comparison> = rows.iter().filter_map(|row| Some(row.comparison?.0)).collect();
        let freedom: usize = comparisons.iter().map(|comparison| comparison.seeds().saturating_sub(1)).sum();
        let tested = test_together(&comparisons, freedom as f64);
        for (comparison, tested) in rows.iter_mut().filter_map(|row| row.comparison.as_mut()).zip(tested) {
            comparison.1 = tested;
        }
        Self { old, new, unlike, rows, split }
    }

    /// Labels of the one that the other lacks.
    fn alone<'g>(one: &'g Group<'a>, other: &Group<'a>) -> Vec<&'g str> {
        let known = |label: &str| other.rows.iter().any(|row| row.label == label);
        one.rows.iter().map(|row| &*row.label).filter(|label| !known(label)).collect()
    }
}

/// Trials of the seeds that both rows have, and how many of them have the same loss, accuracies and costs to the last bit.
fn repeated(old: &SettingRow<'_>, new: &SettingRow<'_>) -> (usize, usize) {
    let same = |a: &TrialRecord, b: &TrialRecord| match (a.measures(), b.measures()) {
        (Some(a), Some(b)) => (a.validation, a.test) == (b.validation, b.test),
        (None, None) => a.network.cost == b.network.cost,
        _ => false,
    };
    let pairs = old.trials.iter().filter_map(|a| {
        let b = new.trials.iter().find(|b| b.trial.config.seed == a.trial.config.seed)?;
        Some(same(a, b))
    });
    pairs.fold((0, 0), |(all, alike), same| (all + 1, alike + usize::from(same)))
}

/// What changed from the older to the newer folder.
///
/// # Errors
/// Results that cannot be read; folders without a finished trial, or without a network on the same data in common.
pub fn diff(old: &RunFolder, new: &RunFolder) -> Result<Diff> {
    let (old, new) = (Side::of(old)?, Side::of(new)?);
    let (mut before, mut pairs) = (old.groups(), Vec::new());
    let mut only_new = Vec::new();
    for group in new.groups() {
        let shows =
            |group: &Group<'_>| (group.backbone(), group.first().trial.config.dataset.name.clone(), group.cost_only());
        // Of several, that which was made most alike.
        let found = (0..before.len()).filter(|&at| shows(&before[at]) == shows(&group));
        match found.min_by_key(|&at| unlike(before[at].first(), group.first()).len()) {
            Some(at) => pairs.push(Pair::of(before.remove(at), group)),
            None => only_new.push(group.title()),
        }
    }
    if pairs.is_empty() {
        bail!(
            "{} and {} have no network on the same data in common\n  accepted: two run folders with finished trials of the same \
             backbone and data set",
            old.name,
            new.name
        )
    }
    let mut finding = finding(&pairs);
    let only_old: Vec<String> = before.iter().map(Group::title).collect();
    for (name, titles) in [(&old.name, &only_old), (&new.name, &only_new)] {
        if !titles.is_empty() {
            finding.push(format!("**Only in {}**: {}.", escaped(name), escaped(&titles.join("; "))));
        }
    }
    let sections = pairs.iter().enumerate().map(|(at, pair)| section(pair, at + 1, [&old, &new])).collect();
    Ok(Diff { title: format!("From {} to {}", old.name, new.name), finding, sections })
}

/// What it comes to.
fn finding(pairs: &[Pair<'_>]) -> Vec<String> {
    let rows = || pairs.iter().flat_map(|pair| &pair.rows);
    let count = |fits: &dyn Fn(&Both<'_>) -> bool| rows().filter(|row| fits(row)).count();
    let named = |fits: &dyn Fn(&Both<'_>) -> bool| {
        let labels: Vec<&str> = rows().filter(|row| fits(row)).map(|row| &*row.new.label).collect();
        if labels.is_empty() { String::new() } else { format!(" ({})", escaped(&labels.join(", "))) }
    };
    let (trials, same) = rows().fold((0, 0), |(all, same), row| (all + row.repeated.0, same + row.repeated.1));
    let costs = &|row: &Both<'_>| row.costs_changed();
    let mut lines = vec![
        format!("**Settings in both**: {}; costs changed in {}{}.", rows().count(), count(costs), named(costs)),
        format!("**Repeated to the bit**: {same} of {trials} trials of the same setting and seed."),
    ];
    let tested = count(&|row| row.verdict().is_some());
    if tested > 0 {
        let of = |verdict| move |row: &Both<'_>| row.verdict() == Some(verdict);
        let (better, worse) = (&of(Verdict::Better), &of(Verdict::Worse));
        lines.push(format!(
            "**Accuracy**, of {tested} settings with seeds for a verdict (paired by seed, Holm's correction for all of a table): \
             {} better{}, {} worse{}, {} not told apart.",
            count(better),
            named(better),
            count(worse),
            named(worse),
            count(&of(Verdict::NotDistinguishable)),
        ));
    }
    for pair in pairs.iter().filter(|pair| !pair.unlike.is_empty() && !pair.new.cost_only()) {
        let unlike: Vec<String> = pair.unlike.iter().map(|unlike| escaped(&unlike.to_string())).collect();
        lines.push(format!(
            "**Not made alike** ({}): {}. Accuracies stand side by side, and no difference is drawn from them.",
            escaped(&pair.new.title()),
            unlike.join("; ")
        ));
    }
    lines
}

/// `40.55M`, or `40.55M → 20.10M`.
fn changed(old: u64, new: u64) -> Cell {
    let text = if old == new { quantity(new) } else { format!("{} → {}", quantity(old), quantity(new)) };
    Cell::shown(text, [old.into(), new.into()]).bold(old != new)
}

fn top1(row: &SettingRow<'_>, split: Split) -> Cell {
    Cell::of(row.top1(split), |summary| {
        let spread = summary.deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.2}"));
        Cell::shown(format!("{:.2}{spread}", summary.mean), [summary.mean.into(), summary.deviation.into()])
    })
}

fn section(pair: &Pair<'_>, number: usize, sides: [&Side; 2]) -> Section {
    let (rows, split) = (&pair.rows, pair.split);
    let mut table = Table::new(format!("diff-{number}"), pair.new.title());
    let cells = |cell: &dyn Fn(&Both<'_>) -> Cell| rows.iter().map(cell).collect::<Vec<_>>();
    table.column("Method", ["label"], cells(&|row| Cell::text(&row.new.label)));
    table.column("Params", ["params_old", "params_new"], cells(&|row| changed(row.old.params(), row.new.params())));
    table.column("MACs", ["macs_old", "macs_new"], cells(&|row| changed(row.old.macs(), row.new.macs())));
    if !pair.new.cost_only() {
        let title = |when: &str| format!("{when} {} top-1 (%)", split.name());
        table.column(title("old"), ["top1_old", "top1_old_sd"], cells(&|row| top1(&row.old, split)));
        table.column(title("new"), ["top1_new", "top1_new_sd"], cells(&|row| top1(&row.new, split)));
        let keys = ["difference", "difference_low", "difference_high", "p_holm", "verdict"];
        table.column("new − old (points)", keys, cells(&compared));
    }
    let same = |row: &Both<'_>| {
        let (all, same) = row.repeated;
        Cell::shown(format!("{same} of {all}"), [Value::Count(same as u64), Value::Count(all as u64)])
    };
    table.column("same bits", ["same_trials", "common_trials"], cells(&same));
    times(&mut table, pair);
    notes(&mut table, pair, sides);
    Section::of_report(escaped(&pair.new.title()), vec![Part::Table(table)])
}

fn compared(row: &Both<'_>) -> Cell {
    let Some((comparison, tested)) = row.comparison else { return Cell::missing() };
    let Some(found) = comparison.difference else { return Cell::missing() };
    let interval = tested.map(|tested| tested.interval);
    let ends = interval.map_or_else(String::new, |ends| format!(" {}", signed(ends)));
    let verdict = row.verdict();
    let told = verdict.map_or_else(String::new, |verdict| format!(", {}", verdict.name()));
    let p = tested.map(|tested| tested.adjusted);
    let corrected = p.map_or_else(String::new, |p| format!(" ({})", p_value(p)));
    let values = [
        found.mean.into(),
        interval.map(|ends| ends.low).into(),
        interval.map(|ends| ends.high).into(),
        p.into(),
        Value::Text(verdict.map_or("", Verdict::name).into()),
    ];
    let apart = matches!(verdict, Some(Verdict::Better | Verdict::Worse));
    Cell::shown(format!("{}{ends}{told}{corrected}", difference(found.mean)), values).bold(apart)
}

/// Times of both, where one kind of processor measured both.
fn times(table: &mut Table, pair: &Pair<'_>) {
    let (Some(old), Some(new)) = (pair.old.measured, pair.new.measured) else { return };
    if unlike_machines(old, new).is_some() {
        return;
    }
    type Of = fn(&MeasuredNetwork) -> Option<&MeasuredUse>;
    let uses: [(&str, Of); 2] = [("b1", |network| network.one.as_ref()), ("batch", |network| network.many.as_ref())];
    for (name, of) in uses {
        let cell = |row: &Both<'_>| {
            let (Some(before), Some(after)) = (pair.old.network(&row.old), pair.new.network(&row.new)) else {
                return Cell::missing();
            };
            let (Some(one), Some(other), true) = (of(before), of(after), before.images == after.images) else {
                return Cell::missing();
            };
            let ratio = other.ms[0] / one.ms[0];
            let mark = if [one, other].iter().any(|used| noisy(&used.rounds_ms) == Some(true)) { NOISY } else { "" };
            let text = format!("{} → {} ({ratio:.2}×) {mark}", three_digits(one.ms[0]), three_digits(other.ms[0]));
            Cell::shown(text.trim_end(), [one.ms[0].into(), other.ms[0].into(), ratio.into()])
        };
        let keys = ["old_ms", "new_ms", "new_per_old"].map(|key| format!("{name}_{key}"));
        let cells: Vec<Cell> = pair.rows.iter().map(cell).collect();
        table.column(format!("{name} (ms)"), [&*keys[0], &*keys[1], &*keys[2]], cells);
    }
}

/// Why times do not compare.
fn unlike_machines(old: &Measured, new: &Measured) -> Option<String> {
    let of = |measured: &Measured| {
        let environment = &measured.environment;
        format!("{}, {}, {} threads", environment.cpu, environment.kernels, environment.threads)
    };
    let (one, other) = (of(old), of(new));
    (one != other).then(|| format!("{one} and {other}"))
}

fn notes(table: &mut Table, pair: &Pair<'_>, [old, new]: [&Side; 2]) {
    for (side, group, other) in [(old, &pair.old, &pair.new), (new, &pair.new, &pair.old)] {
        let alone = Pair::alone(group, other);
        if !alone.is_empty() {
            table.notes.push(format!("**Only in {}**: {}.", escaped(&side.name), escaped(&alone.join(", "))));
        }
    }
    table.notes.push(
        "**Same bits**: trials of seeds that both have, whose losses and accuracies are the same to the last bit."
            .into(),
    );
    let left_out: usize = pair.rows.iter().filter_map(|row| Some(row.comparison?.0.left_out)).sum();
    if left_out > 0 {
        table.notes.push(format!("**Left out**: {left_out} trials whose seed the other folder lacks."));
    }
    match (pair.old.measured, pair.new.measured) {
        (Some(old), Some(new)) => table.notes.push(match unlike_machines(old, new) {
            Some(unlike) => format!("**Times do not compare**: they were measured with {}.", escaped(&unlike)),
            None => format!(
                "**Times** were measured at different times of day, so that a few per cent may be the machine's ({NOISY}: it was not quiet); \
                 `harness bench gate` runs two builds in pairs."
            ),
        }),
        _ => table.notes.push("**Times**: not measured in both folders.".into()),
    }
    for (side, group) in [(old, &pair.old), (new, &pair.new)] {
        let stamp = stamp_of(&group.first().environment, true);
        table.notes.push(format!("**{}**: {}.", escaped(&side.name), escaped(&stamp)));
    }
}

impl Diff {
    /// All of it as Markdown.
    pub fn markdown(&self) -> String {
        let lines: String = self.finding.iter().map(|line| format!("- {line}\n")).collect();
        let sections: String = self.sections.iter().map(Section::markdown).collect();
        format!("# {}\n\n{lines}{sections}", escaped(&self.title))
    }

    /// Writes it into a folder, which is new, empty, or holds such a diff already: `index.html`, `README.md`, and its tables in every
    /// format.
    ///
    /// # Errors
    /// A folder that holds something else; those of the file system.
    pub fn write(&self, root: &Path) -> Result<Vec<PathBuf>> {
        sources::claim(root)?;
        let text = self.markdown();
        let mut written = vec![root.join("index.html"), root.join("README.md")];
        write_atomic(&written[0], page::document(&self.title, &text).as_bytes())?;
        write_atomic(&written[1], text.as_bytes())?;
        written.extend(output::write_tables(root, self.sections.iter().flat_map(Section::tables))?);
        Ok(written)
    }
}
