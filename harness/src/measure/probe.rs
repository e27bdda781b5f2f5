//! What one network costs to run, measured by a process that does nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use conv_core::{EngineLayer, Inference, Pass, meter};
use serde::{Deserialize, Serialize};

use super::bench::Entrant;
use super::energy::EnergyCounter;
use super::layers::{LayerNames, Use, planned};
use super::memory::{forget_peak, own_memory, peak_own_memory};
use crate::config::TrialConfig;
use crate::data;

/// How long inference of one image, and of a batch, is measured in a round, once it is warm.
pub const TIME: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(250)];
/// Times of a round, however long they take.
const LEAST: usize = 3;
/// Times of a round that say no more than fewer.
const MOST: usize = 1000;
/// How often each layer is timed in a round.
const LOOKS: u32 = 5;
/// What belongs to no layer.
const OTHER: &str = "other";

/// What of a machine's multiply-adds networks get done: between four and eight tenths, large networks more.
pub const USED: f64 = 0.5;

/// About what measuring takes: each network, of so many multiply-accumulates an image and so many images a batch, once in each round
/// and the first twice, on a machine of `gflops`.
pub fn phase_time(networks: &[(u64, usize)], rounds: usize, gflops: f64) -> Duration {
    let call = |macs: u64, images: usize| macs as f64 * images as f64 * 2.0 / (USED * gflops * 1e9);
    let measured = |least: Duration, call: f64| {
        // Two calls come first, warming up takes a quarter more, and the layers are looked at last.
        f64::max(least.as_secs_f64() * 1.25, call * (LEAST + 1) as f64) + call * f64::from(LOOKS + 2)
    };
    let of = |&(macs, images): &(u64, usize)| {
        START.as_secs_f64() + measured(TIME[0], call(macs, 1)) + measured(TIME[1], call(macs, images))
    };
    let round: f64 = networks.iter().chain(networks.first()).map(of).sum();
    Duration::try_from_secs_f64(round * rounds as f64).unwrap_or(Duration::MAX)
}

/// About what it takes to start a process and make its network.
const START: Duration = Duration::from_millis(150);

/// What a process is asked to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The network.
    pub config: TrialConfig,
    /// Images of a batch.
    pub images: usize,
    /// Filters of its convolutions, where the configuration does not tell them.
    pub widths: BTreeMap<String, usize>,
    /// Whether it is asked for the memory of training, or for inference.
    pub train: bool,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Inference of one image, and of a batch where that is another.
    Inference(Box<Reading>, Option<Box<Reading>>),
    /// Training, after two steps.
    Training(MemoryReading),
    /// Why it could not.
    Problem(String),
}

/// Inference of so many images at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Of each call, in milliseconds.
    pub times: Vec<f64>,
    /// Of the processors, for an image, in millijoules; none where the machine does not tell.
    pub energy: Option<f64>,
    /// What it took.
    pub memory: MemoryReading,
    /// Multiply-accumulates for an image of the operations that were run, as the direct sum has them.
    pub macs: u64,
    /// Multiplications of these operations as their kernels do them.
    pub multiplications: u64,
    /// Why it does not run on the engine; none where it does.
    pub off_engine: Option<String>,
    /// Milliseconds of each layer, in order.
    pub layers: Vec<(String, f64)>,
}

/// The peak memory of a use, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// By the plan: parameters, images, what the engine takes, and the optimizer. None off the engine.
    pub analytic: Option<f64>,
    /// The peak of the process, beyond what it held before it made the network; the code it runs is left out. None where the system
    /// does not tell.
    pub measured: Option<f64>,
}

/// Measures what is asked for, on the threads of the current rayon pool.
pub fn answer(question: &Question) -> Answer {
    let held = own_memory();
    let measure = || if question.train { train(question, held) } else { infer(question, held) };
    measure().unwrap_or_else(|error| Answer::Problem(format!("{error:#}")))
}

fn train(question: &Question, held: Option<f64>) -> Result<Answer> {
    let Question { config, images, .. } = question;
    let entrant = Entrant::alone(config, &data::geometry(&config.dataset)?, None)?;
    forget_peak();
    entrant.train_once(*images)?;
    Ok(Answer::Training(memory(&entrant, *images, true, held)?))
}

fn infer(question: &Question, held: Option<f64>) -> Result<Answer> {
    let Question { config, images, widths, .. } = question;
    let entrant = Entrant::alone(config, &data::geometry(&config.dataset)?, Some(widths))?;
    let energy = EnergyCounter::open();
    let read = |images: usize, purpose: Use, time: Duration| -> Result<Box<Reading>> {
        forget_peak();
        let batch = entrant.batch(images)?.images;
        let mut inference = entrant.inference()?;
        let mut once = || inference.forward(&batch).context("in inference").map(drop);
        // The first call lays out memory and packs the weights.
        let (first, executed) = meter::measure(&mut once);
        first?;
        once()?;
        let warming = Instant::now();
        while warming.elapsed() < time / 4 {
            once()?;
        }
        let (before, started) = (energy.as_ref().and_then(EnergyCounter::read), Instant::now());
        let mut times = Vec::with_capacity(MOST);
        while times.len() < LEAST || times.len() < MOST && started.elapsed() < time {
            let called = Instant::now();
            once()?;
            times.push(called.elapsed().as_secs_f64() * 1e3);
        }
        let after = energy.as_ref().and_then(EnergyCounter::read);
        let taken = energy
            .as_ref()
            .zip(before.zip(after))
            .map(|(counter, (before, after))| counter.joules(&before, &after) * 1e3 / (times.len() * images) as f64);
        let planned_layers = |inference: &Inference<'_>| match images {
            ..conv_core::SMALLEST_BATCH => inference.image_layers(),
            _ => inference.layers(),
        };
        // Looking at each layer takes time of its own, so that it comes last.
        inference.time_layers();
        for _ in 0..LOOKS {
            inference.forward(&batch).context("in inference")?;
        }
        let layers = planned_layers(&inference);
        let macs = executed.macs / images as u64;
        Ok(Box::new(Reading {
            energy: taken,
            memory: memory(&entrant, images, false, held)?,
            macs,
            multiplications: layers.as_ref().map_or(macs, |layers| multiplications(layers)),
            layers: layers.map(|layers| by_layer(&entrant, &layers)).transpose()?.unwrap_or_default(),
            off_engine: planned(&entrant, images, purpose)?.err().map(|why| why.to_string()),
            times,
        }))
    };
    let [of_one, of_many] = TIME;
    let one = read(1, Use::InferOne, of_one)?;
    let many = (*images > 1).then(|| read(*images, Use::Infer, of_many)).transpose()?;
    Ok(Answer::Inference(one, many))
}

fn memory(entrant: &Entrant, images: usize, train: bool, held: Option<f64>) -> Result<MemoryReading> {
    let measured = peak_own_memory().zip(held).map(|(peak, held)| (peak - held).max(0.0));
    let analytic = entrant.footprint(images, train)?.map(|bytes| bytes as f64 / f64::from(1 << 20));
    Ok(MemoryReading { analytic, measured })
}

/// Times of the network's own layers, summed over what the engine does in each; what carries no parameter counts to the layer before
/// it where it stands between two parts of one, and else to `other`.
fn by_layer(entrant: &Entrant, layers: &[EngineLayer]) -> Result<Vec<(String, f64)>> {
    let (names, own) = (LayerNames::of_network(entrant), entrant.layer_names()?);
    let layer_of = |name: &str| {
        own.iter().find(|own| name.strip_prefix(&***own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let found: Vec<Option<&String>> = layers.iter().map(|layer| layer_of(names.of(layer))).collect();
    let mut times: Vec<(String, f64)> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let before = found[..at].iter().rev().find_map(|name| *name);
        let after = found[at..].iter().find_map(|name| *name);
        let name = found[at].or(before.filter(|_| before == after)).map_or(OTHER, String::as_str);
        let spent = layer.passes.iter().filter_map(|work| work.time).sum::<Duration>() / LOOKS;
        let ms = spent.as_secs_f64() * 1e3;
        match times.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += ms,
            None => times.push((name.to_owned(), ms)),
        }
    }
    Ok(times)
}

/// What the kernels of these layers multiply going forward, for an image.
fn multiplications(layers: &[EngineLayer]) -> u64 {
    let forward = layers.iter().flat_map(|layer| &layer.passes).filter(|work| work.pass == Pass::Forward);
    forward.map(|work| (work.macs as f64 * work.multiplications).round() as u64).sum()
}
