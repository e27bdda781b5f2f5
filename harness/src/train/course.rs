//! A trial on its way: where it stands, who follows it, and where its checkpoints go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use baselines::masking::Masks;
use candle_core::Tensor;
use conv_core::ParamStore;

use super::{Checkpoint, Checkpoints, Control, Interrupted, Memory, Observer, Progress};
use crate::data::Batch;
use crate::stamp::Environment;

/// What a checkpoint calls a weight's mask, behind the weight's name.
const MASK: &str = ".mask";

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
    /// Which weights stay 0 from now on; and the same as a checkpoint holds it.
    masks: Option<Masks>,
    mask_tensors: BTreeMap<String, Tensor>,
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
            masks: None,
            mask_tensors: BTreeMap::new(),
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
        self.origins = extended(checkpoint.origins, &self.origins);
        self.earlier = checkpoint.progress.seconds;
        self.progress = checkpoint.progress;
        let (masks, weights): (BTreeMap<_, _>, _) =
            checkpoint.weights.into_iter().partition(|(name, _)| name.ends_with(MASK));
        (self.weights, self.momentum) = (Some(weights), Some(checkpoint.momentum));
        if !masks.is_empty() {
            let named = |(name, tensor): (String, Tensor)| (name[..name.len() - MASK.len()].to_owned(), tensor);
            self.set_masks(Masks::from_tensors(&masks.into_iter().map(named).collect())?)?;
        }
        Ok(())
    }

    /// Which weights stay 0.
    pub fn masks(&self) -> Option<&Masks> {
        self.masks.as_ref()
    }

    /// Keeps weights 0 from now on, and over interruptions.
    ///
    /// # Errors
    /// Those of making tensors.
    pub fn set_masks(&mut self, masks: Masks) -> Result<()> {
        self.mask_tensors =
            masks.tensors()?.into_iter().map(|(name, tensor)| (format!("{name}{MASK}"), tensor)).collect();
        self.masks = Some(masks);
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

    /// Gives back what the checkpoint says that was remembered, if it goes on from one.
    pub(super) fn restore_memory(&mut self, memory: &mut Memory) -> Result<()> {
        let Some(momentum) = self.momentum.take() else { return Ok(()) };
        memory.set_state(momentum).with_context(|| {
            format!("{}: does not fit the network; remove it to start afresh", self.checkpoints.newest().display())
        })
    }

    /// The weights of the checkpoint that it goes on from, until [`Course::restore`].
    pub fn weights(&self) -> Option<&BTreeMap<String, Tensor>> {
        self.weights.as_ref()
    }

    /// Goes on from what another trial of the same beginning has trained, as from a checkpoint of its own.
    pub fn begin_with(&mut self, base: Checkpoint) {
        (self.kernels, self.origins) = (base.kernels, extended(base.origins, &self.origins));
        self.earlier = base.progress.seconds;
        self.progress = base.progress;
        (self.weights, self.momentum) = (Some(base.weights), None);
    }

    /// What it has trained so far, for other trials that begin the same way under the name `key`. No momentum: they turn to
    /// another phase.
    pub fn as_base(&self, key: &str, store: &ParamStore) -> Checkpoint {
        self.checkpoint(key, store, BTreeMap::new())
    }

    fn checkpoint(&self, key: &str, store: &ParamStore, momentum: BTreeMap<String, Tensor>) -> Checkpoint {
        Checkpoint {
            key: key.to_owned(),
            kernels: self.kernels.clone(),
            origins: self.origins.clone(),
            progress: Progress { seconds: self.seconds(), ..self.progress.clone() },
            weights: {
                let weights = store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone()));
                weights.chain(self.mask_tensors.clone()).collect()
            },
            momentum,
        }
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
    pub(super) fn obey(&mut self, control: Control, store: &ParamStore, memory: &Memory) -> Result<()> {
        if control >= Control::Checkpoint {
            let checkpoint = self.checkpoint(&self.key, store, memory.state()?);
            self.checkpoints.save(&checkpoint)?;
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

/// Who computed so far, and who goes on, if that is another one.
fn extended(mut before: Vec<String>, now: &[String]) -> Vec<String> {
    if before.last() != now.last() {
        before.extend_from_slice(now);
    }
    before
}
