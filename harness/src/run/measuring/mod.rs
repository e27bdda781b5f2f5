//! What the networks of a folder cost to run: all of them measured together, while nothing of the sweep trains.
//!
//! In every round each network is measured once, by a process of its own, in another order; so whatever else the machine does
//! meets all of them alike, and what differs between rounds is the machine. Vanilla is measured at both ends of a round.

mod planned;
mod samples;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use conv_core::{Isa, normal_stream, peak_gflops};

use super::probe::{ProbeOptions, Reply, ask};
use super::{interrupt, limits};
use crate::measure::probe::{Answer, Question, phase_time};
use crate::measure::subject::Subject;
use crate::results::{Measured, MeasuringClaim, RunFolder};
use crate::stamp::Environment;
use planned::Planned;
use samples::Samples;

/// A phase that does not heed a signal within this time is stuck, and ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether another process has finished measuring.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How a folder is measured.
#[derive(Clone, Debug)]
pub struct MeasuringOptions {
    /// The harness itself, which the processes are started from.
    pub program: PathBuf,
    /// Threads that compute; as many as there are processors where none are given.
    pub threads: Option<usize>,
    /// Rounds.
    pub rounds: usize,
    /// Images of a batch; those of a training step where none are given.
    pub images: Option<usize>,
    /// Whether networks that were measured before are measured again.
    pub anew: bool,
    /// The most time that it may take.
    pub within: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeasuringEnd {
    /// Everything had been measured before.
    Known,
    /// Everything was measured now, with what there is to say about it.
    Measured(Vec<String>),
    /// Nothing was measured, and why.
    Left(String),
    /// It was asked to stop: nothing was kept.
    Stopped,
}

/// Measures every distinct network of the folder's finished trials, and the vanilla network of each backbone.
///
/// # Errors
/// A folder without finished trials; files that cannot be read or written; processes that cannot be started.
pub fn measure_folder(folder: &RunFolder, options: &MeasuringOptions) -> Result<MeasuringEnd> {
    let _watch = interrupt::Watch::start(Some(PATIENCE));
    let Some(_claim) = claim(folder)? else { return Ok(MeasuringEnd::Stopped) };
    let records = folder.collected()?.done;
    if records.is_empty() {
        bail!("results {}: no trial is finished yet; there is nothing to measure", folder.root().display());
    }
    let planned = Planned::of(&records, options.images);
    if planned.networks.is_empty() {
        return Ok(MeasuringEnd::Left(planned.notes.join("; ")));
    }
    if !options.anew && planned.known(folder)? {
        return Ok(MeasuringEnd::Known);
    }
    if folder.keys()?.iter().any(|key| folder.is_claimed(key)) {
        return Ok(MeasuringEnd::Left("another process trains in this folder".into()));
    }
    let loads: Vec<_> = planned.networks.iter().map(|(_, network)| (network.macs, network.images)).collect();
    let time = phase_time(&loads, options.rounds, peak_gflops(Isa::best()));
    if options.within.is_some_and(|within| within < time) {
        return Ok(MeasuringEnd::Left(format!(
            "it takes about {:.0} s, and there are not so many",
            time.as_secs_f64()
        )));
    }
    say!(
        "measuring {} networks in {} rounds: about {:.0} s",
        planned.networks.len(),
        options.rounds,
        time.as_secs_f64()
    );
    let Some((measured, notes)) = planned.measure(options)? else { return Ok(MeasuringEnd::Stopped) };
    folder.save_measured(&measured)?;
    Ok(MeasuringEnd::Measured(notes))
}

/// Waits until no other process measures in the folder; none if asked to stop.
fn claim(folder: &RunFolder) -> Result<Option<MeasuringClaim>> {
    while interrupt::requests() == 0 {
        match folder.claim_measuring()? {
            None => thread::sleep(ASK_AGAIN),
            claim => return Ok(claim),
        }
    }
    Ok(None)
}

impl Planned {
    /// All of it, with what there is to say; none if asked to stop.
    fn measure(self, options: &MeasuringOptions) -> Result<Option<(Measured, Vec<String>)>> {
        let processors = limits::processors();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or(cores);
        let own = if threads <= processors.len() { processors[..threads].to_vec() } else { Vec::new() };
        let probe = ProbeOptions { threads, processors: own };
        let environment = Environment::capture(threads);
        let Self { mut networks, mut trainings, mut notes } = self;
        let mut samples: Vec<Samples> = networks.iter().map(|_| Samples::default()).collect();
        let (mut ends, mut pinned) = (Vec::new(), true);
        for round in 0..options.rounds {
            for at in order(networks.len(), round) {
                if samples[at].problem.is_some() {
                    continue;
                }
                let Subject { config, images, widths, .. } = &networks[at].0;
                let (config, widths) = (config.clone(), widths.clone());
                let question = Question { config, images: *images, widths, train: false };
                let Some(Reply { answer, pinned: kept }) = ask(&options.program, &question, &probe)? else {
                    return Ok(None);
                };
                pinned &= kept;
                samples[at].add(answer);
            }
            ends.extend(samples[0].ends());
        }
        for ((_, network), samples) in networks.iter_mut().zip(samples) {
            samples.fill(network);
            notes.extend(network.problem.iter().map(|why| format!("{} could not be measured: {why}", network.label)));
        }
        for (Subject { config, images, .. }, training) in &mut trainings {
            let widths = BTreeMap::new();
            let question = Question { config: config.clone(), images: *images, widths, train: true };
            match ask(&options.program, &question, &probe)? {
                None => return Ok(None),
                Some(Reply { answer: Answer::Training(memory), .. }) => {
                    training.memory_analytic_mib = memory.analytic;
                    training.memory_measured_mib = memory.measured;
                }
                Some(Reply { answer: Answer::Problem(why), .. }) => {
                    notes.push(format!("the memory of training {} is not known: {why}", config.method.name));
                }
                Some(_) => {}
            }
        }
        let measured = Measured {
            environment,
            rounds: options.rounds,
            pinned,
            reference: networks.first().map_or_else(String::new, |(_, network)| network.label.clone()),
            ends,
            networks: networks.into_iter().map(|(_, network)| network).collect(),
            trainings: trainings.into_iter().map(|(_, training)| training).collect(),
        };
        Ok(Some((measured, notes)))
    }
}

/// The order of a round: the first at both ends, the others shuffled between.
fn order(count: usize, round: usize) -> Vec<usize> {
    let drawn = normal_stream(round as u64, "order of a round", count);
    let mut others: Vec<usize> = (1..count).collect();
    others.sort_by(|&one, &other| drawn[one].total_cmp(&drawn[other]));
    let end = (count > 0).then_some(0);
    end.into_iter().chain(others).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_all_networks_in_another_order_and_vanilla_at_both_ends() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(9, round)).collect();
        for order in &rounds {
            assert_eq!((order.first(), order.last(), order.len()), (Some(&0), Some(&0), 10));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>());
        }
        let distinct: std::collections::BTreeSet<_> = rounds.iter().collect();
        assert_eq!(distinct.len(), rounds.len());
        assert_eq!(order(9, 2), rounds[2], "the same again");
        assert_eq!((order(0, 1), order(1, 1)), (vec![], vec![0, 0]));
    }
}
