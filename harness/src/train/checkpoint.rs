//! Checkpoints: everything that decides how a trial goes on, in a file that is whole or not there.
//!
//! ```text
//! checkpoint            the newest
//! checkpoint.previous   the one before it, until the next is written
//! .writing-checkpoint*  what an interruption left of one
//! ```
//!
//! A file ends with the blake3 checksum of all that precedes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use super::codec::{Decoder, Encoder, Hashing};
use super::{EpochLog, Evaluation, Progress, Tally};

/// What every checkpoint begins with, whatever its format.
const MAGIC: &str = "harness checkpoint ";
/// Follows [`MAGIC`]; another number for every change to what is below.
const FORMAT: &str = "2\n";
const CHECKSUM: usize = blake3::OUT_LEN;
const TEMPORARY: &str = ".writing-checkpoint";

/// A trial at some instant. The tensors may be the network's own: nothing is copied to make one.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The trial's identity.
    pub key: String,
    /// The kernel paths that computed it, in turn: one, unless it was resumed on another.
    pub kernels: Vec<String>,
    /// The builds and processors that computed it, in turn, as [`Environment::origin`](crate::stamp::Environment::origin)
    /// calls them.
    pub origins: Vec<String>,
    /// Where the training stands.
    pub progress: Progress,
    /// Weights and running statistics, by name; for each weight of which some values stay 0, `NAME.mask` with a 1 for all others.
    pub weights: BTreeMap<String, Tensor>,
    /// What the optimizer remembers, by parameter, and where weights are averaged their average so far.
    pub momentum: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Writes it, checksum included; lossless, NaN included.
    ///
    /// # Errors
    /// Those of `out`; tensors that are not f32.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let hashing = Hashing { inner: out, hasher: blake3::Hasher::new() };
        let mut encoder = Encoder(BufWriter::with_capacity(1 << 16, hashing));
        encoder.0.write_all(MAGIC.as_bytes())?;
        encoder.0.write_all(FORMAT.as_bytes())?;
        self.encode(&mut encoder)?;
        encoder.0.flush()?;
        let hashing = encoder.0.get_mut();
        let checksum = hashing.hasher.finalize();
        Ok(hashing.inner.write_all(checksum.as_bytes())?)
    }

    /// Reads what [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// Anything else: files that are damaged, cut short, of another format or no checkpoints.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(MAGIC.as_bytes()) else { bail!("is no checkpoint, or a damaged one") };
        ensure!(
            rest.starts_with(FORMAT.as_bytes()),
            "is of another format than {}, which this harness reads",
            FORMAT.trim()
        );
        let (body, checksum) = bytes.split_at(bytes.len().saturating_sub(CHECKSUM).max(MAGIC.len() + FORMAT.len()));
        ensure!(blake3::hash(body).as_bytes() == checksum, "is damaged or cut short: its checksum does not fit");
        Self::decode(&mut Decoder(&body[MAGIC.len() + FORMAT.len()..])).context("is no sound checkpoint")
    }

    fn encode(&self, to: &mut Encoder<impl Write>) -> Result<()> {
        let Self { key, kernels, origins, progress, weights, momentum } = self;
        let Progress { phase, epoch, tally, history, validation, seconds } = progress;
        to.text(key)?;
        for names in [kernels, origins] {
            to.number(names.len())?;
            names.iter().try_for_each(|name| to.text(name))?;
        }
        to.text(phase)?;
        to.number(*epoch)?;
        let Tally { steps, images, correct, loss, seconds: tally_seconds } = tally;
        [steps, images, correct].into_iter().try_for_each(|&count| to.number(count))?;
        [loss, tally_seconds].into_iter().try_for_each(|&value| to.float(value))?;
        to.number(history.len())?;
        history.iter().try_for_each(|log| encode_epoch(to, log))?;
        let Evaluation { top1, top5, loss } = validation.unwrap_or(Evaluation { top1: NONE, top5: NONE, loss: NONE });
        [top1, top5, loss, *seconds].into_iter().try_for_each(|value| to.float(value))?;
        to.tensors(weights)?;
        to.tensors(momentum)
    }

    /// As [`Checkpoint::encode`] writes: fields are read in the order they are written here.
    fn decode(from: &mut Decoder<'_>) -> Result<Self> {
        let key = from.text()?;
        let (kernels, origins) = (from.list(Decoder::text)?, from.list(Decoder::text)?);
        let (phase, epoch) = (from.text()?, from.number()?);
        let tally = Tally {
            steps: from.number()?,
            images: from.number()?,
            correct: from.number()?,
            loss: from.float()?,
            seconds: from.float()?,
        };
        let history = from.list(decode_epoch)?;
        let (top1, top5, loss) = (from.float()?, from.float()?, from.float()?);
        let validation = share(top1).map(|top1| Evaluation { top1, top5, loss });
        let progress = Progress { phase, epoch, tally, history, validation, seconds: from.float()? };
        let checkpoint = Self { key, kernels, origins, progress, weights: from.tensors()?, momentum: from.tensors()? };
        from.end()?;
        Ok(checkpoint)
    }
}

/// What stands for the values of validation where no images validate: a share of images is always a number.
const NONE: f64 = f64::NAN;

fn share(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

fn encode_epoch(to: &mut Encoder<impl Write>, log: &EpochLog) -> Result<()> {
    let EpochLog {
        epoch,
        phase,
        lr,
        train_loss,
        train_accuracy,
        validation_loss,
        validation_accuracy,
        seconds,
        images_per_second,
    } = log;
    to.number(*epoch)?;
    to.text(phase)?;
    let [loss, accuracy] = [validation_loss, validation_accuracy].map(|value| value.unwrap_or(NONE));
    [*lr, *train_loss, *train_accuracy, loss, accuracy, *seconds, *images_per_second]
        .into_iter()
        .try_for_each(|value| to.float(value))
}

fn decode_epoch(from: &mut Decoder<'_>) -> Result<EpochLog> {
    let (epoch, phase) = (from.number()?, from.text()?);
    let (lr, train_loss, train_accuracy) = (from.float()?, from.float()?, from.float()?);
    let (validation_loss, validation_accuracy) = (from.float()?, share(from.float()?));
    Ok(EpochLog {
        epoch,
        phase,
        lr,
        train_loss,
        train_accuracy,
        validation_loss: validation_accuracy.and(Some(validation_loss)),
        validation_accuracy,
        seconds: from.float()?,
        images_per_second: from.float()?,
    })
}

/// The checkpoints in a trial's folder. One process at a time may hold it.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// Whether the newest is known to be whole: only then it may take the place of the one before it.
    whole: bool,
}

impl Checkpoints {
    /// Those in the folder `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), whole: false }
    }

    /// Path of the newest.
    pub fn newest(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    /// Path of the one before it.
    pub fn previous(&self) -> PathBuf {
        self.dir.join("checkpoint.previous")
    }

    /// The newest checkpoint of trial `key` that is whole, if there is one, and a warning if one was passed over.
    /// Clears away what interrupted writes left.
    pub fn load(&mut self, key: &str) -> (Option<Checkpoint>, Option<String>) {
        self.sweep();
        let mut damage: Vec<String> = Vec::new();
        let mut missing = 0;
        for path in [self.newest(), self.previous()] {
            match read(&path, key) {
                Ok(Some(checkpoint)) => {
                    self.whole = path == self.newest();
                    let Progress { epoch, tally, .. } = &checkpoint.progress;
                    let from = format!("going on from the checkpoint before it: epoch {epoch}, step {}", tally.steps);
                    let warning = damage.first().map(|damage| format!("{damage}; {from}"));
                    return (Some(checkpoint), warning);
                }
                Ok(None) => {
                    missing += 1;
                    damage.push(format!("{}: is missing", path.display()));
                }
                Err(error) => damage.push(format!("{}: {error:#}", path.display())),
            }
        }
        let warning = (missing < 2).then(|| format!("{}; the trial starts afresh", damage.join("; ")));
        (None, warning)
    }

    /// Makes `checkpoint` the newest and the newest the previous. At every instant, loss of power included, one of the two
    /// files is whole, if one was before.
    ///
    /// # Errors
    /// Those of the file system, a full disk for one; names the file, and the checkpoints are as they were.
    pub fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.replace(checkpoint).with_context(|| format!("{}: cannot be written", self.newest().display()))
    }

    fn replace(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        // A temporary file is private by default; a checkpoint is as readable as the trial's other files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(&self.dir)?;
        checkpoint.write(file.as_file())?;
        file.as_file().sync_all()?;
        if std::mem::take(&mut self.whole) {
            // Between this and the next line the previous is the newest: `load` knows.
            fs::rename(self.newest(), self.previous())?;
        }
        file.persist(self.newest())?;
        self.whole = true;
        // The renames themselves live in the folder.
        #[cfg(unix)]
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }

    /// Removes all checkpoints: the trial is done.
    ///
    /// # Errors
    /// Those of the file system; names the file.
    pub fn remove(&mut self) -> Result<()> {
        self.sweep();
        self.whole = false;
        for path in [self.previous(), self.newest()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}: cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what interrupted writes left. That something stays is no reason not to train.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The checkpoint of trial `key` in this file; none if there is no file.
fn read(path: &Path, key: &str) -> Result<Option<Checkpoint>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.context("cannot be read")?,
    };
    let checkpoint = Checkpoint::read(&bytes)?;
    ensure!(checkpoint.key == key, "belongs to trial {}, not to {key}", checkpoint.key);
    Ok(Some(checkpoint))
}
