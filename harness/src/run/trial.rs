//! One trial, from its configuration to its record.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use baselines::pruning::Importance;

use super::PricedTrial;
use super::base::{self, Base};
use super::limits;
use super::model::{GRADIENTS, Model, compressed_as};
use super::priced::summary;
use crate::backbones::{self, Backbone, filters, network_cost};
use crate::config::TrialConfig;
use crate::config::schema::off_engine_remark;
use crate::experiment::nonzero::{Nonzero, ranked};
use crate::experiment::phases::Phases;
use crate::experiment::price::{self, Price};
use crate::methods::{Compression, Methods};
use crate::results::{FrozenTrial, Measures, NetworkSummary, Outcome, Reporting, RunFolder, TrialRecord, WEIGHTS};
use crate::stamp::Environment;
use crate::train::{
    Course, EpochLog, Evaluation, Feed, LearningRate, Observer, Prediction, SharedData, TrainingPhase, evaluate, fit,
    predict, remembered, workers,
};
use crate::weights::WeightsFile;
use crate::weights::start::Start;

const TRAIN: &str = "train";
const FINETUNE: &str = "finetune";
const SCRATCH: &str = "scratch";

/// How a checkpoint calls the phase after compression number `step`; that before the first is [`TRAIN`].
fn finetune(step: usize) -> String {
    match step {
        0 => TRAIN.to_owned(),
        1 => FINETUNE.to_owned(),
        _ => format!("{FINETUNE} {step}"),
    }
}

/// How a trial may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialOptions {
    /// Goes on from a checkpoint of another kernel path; the record says so.
    pub allow_path_change: bool,
    /// Leaves the finished network's weights out of the trial's folder.
    pub drop_weights: bool,
    /// Most memory that it may hold, in bytes.
    pub memory: Option<u64>,
}

/// Trains and measures one trial, and leaves its folder behind; the record comes last.
///
/// Budget: every trial trains for `recipe.epochs` in all. A method that compresses the trained network trains the vanilla one for
/// all but the last `recipe.finetune_epochs` of them (the recipe's schedule runs its full course over these), compresses, and
/// fine-tunes for the rest: a cosine from `recipe.finetune_lr`, momentum afresh; in several steps the rest is divided among
/// them. Its controls train what is left afresh, as [`Phases`] says: order and augmentation are those of the epochs that
/// follow, where others came before.
///
/// What trials compress they may share: the first one that needs a base leaves it in the run folder, and the others begin with
/// it, as from a checkpoint of their own, and end with the same bits.
///
/// Given weights (`[init]`) stand where training would have come to: a method that compresses begins with that, after the epochs
/// that precede fine-tuning, if there are any.
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
    let environment = environment.computed_by(config.recipe.kernel_path()?);
    let dir = folder.trial_dir(key);
    let mut course = Course::new(&dir, key, TRAIN, &environment, options.allow_path_change, observer)?;
    let base = Base::of(trial, folder, &environment)?;
    let held = base.as_ref().map(|base| base.begin(&mut course, TRAIN)).transpose()?.flatten();
    folder.start(key, config, &course.progress.history)?;
    folder.save_costs(key, &trial.price.csv())?;
    let mut training = Training::new(trial, data, (environment, options.memory), course, base)?;
    training.train(held)?;
    training.compress()?;
    training.fuse()?;
    let price = training.price(&trial.price)?;
    if price != trial.price {
        folder.save_costs(key, &price.csv())?;
    }
    let (measures, predictions) = training.evaluate()?;
    if let Some(predictions) = predictions {
        folder.save_predictions(key, &predictions)?;
    }
    if !options.drop_weights {
        // On the disk before the record says that the trial is done.
        let file =
            WeightsFile { tensors: training.model.store.snapshot()?, metadata: training.feed.input().metadata() };
        file.write(&dir.join(WEIGHTS))?;
    }
    let record = training.record(trial, &price, data, measures);
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
    /// The network before anything is done to it.
    whole: Box<dyn Backbone>,
    phases: Phases,
    /// What there is to say of the weights that it started from, where they were given.
    start: Option<String>,
    base: Option<Base>,
    /// Multiply-accumulates of one image that the finished network really did; 0 before it is finished.
    executed: u64,
}

impl<'t> Training<'t> {
    /// Where the checkpoint, if there is one, left it.
    fn new(
        trial: &'t PricedTrial,
        data: &SharedData,
        (mut environment, memory): (Environment, Option<u64>),
        mut course: Course<'t>,
        base: Option<Base>,
    ) -> Result<Self> {
        let config = &trial.frozen.config;
        let (recipe, phases) = (&config.recipe, trial.phases()?);
        let feed = Feed::new(data, config, workers(environment.threads))?;
        let methods = Methods::new(config)?;
        let params = trial.price.trained.params;
        limits::check_parameters(params, remembered(recipe) + u64::from(recipe.average.is_some()), memory)?;
        let geometry = data.geometry;
        let whole = || backbones::by_name(&config.backbone, &geometry, methods.width());
        ensure!(
            phases.whole + phases.fresh > 0 || !config.init.is_fresh(),
            "recipe.epochs = {} leaves nothing to train before recipe.finetune_epochs = {}; accepted: more than that",
            recipe.epochs,
            recipe.finetune_epochs
        );
        course.observer.started(phases.epochs(), feed.steps_per_epoch(), &course.progress);
        let begun = match (methods.compression(), course.weights()) {
            // How a compressed network looks its weights know, in any case.
            (Some(compression), Some(weights)) if course.progress.phase != TRAIN => {
                compressed_as(&*whole()?, compression, weights)?
            }
            (Some(compression), _) if phases.whole == 0 && config.init.is_fresh() => {
                price::compressed(&*whole()?, compression, compression.steps())?
            }
            _ => whole()?,
        };
        let before = if course.progress.phase == TRAIN { methods.before() } else { None };
        let model = Model::new(begun, before.as_ref().unwrap_or(&methods), config.seed)?;
        let (c, h, w) = geometry.shape;
        if let Err(why) = recipe.engine_layers(&model.network, [recipe.batch, c, h, w], true)? {
            environment.off_engine = why.to_string();
            course.observer.off_engine(&environment.off_engine);
        }
        if let Ok(engine) = recipe.footprint(&model.network, [recipe.batch, c, h, w], true)? {
            limits::check_memory(engine.bytes(), memory)?;
        }
        let start = match &config.init {
            init if init.is_fresh() => None,
            init => {
                // Read anew by every attempt, so that the record can say what was made of it.
                let start = Start::of_trial(config)?;
                if course.weights().is_none() {
                    start.give(&model.store)?;
                }
                Some(start.remark(init))
            }
        };
        course.restore(&model.store)?;
        Ok(Self {
            config,
            start,
            whole: whole()?,
            methods,
            environment,
            feed,
            course,
            model,
            phases,
            base,
            executed: 0,
        })
    }

    /// All epochs of the network that the trial begins with. What was `held` for it is let go.
    fn train(&mut self, held: Option<base::Training>) -> Result<()> {
        if self.course.progress.phase != TRAIN {
            return Ok(());
        }
        let Phases { whole, fresh, .. } = self.phases;
        let given = !self.config.init.is_fresh();
        let epochs = if whole > 0 || given { whole } else { fresh };
        let penalty = self.methods.compression().map_or(0.0, Compression::penalty);
        let rate = LearningRate::of_recipe(&self.config.recipe, epochs, self.feed.steps_per_epoch());
        self.fit(&TrainingPhase { name: TRAIN, first_epoch: 1, epochs, rate, penalty })?;
        if let (Some(base), Some(held)) = (&self.base, held) {
            base.save(held, &mut self.course, &self.model.store);
        }
        Ok(())
    }

    /// Where a smaller network is made of the trained one: that, as often as it is asked for, and the epochs after it.
    fn compress(&mut self) -> Result<()> {
        if self.methods.compression().is_none() || self.phases.whole == 0 && self.config.init.is_fresh() {
            return Ok(());
        }
        if self.phases.fresh > 0 {
            return self.begin_afresh();
        }
        let recipe = &self.config.recipe;
        let mut first_epoch = self.phases.whole + 1;
        for (index, epochs) in self.phases.finetune.clone().into_iter().enumerate() {
            if self.course.progress.phase == finetune(index) {
                self.model = self.smaller(index + 1, first_epoch).context("compressing the trained network")?;
                self.course.turn(&finetune(index + 1));
            }
            if self.course.progress.phase == finetune(index + 1) {
                let rate = LearningRate::cosine(recipe.finetune_lr, epochs * self.feed.steps_per_epoch());
                self.fit(&TrainingPhase { name: FINETUNE, first_epoch, epochs, rate, penalty: 0.0 })?;
            }
            first_epoch += epochs;
        }
        if self.phases.finetune.iter().all(|&epochs| epochs == 0) {
            let evaluate = |batches| {
                let batches = self.course.evaluating(batches);
                evaluate(&self.model.network, recipe, batches)
            };
            let validation = self.feed.validation().map(evaluate).transpose();
            self.course.progress.validation = validation.context("on the validation images")?;
        }
        Ok(())
    }

    /// Compression number `step` of the trained network; training goes on with `next_epoch`.
    fn smaller(&mut self, step: usize, next_epoch: usize) -> Result<Model> {
        let Self { config, methods, feed, course, model, whole, .. } = self;
        match methods.compression() {
            None => bail!("nothing compresses this network"),
            Some(Compression::Pruned(pruned)) => {
                let importance = if pruned.criterion.needs_gradients() {
                    let kept = model.store.snapshot()?;
                    let batches = course.evaluating(feed.train(next_epoch, 0).take(GRADIENTS));
                    let importance = model.importance(&config.recipe, batches)?;
                    model.store.assign(&kept)?;
                    importance
                } else {
                    Importance::default()
                };
                model.cut(&**whole, (pruned, step), &importance, (methods, config.seed))
            }
            Some(Compression::Magnitude { magnitude }) => {
                let (model, masks) = model.mask((magnitude, step), course.masks(), (methods, config.seed))?;
                course.set_masks(masks)?;
                Ok(model)
            }
            Some(Compression::Approximated { .. }) => model.approximate(methods, config.seed),
        }
    }

    /// The compressed network from fresh weights, where only training told how wide it is.
    fn begin_afresh(&mut self) -> Result<()> {
        let first_epoch = self.phases.whole + 1;
        if self.course.progress.phase == TRAIN {
            let smaller = self.smaller(1, first_epoch).context("compressing the trained network")?;
            self.model = Model::new(smaller.backbone, &self.methods, self.config.seed)?;
            self.course.turn(SCRATCH);
        }
        let [whole, smaller] =
            [&*self.whole, &*self.model.backbone].map(|network| network_cost(network, &self.methods));
        let recipe = &self.config.recipe;
        self.phases = Phases::new(recipe, self.methods.compression(), whole?.macs, &[smaller?.macs]);
        let epochs = self.phases.fresh;
        let rate = LearningRate::of_recipe(recipe, epochs, self.feed.steps_per_epoch());
        self.fit(&TrainingPhase { name: SCRATCH, first_epoch, epochs, rate, penalty: 0.0 })
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

    /// The price of the finished network, which is the planned one unless only training told its widths.
    fn price(&self, planned: &Price) -> Result<Price> {
        let cost = self.model.checked_cost(&self.methods)?;
        if planned.open {
            return planned.of_outcome(self.config, &*self.model.backbone);
        }
        ensure!(
            cost == planned.total,
            "the network costs {cost:?}, the plan said {:?}: a defect of the plan",
            planned.total
        );
        let Some(masks) = self.course.masks() else { return Ok(planned.clone()) };
        ensure!(
            masks.hold(&self.model.store.snapshot()?)?,
            "weights that are to be 0 are not: a defect of the optimizer"
        );
        let nonzero = Nonzero::of(cost, &ranked(&*self.model.backbone, &self.methods), masks);
        let Some(said) = planned.nonzero else { bail!("masks that were not planned: a defect of the plan") };
        ensure!(
            said.params == nonzero.params && (said.macs.is_none() || said.macs == nonzero.macs),
            "masks leave {nonzero:?}, the plan said {said:?}: a defect of the plan"
        );
        Ok(Price { nonzero: Some(nonzero), ..planned.clone() })
    }

    /// Reads the test split, if the protocol says so.
    fn evaluate(&mut self) -> Result<(Measures, Option<Vec<Prediction>>)> {
        self.executed = self.model.executed(&self.config.recipe, self.feed.shape())?;
        let mut predictions = None;
        if self.config.test {
            let batches = self.course.evaluating(self.feed.test()?);
            let predicted = predict(&self.model.network, &self.config.recipe, batches);
            predictions = Some(predicted.context("on the test images")?);
        }
        let test = predictions.as_deref().map(Evaluation::of).transpose().context("on the test images")?;
        let history = &self.course.progress.history;
        let measures = Measures {
            train_images: self.feed.train_images(),
            validation: self.course.progress.validation,
            test,
            train_loss: history.last().map_or(0.0, |epoch| epoch.train_loss),
            epochs: history.len() - if self.phases.fresh > 0 { self.phases.whole } else { 0 },
            seconds: self.course.seconds(),
            images_per_second: images_per_second(history),
            base: self.base.as_ref().map(|base| base.key.clone()),
            test_images: predictions.as_ref().map(Vec::len),
            normalization: Some(self.feed.normalization().clone()),
            reporting: Reporting::LastEpoch,
        };
        Ok((measures, predictions))
    }

    fn record(&self, trial: &PricedTrial, price: &Price, data: &SharedData, measures: Measures) -> TrialRecord {
        let kernels = self.course.kernels().join(", then ");
        let mut remarks: Vec<String> = self.start.iter().cloned().collect();
        let counted = price.total.macs;
        if self.executed != counted {
            remarks.push(format!("counted {counted} MACs an image, executed {}", self.executed));
        }
        if !self.environment.off_engine.is_empty() {
            remarks.push(off_engine_remark(&self.environment.off_engine));
        }
        if self.course.kernels().len() > 1 {
            remarks.push(format!("resumed on another kernel path: {kernels}"));
        }
        if self.course.origins().len() > 1 {
            remarks.push(format!("computed in turn by {}", self.course.origins().join("; ")));
        }
        if self.phases.finetune == [0] {
            let done = self.methods.compression().map_or("cut", |compression| compression.done().1);
            remarks.push(format!("{done} after the last epoch and not fine-tuned (recipe.finetune_epochs = 0)"));
        }
        let widths = if price.open { filters(&*self.model.backbone) } else { BTreeMap::new() };
        TrialRecord {
            trial: FrozenTrial { data: data.provenance.clone(), ..trial.frozen.clone() },
            network: NetworkSummary { widths, ..summary(price, remarks) },
            environment: Environment { kernels, ..self.environment.clone() },
            outcome: Outcome::Trained(measures),
        }
    }
}

fn images_per_second(epochs: &[EpochLog]) -> f64 {
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let images: f64 = epochs.iter().map(|epoch| epoch.images_per_second * epoch.seconds).sum();
    if seconds > 0.0 { images / seconds } else { 0.0 }
}
