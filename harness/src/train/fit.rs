//! The training loop.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use conv_core::{Network, ParamStore, Training};
use serde::{Deserialize, Serialize};

use super::metrics::rank;
use super::{EpochLog, Evaluation, Feed, LearningRate, Sgd, evaluate};
use crate::data::Batch;
use crate::experiment::Recipe;

/// A stretch of training under one schedule: all of it, or what precedes or follows a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `train` or `finetune`, as the log calls it.
    pub name: &'static str,
    /// Number of its first epoch; the first of a trial is 1.
    pub first_epoch: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Rate of each of its steps.
    pub rate: LearningRate,
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLog {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Mean loss over those.
    pub loss: f64,
    /// Top-1 over those, in [0, 1].
    pub accuracy: f64,
    /// Images per second over those.
    pub images_per_second: f64,
}

/// STUB
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// a
    Continue,
    /// a
    Checkpoint,
    /// a
    Stop,
}

/// STUB
#[derive(Debug)]
pub struct Interrupted;
impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}
impl std::error::Error for Interrupted {}

/// STUB
pub trait Observer {
    /// a
    fn started(&mut self, _epochs: usize, _steps_per_epoch: usize, _history: &[EpochLog]) {}
    /// a
    fn warn(&mut self, _text: &str) {}
    /// a
    fn step(&mut self, _log: &StepLog) -> Control {
        Control::Continue
    }
    /// a
    fn evaluating(&mut self) -> Control {
        Control::Continue
    }
    /// a
    fn epoch(&mut self, log: &EpochLog) -> Result<Control>;
}

/// What a phase ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Its epochs.
    pub epochs: Vec<EpochLog>,
    /// The last epoch's network on validation. Validation decides nothing here: no epoch is picked, none is left out.
    pub validation: Evaluation,
}

/// Trains `network`, whose parameters are `store`'s, through `phase`, with an optimizer of its own.
///
/// # Errors
/// A loss that is no longer finite, with epoch and step; unreadable batches; what the observer refuses.
pub fn fit(
    network: &Network,
    store: &ParamStore,
    feed: &Feed,
    recipe: &Recipe,
    phase: &Phase,
    observer: &mut dyn Observer,
) -> Result<Fitted> {
    let steps = feed.steps_per_epoch();
    let mut optimizer = Sgd::new(store.trainable(), recipe);
    let mut training = network.training(recipe.kernels);
    let mut fitted = Fitted { epochs: Vec::with_capacity(phase.epochs), validation: Evaluation::default() };
    for done in 0..phase.epochs {
        let epoch = phase.first_epoch + done;
        let started = Instant::now();
        let mut tally = Tally::default();
        for (index, batch) in feed.train(epoch).enumerate() {
            let rate = phase.rate.at(done * steps + index);
            let result = step(&mut training, &mut optimizer, &batch?, rate, recipe.label_smoothing)
                .with_context(|| format!("epoch {epoch}, step {} of {steps}, learning rate {rate:.3e}", index + 1))?;
            tally.add(result, recipe.batch);
            observer.step(&tally.log(epoch, started));
        }
        if tally.steps != steps {
            bail!("epoch {epoch} had {} batches where {steps} were expected", tally.steps);
        }
        let train = tally.log(epoch, started);
        let seconds = started.elapsed().as_secs_f64();
        fitted.validation = evaluate(network, recipe.kernels, feed.validation()).context("on the validation images")?;
        let loss = fitted.validation.loss;
        if !loss.is_finite() {
            bail!("diverged: the validation loss is {loss} after epoch {epoch}; a lower recipe.lr may help");
        }
        let log = EpochLog {
            epoch,
            phase: phase.name.to_owned(),
            lr: phase.rate.at((done + 1) * steps - 1),
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            validation_loss: loss,
            validation_accuracy: fitted.validation.top1,
            seconds,
            images_per_second: train.images_per_second,
        };
        observer.epoch(&log)?;
        fitted.epochs.push(log);
    }
    Ok(fitted)
}

/// What one optimizer step saw before it changed anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean loss of the batch, with label smoothing.
    pub loss: f64,
    /// Images whose class was the first guess.
    pub correct: usize,
}

/// One optimizer step at rate `lr`: forward, mean cross-entropy with label `smoothing`, backward, update.
///
/// # Errors
/// A loss that is not finite (the parameters are left as they were); shapes that do not fit.
pub fn step(training: &mut Training<'_>, optimizer: &mut Sgd, batch: &Batch, lr: f64, smoothing: f64) -> Result<Step> {
    let conv_core::Step { loss: value, logits, gradients } = training.step(&batch.images, &batch.labels, smoothing)?;
    if !value.is_finite() {
        bail!("diverged: the training loss is {value}; a lower recipe.lr or a longer recipe.warmup_epochs may help");
    }
    optimizer.step(&gradients, lr)?;
    let guesses = logits.to_vec2::<f32>()?;
    let labels = batch.labels.to_vec1::<u32>()?;
    let correct = guesses.iter().zip(labels).filter(|(row, label)| rank(row, *label as usize) == 0).count();
    Ok(Step { loss: value, correct })
}

/// Sums over the steps of an epoch.
#[derive(Default)]
struct Tally {
    steps: usize,
    images: usize,
    correct: usize,
    loss: f64,
}

impl Tally {
    fn add(&mut self, step: Step, images: usize) {
        self.steps += 1;
        self.images += images;
        self.correct += step.correct;
        self.loss += step.loss;
    }

    fn log(&self, epoch: usize, started: Instant) -> StepLog {
        let images = self.images.max(1) as f64;
        StepLog {
            epoch,
            step: self.steps,
            loss: self.loss / self.steps.max(1) as f64,
            accuracy: self.correct as f64 / images,
            images_per_second: self.images as f64 / started.elapsed().as_secs_f64().max(1e-9),
        }
    }
}
