//! What the networks of a folder cost to run, as they were measured together: `measured/`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::RunFolder;
use super::checksums::{Checksums, Damage};
use crate::files::{json, read, remove_temporary, shell_word, write_atomic};
use crate::measure::noise::noisy;
use crate::stamp::Environment;

const DIR: &str = "measured";
const FILE: &str = "measured.json";
const LOCK: &str = "lock";

/// One measuring phase: everything in it was measured together, by one build on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Where and with what.
    pub environment: Environment,
    /// Rounds in which every network was measured once.
    pub rounds: usize,
    /// Whether every process was kept to processors of its own.
    pub pinned: bool,
    /// The network that was measured at both ends of each round.
    pub reference: String,
    /// By round, the median of its inference of one image at the beginning and at the end, in milliseconds.
    pub ends: Vec<[f64; 2]>,
    /// Every distinct network.
    pub networks: Vec<MeasuredNetwork>,
    /// The memory of every distinct training.
    pub trainings: Vec<MeasuredTraining>,
}

/// A network that infers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredNetwork {
    /// What tells it from others.
    pub signature: String,
    /// A method and options that make it.
    pub label: String,
    /// Keys of the trials that end in it.
    pub trials: Vec<String>,
    /// The signature of the vanilla network of its backbone.
    pub vanilla: String,
    /// Images of a batch.
    pub images: usize,
    /// Multiply-accumulates for an image, as they were counted.
    pub macs: u64,
    /// Inference of one image.
    pub one: Option<MeasuredUse>,
    /// Inference of a batch; that of one image where a batch has one.
    pub many: Option<MeasuredUse>,
    /// Why it could not be measured.
    pub problem: Option<String>,
}

/// A network at one of its uses, over all rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredUse {
    /// The 0.5, 0.9 and 0.99 quantiles of the times of all rounds, in milliseconds.
    pub ms: [f64; 3],
    /// How many times they are of.
    pub times: usize,
    /// Every round's median, in milliseconds.
    pub rounds_ms: Vec<f64>,
    /// Millijoules for an image, the median over rounds; none where the machine exposes no counter.
    pub energy_mj: Option<f64>,
    /// What it takes by the engine's plan, in MiB; none off the engine.
    pub memory_analytic_mib: Option<f64>,
    /// The median over rounds of the process's peak, beyond what it held before; none where the system does not tell.
    pub memory_measured_mib: Option<f64>,
    /// Multiply-accumulates for an image of the operations that were run.
    pub macs_executed: u64,
    /// Multiplications that their kernels did for them.
    pub multiplications_executed: u64,
    /// Why it did not run on the engine; none where it did.
    pub off_engine: Option<String>,
    /// Milliseconds of each layer, in order: the median over rounds. Those of what is in no layer are `other`'s. None off the engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers_ms: Vec<(String, f64)>,
}

/// The memory of training a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredTraining {
    /// What tells the network that training begins with from others.
    pub signature: String,
    /// Keys of the trials that train it.
    pub trials: Vec<String>,
    /// Images of a training step.
    pub images: usize,
    /// By the engine's plan, in MiB; none off the engine.
    pub memory_analytic_mib: Option<f64>,
    /// The process's peak beyond what it held before, in MiB; none where the system does not tell, or it failed.
    pub memory_measured_mib: Option<f64>,
}

impl Measured {
    /// The network that a trial ends in.
    pub fn network(&self, key: &str) -> Option<&MeasuredNetwork> {
        self.networks.iter().find(|network| network.trials.iter().any(|trial| trial == key))
    }

    /// The training of a trial.
    pub fn training(&self, key: &str) -> Option<&MeasuredTraining> {
        self.trainings.iter().find(|training| training.trials.iter().any(|trial| trial == key))
    }

    /// The vanilla network beside it.
    pub fn vanilla(&self, network: &MeasuredNetwork) -> Option<&MeasuredNetwork> {
        self.networks.iter().find(|other| other.signature == network.vanilla)
    }
}

impl MeasuredNetwork {
    /// Whether the rounds of a use differ by more than those of a quiet machine; none where nothing tells.
    pub fn noisy(&self) -> Option<bool> {
        let uses = [&self.one, &self.many].into_iter().flatten();
        uses.filter_map(|of_use| noisy(&of_use.rounds_ms)).reduce(|one, other| one || other)
    }
}

impl MeasuredUse {
    /// How many times as fast as `vanilla`, by the medians; none where there is no time.
    pub fn speedup(&self, vanilla: &Self) -> Option<f64> {
        Some(vanilla.ms[0] / self.ms[0]).filter(|speedup| speedup.is_finite() && *speedup > 0.0)
    }
}

/// The right to measure a folder's networks: held by one process at a time, given back when it ends.
#[derive(Debug)]
pub struct MeasuringClaim(#[expect(dead_code, reason = "held, not read")] File);

impl RunFolder {
    fn measured_dir(&self) -> PathBuf {
        self.root().join(DIR)
    }

    /// Takes the right to measure for this process; none if another one has it.
    ///
    /// # Errors
    /// A lock file that cannot be made or locked.
    pub fn claim_measuring(&self) -> Result<Option<MeasuringClaim>> {
        let dir = self.measured_dir();
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        let path = dir.join(LOCK);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.with_context(|| format!("{}: cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                remove_temporary(&dir);
                Ok(Some(MeasuringClaim(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
            }
        }
    }

    /// Writes what was measured, in the place of what was measured before.
    ///
    /// # Errors
    /// Files that cannot be written; names the first.
    pub fn save_measured(&self, measured: &Measured) -> Result<()> {
        let (dir, bytes) = (self.measured_dir(), json(measured)?);
        fs::create_dir_all(&dir).with_context(|| format!("{}: the folder cannot be made", dir.display()))?;
        let mut sums = Checksums::default();
        sums.add(FILE, &bytes);
        sums.write(&dir)?;
        write_atomic(&dir.join(FILE), &bytes)
    }

    /// What was measured last, if anything was.
    ///
    /// # Errors
    /// A file that is not what was written, or cannot be read.
    pub fn measured(&self) -> Result<Option<Measured>> {
        let path = self.measured_dir().join(FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let again = || format!("`harness measure {}` measures anew", shell_word(self.root()));
        if let Some(what) = self.damage_of(&bytes)? {
            bail!("{}; {}", Damage { path, what }, again());
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).with_context(|| format!("{}: is nothing that was measured; {}", path.display(), again()))
    }

    fn damage_of(&self, bytes: &[u8]) -> Result<Option<&'static str>> {
        Ok(Checksums::read(&self.measured_dir())?.unwrap_or_default().damage(FILE, bytes))
    }

    /// What is wrong with what was measured, if anything is.
    ///
    /// # Errors
    /// Files that are there and cannot be read.
    pub(super) fn damaged_measured(&self) -> Result<Option<Damage>> {
        let path = self.measured_dir().join(FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        Ok(self.damage_of(&bytes)?.map(|what| Damage { path, what }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::verify::verify;

    fn network(signature: &str, ms: f64, rounds_ms: Vec<f64>) -> MeasuredNetwork {
        let one = MeasuredUse { ms: [ms, 2.0 * ms, 3.0 * ms], times: 40, rounds_ms, ..MeasuredUse::default() };
        MeasuredNetwork {
            signature: signature.into(),
            label: signature.into(),
            trials: vec![format!("{signature}1"), format!("{signature}2")],
            vanilla: "v".into(),
            images: 8,
            macs: 100,
            many: Some(MeasuredUse { rounds_ms: vec![5.0, 5.1], ..one.clone() }),
            one: Some(one),
            problem: None,
        }
    }

    fn measured() -> Measured {
        Measured {
            environment: Environment::capture(1),
            rounds: 2,
            pinned: true,
            reference: "vanilla".into(),
            ends: vec![[1.0, 1.1]; 2],
            networks: vec![network("v", 3.0, vec![3.0, 3.1]), network("g", 1.5, vec![1.5, 2.0])],
            trainings: vec![],
        }
    }

    #[test]
    fn what_was_measured_is_found_by_trial_and_beside_vanilla() {
        let measured = measured();
        let ghost = measured.network("g2").unwrap();
        assert_eq!((ghost.signature.as_str(), ghost.noisy()), ("g", Some(true)));
        let vanilla = measured.vanilla(ghost).unwrap();
        assert_eq!(vanilla.noisy(), Some(false));
        let (one, of_vanilla) = (ghost.one.clone().unwrap(), vanilla.one.clone().unwrap());
        assert_eq!(one.speedup(&of_vanilla), Some(2.0));
        assert_eq!(one.speedup(&MeasuredUse::default()), None);
        assert!(measured.network("g3").is_none() && measured.training("g2").is_none());
    }

    #[test]
    fn it_comes_back_as_it_was_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&dir.path().join("x"), "x", "").unwrap();
        assert_eq!(folder.measured().unwrap(), None);
        let measured = measured();
        folder.save_measured(&measured).unwrap();
        assert_eq!(folder.measured().unwrap().as_ref(), Some(&measured));
        assert!(verify(&folder).unwrap().damaged.is_empty());
        let path = folder.root().join("measured/measured.json");
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"rounds\": 2", "\"rounds\": 9")).unwrap();
        let error = format!("{:#}", folder.measured().unwrap_err());
        assert!(
            error.contains("measured.json: is not what was written") && error.contains("harness measure"),
            "{error}"
        );
        assert_eq!(verify(&folder).unwrap().damaged.len(), 1);
        // Another phase takes its place.
        folder.save_measured(&Measured { rounds: 3, ..measured }).unwrap();
        assert_eq!(folder.measured().unwrap().map(|measured| measured.rounds), Some(3));
    }

    #[test]
    fn one_process_measures_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&dir.path().join("x"), "x", "").unwrap();
        let claim = folder.claim_measuring().unwrap();
        assert!(claim.is_some() && folder.claim_measuring().unwrap().is_none());
        drop(claim);
        assert!(folder.claim_measuring().unwrap().is_some());
    }
}
