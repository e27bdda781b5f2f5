//! The sections of an experiment file, as data. A key is one line here: its meaning, name, type, default and range, and what
//! the results call its column. What a file may set, how that is checked, what commands tell of it, the columns of the results
//! and the report's account of a recipe follow from that line.
//!
//! The names of data sets, backbones and methods are texts here: only the registries know which of them exist.

use std::fmt::Display;

use conv_core::options::{Bounds, FACTOR, INSIDE, Kind, NOT_NEGATIVE, POSITIVE, SHARE, at_least};
use conv_core::{Backend, EngineLayer, Footprint, Inference, Network, OffEngine, Training, choice, options};
use serde::{Deserialize, Serialize};

use super::DatasetConfig;

const SEED: Kind = at_least(0);
const CONTROL: Kind = Kind::Choice(Control::names);

/// Factors on the channel counts of a backbone. Wider ones are slips.
pub const WIDEST: f64 = 4.0;
const WIDTHS: Kind = Kind::Number(Bounds { low: 0.0, low_included: false, high: WIDEST, high_included: true });
/// What channel counts may be multiples of. Larger ones would be most of a layer.
const DIVISORS: Kind = Kind::Integer(1, 256);

options! {
    /// `[backbone]`.
    BackboneConfig = "backbone", "the network" {
        /// The network.
        name: String = String::new(), Kind::Text, column = Some("backbone");
        /// VGG's classifier: 512 -> classes, or 512 -> 512 -> classes.
        head: Head = Head::Linear, Kind::Choice(Head::names);
        /// Factor on every channel count, on top of the method's own; when absent: 1.
        width: Option<f64> = None, WIDTHS, column = Some("backbone_width");
        /// Channel counts that are scaled are rounded to multiples of it, as modules want them that part their channels; when absent: 1.
        divisor: Option<usize> = None, DIVISORS, column = Some("backbone_divisor");
        /// Which convolutions the method replaces, by role; the others stay vanilla.
        replace: Replace = Replace::default(), Kind::Table(Replace::OPTIONS), column = None;
    }
}

options! {
    /// `[backbone.replace]`. By default everything is replaced but the stem.
    #[derive(Eq)]
    Replace = "backbone.replace", "which convolutions the method replaces" {
        /// Whether the method replaces the first convolution.
        stem: bool = false, Kind::Flag;
        /// Whether it replaces kernels larger than 1 x 1.
        spatial: bool = true, Kind::Flag;
        /// Whether it replaces 1 x 1 convolutions on the main path.
        pointwise: bool = true, Kind::Flag;
        /// Whether it replaces projections of residual connections.
        shortcut: bool = true, Kind::Flag;
        /// Of these only layers, patterns (*.conv2) or stages (layer3) of that name, or "second of each block"; when absent: all.
        layers: Option<Vec<String>> = None, Kind::NonEmptyList(&Kind::Text);
    }
}

choice! {
    /// VGG's two heads; the literature mixes them.
    Head {
        /// 512 -> classes.
        Linear = "linear",
        /// 512 -> 512 (batch norm, ReLU) -> classes.
        Mlp = "mlp",
    }
}

options! {
    /// `[recipe]`: how a network is trained.
    ///
    /// All trials train equally long: a method that prunes trains the whole network for `epochs - finetune_epochs` epochs, and
    /// what is left after the cut for the last `finetune_epochs`, so these are fewer than `epochs`. The last, smaller batch of
    /// an epoch is left out while training.
    ///
    /// A recipe is part of its trials' identity, key by key. A key that is added is therefore an [`Option`] whose default is
    /// `None`: it is not written where it is not set, and the trials there were stay the same trials.
    Recipe = "recipe", "how a network is trained" {
        /// Passes over the training images; 0: nothing is trained, costs only.
        epochs: usize = 10, at_least(0);
        /// Images per optimizer step.
        batch: usize = 128, at_least(1);
        /// Peak learning rate.
        lr: f64 = 0.1, POSITIVE;
        /// Shape of the learning rate after warm-up.
        schedule: Schedule = Schedule::Cosine, Kind::Choice(Schedule::names);
        /// For step: fractions of the training at which the rate drops.
        milestones: Vec<f64> = vec![0.5, 0.75], Kind::List(&INSIDE);
        /// For step: the factor at each milestone.
        gamma: f64 = 0.1, FACTOR;
        /// Epochs over which the rate grows linearly from 0 to lr.
        warmup_epochs: f64 = 0.0, NOT_NEGATIVE;
        /// The update rule: PyTorch's SGD, Adam (decay added to the gradient) or AdamW (decay apart); when absent: sgd.
        optimizer: Option<UpdateRule> = None, Kind::Choice(UpdateRule::names);
        /// For adam and adamw: decay of the mean of gradients; when absent: 0.9.
        beta1: Option<f64> = None, SHARE;
        /// For these: decay of the mean of their squares; when absent: 0.999.
        beta2: Option<f64> = None, SHARE;
        /// For these: added to the root of that mean; when absent: 1e-8.
        eps: Option<f64> = None, POSITIVE;
        /// SGD momentum.
        momentum: f64 = 0.9, SHARE;
        /// Nesterov's form of it.
        nesterov: bool = true, Kind::Flag;
        /// L2 penalty, added to the gradient; for adamw: the share of a weight, times the rate, that each step takes off.
        weight_decay: f64 = 5e-4, NOT_NEGATIVE;
        /// Whether batch norms and biases decay too.
        decay_norm_and_bias: bool = true, Kind::Flag;
        /// Share of the target spread evenly over all classes.
        label_smoothing: f64 = 0.0, SHARE;
        /// What is judged is an average over the steps of a phase, of which each step keeps this share; when absent: the last weights.
        average: Option<f64> = None, SHARE;
        /// Train on this many images only, drawn class-balanced; 0: all.
        subset: usize = 0, at_least(0);
        /// For pruning, masks and factors of a trained network: how many of the epochs, the last ones, come after it is compressed.
        finetune_epochs: usize = 0, at_least(0);
        /// For the same: peak rate of these.
        finetune_lr: f64 = 0.01, POSITIVE;
        /// What computes: own kernels, the same without Winograd's, or candle's operations (slow); equal to rounding.
        kernels: Kernels = Kernels::Own, Kind::Choice(Kernels::names), column = Some("recipe_kernels");
        /// Of values, their gradients and weights where they are multiplied, in training and inference; when absent: f32.
        precision: Option<Precision> = None, Kind::Choice(Precision::names);
    }
}

choice! {
    /// How an optimizer makes a step of a gradient.
    UpdateRule {
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
        /// Adam, whose decay is part of the gradient.
        Adam = "adam",
        /// Adam with decay apart from the gradient.
        AdamW = "adamw",
    }
}

choice! {
    /// The shape of the learning rate over the training, after warm-up.
    Schedule {
        /// Half a cosine, from the peak to 0.
        Cosine = "cosine",
        /// A straight line, from the peak to 0: with a warm-up, one cycle.
        Linear = "linear",
        /// Times `gamma` at each milestone.
        Step = "step",
        /// The peak throughout.
        Constant = "constant",
    }
}

choice! {
    /// What computes a network.
    Kernels {
        /// This workspace's kernels.
        Own = "own",
        /// Those without Winograd's convolutions.
        Direct = "direct",
        /// Candle's own operations: much slower.
        Candle = "candle",
    }
}

choice! {
    /// What values are while a network is computed. Parameters, statistics of norms and the optimizer are f32 in either.
    Precision {
        /// Single precision.
        F32 = "f32",
        /// bfloat16: half the bytes of f32, with the same range and 8 significant bits. Sums are f32.
        Bf16 = "bf16",
    }
}

impl Kernels {
    /// The same as the engine calls it.
    pub fn backend(self) -> Backend {
        match self {
            Self::Own => Backend::Engine { winograd: true },
            Self::Direct => Backend::Engine { winograd: false },
            Self::Candle => Backend::Candle,
        }
    }
}

impl Recipe {
    /// The update rule, said or not.
    pub fn rule(&self) -> UpdateRule {
        self.optimizer.unwrap_or(UpdateRule::Sgd)
    }

    /// Adam's decay of the mean of gradients and of their squares, said or not; PyTorch's where not.
    pub fn betas(&self) -> (f64, f64) {
        (self.beta1.unwrap_or(0.9), self.beta2.unwrap_or(0.999))
    }

    /// What Adam adds to the root of the mean square, said or not; PyTorch's where not.
    pub fn eps(&self) -> f64 {
        self.eps.unwrap_or(1e-8)
    }

    /// What values are, said or not.
    pub fn precision(&self) -> Precision {
        self.precision.unwrap_or(Precision::F32)
    }

    fn computed(&self) -> (Backend, conv_core::Precision) {
        let precision = match self.precision() {
            Precision::F32 => conv_core::Precision::F32,
            Precision::Bf16 => conv_core::Precision::Bf16,
        };
        (self.kernels.backend(), precision)
    }

    /// Training steps of a network as this recipe computes them.
    ///
    /// # Errors
    /// What its precision cannot compute; kernels that `CONV_PATH` names and this processor does not have.
    pub fn training<'n>(&self, network: &'n Network) -> candle_core::Result<Training<'n>> {
        let (backend, precision) = self.computed();
        network.training_in(backend, precision)
    }

    /// Inference of a network as this recipe computes it.
    ///
    /// # Errors
    /// As of training.
    pub fn inference<'n>(&self, network: &'n Network) -> candle_core::Result<Inference<'n>> {
        let (backend, precision) = self.computed();
        network.inference_in(backend, precision)
    }

    /// What the layers of a network do with images `[n, c, h, w]` as this recipe computes them; or why that does not run on the
    /// engine.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn engine_layers(
        &self,
        network: &Network,
        sizes: [usize; 4],
        train: bool,
    ) -> candle_core::Result<Result<Vec<EngineLayer>, OffEngine>> {
        let (backend, precision) = self.computed();
        network.engine_layers_in(backend, precision, sizes, train)
    }

    /// How much memory the engine takes for images `[n, c, h, w]` as this recipe computes them; or why that does not run on it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn footprint(
        &self,
        network: &Network,
        sizes: [usize; 4],
        train: bool,
    ) -> candle_core::Result<Result<Footprint, OffEngine>> {
        let (backend, precision) = self.computed();
        network.footprint_in(backend, precision, sizes, train)
    }

    /// Which kernels compute it on this processor, for stamps.
    ///
    /// # Errors
    /// Kernels that `CONV_PATH` names and this processor does not have.
    pub fn kernel_path(&self) -> candle_core::Result<String> {
        let path = conv_core::kernel_path_in(self.computed().1)?;
        Ok(match self.kernels {
            Kernels::Own => path.to_owned(),
            Kernels::Direct => format!("{path} direct"),
            Kernels::Candle => "candle".to_owned(),
        })
    }

    /// The same training, written in the one way that all recipes of it have: what is said though it is the default, or though
    /// nothing reads it, is not there.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        let default = Self::default();
        let (rule, (beta1, beta2), eps) = (self.rule(), default.betas(), default.eps());
        if self.schedule != Schedule::Step {
            (self.milestones, self.gamma) = (default.milestones, default.gamma);
        }
        let adam = rule != UpdateRule::Sgd;
        if adam {
            (self.momentum, self.nesterov) = (default.momentum, default.nesterov);
        }
        let said = |value: Option<f64>, usual: f64| value.filter(|value| adam && *value != usual);
        Self {
            optimizer: adam.then_some(rule),
            beta1: said(self.beta1, beta1),
            beta2: said(self.beta2, beta2),
            eps: said(self.eps, eps),
            precision: self.precision.filter(|precision| *precision != Precision::F32),
            ..self
        }
    }

    /// Why training steps of this recipe run operation by operation, whatever the network; none where that is up to it, and in
    /// bf16, which refuses to.
    pub fn off_engine(&self) -> Option<OffEngine> {
        let why = self.kernels.backend().off_engine(self.batch, true);
        why.filter(|_| self.precision() == Precision::F32)
    }
}

/// What is remarked of a trial whose network does not train on the engine.
pub fn off_engine_remark(why: impl Display) -> String {
    // Without a colon: before one, reports look for the layers that a remark is about.
    format!("trains operation by operation and not on the engine ({why}); its images/s do not compare")
}

options! {
    /// `[init]`: weights that a network starts from, in place of fresh ones.
    ///
    /// What only begins from fresh weights does so all the same: `thin`, and pruned widths with `weights = "scratch"`.
    #[derive(Eq)]
    InitConfig = "init", "the weights that a network starts from" {
        /// A file: safetensors, or a state dict that torch.save wrote (.pth, .pt); when absent: fresh weights.
        file: Option<String> = None, Kind::Text, column = Some("init_file");
        /// The BLAKE3 of its content, 64 hexadecimal digits, which is part of a trial's key; when absent: what the file has.
        digest: Option<String> = None, Kind::Text, column = Some("init_digest");
        /// The classifier: the file's, or a new one, for other classes than it was trained for.
        classifier: GivenClassifier = GivenClassifier::Given, Kind::Choice(GivenClassifier::names), column = None;
        /// Whether tensors that are missing, left over or of another shape are passed over, and what has none stays fresh.
        partial: bool = false, Kind::Flag, column = None;
    }
}

choice! {
    /// Where a classifier's weights come from, where others are given.
    GivenClassifier {
        /// The same file.
        Given = "given",
        /// Fresh ones, whatever the file has.
        New = "new",
    }
}

impl InitConfig {
    /// Whether weights are fresh, as in all trials that say nothing of it.
    pub fn is_fresh(&self) -> bool {
        self.file.is_none()
    }

    /// The file, and the beginning of its digest.
    pub fn name(&self) -> String {
        let file = self.file.as_deref().unwrap_or_default();
        let digest = self.digest.as_deref().unwrap_or_default();
        format!("{file}, BLAKE3 {}", digest.get(..12).unwrap_or(digest))
    }
}

options! {
    /// `[protocol]`: what makes the comparison fair.
    Protocol = "protocol", "what makes the comparison fair" {
        /// One training per seed.
        seeds: Vec<u64> = vec![0], Kind::NonEmptyList(&SEED), column = None;
        /// Images carved from the training set, class-balanced, for every decision; 0: none, and nothing may be decided.
        validation: usize = 5000, at_least(0), column = Some("validation_images");
        /// Whether the finished network is measured, once, on the test split.
        test: bool = true, Kind::Flag, column = Some("test_read");
        /// Controls that are trained beside each pruned network, unless they are there already; []: none.
        controls: Vec<Control> = Control::ALL.into(), Kind::List(&CONTROL), column = None;
    }
}

choice! {
    /// What a pruned network has to be better than.
    Control {
        /// The same architecture from fresh weights, in as many epochs.
        Scratch = "scratch",
        /// The same from fresh weights, in as many multiply-accumulates of training.
        ScratchCompute = "scratch_compute",
        /// Filters cut at random, all else being equal.
        Random = "random",
        /// The vanilla network, narrowed to the same cost.
        Thin = "thin",
    }
}

impl Control {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Scratch, Self::ScratchCompute, Self::Random, Self::Thin];
}

options! {
    /// `[budget]`: what each network is to cost. One of `macs`, `params` and `latency` says it.
    BudgetConfig = "budget", "what each network is to cost" {
        /// Shares of vanilla's MACs, for each of which every method's knob is solved.
        macs: Option<Vec<f64>> = None, Kind::NonEmptyList(&FACTOR), column = None;
        /// Shares of vanilla's parameters, instead.
        params: Option<Vec<f64>> = None, Kind::NonEmptyList(&FACTOR), column = None;
        /// Shares of vanilla's measured time of inference, instead.
        latency: Option<Vec<f64>> = None, Kind::NonEmptyList(&FACTOR), column = None;
        /// For latency: images that are inferred at once.
        batch: usize = 1, Kind::Integer(1, 4096), column = None;
        /// What is solved for: the method's knob, or then backbone.width as well.
        fit: Fit = Fit::Knob, Kind::Choice(Fit::names), column = None;
        /// How far off, relatively, a network may be that is said to meet its budget.
        tolerance: f64 = 0.1, POSITIVE, column = None;
    }
}

choice! {
    /// What is solved for, so that a network meets its budget.
    Fit {
        /// The method's own knob, where it has one.
        Knob = "knob",
        /// That, and `backbone.width` for what is missing then.
        Width = "width",
    }
}

/// `method.*`: a name and that method's own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodConfig {
    /// As `harness methods` lists them.
    pub name: String,
    /// Options of that method, checked by it.
    #[serde(flatten)]
    pub options: toml::Table,
}

/// `[[layer]]`: another method for the layers whose name matches; the first match wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerOverride {
    /// A layer name as `harness cost` prints it; `*` stands for any run of characters (`layer3.*`), `|` for either of
    /// two patterns (`features.2|features.3`, a stage of VGG-16).
    #[serde(rename = "match")]
    pub pattern: String,
    /// The method there, whatever `backbone.replace` says.
    pub method: MethodConfig,
}

/// One trial, completely resolved: all that decides its result, but the data's content and the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialConfig {
    /// The data.
    pub dataset: DatasetConfig,
    /// The network.
    pub backbone: BackboneConfig,
    /// What makes its convolutions.
    pub method: MethodConfig,
    /// Exceptions by layer.
    #[serde(default, rename = "layer")]
    pub layers: Vec<LayerOverride>,
    /// What it starts from.
    #[serde(default, skip_serializing_if = "InitConfig::is_fresh")]
    pub init: InitConfig,
    /// How it is trained.
    pub recipe: Recipe,
    /// Images carved for validation.
    pub validation: usize,
    /// Whether the test split is read at the end.
    pub test: bool,
    /// Seed of initialisation, order and augmentation.
    pub seed: u64,
}

impl TrialConfig {
    /// The value under a dotted key of one of its sections.
    pub fn get(&self, key: &str) -> Option<toml::Value> {
        let (section, rest) = key.split_once('.')?;
        // The section alone: the whole would be slow for large sweeps.
        let table = match section {
            "recipe" => toml::Table::try_from(&self.recipe),
            "init" => toml::Table::try_from(&self.init),
            "backbone" => toml::Table::try_from(&self.backbone),
            "dataset" => toml::Table::try_from(&self.dataset),
            "method" => toml::Table::try_from(&self.method),
            _ => return None,
        };
        let section = toml::Value::Table(table.ok()?);
        rest.split('.').try_fold(section, |value, part| value.get(part).cloned())
    }
}
