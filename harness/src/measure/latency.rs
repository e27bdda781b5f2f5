//! Times of inference as shares of vanilla's, for budgets of latency.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::bench::{Entrant, quantile};
use crate::config::{Kernels, Precision, TrialConfig};
use crate::data;
use crate::experiment::budget::Stopwatch;

/// Rounds that are measured, after two that are not.
const ROUNDS: usize = 9;
const WARM_UP: usize = 2;
/// A round of a network is as many inferences as take that long, in milliseconds: of one alone, the clock would be a part.
const LONG_ENOUGH: f64 = 20.0;

/// Measures, and remembers: what was measured once stays what it was, so that the same experiment has the same trials.
#[derive(Debug)]
pub struct Latencies {
    known: Mutex<BTreeMap<String, f64>>,
    /// What was asked for.
    asked: Mutex<BTreeMap<String, f64>>,
    /// How many were measured.
    measured: AtomicUsize,
    measures: bool,
}

impl Latencies {
    /// With what is `known` already; the rest is measured, on the threads that compute.
    pub fn new(known: BTreeMap<String, f64>) -> Self {
        Self { known: known.into(), asked: Mutex::default(), measured: 0.into(), measures: true }
    }

    /// How many times were measured, and not known before.
    pub fn measured(&self) -> usize {
        self.measured.load(Ordering::Relaxed)
    }

    /// With what is `known` already, and nothing else.
    pub fn kept(known: BTreeMap<String, f64>) -> Self {
        Self { measures: false, ..Self::new(known) }
    }
}

impl Stopwatch for Latencies {
    fn share(&self, network: &TrialConfig, of: &TrialConfig, images: usize) -> Result<f64> {
        let name = name(network, images)?;
        let lock =
            |map: &Mutex<BTreeMap<String, f64>>| map.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        let share = match lock(&self.known) {
            Some(share) => share,
            None if self.measures => {
                self.measured.fetch_add(1, Ordering::Relaxed);
                measure(network, of, images)?
            }
            None => bail!("a time of inference was not kept in the run folder; a run measures it"),
        };
        for map in [&self.known, &self.asked] {
            map.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), share);
        }
        Ok(share)
    }

    fn shares(&self) -> BTreeMap<String, f64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names a network by all that decides its time, but the machine.
fn name(config: &TrialConfig, images: usize) -> Result<String> {
    let TrialConfig { dataset, backbone, method, layers, recipe, .. } = config;
    let mut text = serde_json::to_string(&(&dataset.name, backbone, method, layers, images))?;
    // Without a word on what is usual, so that names there were stay.
    let computed = (recipe.kernels, recipe.precision());
    if computed != (Kernels::Own, Precision::F32) {
        text += &format!(" {} {}", computed.0.name(), computed.1.name());
    }
    Ok(format!("{} {}", crate::methods::label(method), &blake3::hash(text.as_bytes()).to_hex()[..16]))
}

/// Median times of inference, in turns.
fn measure(network: &TrialConfig, of: &TrialConfig, images: usize) -> Result<f64> {
    let geometry = data::geometry(&network.dataset)?;
    let entrants = [Entrant::new(network, &geometry)?, Entrant::new(of, &geometry)?];
    let batch = entrants[0].batch(images)?.images;
    let mut running = entrants.iter().map(Entrant::inference).collect::<Result<Vec<_>>>()?;
    let mut times = [vec![], vec![]];
    let mut repeats = [1, 1];
    for round in 0..WARM_UP + ROUNDS {
        for (index, inference) in running.iter_mut().enumerate() {
            let started = Instant::now();
            for _ in 0..repeats[index] {
                inference.forward(&batch).context("in inference")?;
            }
            let each = started.elapsed().as_secs_f64() * 1e3 / repeats[index] as f64;
            if round >= WARM_UP {
                times[index].push(each);
            } else {
                repeats[index] = (LONG_ENOUGH / each.max(1e-3)).clamp(1.0, 1000.0) as usize;
            }
        }
    }
    let [own, vanilla] = times.map(|times| quantile(&times, 0.5));
    Ok(own / vanilla)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, parse};

    fn config(method: &str) -> TrialConfig {
        let text = format!(
            "name = 'x'\n[dataset]\nname = 'synthetic'\n[backbone]\nname = 'resnet20'\n[method]\nname = '{method}'"
        );
        Experiment::from_document(&parse("x.toml", &text).unwrap()).unwrap().trials.remove(0).config
    }

    #[test]
    fn what_was_measured_once_is_not_measured_again() {
        let (thin, vanilla) = (config("thin"), config("vanilla"));
        let measuring = Latencies::new(BTreeMap::new());
        let share = measuring.share(&thin, &vanilla, 1).unwrap();
        assert!(share > 0.0 && share.is_finite());
        let kept = Latencies::kept(measuring.shares());
        assert_eq!(kept.share(&thin, &vanilla, 1).unwrap(), share);
        assert!(kept.share(&thin, &vanilla, 2).unwrap_err().to_string().contains("not kept"));
    }
}
