//! Trials on small images, and attempts at them that end as a test wants it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use harness::data::load;
use harness::experiment::Experiment;
use harness::results::{FrozenTrial, Measures, RunFolder, TrialRecord};
use harness::run::{PricedTrial, TrialOptions, compute_threads, run_trial};
use harness::stamp::Environment;
use harness::train::{
    Checkpoint, Checkpoints, Control, EpochLog, Interrupted, Observer, Progress, SharedData, StepLog,
};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

/// Small images, and trials on them. Three epochs of three steps; validation is one batch, test two.
pub struct Workshop {
    pub dir: TempDir,
    pub experiment: Experiment,
    pub data: SharedData,
    pub environment: Environment,
}

impl Workshop {
    pub fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// With values of keys that take the place of the file's.
    pub fn with(set: &[String]) -> Result<Self> {
        let dir = TempDir::new()?;
        let images = dir.path().join("images");
        for (split, count) in [("train", 12), ("test", 4)] {
            for class in 0..3u32 {
                let folder = images.join(split).join(format!("class{class}"));
                fs::create_dir_all(&folder)?;
                for number in 0..count {
                    let pixel = |x: u32, y: u32| {
                        let mut rgb = [((x * 31 + y * 17 + number * 53) % 97) as u8; 3];
                        rgb[class as usize] += 120;
                        Rgb(rgb)
                    };
                    RgbImage::from_fn(16, 16, pixel).save(folder.join(format!("{number}.png")))?;
                }
            }
        }
        let text = format!(
            "name = 'small'\n[dataset]\nname = 'images'\nsources = ['{}']\n[backbone]\nname = 'resnet20'\n[recipe]\n\
             epochs = 3\nbatch = 8\nlr = 0.05\nfinetune_epochs = 1\n[protocol]\nvalidation = 6\ncontrols = []\n[[grid]]\n\
             method.name = ['vanilla', 'pruned']\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = 2\n[[grid]]\n\
             method.name = 'pruned'\nmethod.ratio = 0.3\nrecipe.finetune_epochs = 0\n[[grid]]\n\
             method.name = 'vanilla'\nrecipe.kernels = 'candle'\nrecipe.epochs = 1\n[[grid]]\nmethod.name = 'pruned'\n\
             method.criterion = 'taylor'\nmethod.ranking = 'global'\nmethod.residual = true\nmethod.steps = 2\n\
             recipe.finetune_epochs = 2\n[[grid]]\nmethod.name = 'pruned'\nmethod.ratio = 0.7\n[[grid]]\n\
             method.name = 'pruned'\nmethod.criterion = ['random', 'slimming']\n[[grid]]\nmethod.name = 'pruned'\n\
             method.weights = ['scratch', 'scratch_compute']\n[[grid]]\nmethod.name = 'pruned'\nmethod.ranking = 'global'\n\
             method.weights = 'scratch'\n[[grid]]\nmethod.name = 'lowrank'\nmethod.from = 'trained'\n[[grid]]\n\
             method.name = 'magnitude'\n[[grid]]\nmethod.name = 'magnitude'\nmethod.ratio = 0.9\nmethod.steps = 2\n\
             recipe.finetune_epochs = 2\n",
            images.display()
        );
        fs::write(dir.path().join("small.toml"), text)?;
        let experiment = Experiment::load(&dir.path().join("small.toml"), set)?;
        let data = SharedData::from(load(&experiment.trials[0].config.dataset)?);
        Ok(Self { dir, experiment, data, environment: Environment::capture(1) })
    }

    /// The trial whose label starts so, with an output folder of its own.
    pub fn bench(&self, label: &str, folder: &str) -> Result<Bench<'_>> {
        let trials = &self.experiment.trials;
        let trial = trials.iter().find(|trial| trial.label.starts_with(label)).context("trial")?;
        let trial = PricedTrial::new(FrozenTrial::new(trial, self.data.provenance.clone()))?;
        let key = trial.frozen().key.clone();
        let folder = RunFolder::create(&self.dir.path().join(folder), "small", &self.experiment.frozen)?;
        Ok(Bench { workshop: self, trial, key, folder })
    }
}

/// One trial in a folder.
pub struct Bench<'a> {
    pub workshop: &'a Workshop,
    pub trial: PricedTrial,
    pub key: String,
    pub folder: RunFolder,
}

/// What happens to an attempt, by the number of times that it asked how to go on.
#[derive(Clone, Copy)]
pub enum Fate {
    Undisturbed,
    /// Stopped at this question.
    Stop(usize),
    /// A checkpoint at every so-manieth question, and the end without a word at the other.
    Kill(usize, usize),
}

/// Everything that two runs of a trial have to agree in.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub weights: Vec<u8>,
    pub epochs: Vec<EpochLog>,
    pub measures: Measures,
    /// Without its measures.
    pub record: TrialRecord,
}

pub struct Watcher<'a> {
    pub bench: &'a Bench<'a>,
    pub fate: Fate,
    pub asked: usize,
    pub resumed: Vec<EpochLog>,
    pub warnings: Vec<String>,
}

impl Watcher<'_> {
    fn answer(&mut self) -> Control {
        self.asked += 1;
        let asked = self.asked - 1;
        match self.fate {
            Fate::Stop(at) if asked == at => Control::Stop,
            // As a panic, but without its message among the test's.
            Fate::Kill(_, at) if asked == at => resume_unwind(Box::new("killed")),
            Fate::Kill(every, _) if asked.is_multiple_of(every) => Control::Checkpoint,
            _ => Control::Continue,
        }
    }
}

impl Observer for Watcher<'_> {
    fn started(&mut self, epochs: usize, steps_per_epoch: usize, progress: &Progress) {
        assert_eq!((epochs, steps_per_epoch), (self.bench.trial.phases().unwrap().epochs(), 3));
        self.resumed = progress.history.to_vec();
    }

    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    fn step(&mut self, _: &StepLog) -> Control {
        self.answer()
    }

    fn evaluating(&mut self) -> Control {
        self.answer()
    }

    fn epoch(&mut self, log: &EpochLog) -> Result<Control> {
        self.bench.folder.append_epoch(&self.bench.key, log)?;
        Ok(self.answer())
    }
}

impl Bench<'_> {
    pub fn attempt(&self, fate: Fate, threads: usize) -> Result<(Result<TrialRecord>, Watcher<'_>)> {
        self.attempt_with(fate, threads, TrialOptions::default())
    }

    pub fn attempt_with(
        &self,
        fate: Fate,
        threads: usize,
        options: TrialOptions,
    ) -> Result<(Result<TrialRecord>, Watcher<'_>)> {
        let Self { workshop: Workshop { data, environment, .. }, trial, folder, .. } = self;
        let mut watcher = Watcher { bench: self, fate, asked: 0, resumed: vec![], warnings: vec![] };
        let mut run =
            || compute_threads(threads)?.install(|| run_trial(trial, data, folder, environment, &mut watcher, options));
        let result = match fate {
            Fate::Kill(..) => catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(anyhow::anyhow!("killed"))),
            _ => run(),
        };
        Ok((result, watcher))
    }

    /// An attempt that has to be stopped before the end.
    pub fn stopped(&self, fate: Fate, threads: usize) -> Result<Watcher<'_>> {
        let (result, watcher) = self.attempt(fate, threads)?;
        let error = result.err().context("the trial went on to its end")?;
        let killed = matches!(fate, Fate::Kill(..)) && error.to_string() == "killed";
        ensure!(killed || error.downcast_ref::<Interrupted>().is_some(), "{error:?}");
        ensure!(self.folder.record(&self.key)?.is_none(), "a trial that was stopped is not done");
        Ok(watcher)
    }

    /// An attempt that leaves a checkpoint, changed to be somebody else's.
    pub fn stopped_elsewhere(&self, change: impl FnOnce(&mut Checkpoint)) -> Result<()> {
        self.stopped(Fate::Stop(6), 2)?;
        let mut checkpoints = self.checkpoints();
        let mut checkpoint = checkpoints.load(&self.key).0.context("a checkpoint")?;
        change(&mut checkpoint);
        checkpoints.save(&checkpoint)
    }

    /// Goes on to the end.
    pub fn finished(&self, threads: usize) -> Result<(Outcome, Watcher<'_>)> {
        let (result, watcher) = self.attempt(Fate::Undisturbed, threads)?;
        result?;
        Ok((self.outcome()?, watcher))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.trial_dir(&self.key).join(name)
    }

    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(&self.folder.trial_dir(&self.key))
    }

    /// Of a trial that is done; times left out, as no two runs share them.
    pub fn outcome(&self) -> Result<Outcome> {
        let timeless = |epoch: EpochLog| EpochLog { seconds: 0.0, images_per_second: 0.0, ..epoch };
        let record = self.folder.record(&self.key)?.context("the trial has a record")?;
        let trained: f64 = self.folder.epochs(&self.key)?.iter().map(|epoch| epoch.seconds).sum();
        let measures = record.measures().context("it was trained")?.clone();
        ensure!(measures.seconds >= trained && trained > 0.0, "{} s hold {trained} s", measures.seconds);
        let text = fs::read_to_string(self.file("epochs.jsonl"))?;
        ensure!(text.lines().count() == self.trial.phases()?.epochs(), "every epoch has one line:\n{text}");
        for left in fs::read_dir(self.folder.trial_dir(&self.key))? {
            let name = left?.file_name().to_string_lossy().into_owned();
            ensure!(!name.contains("checkpoint"), "{name} is left behind");
        }
        Ok(Outcome {
            weights: fs::read(self.file("weights.safetensors"))?,
            epochs: self.folder.epochs(&self.key)?.into_iter().map(timeless).collect(),
            measures: Measures { seconds: 0.0, images_per_second: 0.0, ..measures },
            record: TrialRecord { outcome: harness::results::Outcome::Priced, ..record },
        })
    }
}
