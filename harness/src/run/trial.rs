//! One trial, from its configuration to its record.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use baselines::pruning::Pruned;
use candle_core::Device;
use conv_core::{Cost, Network, ParamStore};

use super::PricedTrial;
use crate::backbones::{self, Backbone, network_cost};
use crate::config::TrialConfig;
use crate::config::schema::off_engine_remark;
use crate::data::Geometry;
use crate::experiment::price;
use crate::methods::Methods;
use crate::results::{FrozenTrial, Measures, Outcome, RunFolder, TrialRecord};
use crate::stamp::Environment;
use crate::train::{
    Course, EpochLog, Evaluation, Feed, LearningRate, Observer, Prediction, SharedData, TrainingPhase, evaluate, fit,
    predict, workers,
};

const TRAIN: &str = "train";
const FINETUNE: &str = "finetune";

/// How a trial may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialOptions {
    /// Goes on from a checkpoint of another kernel path; the record says so.
    pub allow_path_change: bool,
    /// Leaves the finished network's weights out of the trial's folder.
    pub drop_weights: bool,
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
/// parameter count that is not the priced one, a folder that cannot be written.
pub fn run_trial(
    trial: &PricedTrial,
    data: &SharedData,
    folder: &RunFolder,
    environment: &Environment,
    observer: &mut dyn Observer,
    options: TrialOptions,
) -> Result<TrialRecord> {
    let FrozenTrial { key, config, .. } = &trial.frozen;
    let environment = environment.computed_by(config.recipe.kernels.backend());
    let dir = folder.trial_dir(key);
    let course = Course::new(&dir, key, TRAIN, &environment, options.allow_path_change, observer)?;
    folder.start(key, config, &course.progress.history)?;
    folder.save_costs(key, &trial.price.csv())?;
    let mut training = Training::new(config, data, environment, course)?;
    training.train()?;
    training.cut()?;
    training.fuse()?;
    let (measures, predictions) = training.evaluate(&trial.price.total)?;
    if let Some(predictions) = predictions {
        folder.save_predictions(key, &predictions)?;
    }
    if !options.drop_weights {
        save_weights(&training.model.store, &dir.join("weights.safetensors"))?;
    }
    let record = training.record(trial, data, measures);
    folder.save(&record)?;
    training.course.finish();
    Ok(record)
}

/// A network on its way from the first epoch to the last.
struct Training<'t> {
    config: &'t TrialConfig,
    methods: Methods,
    environment: Environment,
    feed: Feed,
    course: Course<'t>,
    model: Model,
    /// Epochs before the cut, and after it.
    epochs: (usize, usize),
}

impl<'t> Training<'t> {
    /// Where the checkpoint, if there is one, left it.
    fn new(
        config: &'t TrialConfig,
        data: &SharedData,
        mut environment: Environment,
        mut course: Course<'t>,
    ) -> Result<Self> {
        let recipe = &config.recipe;
        let feed = Feed::new(data, config, workers(environment.threads))?;
        let methods = Methods::new(config)?;
        let geometry = Geometry { shape: data.train.shape, classes: data.classes };
        let mut backbone = backbones::by_name(&config.backbone, &geometry, methods.width())?;
        let after = if methods.pruning().is_some() { recipe.finetune_epochs } else { 0 };
        ensure!(
            recipe.epochs > after,
            "recipe.epochs = {} leaves nothing to train before recipe.finetune_epochs = {after}; accepted: more than that",
            recipe.epochs
        );
        course.observer.started(recipe.epochs, feed.steps_per_epoch(), &course.progress);
        if let Some(pruned) = methods.pruning()
            && course.progress.phase == FINETUNE
        {
            // How wide a cut network is follows from the options; which filters it kept, only its weights know.
            backbone = price::cut(&*backbone, pruned)?;
        }
        let model = Model::new(backbone, &methods, config.seed)?;
        let (c, h, w) = geometry.shape;
        let off_engine = model.network.engine_layers(recipe.kernels.backend(), [recipe.batch, c, h, w], true)?.err();
        if let Some(why) = off_engine {
            environment.off_engine = why.to_string();
            course.observer.off_engine(&environment.off_engine);
        }
        course.restore(&model.store)?;
        Ok(Self { config, methods, environment, feed, course, model, epochs: (recipe.epochs - after, after) })
    }

    /// All epochs but those after a cut.
    fn train(&mut self) -> Result<()> {
        if self.course.progress.phase != TRAIN {
            return Ok(());
        }
        let (epochs, _) = self.epochs;
        let rate = LearningRate::of_recipe(&self.config.recipe, epochs, self.feed.steps_per_epoch());
        self.fit(&TrainingPhase { name: TRAIN, first_epoch: 1, epochs, rate })
    }

    /// For a method that prunes: the cut, and the epochs after it.
    fn cut(&mut self) -> Result<()> {
        let Some(pruned) = self.methods.pruning() else { return Ok(()) };
        if self.course.progress.phase == TRAIN {
            self.model = self.model.cut(pruned, &self.methods, self.config.seed).context("cutting filters")?;
            self.course.turn(FINETUNE);
        }
        let (before, epochs) = self.epochs;
        let recipe = &self.config.recipe;
        let rate = LearningRate::cosine(recipe.finetune_lr, epochs * self.feed.steps_per_epoch());
        self.fit(&TrainingPhase { name: FINETUNE, first_epoch: before + 1, epochs, rate })?;
        if epochs == 0 {
            let batches = self.course.evaluating(self.feed.validation());
            let validation = evaluate(&self.model.network, recipe.kernels.backend(), batches);
            self.course.progress.validation = validation.context("on the validation images")?;
        }
        Ok(())
    }

    /// For methods that fuse their units: the network that infers, which computes the same.
    fn fuse(&mut self) -> Result<()> {
        let Some(methods) = self.methods.fused() else { return Ok(()) };
        let model = self.model.fuse(&self.methods, &methods, self.config.seed).context("fusing the trained units")?;
        (self.model, self.methods) = (model, methods);
        Ok(())
    }

    fn fit(&mut self, phase: &TrainingPhase) -> Result<()> {
        let Self { config, feed, course, model, .. } = self;
        fit(&model.network, &model.store, feed, &config.recipe, phase, course)
    }

    /// Reads the test split, if the protocol says so, once the network is known to be the one that was `planned`.
    fn evaluate(&mut self, planned: &Cost) -> Result<(Measures, Option<Vec<Prediction>>)> {
        let cost = self.model.checked_cost(&self.methods)?;
        ensure!(cost == *planned, "the network costs {cost:?}, the plan said {planned:?}: a defect of the plan");
        let mut predictions = None;
        if self.config.test {
            let batches = self.course.evaluating(self.feed.test()?);
            let predicted = predict(&self.model.network, self.config.recipe.kernels.backend(), batches);
            predictions = Some(predicted.context("on the test images")?);
        }
        let test = predictions.as_deref().map(Evaluation::of).transpose().context("on the test images")?;
        let history = &self.course.progress.history;
        let measures = Measures {
            train_images: self.feed.train_images(),
            validation: self.course.progress.validation,
            test,
            train_loss: history.last().map_or(0.0, |epoch| epoch.train_loss),
            epochs: history.len(),
            seconds: self.course.seconds(),
            images_per_second: images_per_second(history),
        };
        Ok((measures, predictions))
    }

    fn record(&self, trial: &PricedTrial, data: &SharedData, measures: Measures) -> TrialRecord {
        let kernels = self.course.kernels().join(", then ");
        let mut remarks = Vec::new();
        if !self.environment.off_engine.is_empty() {
            remarks.push(off_engine_remark(&self.environment.off_engine));
        }
        if self.course.kernels().len() > 1 {
            remarks.push(format!("resumed on another kernel path: {kernels}"));
        }
        if self.course.origins().len() > 1 {
            remarks.push(format!("computed in turn by {}", self.course.origins().join("; ")));
        }
        if self.methods.pruning().is_some() && self.epochs.1 == 0 {
            remarks.push("cut after the last epoch and not fine-tuned (recipe.finetune_epochs = 0)".to_owned());
        }
        TrialRecord {
            trial: FrozenTrial { data: data.provenance.clone(), ..trial.frozen.clone() },
            network: trial.network(remarks),
            environment: Environment { kernels, ..self.environment.clone() },
            outcome: Outcome::Trained(measures),
        }
    }
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
    fn cut(&self, pruned: &Pruned, methods: &Methods, seed: u64) -> Result<Self> {
        let couplings = self.backbone.prunable();
        let weights = self.store.snapshot()?;
        let selection = pruned.select(&couplings, &weights)?;
        let smaller = Self::new(self.backbone.with_widths(&selection.widths())?, methods, seed)?;
        smaller.store.assign(&Pruned::narrow(&couplings, &selection, &weights)?)?;
        Ok(smaller)
    }

    /// The same architecture made by other methods, with this one's weights fused for it.
    fn fuse(&self, trained: &Methods, methods: &Methods, seed: u64) -> Result<Self> {
        let weights = backbones::fuse(&*self.backbone, trained, self.store.snapshot()?)?;
        let fused = Self::new(self.backbone.with_widths(&BTreeMap::new())?, methods, seed)?;
        fused.store.assign(&weights)?;
        Ok(fused)
    }

    /// The cost as priced, if the parameters that are really there agree with it: otherwise the tables would lie.
    fn checked_cost(&self, methods: &Methods) -> Result<Cost> {
        let cost = network_cost(&*self.backbone, methods)?;
        let counted = self.store.params();
        ensure!(
            counted == cost.params,
            "the network has {counted} parameters and its price says {}: a defect of the method or backbone",
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};
    use conv_core::{Backend, normal_stream};

    use super::*;
    use crate::experiment::Experiment;
    use crate::experiment::keys::keys;
    use crate::experiment::sweep::document::Document;

    /// Every unit of the network, those that stay vanilla among them, with statistics that training might have left.
    #[test]
    fn a_fused_network_computes_what_the_trained_one_does() {
        let file = "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[method]\nname = 'repvgg'\n\
             [[layer]]\nmatch = 'layer2.*'\nmethod.name = 'ghost'\n";
        let document = Document::parse(keys(), "x.toml", file).unwrap();
        let config = Experiment::from_document(&document).unwrap().trials.remove(0).config;
        let geometry = Geometry { shape: (3, 32, 32), classes: 10 };
        let trained = Methods::new(&config).unwrap();
        let fused = trained.fused().unwrap();
        let model = Model::new(backbones::by_name(&config.backbone, &geometry, 1.0).unwrap(), &trained, 1).unwrap();
        let mut weights = model.store.snapshot().unwrap();
        for (name, tensor) in &mut weights {
            if conv_core::is_running_statistic(name) || name.contains("bn.") {
                let noise = normal_stream(5, name, tensor.elem_count());
                let values = noise.into_iter().map(|value| (1.0 + 0.2 * value.clamp(-2.0, 2.0)) as f32).collect();
                *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
            }
        }
        model.store.assign(&weights).unwrap();
        let smaller = model.fuse(&trained, &fused, 1).unwrap();
        assert_eq!(smaller.checked_cost(&fused).unwrap(), price::price(&config).unwrap().total);
        assert!(smaller.store.params() < model.store.params());
        let images = Tensor::randn(0f32, 1.0, (9, 3, 32, 32), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        let logits = |model: &Model| -> Vec<f32> {
            let mut inference = model.network.inference(Backend::Engine { winograd: true });
            inference.forward(&images).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (before, after) = (logits(&model), logits(&smaller));
        let largest = before.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
        for (before, after) in before.iter().zip(&after) {
            assert!((before - after).abs() <= 1e-4 * largest, "{before} {after} of {largest}");
        }
    }
}
