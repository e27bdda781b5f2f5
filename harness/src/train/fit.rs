//! The training loop.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use conv_core::{Network, ParamStore, Training};

use super::metrics::rank;
use super::{Average, Control, Course, EpochLog, Feed, LearningRate, Memory, Optimizer, evaluate};
use crate::config::Recipe;
use crate::data::Batch;

/// A stretch of training under one schedule: all of it, or what precedes or follows a compression.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPhase {
    /// `train`, `finetune` or `scratch`, as the log calls it.
    pub name: &'static str,
    /// Number of its first epoch; the first of a trial is 1.
    pub first_epoch: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Rate of each of its steps.
    pub rate: LearningRate,
    /// L1 penalty on all scales of batch norms; 0: none.
    pub penalty: f64,
}

/// Trains `network`, whose parameters are `store`'s, through what `course` has left of `phase`, with an optimizer of the
/// phase's own. A checkpoint is written whenever the observer asks for one, and at the end of the phase. Where the recipe has
/// weights averaged, their average is what validation judges, and what the phase leaves.
///
/// # Errors
/// [`Interrupted`](super::Interrupted), if the observer asked for it; a loss that is no longer finite, with epoch and step;
/// unreadable batches; a checkpoint that cannot be written; what the observer refuses.
pub fn fit(
    network: &Network,
    store: &ParamStore,
    feed: &Feed,
    recipe: &Recipe,
    phase: &TrainingPhase,
    course: &mut Course<'_>,
) -> Result<()> {
    let steps = feed.steps_per_epoch();
    let optimizer = Optimizer::new(store.trainable(), recipe).with_penalty(phase.penalty).with_masks(course.masks())?;
    let average = recipe.average.map(|decay| Average::new(store, decay)).transpose()?;
    let mut memory = Memory { optimizer, average };
    course.restore_memory(&mut memory)?;
    let mut training = recipe.training(network)?;
    for done in course.progress.epoch.saturating_sub(phase.first_epoch)..phase.epochs {
        let epoch = phase.first_epoch + done;
        let (first, earlier, started) = (course.progress.tally.steps, course.progress.tally.seconds, Instant::now());
        let mut batches = feed.train(epoch, first);
        for (index, batch) in (first..).zip(batches.by_ref()) {
            let at = done * steps + index;
            let rate = phase.rate.at(at);
            let result = step(&mut training, &mut memory.optimizer, &batch?, rate, recipe.label_smoothing)
                .with_context(|| format!("epoch {epoch}, step {} of {steps}, learning rate {rate:.3e}", index + 1))?;
            if let Some(average) = &mut memory.average {
                average.add(at)?;
            }
            let seconds = earlier + started.elapsed().as_secs_f64();
            course.progress.tally.add(result, recipe.batch, seconds);
            let control = course.observer.step(&course.progress.tally.log(epoch));
            course.obey(control, store, &memory)?;
        }
        feed.tell_waiting(epoch, batches.waited(), started.elapsed());
        let tally = course.progress.tally;
        if tally.steps != steps {
            bail!("epoch {epoch} had {} batches where {steps} were expected", tally.steps);
        }
        let mut validation = None;
        memory.exchange()?;
        if let Some(batches) = feed.validation() {
            let batches = batches.map(|batch| {
                let control = course.observer.evaluating();
                if control > Control::Continue {
                    // A checkpoint is of the weights that training goes on from.
                    memory.exchange()?;
                    course.obey(control, store, &memory)?;
                    memory.exchange()?;
                }
                batch
            });
            let found = evaluate(network, recipe, batches).context("on the validation images")?;
            let loss = found.loss;
            if !loss.is_finite() {
                bail!(Diverged(format!(
                    "the validation loss is {loss} after epoch {epoch}; a lower recipe.lr may help"
                )));
            }
            validation = Some(found);
        }
        let last = done + 1 == phase.epochs;
        if !last {
            memory.exchange()?;
        }
        let train = tally.log(epoch);
        let log = EpochLog {
            epoch,
            phase: phase.name.to_owned(),
            lr: phase.rate.at((done + 1) * steps - 1),
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            validation_loss: validation.map(|found| found.loss),
            validation_accuracy: validation.map(|found| found.top1),
            seconds: tally.seconds,
            images_per_second: train.images_per_second,
        };
        course.progress.finish_epoch(log.clone(), validation);
        let control = course.observer.epoch(&log)?;
        // What follows a phase, a cut or the test images, is done again after an interruption; the phase is not.
        let least = if last { Control::Checkpoint } else { Control::Continue };
        course.obey(control.max(least), store, &memory)?;
    }
    Ok(())
}

/// The error of a training whose loss is no number any more: made again it ends in the same place, bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged(String);

impl std::fmt::Display for Diverged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Diverged {}

/// What one optimizer step saw before it changed anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// Mean loss of the batch, with label smoothing.
    pub loss: f64,
    /// Images whose class was the first guess.
    pub correct: usize,
}

/// One optimizer step at rate `lr`: forward, mean cross-entropy with label `smoothing`, backward, update.
///
/// # Errors
/// A loss that is not finite (the parameters are left as they were); shapes that do not fit.
pub fn step(
    training: &mut Training<'_>,
    optimizer: &mut Optimizer,
    batch: &Batch,
    lr: f64,
    smoothing: f64,
) -> Result<StepMetrics> {
    let conv_core::Step { loss: value, logits, gradients } = training.step(&batch.images, &batch.labels, smoothing)?;
    if !value.is_finite() {
        let advice = "a lower recipe.lr or a longer recipe.warmup_epochs may help";
        bail!(Diverged(format!("the training loss is {value}; {advice}")));
    }
    optimizer.step(&gradients, lr)?;
    let guesses = logits.to_vec2::<f32>()?;
    let labels = batch.labels.to_vec1::<u32>()?;
    let correct = guesses.iter().zip(labels).filter(|(row, label)| rank(row, *label as usize) == 0).count();
    Ok(StepMetrics { loss: value, correct })
}
