//! The layers of a network as the engine runs them: their kernels, and how long each of their passes takes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::TensorId;
use conv_core::{
    EngineLayer, Inference, Isa, OffEngine, PassWork, Training, copy_gbytes, peak_gflops, peak_gflops_of_bf16,
};

use super::COPIED;
use super::bench::{Entrant, Rounds};
use crate::config::Precision;
use crate::data::Batch;
use crate::train::{Optimizer, step};

/// What a network is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Training steps of a batch.
    Train,
    /// Inference of a batch.
    Infer,
    /// Inference of one image.
    InferOne,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Infer, Self::InferOne];

    /// As columns and cells call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Infer => "infer",
            Self::InferOne => "infer_b1",
        }
    }

    fn images(self, batch: usize) -> usize {
        match self {
            Self::Train | Self::Infer => batch,
            Self::InferOne => 1,
        }
    }
}

/// What the layers are called: by the parameters of the network's store, `conv1`, `layer1.0.conv1.bn`; by what they are where
/// they have none.
pub struct LayerNames(HashMap<TensorId, String>);

impl LayerNames {
    /// Those of a network's parameters.
    pub fn of_network(entrant: &Entrant) -> Self {
        let layer = |name: String| name.rsplit_once('.').map_or(name.clone(), |(layer, _)| layer.to_owned());
        Self(entrant.named().map(|(name, var)| (var.as_tensor().id(), layer(name))).collect())
    }

    /// The name of a layer.
    pub fn of<'a>(&'a self, layer: &'a EngineLayer) -> &'a str {
        let named = layer.parameter.as_ref().and_then(|parameter| self.0.get(&parameter.id()));
        named.map_or(&layer.kind, String::as_str)
    }
}

/// The layers of a network that computes `batch` images for this use; or why it does so operation by operation.
///
/// # Errors
/// Shapes that do not fit.
pub fn planned(entrant: &Entrant, batch: usize, purpose: Use) -> Result<Result<Vec<EngineLayer>, OffEngine>> {
    entrant.engine_layers(purpose.images(batch), purpose == Use::Train)
}

/// What the machine can do at most, on the threads that compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Multiply-adds on registers, two operations each, in 1e9 a second.
    pub gflops: f64,
    /// Copies of memory, read and written, in 1e9 bytes a second.
    pub gbytes: f64,
}

impl Limits {
    /// Of products in this precision, measured now; takes some seconds.
    ///
    /// # Errors
    /// bf16 by instructions that `CONV_PATH` names and this processor does not have.
    pub fn measure(precision: Precision) -> Result<Self> {
        let gflops = match precision {
            Precision::F32 => peak_gflops(Isa::best()),
            Precision::Bf16 => peak_gflops_of_bf16()?,
        };
        Ok(Self { gflops, gbytes: copy_gbytes(COPIED) })
    }
}

/// One pass of one layer, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTime {
    /// What the network was used for.
    pub purpose: Use,
    /// The layer's name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// What was done, with which kernel; its time is the median over rounds.
    pub work: PassWork,
    /// Images at a time.
    pub images: usize,
    /// What values are, and weights as kernels read them.
    pub precision: Precision,
}

impl LayerTime {
    /// Milliseconds for all images.
    pub fn ms(&self) -> f64 {
        self.work.time.unwrap_or_default().as_secs_f64() * 1e3
    }

    /// 1e9 operations a second: two for a multiply-accumulate of the direct sum, whatever form the kernel takes.
    pub fn gflops(&self) -> f64 {
        2.0 * self.macs() * 1e-6 / self.ms()
    }

    /// 1e9 bytes a second: inputs, outputs and weights, each read or written once a pass over them.
    pub fn gbytes(&self) -> f64 {
        self.bytes() * 1e-6 / self.ms()
    }

    /// What would take longer at the machine's limits: the kernel's own multiplications, or its bytes.
    pub fn bound(&self, limits: &Limits) -> &'static str {
        let operations = 2.0 * self.macs() * self.work.multiplications;
        if operations / limits.gflops >= self.bytes() / limits.gbytes { "compute" } else { "memory" }
    }

    fn macs(&self) -> f64 {
        self.work.macs as f64 * self.images as f64
    }

    fn bytes(&self) -> f64 {
        let bytes = match self.precision {
            Precision::F32 => 4.0,
            Precision::Bf16 => 2.0,
        };
        bytes * (self.work.values as f64 * self.images as f64 + self.work.weights as f64)
    }
}

/// The times of a network's layers, in the order of [`Use::ALL`] and of the layers; of a use that is off the engine why, and
/// how long the whole of it took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct LayerTimes {
    /// Every pass of every layer.
    pub layers: Vec<LayerTime>,
    /// By use: a training step with its update, or an inference; the median over rounds, in milliseconds.
    pub whole: BTreeMap<Use, f64>,
    /// The uses that do not run on the engine.
    pub off_engine: BTreeMap<Use, OffEngine>,
}

/// Measures the layers of all entrants, in turns, at this batch size.
///
/// # Errors
/// Those of training and inference.
pub fn time_layers(entrants: &[Entrant], batch: usize, rounds: Rounds) -> Result<Vec<LayerTimes>> {
    let mut running = entrants.iter().map(|entrant| Running::new(entrant, batch)).collect::<Result<Vec<_>>>()?;
    for round in 0..rounds.warm_up + rounds.measured {
        for running in &mut running {
            running.round(round >= rounds.warm_up)?;
        }
    }
    running.into_iter().map(Running::times).collect()
}

/// Inferences of one image in a round: one of them is short.
const SINGLES: u32 = 10;

/// A network while its layers are measured.
struct Running<'a> {
    entrant: &'a Entrant,
    batch: usize,
    many: Batch,
    one: Batch,
    optimizer: Optimizer,
    training: Training<'a>,
    samples: BTreeMap<Use, Samples>,
}

/// What the rounds measured of one use.
#[derive(Default)]
struct Samples {
    /// Of the last round; none off the engine.
    layers: Option<Vec<EngineLayer>>,
    /// By round: the whole, and every pass of every layer in order.
    whole: Vec<Duration>,
    passes: Vec<Vec<Duration>>,
}

impl<'a> Running<'a> {
    fn new(entrant: &'a Entrant, batch: usize) -> Result<Self> {
        Ok(Self {
            entrant,
            batch,
            many: entrant.batch(batch)?,
            one: entrant.batch(1)?,
            optimizer: entrant.optimizer(),
            training: entrant.training()?,
            samples: BTreeMap::new(),
        })
    }

    fn round(&mut self, measured: bool) -> Result<()> {
        self.training.time_layers();
        let started = Instant::now();
        step(&mut self.training, &mut self.optimizer, &self.many, 1e-3, 0.0).context("in a training step")?;
        let train = (started.elapsed(), self.training.layers(), 1);
        let mut inference = self.entrant.inference()?;
        // The first call lays out memory and packs the weights, once per model.
        inference.forward(&self.many.images)?;
        inference.time_layers();
        let started = Instant::now();
        inference.forward(&self.many.images)?;
        let infer = (started.elapsed(), ran(&inference), 1);
        let mut inference = self.entrant.inference()?;
        inference.forward(&self.one.images)?;
        inference.time_layers();
        let started = Instant::now();
        for _ in 0..SINGLES {
            inference.forward(&self.one.images)?;
        }
        let infer_one = (started.elapsed(), ran(&inference), SINGLES);
        if measured {
            for (purpose, (whole, layers, times)) in Use::ALL.into_iter().zip([train, infer, infer_one]) {
                self.samples.entry(purpose).or_default().add(whole, layers, times);
            }
        }
        Ok(())
    }

    fn times(self) -> Result<LayerTimes> {
        let (names, mut found) = (LayerNames::of_network(self.entrant), LayerTimes::default());
        for (purpose, samples) in self.samples {
            found.whole.insert(purpose, median(samples.whole.into_iter()).as_secs_f64() * 1e3);
            let Some(layers) = samples.layers else {
                found.off_engine.extend(planned(self.entrant, self.batch, purpose)?.err().map(|why| (purpose, why)));
                continue;
            };
            let mut pass = 0;
            for layer in &layers {
                for work in &layer.passes {
                    let time = median(samples.passes.iter().map(|round| round[pass]));
                    pass += 1;
                    found.layers.push(LayerTime {
                        purpose,
                        name: names.of(layer).to_owned(),
                        kind: layer.kind.clone(),
                        work: PassWork { time: Some(time), ..work.clone() },
                        images: purpose.images(self.batch),
                        precision: self.entrant.precision(),
                    });
                }
            }
        }
        Ok(found)
    }
}

impl Samples {
    /// A round of so many `times` the same.
    fn add(&mut self, whole: Duration, layers: Option<Vec<EngineLayer>>, times: u32) {
        self.whole.push(whole / times);
        if let Some(layers) = &layers {
            let passes = layers.iter().flat_map(|layer| &layer.passes);
            self.passes.push(passes.map(|work| work.time.unwrap_or_default() / times).collect());
        }
        self.layers = layers;
    }
}

/// What each layer did, of an inference of one number of images: one of the engines ran them.
fn ran(inference: &Inference<'_>) -> Option<Vec<EngineLayer>> {
    inference.layers().or_else(|| inference.image_layers())
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
