//! One trial, from its configuration to its record.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use baselines::pruning::Pruned;
use candle_core::Device;
use conv_core::{Cost, Network, ParamStore};

use crate::backbones::{self, Backbone, network_cost};
use crate::data::{Geometry, Provenance};
use crate::experiment::Trial;
use crate::experiment::price::{self, price};
use crate::measure::Environment;
use crate::methods::Methods;
use crate::results::{RunFolder, TrialRecord};
use crate::train::{
    Course, EpochLog, Evaluation, Feed, LearningRate, Observer, Phase, SharedData, evaluate, fit, workers,
};

const TRAIN: &str = "train";
const FINETUNE: &str = "finetune";

/// How a trial may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialOptions {
    /// Goes on from a checkpoint of another kernel path; the record says so.
    pub allow_path_change: bool,
}

/// Trains and measures one trial, and leaves its folder behind; the record comes last.
///
/// Budget: every trial trains for `recipe.epochs` in all. A method that prunes trains the vanilla network for all but the
/// last `recipe.finetune_epochs` of them (the recipe's schedule runs its full course over these), cuts, and fine-tunes
/// for the rest: a cosine from `recipe.finetune_lr`, momentum afresh.
///
/// Seeds: initialisation is keyed by (seed, parameter name), order and augmentation by (seed, epoch, image). The test
/// images are read once, by the finished network, after everything is decided.
///
/// Checkpoints: if the trial's folder holds one, the trial goes on from it, and ends with the bits that it would have ended
/// with uninterrupted; times are sums over the attempts, as far as checkpoints know them. They are removed once the record
/// is there.
///
/// # Errors
/// [`Interrupted`](crate::train::Interrupted), if the observer asked for it; a checkpoint of another kernel path, unless
/// `options` allow it; whatever keeps the trial from an honest result: data and options that do not fit, divergence, a
/// parameter count that is not the closed form's, a folder that cannot be written.
pub fn run_trial(
    trial: &Trial,
    key: &str,
    data: &SharedData,
    folder: &RunFolder,
    environment: &Environment,
    observer: &mut dyn Observer,
    options: TrialOptions,
) -> Result<TrialRecord> {
    let config = &trial.config;
    let recipe = &config.recipe;
    let environment = environment.computed_by(recipe.kernels);
    let dir = folder.trial_dir(key);
    let mut course = Course::new(&dir, key, TRAIN, &environment, options.allow_path_change, observer)?;
    folder.start(key, config, &course.progress.history)?;
    save_costs(trial, key, folder)?;
    let feed = Feed::new(data, config, workers(environment.threads))?;
    let methods = Methods::new(config)?;
    let geometry = Geometry { shape: data.train.shape, classes: data.classes };
    let backbone = backbones::by_name(&config.backbone, &geometry, methods.width())?;
    let finetune = match methods.pruning() {
        Some(_) => recipe.finetune_epochs,
        None => 0,
    };
    ensure!(
        recipe.epochs > finetune,
        "recipe.epochs = {} leaves nothing to train before recipe.finetune_epochs = {finetune}; accepted: more than that",
        recipe.epochs
    );
    let (before, steps) = (recipe.epochs - finetune, feed.steps_per_epoch());
    course.observer.started(recipe.epochs, steps, &course.progress);

    let backbone = match methods.pruning() {
        // How wide a cut network is follows from the options; which filters it kept, only its weights know.
        Some(pruned) if course.progress.phase == FINETUNE => price::cut(&*backbone, pruned)?,
        _ => backbone,
    };
    let mut model = Model::new(backbone, &methods, config.seed)?;
    course.restore(&model.store)?;
    if course.progress.phase == TRAIN {
        let rate = LearningRate::of_recipe(recipe, before, steps);
        let phase = Phase { name: TRAIN, first_epoch: 1, epochs: before, rate };
        fit(&model.network, &model.store, &feed, recipe, &phase, &mut course)?;
    }
    if let Some(pruned) = methods.pruning() {
        if course.progress.phase == TRAIN {
            model = model.cut(pruned, &methods, config.seed).context("cutting filters")?;
            course.turn(FINETUNE);
        }
        let rate = LearningRate::cosine(recipe.finetune_lr, finetune * steps);
        let phase = Phase { name: FINETUNE, first_epoch: before + 1, epochs: finetune, rate };
        fit(&model.network, &model.store, &feed, recipe, &phase, &mut course)?;
        if finetune == 0 {
            let batches = course.evaluating(feed.validation());
            let validation = evaluate(&model.network, recipe.kernels, batches).context("on the validation images")?;
            course.progress.validation = validation;
        }
    }

    let cost = model.checked_cost(&methods)?;
    ensure!(cost == trial.cost, "the network costs {cost:?}, the plan said {:?}: a defect of the plan", trial.cost);
    let test = match config.test {
        true => {
            let batches = course.evaluating(feed.test());
            Some(evaluate(&model.network, recipe.kernels, batches).context("on the test images")?)
        }
        false => None,
    };
    save_weights(&model.store, &dir.join("weights.safetensors"))?;
    let mut remarks = trial.remarks.to_vec();
    let kernels = course.kernels().join(", then ");
    if course.kernels().len() > 1 {
        remarks.push(format!("resumed on another kernel path: {kernels}"));
    }
    if course.origins().len() > 1 {
        remarks.push(format!("computed in turn by {}", course.origins().join("; ")));
    }
    if methods.pruning().is_some() && finetune == 0 {
        remarks.push("cut after the last epoch and not fine-tuned (recipe.finetune_epochs = 0)".to_owned());
    }
    let record = TrialRecord {
        key: key.to_owned(),
        aliases: trial.aliases.clone(),
        label: trial.label.clone(),
        config: config.clone(),
        data: data.provenance.clone(),
        train_images: feed.train_images(),
        params: cost.params,
        macs: cost.macs,
        activations: cost.activations,
        depth: trial.depth,
        replaced: trial.replaced.to_string(),
        remarks,
        validation: course.progress.validation,
        test,
        train_loss: course.progress.history.last().map_or(0.0, |epoch| epoch.train_loss),
        epochs: course.progress.history.len(),
        seconds: course.seconds(),
        images_per_second: images_per_second(&course.progress.history),
        environment: Environment { kernels, ..environment },
        failure: None,
    };
    folder.save(&record)?;
    course.finish();
    Ok(record)
}

/// The record of a trial that trains nothing: its cost in closed form. No data is read.
///
/// # Errors
/// A folder that cannot be written.
pub fn cost_trial(trial: &Trial, key: &str, folder: &RunFolder, environment: &Environment) -> Result<TrialRecord> {
    folder.start(key, &trial.config, &[])?;
    save_costs(trial, key, folder)?;
    let record = without_results(trial, key, &no_data(&trial.config.dataset.name), environment);
    folder.save(&record)?;
    Ok(record)
}

/// The record of a trial of which only the cost is known.
pub(super) fn without_results(trial: &Trial, key: &str, data: &Provenance, environment: &Environment) -> TrialRecord {
    TrialRecord {
        key: key.to_owned(),
        aliases: trial.aliases.clone(),
        label: trial.label.clone(),
        config: trial.config.clone(),
        data: data.clone(),
        train_images: 0,
        params: trial.cost.params,
        macs: trial.cost.macs,
        activations: trial.cost.activations,
        depth: trial.depth,
        replaced: trial.replaced.to_string(),
        remarks: trial.remarks.to_vec(),
        validation: Evaluation::default(),
        test: None,
        train_loss: 0.0,
        epochs: 0,
        seconds: 0.0,
        images_per_second: 0.0,
        environment: environment.computed_by(trial.config.recipe.kernels),
        failure: None,
    }
}

/// What stands for the data where only its geometry was used.
pub(super) fn no_data(name: &str) -> Provenance {
    Provenance {
        label: format!("no data read, geometry of {name}"),
        source: "none".into(),
        synthetic: false,
        fingerprint: "none".into(),
    }
}

fn save_costs(trial: &Trial, key: &str, folder: &RunFolder) -> Result<()> {
    let price = price(&trial.config).map_err(|error| anyhow!("{}: {}", error.key, error.why))?;
    folder.save_costs(key, &price.csv())
}

/// Writes the weights, and has them on the disk: after this the record may say that the trial is done.
fn save_weights(store: &ParamStore, path: &Path) -> Result<()> {
    let save = || -> Result<()> {
        store.save(path)?;
        Ok(File::open(path)?.sync_all()?)
    };
    save().with_context(|| format!("{}: cannot be written", path.display()))
}

/// A network with its architecture and parameters.
struct Model {
    backbone: Box<dyn Backbone>,
    store: ParamStore,
    network: Network,
}

impl Model {
    fn new(backbone: Box<dyn Backbone>, methods: &Methods, seed: u64) -> Result<Self> {
        let store = ParamStore::new(seed, &Device::Cpu);
        let network = backbone.build(methods, store.builder())?;
        Ok(Self { backbone, store, network })
    }

    /// The smaller network that pruning leaves, with the weights that are kept.
    fn cut(self, pruned: &Pruned, methods: &Methods, seed: u64) -> Result<Self> {
        let couplings = self.backbone.prunable();
        let weights = self.store.snapshot()?;
        let selection = pruned.select(&couplings, &weights)?;
        let smaller = Self::new(self.backbone.with_widths(&selection.widths())?, methods, seed)?;
        smaller.store.assign(&Pruned::narrow(&couplings, &selection, &weights)?)?;
        Ok(smaller)
    }

    /// The closed-form cost, if the parameters that are really there agree with it: otherwise the tables would lie.
    fn checked_cost(&self, methods: &Methods) -> Result<Cost> {
        let cost = network_cost(&*self.backbone, methods)?;
        let counted = self.store.params();
        ensure!(
            counted == cost.params,
            "the network has {counted} parameters and its closed form says {}: a defect of the method or backbone",
            cost.params
        );
        Ok(cost)
    }
}

fn images_per_second(epochs: &[EpochLog]) -> f64 {
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let images: f64 = epochs.iter().map(|epoch| epoch.images_per_second * epoch.seconds).sum();
    if seconds > 0.0 { images / seconds } else { 0.0 }
}
