//! A trial on its way: where it stands, who follows it, and where its checkpoints go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use conv_core::ParamStore;

use super::{Checkpoint, Checkpoints, Control, Interrupted, Observer, Progress, Sgd};
use crate::data::Batch;
use crate::stamp::Environment;

/// A trial on its way, from its start or from a checkpoint.
pub struct Course<'a> {
    /// Where it stands.
    pub progress: Progress,
    /// Who follows it.
    pub observer: &'a mut dyn Observer,
    checkpoints: Checkpoints,
    key: String,
    kernels: Vec<String>,
    origins: Vec<String>,
    /// Weights and momentum of the checkpoint, until network and optimizer have them.
    weights: Option<BTreeMap<String, Tensor>>,
    momentum: Option<BTreeMap<String, Tensor>>,
    /// When this attempt began, and the seconds of earlier ones.
    started: Instant,
    earlier: f64,
}

impl<'a> Course<'a> {
    /// The course of trial `key`, whose folder is `dir`: from its last checkpoint, or else from the start of `phase`.
    /// `environment`: what computes from now on. Checkpoints that cannot be used are passed over, and the observer
    /// is warned.
    ///
    /// # Errors
    /// A checkpoint that another kernel path computed, unless `allow_path_change`: nothing was changed then.
    pub fn new(
        dir: &Path,
        key: &str,
        phase: &str,
        environment: &Environment,
        allow_path_change: bool,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let mut checkpoints = Checkpoints::new(dir);
        let (checkpoint, warning) = checkpoints.load(key);
        if let Some(warning) = warning {
            observer.warn(&warning);
        }
        let mut course = Self {
            progress: Progress::new(phase),
            observer,
            checkpoints,
            key: key.to_owned(),
            kernels: vec![environment.kernels.clone()],
            origins: vec![environment.origin()],
            weights: None,
            momentum: None,
            started: Instant::now(),
            earlier: 0.0,
        };
        if let Some(checkpoint) = checkpoint {
            course.resume(checkpoint, allow_path_change)?;
        }
        Ok(course)
    }

    fn resume(&mut self, checkpoint: Checkpoint, allow_path_change: bool) -> Result<()> {
        let now = std::mem::replace(&mut self.kernels, checkpoint.kernels);
        if self.kernels.last() != now.last() {
            let (before, now_path) = (self.kernels.join(", then "), now.join(", then "));
            if !allow_path_change {
                bail!(
                    "{}: was computed on kernel path `{before}`, and here it would go on on `{now_path}`, with other \
                     rounding. Accepted: a machine or settings with `{before}`; the checkpoints removed, to start afresh; \
                     or --allow-path-change, which goes on and marks the result",
                    self.checkpoints.newest().display()
                );
            }
            self.kernels.extend(now);
        }
        let now = std::mem::replace(&mut self.origins, checkpoint.origins);
        if self.origins.last() != now.last() {
            self.origins.extend(now);
        }
        self.earlier = checkpoint.progress.seconds;
        self.progress = checkpoint.progress;
        (self.weights, self.momentum) = (Some(checkpoint.weights), Some(checkpoint.momentum));
        Ok(())
    }

    /// The kernel paths that compute it, in turn; more than one after a change.
    pub fn kernels(&self) -> &[String] {
        &self.kernels
    }

    /// The builds and processors that compute it, in turn; more than one where another harness or machine went on.
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Wall time so far, seconds; that of earlier attempts is known up to their last checkpoints.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    /// Gives the network the checkpoint's weights and running statistics, if it goes on from one.
    ///
    /// # Errors
    /// Names or shapes that are not the network's.
    pub fn restore(&mut self, store: &ParamStore) -> Result<()> {
        let Some(weights) = self.weights.take() else { return Ok(()) };
        store.assign(&weights).with_context(|| {
            format!("{}: does not fit the network; remove it to start afresh", self.checkpoints.newest().display())
        })
    }

    /// Gives the optimizer the checkpoint's momentum, if it goes on from one.
    pub(super) fn restore_momentum(&mut self, optimizer: &mut Sgd) -> Result<()> {
        let Some(momentum) = self.momentum.take() else { return Ok(()) };
        optimizer.set_momentum_buffers(&momentum).with_context(|| {
            format!("{}: does not fit the network; remove it to start afresh", self.checkpoints.newest().display())
        })
    }

    /// Turns to the phase called `phase`, whose momentum starts afresh.
    pub fn turn(&mut self, phase: &str) {
        self.progress.phase = phase.to_owned();
        self.momentum = None;
    }

    /// Does as the observer says.
    ///
    /// # Errors
    /// [`Interrupted`]; a checkpoint that cannot be written.
    pub(super) fn obey(&mut self, control: Control, store: &ParamStore, optimizer: &Sgd) -> Result<()> {
        if control >= Control::Checkpoint {
            self.progress.seconds = self.seconds();
            let weights = store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();
            self.checkpoints.save(&Checkpoint {
                key: self.key.clone(),
                kernels: self.kernels.clone(),
                origins: self.origins.clone(),
                progress: self.progress.clone(),
                weights,
                momentum: optimizer.momentum_buffers()?,
            })?;
        }
        if control == Control::Stop { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// `batches`, before each of which the observer may stop the evaluation. Nothing is written then: what is evaluated is
    /// in a checkpoint, or follows from one.
    pub fn evaluating(&mut self, batches: impl Iterator<Item = Result<Batch>>) -> impl Iterator<Item = Result<Batch>> {
        batches.map(|batch| match self.observer.evaluating() {
            Control::Stop => Err(Interrupted.into()),
            Control::Continue | Control::Checkpoint => batch,
        })
    }

    /// Removes the checkpoints of a trial whose result is saved. One that cannot be removed is in nobody's way: the observer
    /// is warned.
    pub fn finish(mut self) {
        if let Err(error) = self.checkpoints.remove() {
            self.observer.warn(&format!("{error:#}"));
        }
    }
}
