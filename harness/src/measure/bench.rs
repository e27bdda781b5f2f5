//! Measured times: training step and inference of several networks, in turns, so that whatever else the machine does meets all
//! of them alike.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use conv_core::{EngineLayer, Inference, Network, OffEngine, ParamStore, Training};

use super::noise::noisy;
use crate::backbones::{self, Backbone};
use crate::config::{Precision, TrialConfig};
use crate::data::{Batch, Geometry};
use crate::experiment::price::{compressed, outcome, price};
use crate::methods::Methods;
use crate::train::{Optimizer, remembered, step};

/// A network to be timed.
pub struct Entrant {
    trained: Model,
    /// What infers, where that is another network: a method may fuse what it trained.
    fused: Option<Model>,
    config: TrialConfig,
    geometry: Geometry,
}

/// A network and its parameters.
struct Model {
    network: Network,
    store: ParamStore,
}

/// Milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// Forward, backward and update of a batch.
    pub train_step: Vec<f64>,
    /// Inference of one image.
    pub infer_one: Vec<f64>,
    /// Inference of a batch; none in batches of one image, which [`Times::infer_one`] has.
    pub infer_batch: Vec<f64>,
}

/// How long is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Measured rounds; each takes a training step and a batch's inference of every network, and ten single images.
    pub measured: usize,
    /// Rounds before, whose times are thrown away.
    pub warm_up: usize,
}

/// Single images per round: one of them is short.
const SINGLES: usize = 10;

impl Entrant {
    /// The network of a trial, with fresh weights; of one that is pruned, the network after the cut. Of one that is fused, training is
    /// that of the network before, inference that of the network after.
    ///
    /// # Errors
    /// What its backbone or method refuses.
    pub fn new(config: &TrialConfig, geometry: &Geometry) -> Result<Self> {
        let methods = Methods::new(config)?;
        let fused = methods.fused().map(|fused| Model::new(config, geometry, &fused, true)).transpose()?;
        let trained = Model::new(config, geometry, &methods, true)?;
        Ok(Self { trained, fused, config: config.clone(), geometry: *geometry })
    }

    /// The network that training begins with, or that infers in the end, alone: what a process holds that only trains or only
    /// infers. `inferring`: that, with the filters of its convolutions where the configuration does not tell them.
    ///
    /// # Errors
    /// What its backbone or method refuses.
    pub fn alone(
        config: &TrialConfig,
        geometry: &Geometry,
        inferring: Option<&BTreeMap<String, usize>>,
    ) -> Result<Self> {
        let methods = Methods::new(config)?;
        let fused = methods.fused().filter(|_| inferring.is_some());
        let made_by = fused.as_ref().unwrap_or(&methods);
        let trained = match inferring {
            Some(filters) if !filters.is_empty() => Model::of(&*outcome(config, filters)?, config, made_by)?,
            _ => Model::new(config, geometry, made_by, inferring.is_some())?,
        };
        Ok(Self { trained, fused: None, config: config.clone(), geometry: *geometry })
    }

    fn inferring(&self) -> &Model {
        self.fused.as_ref().unwrap_or(&self.trained)
    }

    /// Parameters that are really there in the network that infers.
    pub fn params(&self) -> u64 {
        self.inferring().store.params()
    }

    /// Bytes that a process holds at its peak which does nothing else with so many images: parameters and running statistics, the
    /// images, what the engine takes, and in training what the optimizer remembers. None off the engine.
    pub(super) fn footprint(&self, images: usize, train: bool) -> Result<Option<u64>> {
        let (c, h, w) = self.geometry.shape;
        let model = if train { &self.trained } else { self.inferring() };
        let Ok(engine) = self.config.recipe.footprint(&model.network, [images, c, h, w], train)? else {
            return Ok(None);
        };
        let parameters: usize = model.store.named().iter().map(|(_, var)| var.elem_count()).sum();
        let memory = if train { remembered(&self.config.recipe) * model.store.params() } else { 0 };
        Ok(Some(engine.bytes() + 4 * ((parameters + images * c * h * w) as u64 + memory)))
    }

    /// The names of the layers of the network that infers, in order.
    ///
    /// # Errors
    /// What its backbone or method refuses.
    pub(super) fn layer_names(&self) -> Result<Vec<String>> {
        let price = price(&self.config)?;
        Ok(price.layers.into_iter().map(|layer| layer.name).collect())
    }

    /// What its values are.
    pub fn precision(&self) -> Precision {
        self.config.recipe.precision()
    }

    /// The parameters of both networks.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, Var)> {
        let stores = std::iter::once(&self.trained).chain(&self.fused).map(|model| &model.store);
        stores.flat_map(ParamStore::named)
    }

    /// What its layers do with so many images; or why that does not run on the engine.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn engine_layers(&self, images: usize, train: bool) -> Result<Result<Vec<EngineLayer>, OffEngine>> {
        let (c, h, w) = self.geometry.shape;
        let model = if train { &self.trained } else { self.inferring() };
        Ok(self.config.recipe.engine_layers(&model.network, [images, c, h, w], train)?)
    }

    pub(super) fn optimizer(&self) -> Optimizer {
        Optimizer::new(self.trained.store.trainable(), &self.config.recipe)
    }

    /// # Errors
    /// What its precision cannot compute; a kernel path that the environment names and this processor does not have.
    pub(super) fn training(&self) -> Result<Training<'_>> {
        Ok(self.config.recipe.training(&self.trained.network)?)
    }

    /// # Errors
    /// As of training.
    pub(super) fn inference(&self) -> Result<Inference<'_>> {
        Ok(self.config.recipe.inference(&self.inferring().network)?)
    }

    pub(super) fn batch(&self, images: usize) -> Result<Batch> {
        let (c, h, w) = self.geometry.shape;
        // Any values do, as long as making them takes no more memory than they do: somebody may watch it.
        let value = |at: usize| f32::from((at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]) / 128.0 - 1.0;
        let values = (0..images * c * h * w).map(value).collect();
        let labels = (0..images).map(|image| (image % self.geometry.classes) as u32);
        Ok(Batch {
            images: Tensor::from_vec(values, (images, c, h, w), &Device::Cpu)?,
            labels: Tensor::from_iter(labels, &Device::Cpu)?,
        })
    }

    /// Two training steps, for whoever watches the memory: the first one takes it, the second finds it taken.
    ///
    /// # Errors
    /// Those of the step.
    pub fn train_once(&self, batch: usize) -> Result<()> {
        let (mut optimizer, mut training) = (self.optimizer(), self.training()?);
        for _ in 0..2 {
            step(&mut training, &mut optimizer, &self.batch(batch)?, 1e-3, 0.0)?;
        }
        Ok(())
    }
}

impl Model {
    /// Made by these methods; of a network that is pruned what is left of it, if it is to be `smaller`.
    fn new(config: &TrialConfig, geometry: &Geometry, methods: &Methods, smaller: bool) -> Result<Self> {
        let mut backbone = backbones::by_name(&config.backbone, geometry, methods.width())?;
        if let Some(compression) = methods.compression().filter(|_| smaller) {
            backbone = compressed(&*backbone, compression, compression.steps())?;
        }
        Self::of(&*backbone, config, methods)
    }

    fn of(backbone: &dyn Backbone, config: &TrialConfig, methods: &Methods) -> Result<Self> {
        let store = ParamStore::new(config.seed, &Device::Cpu);
        Ok(Self { network: backbone.build(methods, store.builder())?, store })
    }
}

impl Times {
    /// Whether the rounds differ by more than those of a quiet machine; none where there is only one.
    pub fn noisy(&self) -> Option<bool> {
        let ones: Vec<f64> = self.infer_one.chunks(SINGLES).map(|round| quantile(round, 0.5)).collect();
        let rounds = [&self.train_step, &ones, &self.infer_batch];
        rounds.into_iter().filter_map(|rounds| noisy(rounds)).reduce(|one, other| one || other)
    }
}

/// Times of all entrants, in their order, at this batch size. In batches of one image there is one inference, not two.
///
/// # Errors
/// Those of training and inference.
pub fn race(entrants: &[Entrant], batch: usize, rounds: Rounds) -> Result<Vec<Times>> {
    let mut times = vec![Times::default(); entrants.len()];
    let mut running = Vec::new();
    for entrant in entrants {
        running.push((entrant.optimizer(), entrant.training()?, entrant.batch(batch)?, entrant.batch(1)?));
    }
    for round in 0..rounds.warm_up + rounds.measured {
        let keep = round >= rounds.warm_up;
        for (((optimizer, training, many, one), entrant), times) in running.iter_mut().zip(entrants).zip(&mut times) {
            let measure = |all: &mut Vec<f64>, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
                let started = Instant::now();
                work()?;
                if keep {
                    all.push(started.elapsed().as_secs_f64() * 1e3);
                }
                Ok(())
            };
            measure(&mut times.train_step, &mut || {
                step(training, optimizer, many, 1e-3, 0.0).map(drop).context("in a training step")
            })?;
            let mut inference = entrant.inference()?;
            // The first call lays out memory and packs the weights, once per model.
            inference.forward(&many.images)?;
            if batch > 1 {
                measure(&mut times.infer_batch, &mut || {
                    inference.forward(&many.images)?;
                    Ok(())
                })?;
            }
            let mut inference = entrant.inference()?;
            inference.forward(&one.images)?;
            for _ in 0..SINGLES {
                measure(&mut times.infer_one, &mut || {
                    inference.forward(&one.images)?;
                    Ok(())
                })?;
            }
        }
    }
    Ok(times)
}

/// The `q` quantile of some times, 0.5 the median; 0 for none.
pub fn quantile(times: &[f64], q: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => sorted[((count - 1) as f64 * q).round() as usize],
    }
}
