//! What was measured, as columns beside those of the trials.

use polars::prelude::Column;

use super::{Measured, MeasuredNetwork, MeasuredTraining, MeasuredUse, TrialRecord};
use crate::stamp::Environment;

/// One value a trial, null where its network was not measured: times and speed-ups (over the vanilla network of the backbone) of
/// inference of one image and of a batch of `infer_batch`, whether the machine was noisy, memory, energy, what was executed, and who
/// measured.
pub(super) fn columns(records: &[TrialRecord], measured: Option<&Measured>) -> Vec<Column> {
    let rows: Vec<Row<'_>> = records.iter().map(|record| Row::of(record, measured)).collect();
    let mut columns = vec![of(&rows, "infer_batch", |row| Some(row.network?.images as u64))];
    type Of = fn(&MeasuredNetwork) -> Option<&MeasuredUse>;
    let uses: [(&str, Of); 2] = [("b1", |network| network.one.as_ref()), ("bN", |network| network.many.as_ref())];
    for (name, of_network) in uses {
        let mut real = |column: String, value: &dyn Fn(&MeasuredUse) -> Option<f64>| {
            columns.push(of(&rows, &column, |row| value(of_network(row.network?)?)));
        };
        for (at, quantile) in ["p50", "p90", "p99"].into_iter().enumerate() {
            real(format!("infer_{name}_ms_{quantile}"), &|of_use| Some(of_use.ms[at]));
        }
        real(format!("infer_{name}_memory_analytic_mib"), &|of_use| of_use.memory_analytic_mib);
        real(format!("infer_{name}_memory_measured_mib"), &|of_use| of_use.memory_measured_mib);
        real(format!("infer_{name}_energy_mj"), &|of_use| of_use.energy_mj);
        columns.push(of(&rows, &format!("infer_{name}_speedup"), |row| {
            of_network(row.network?)?.speedup(of_network(row.vanilla?)?)
        }));
        columns.push(of(&rows, &format!("infer_{name}_off_engine"), |row| {
            of_network(row.network?)?.off_engine.as_deref()
        }));
    }
    columns.extend([
        of(&rows, "noisy", |row| row.network?.noisy()),
        of(&rows, "macs_executed", |row| Some(row.network?.many.as_ref()?.macs_executed)),
        of(&rows, "multiplications_executed", |row| Some(row.network?.many.as_ref()?.multiplications_executed)),
        of(&rows, "train_memory_analytic_mib", |row| row.training?.memory_analytic_mib),
        of(&rows, "train_memory_measured_mib", |row| row.training?.memory_measured_mib),
        of(&rows, "measured_by", |row| row.network.and(row.environment).map(Environment::origin)),
        of(&rows, "measured_threads", |row| row.network.and(row.environment).map(|stamp| stamp.threads as u64)),
    ]);
    columns
}

/// What was measured of a trial.
struct Row<'m> {
    network: Option<&'m MeasuredNetwork>,
    vanilla: Option<&'m MeasuredNetwork>,
    training: Option<&'m MeasuredTraining>,
    environment: Option<&'m Environment>,
}

impl<'m> Row<'m> {
    fn of(record: &TrialRecord, measured: Option<&'m Measured>) -> Self {
        let key = &record.trial.key;
        let network = measured.and_then(|measured| measured.network(key));
        Self {
            network,
            vanilla: measured.zip(network).and_then(|(measured, network)| measured.vanilla(network)),
            training: measured.and_then(|measured| measured.training(key)),
            environment: measured.map(|measured| &measured.environment),
        }
    }
}

fn of<'r, 'm, V, P: ?Sized>(rows: &'r [Row<'m>], name: &str, value: impl Fn(&'r Row<'m>) -> Option<V>) -> Column
where
    polars::prelude::Series: polars::prelude::NamedFrom<Vec<Option<V>>, P>,
{
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
}
