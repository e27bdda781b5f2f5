//! Trained networks that several trials begin with: what is compressed is trained once, and then compressed in each way.
//!
//! A base is a checkpoint of the end of its training, in a folder named by all that decides its bits, the kernel path included. Who
//! needs one that is not there trains it, and keeps it locked meanwhile: the others wait. One that is damaged, or half written,
//! counts as none.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use conv_core::ParamStore;

use super::PricedTrial;
use crate::experiment::identity;
use crate::methods::Methods;
use crate::results::{FrozenTrial, RunFolder};
use crate::stamp::Environment;
use crate::train::{Checkpoints, Control, Course, Interrupted};

/// How often who waits for a base looks whether it is free.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a trial begins with, and trials that differ from it in what comes later alone.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Its name.
    pub key: String,
    /// Epochs of its training.
    epochs: usize,
    dir: PathBuf,
}

/// The right to train a base, given back when dropped.
pub(super) struct Training(#[expect(dead_code, reason = "held, not read")] File);

impl Base {
    /// That of a trial on `environment`'s kernel path; none where nothing trained is compressed.
    ///
    /// # Errors
    /// A method that does not exist.
    pub fn of(trial: &PricedTrial, folder: &RunFolder, environment: &Environment) -> Result<Option<Self>> {
        let FrozenTrial { config, data, .. } = &trial.frozen;
        let epochs = trial.phases()?.whole;
        let methods = Methods::new(config)?;
        let Some(compression) = methods.compression().filter(|_| epochs > 0) else { return Ok(None) };
        let (architecture, training) = (&trial.price.architecture, (epochs, compression.penalty()));
        let key = identity::base(config, architecture, &data.fingerprint, training, &environment.kernels)?;
        let dir = folder.base_dir(&key);
        Ok(Some(Self { key, epochs, dir }))
    }

    /// Lets the trial begin with the base, if it has not come further by itself. Without one it has to train it: what is
    /// returned is held until [`Base::save`].
    ///
    /// # Errors
    /// [`Interrupted`], if the observer asks for it while another trial trains the base; a folder or lock that cannot be made.
    pub fn begin(&self, course: &mut Course<'_>, phase: &str) -> Result<Option<Training>> {
        if course.progress.phase != phase || course.progress.epoch > self.epochs {
            return Ok(None);
        }
        let lock = self.lock(course)?;
        let (base, warning) = Checkpoints::new(&self.dir).load(&self.key);
        if let Some(warning) = warning {
            course.observer.warn(&warning);
        }
        Ok(match base {
            Some(base) => {
                course.begin_with(base);
                None
            }
            None => Some(lock),
        })
    }

    fn lock(&self, course: &mut Course<'_>) -> Result<Training> {
        fs::create_dir_all(&self.dir).with_context(|| format!("{}: the folder cannot be made", self.dir.display()))?;
        let path = self.dir.join("lock");
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.with_context(|| format!("{}: cannot be written", path.display()))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Training(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("{}: cannot be locked", path.display()));
                }
            }
            if !std::mem::replace(&mut told, true) {
                course.observer.warn(&format!("waits for base {}, which another trial is training", self.key));
            }
            if course.observer.evaluating() == Control::Stop {
                return Err(Interrupted.into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Leaves what was trained for the others, and lets go of it. One that two kernel paths computed is nobody else's. That it
    /// cannot be written costs time and no result: the observer is warned.
    pub fn save(&self, training: Training, course: &mut Course<'_>, store: &ParamStore) {
        if course.kernels().len() == 1
            && let Err(error) = Checkpoints::new(&self.dir).save(&course.as_base(&self.key, store))
        {
            course.observer.warn(&format!("{error:#}; the base is not shared"));
        }
        drop(training);
    }
}
