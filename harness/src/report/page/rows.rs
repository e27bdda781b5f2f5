//! A group's rows as the page has them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::data::{Curve, Delta, Front, Layers, Memory, RowData, Stat, Time, TrialData, runs};
use crate::backbones::{self, Assignment, Layer, LayerKind};
use crate::config::TrialConfig;
use crate::data;
use crate::measure::noise::noisy;
use crate::methods::{self, Methods, Rank};
use crate::report::aggregate::{Group, SettingRow, Split};
use crate::report::sources::Sources;
use crate::report::{layers, plots};
use crate::results::{MeasuredNetwork, MeasuredUse, TrialRecord};
use crate::statistics::{Interval, Pair, Standing, Summary, Verdict, standings};

/// A curve has no more points than this.
const MOST_POINTS: usize = 60;

/// The rows of a group, and the names of all layers.
///
/// # Errors
/// Logs and costs that cannot be read; names the file.
pub(super) fn rows<'r>(
    (sources, root): (&Sources<'_>, &Path),
    group: &'r Group<'r>,
) -> Result<(Vec<RowData<'r>>, Vec<String>)> {
    let costs = group.rows.iter().map(|row| costs(sources, row)).collect::<Result<Vec<_>>>()?;
    let mut names: Vec<String> = Vec::new();
    for layer in costs.iter().flatten() {
        if !names.contains(&layer.name) {
            names.push(layer.name.clone());
        }
    }
    let fronts = fronts(group);
    let rows = group.rows.iter().zip(costs).zip(fronts);
    let rows = rows.map(|((row, costs), front)| {
        let (mark, color) = plots::mark(row);
        Ok(RowData {
            label: &row.label,
            method: row.method(),
            rank: match row.rank() {
                Rank::Reference => "reference",
                Rank::Control => "control",
                Rank::Rival => "rival",
                Rank::Studied => "studied",
            },
            mark,
            color,
            options: options(row),
            replaced: &row.first().network.replaced,
            params: row.params(),
            macs: row.macs(),
            params_nonzero: row.params_nonzero(),
            macs_nonzero: row.macs_nonzero(),
            activations: row.first().network.cost.activations,
            depth: row.first().network.depth,
            budget: row.budgets().shown(),
            budget_off: row.budgets().mismatch().map(|off| rounded(off, 5)),
            control_of: row.control_of(),
            epochs: row.epochs(),
            validation: row.top1(Split::Validation).map(stat),
            test: row.top1(Split::Test).map(stat),
            delta: delta(group, row),
            one: time(group, row, |network| network.one.as_ref()),
            many: time(group, row, |network| network.many.as_ref()),
            memory: memory(group, row),
            energy: group.network(row).and_then(|network| network.many.as_ref()?.energy_mj),
            front,
            trials: row.trials.iter().map(|record| trial(record, sources.path(root, &record.trial.key))).collect(),
            curve: curve(sources, row)?,
            layers: (!costs.is_empty()).then(|| layers_of(group, row, &names, &costs)),
        })
    });
    Ok((rows.collect::<Result<_>>()?, names))
}

/// So many decimals: what nobody reads only makes the page larger.
fn rounded(value: f64, decimals: i32) -> f64 {
    let unit = 10f64.powi(decimals);
    (value * unit).round() / unit
}

fn stat(summary: Summary) -> Stat {
    let interval = summary.interval();
    Stat {
        n: summary.n,
        mean: rounded(summary.mean, 3),
        sd: summary.deviation.map(|sd| rounded(sd, 3)),
        low: interval.map(|Interval { low, .. }| rounded(low, 3)),
        high: interval.map(|Interval { high, .. }| rounded(high, 3)),
    }
}

/// Against vanilla, with the verdict of the table of all pairs.
fn delta(group: &Group<'_>, row: &SettingRow<'_>) -> Option<Delta> {
    let (at, pair) = group.beside_vanilla(row)?;
    let verdict = match pair.verdict_on(at) {
        _ if pair.tested.is_none() => "untested",
        Verdict::NotDistinguishable => "same",
        Verdict::Better => "better",
        Verdict::Worse => "worse",
    };
    let interval = pair.interval_on(at);
    Some(Delta {
        mean: rounded(pair.difference_on(at)?, 3),
        low: interval.map(|Interval { low, .. }| rounded(low, 3)),
        high: interval.map(|Interval { high, .. }| rounded(high, 3)),
        p: pair.tested.map(|tested| tested.p),
        p_holm: pair.tested.map(|tested| tested.adjusted),
        seeds: pair.comparison.seeds(),
        verdict,
        why: pair.comparison.p.err().map(|doubt| doubt.name()),
    })
}

type Of = fn(&MeasuredNetwork) -> Option<&MeasuredUse>;

fn time(group: &Group<'_>, row: &SettingRow<'_>, of: Of) -> Option<Time> {
    let network = group.network(row)?;
    let used = of(network)?;
    let vanilla = group.measured?.vanilla(network);
    let beside = vanilla.and_then(of);
    let by_round = beside.map(|vanilla| {
        // Both were measured in every round, and what the machine did meets both.
        let rounds = vanilla.rounds_ms.iter().zip(&used.rounds_ms);
        rounds.map(|(vanilla, own)| vanilla / own).filter(|speedup| speedup.is_finite()).collect::<Vec<f64>>()
    });
    let end = |pick: fn(f64, f64) -> f64| Some(rounded(by_round.as_ref()?.iter().copied().reduce(pick)?, 4));
    Some(Time {
        ms: used.ms.map(|ms| rounded(ms, 5)),
        speedup: beside.and_then(|vanilla| used.speedup(vanilla)).map(|speedup| rounded(speedup, 4)),
        low: end(f64::min),
        high: end(f64::max),
        theory: vanilla
            .filter(|_| network.macs > 0)
            .map(|vanilla| rounded(vanilla.macs as f64 / network.macs as f64, 4)),
        noisy: noisy(&used.rounds_ms) == Some(true),
    })
}

fn memory(group: &Group<'_>, row: &SettingRow<'_>) -> Option<Memory> {
    let infer = group.network(row).and_then(|network| network.many.as_ref()?.memory_measured_mib);
    let training = row.trials.iter().find_map(|record| group.measured?.training(&record.trial.key));
    let train = training.and_then(|training| training.memory_measured_mib);
    (infer.is_some() || train.is_some()).then_some(Memory { infer, train })
}

/// Where rows stand in accuracy over each cost, by the verdicts of the table of all pairs.
fn fronts(group: &Group<'_>) -> Vec<Front> {
    let split = group.split();
    let means: Option<Vec<f64>> = group.rows.iter().map(|row| Some(row.top1(split)?.mean)).collect();
    let over = |cost: &dyn Fn(&SettingRow<'_>) -> Option<u64>| -> Vec<Option<&'static str>> {
        let mut on = vec![None; group.rows.len()];
        let Some(means) = &means else { return on };
        let known: Vec<(usize, u64)> =
            group.rows.iter().enumerate().filter_map(|(at, row)| Some((at, cost(row)?))).collect();
        let costs: Vec<u64> = known.iter().map(|(_, cost)| *cost).collect();
        let means: Vec<f64> = known.iter().map(|(at, _)| means[*at]).collect();
        let place = |at: usize| known.iter().position(|(known, _)| *known == at);
        let among = |pair: &Pair| Some(Pair { first: place(pair.first)?, second: place(pair.second)?, ..*pair });
        let pairs: Vec<Pair> = group.pairs().iter().filter_map(among).collect();
        for ((at, _), standing) in known.iter().zip(standings(&costs, &means, &pairs)) {
            on[*at] = Some(match standing {
                Standing::Front => "front",
                Standing::Undecided => "undecided",
                Standing::Beaten => "beaten",
            });
        }
        on
    };
    let nanoseconds = |of: Of| move |row: &SettingRow<'_>| Some((of(group.network(row)?)?.ms[0] * 1e6) as u64);
    let [macs, params] = [over(&|row| Some(row.macs())), over(&|row| Some(row.params()))];
    let [one, many] =
        [over(&nanoseconds(|network| network.one.as_ref())), over(&nanoseconds(|network| network.many.as_ref()))];
    (0..group.rows.len()).map(|at| Front { macs: macs[at], params: params[at], one: one[at], many: many[at] }).collect()
}

fn options(row: &SettingRow<'_>) -> Map<String, Value> {
    let set = row.first().trial.config.method.options.iter();
    set.map(|(name, value)| {
        let value = match value {
            toml::Value::Integer(value) => (*value).into(),
            toml::Value::Float(value) => (*value).into(),
            toml::Value::Boolean(value) => (*value).into(),
            toml::Value::String(value) => value.as_str().into(),
            other => other.to_string().into(),
        };
        (name.clone(), value)
    })
    .collect()
}

fn trial(record: &TrialRecord, path: String) -> TrialData<'_> {
    let measures = record.measures();
    let commit = &record.environment.commit;
    TrialData {
        key: &record.trial.key,
        seed: record.trial.config.seed,
        validation: measures.and_then(|measures| Some(rounded(100.0 * measures.validation?.top1, 3))),
        test: measures.and_then(|measures| Some(rounded(100.0 * measures.test?.top1, 3))),
        seconds: measures.map(|measures| rounded(measures.seconds, 1)),
        commit: commit.get(..12).unwrap_or(commit),
        cpu: &record.environment.cpu,
        path,
    }
}

/// Mean and ends over seeds, after epochs that all of them have; of many epochs some, the last one among them.
fn curve(sources: &Sources<'_>, row: &SettingRow<'_>) -> Result<Option<Curve>> {
    let mut by_epoch: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut phase: Vec<(usize, String)> = Vec::new();
    for (nth, record) in row.trials.iter().enumerate() {
        let logs = sources.epochs(&record.trial.key)?;
        let own = plots::of_final_network(&logs);
        let first = own.first().map_or(1, |log| log.epoch);
        for (at, log) in own.iter().enumerate() {
            let epoch = log.epoch - first + 1;
            by_epoch.entry(epoch).or_default().extend(log.validation_accuracy.map(|share| 100.0 * share));
            if nth == 0 && at > 0 && own[at - 1].phase != log.phase {
                phase.push((epoch, log.phase.clone()));
            }
        }
    }
    by_epoch.retain(|_, values| values.len() == row.trials.len());
    if by_epoch.len() < 2 {
        return Ok(None);
    }
    let step = by_epoch.len().div_ceil(MOST_POINTS);
    let last = by_epoch.len() - 1;
    let mut curve = Curve { epoch: vec![], mean: vec![], low: vec![], high: vec![], phase };
    for (_, (epoch, values)) in by_epoch.into_iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last) {
        curve.epoch.push(epoch);
        curve.mean.push(rounded(values.iter().sum::<f64>() / values.len() as f64, 2));
        curve.low.push(rounded(values.iter().copied().fold(f64::INFINITY, f64::min), 2));
        curve.high.push(rounded(values.iter().copied().fold(f64::NEG_INFINITY, f64::max), 2));
    }
    Ok(Some(curve))
}

fn costs(sources: &Sources<'_>, row: &SettingRow<'_>) -> Result<Vec<layers::LayerCost>> {
    let key = &row.first().trial.key;
    let Some(csv) = sources.costs(key)? else { return Ok(Vec::new()) };
    layers::of_csv(&csv).with_context(|| format!("trials/{key}/costs.csv"))
}

fn layers_of(group: &Group<'_>, row: &SettingRow<'_>, names: &[String], costs: &[layers::LayerCost]) -> Layers {
    let of = |name: &String| costs.iter().find(|layer| layer.name == *name);
    let times = group.network(row).and_then(|network| Some(&network.many.as_ref()?.layers_ms));
    let times = times.filter(|times| !times.is_empty());
    let depths = costs.iter().any(|layer| layer.depth.is_some());
    let made_by = makers(&row.first().trial.config);
    let time = |name: &String, times: &Vec<(String, f64)>| {
        times.iter().find(|(layer, _)| layer == name).map(|(_, ms)| rounded(*ms, 4))
    };
    Layers {
        macs: runs(names.iter().map(|name| of(name).map(|layer| layer.macs))),
        params: runs(names.iter().map(|name| of(name).map(|layer| layer.params))),
        ms: times.map(|times| names.iter().map(|name| time(name, times)).collect()),
        made_by: made_by.map(|made_by| runs(names.iter().map(|name| made_by.get(name).cloned()))),
        depth: depths.then(|| runs(names.iter().map(|name| of(name)?.depth))),
    }
}

/// The method that makes each convolution; none for networks and data that this program does not know.
fn makers(config: &TrialConfig) -> Option<BTreeMap<String, String>> {
    let methods = Methods::new(config).ok()?;
    let geometry = data::geometry(&config.dataset).ok()?;
    let backbone = backbones::by_name(&config.backbone, &geometry, methods.width()).ok()?;
    let maker = |layer: Layer| {
        let LayerKind::Unit(spec) = &layer.kind else { return None };
        let method = methods.method(&layer.name, spec);
        // What a method leaves as it is, vanilla makes.
        let name = if method.declines(spec).is_some() { methods::reference() } else { method.name() };
        Some((layer.name, name.to_owned()))
    };
    Some(backbone.layers().into_iter().filter_map(maker).collect())
}
