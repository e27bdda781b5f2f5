//! Two builds of the harness, measured in turns: whether the new one has become slower.

use std::path::Path;

use anyhow::{Result, bail};

use super::limits;
use super::probe::{ProbeOptions, Reply, ask};
use crate::config::TrialConfig;
use crate::measure::bench::quantile;
use crate::measure::probe::{Answer, Question};
use crate::statistics::gate::{CALIBRATION, FALSE_ALARMS, Finding, MOST, SLOWDOWN, pairs_needed};

/// What is compared: inference of one image, and of a batch.
pub const METRICS: [&str; 2] = ["infer_b1", "infer_bN"];

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GateEnd {
    /// Pairs of a stage.
    pub pairs: usize,
    /// By metric: the first stage, and the second where there was one.
    pub findings: [(Finding, Option<Finding>); 2],
}

impl GateEnd {
    /// Whether a metric alarmed in both stages.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|(first, second)| first.alarms && second.is_some_and(|second| second.alarms))
    }
}

/// Measures the network with both programs in pairs, as many as the machine's noise asks for; what alarms is measured anew. None if asked
/// to stop.
///
/// # Errors
/// Programs that cannot measure it; a machine too noisy to tell anything in a bearable time.
pub fn compare(old: &Path, new: &Path, config: &TrialConfig, images: usize, threads: usize) -> Result<Option<GateEnd>> {
    let processors = limits::processors();
    let own = if threads <= processors.len() { processors[..threads].to_vec() } else { Vec::new() };
    let probe = ProbeOptions { threads, processors: own };
    let question = Question { config: config.clone(), images, widths: Default::default(), train: false };
    let pairs = |programs: [&Path; 2], count: usize| -> Result<Option<[Vec<f64>; 2]>> {
        let mut logs = [Vec::new(), Vec::new()];
        for at in 0..count {
            let mut times = [[0.0; 2]; 2];
            for place in if at % 2 == 0 { [0, 1] } else { [1, 0] } {
                match ask(programs[place], &question, &probe)? {
                    None => return Ok(None),
                    Some(Reply { answer: Answer::Inference(one, many), .. }) => {
                        let many = many.as_ref().unwrap_or(&one);
                        times[place] = [quantile(&one.times, 0.5), quantile(&many.times, 0.5)];
                    }
                    Some(Reply { answer: Answer::Problem(why), .. }) => {
                        bail!("{} cannot measure it: {why}", programs[place].display())
                    }
                    Some(_) => bail!("{} answers something else", programs[place].display()),
                }
            }
            for (metric, logs) in logs.iter_mut().enumerate() {
                logs.push((times[1][metric] / times[0][metric]).ln());
            }
        }
        Ok(Some(logs))
    };
    let Some(equal) = pairs([old, old], CALIBRATION)? else { return Ok(None) };
    let needed: Option<Vec<usize>> = equal.iter().map(|logs| pairs_needed(logs, METRICS.len())).collect();
    let Some(count) = needed.and_then(|needed| needed.into_iter().max()) else {
        bail!(
            "this machine is too noisy to tell {:.0} % in {MOST} pairs: nothing is said of either program\n  accepted: a quieter machine",
            100.0 * SLOWDOWN
        );
    };
    say!(
        "{count} pairs tell {:.0} % on this machine; equal programs alarm in {:.0} % of stages",
        100.0 * SLOWDOWN,
        100.0 * FALSE_ALARMS
    );
    let Some(logs) = pairs([old, new], count)? else { return Ok(None) };
    let mut findings = logs.map(|logs| (Finding::of(&logs, METRICS.len()), None));
    let alarmed = findings.iter().filter(|(first, _)| first.alarms).count();
    if alarmed > 0 {
        say!("an alarm, measured anew before it is believed");
        let Some(again) = pairs([old, new], count)? else { return Ok(None) };
        for ((first, second), logs) in findings.iter_mut().zip(&again) {
            *second = first.alarms.then(|| Finding::of(logs, alarmed));
        }
    }
    Ok(Some(GateEnd { pairs: count, findings }))
}
