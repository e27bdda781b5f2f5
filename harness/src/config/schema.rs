//! The sections of an experiment file, as data. Every default is written here once.

use std::fmt::Display;

use conv_core::{Backend, OffEngine};
use serde::{Deserialize, Serialize};

/// `[dataset]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// cifar10 | cifar100 | fashion-mnist | images | synthetic
    pub name: String,
    /// Where the data may come from, tried in order: a folder or file, `download`, or `synthetic`. Empty: `data/NAME`,
    /// `download`, `synthetic`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Random crops (4 pixels of zero padding) and horizontal flips while training.
    #[serde(default = "yes")]
    pub augment: bool,
}

/// `[backbone]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// vgg16 | resnet20 | resnet32 | resnet44 | resnet56 | resnet110 | resnet18 | resnet34 | resnet50
    pub name: String,
    /// VGG's classifier: `linear` (512 -> classes) or `mlp` (512 -> 512 -> classes).
    #[serde(default)]
    pub head: Head,
    /// Which convolutions the method replaces, by role; the others stay vanilla.
    #[serde(default)]
    pub replace: Replace,
}

/// Which roles the method replaces. Default: everything but the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replace {
    /// The network's first convolution.
    pub stem: bool,
    /// Kernels larger than 1 x 1.
    pub spatial: bool,
    /// 1 x 1 convolutions on the main path.
    pub pointwise: bool,
    /// Projections of residual connections.
    pub shortcut: bool,
}

impl Default for Replace {
    fn default() -> Self {
        Self { stem: false, spatial: true, pointwise: true, shortcut: true }
    }
}

/// VGG's two heads; the literature mixes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// 512 -> classes
    #[default]
    Linear,
    /// 512 -> 512 (batch norm, ReLU) -> classes
    Mlp,
}

impl Head {
    /// As experiments write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Mlp => "mlp",
        }
    }
}

/// `[recipe]`: how a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Passes over the training images; 0: nothing is trained, the trial is its cost.
    pub epochs: usize,
    /// Images per optimizer step; the last, smaller batch of an epoch is left out while training.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// `cosine` (to 0), `step` (times `gamma` at each milestone) or `constant`.
    pub schedule: Schedule,
    /// For `step`: fractions of the training, e.g. [0.5, 0.75].
    pub milestones: Vec<f64>,
    /// For `step`: the factor at each milestone.
    pub gamma: f64,
    /// Epochs (may be fractional) over which the rate grows linearly from 0 to `lr`.
    pub warmup_epochs: f64,
    /// SGD momentum.
    pub momentum: f64,
    /// Nesterov's form of it.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient as PyTorch's SGD does.
    pub weight_decay: f64,
    /// Whether batch norms and biases decay too.
    pub decay_norm_and_bias: bool,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Train on this many images only, drawn class-balanced (0: all that validation leaves).
    pub subset: usize,
    /// For methods that prune: how many of `epochs` come after the cut, at `finetune_lr`. The budget is everyone's: `epochs`
    /// in all, the whole network for `epochs - finetune_epochs` of them, the cut one for the last `finetune_epochs`; so less
    /// than `epochs`. 0: cut at the end, not fine-tuned.
    pub finetune_epochs: usize,
    /// For methods that prune: peak rate after the cut.
    pub finetune_lr: f64,
    /// What computes: `own` (this workspace's kernels), `direct` (those without Winograd's convolutions) or `candle`
    /// (candle's own operations: much slower); the same to rounding.
    #[serde(with = "kernels_name")]
    pub kernels: Backend,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 128,
            lr: 0.1,
            schedule: Schedule::Cosine,
            milestones: vec![0.5, 0.75],
            gamma: 0.1,
            warmup_epochs: 0.0,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
            decay_norm_and_bias: true,
            label_smoothing: 0.0,
            subset: 0,
            finetune_epochs: 0,
            finetune_lr: 0.01,
            kernels: Backend::default(),
        }
    }
}

/// The shape of the learning rate over the training, after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, from the peak to 0.
    Cosine,
    /// Piecewise constant.
    Step,
    /// The peak throughout.
    Constant,
}

impl Recipe {
    /// Why training steps of this recipe run operation by operation, whatever the network; none where that is up to it.
    pub fn off_engine(&self) -> Option<OffEngine> {
        self.kernels.off_engine(self.batch, true)
    }
}

/// What is remarked of a trial whose network does not train on the engine.
pub fn off_engine_remark(why: impl Display) -> String {
    format!("trains operation by operation, not on the engine: {why}; its images/s do not compare")
}

/// How files write a [`Backend`].
mod kernels_name {
    use conv_core::Backend;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Name {
        Own,
        Direct,
        Candle,
    }

    pub fn serialize<S: Serializer>(backend: &Backend, serializer: S) -> Result<S::Ok, S::Error> {
        let name = match backend {
            Backend::Engine { winograd: true } => Name::Own,
            Backend::Engine { winograd: false } => Name::Direct,
            Backend::Candle => Name::Candle,
        };
        name.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Backend, D::Error> {
        Ok(match Name::deserialize(deserializer)? {
            Name::Own => Backend::Engine { winograd: true },
            Name::Direct => Backend::Engine { winograd: false },
            Name::Candle => Backend::Candle,
        })
    }
}

/// `[protocol]`: what makes the comparison fair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// One training per seed.
    pub seeds: Vec<u64>,
    /// Images carved from the training set (class-balanced, the same for every seed), for every decision.
    pub validation: usize,
    /// Whether the finished network is measured, once, on the test split.
    pub test: bool,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { seeds: vec![0], validation: 5000, test: true }
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
            "backbone" => toml::Table::try_from(&self.backbone),
            "dataset" => toml::Table::try_from(&self.dataset),
            "method" => toml::Table::try_from(&self.method),
            _ => return None,
        };
        let section = toml::Value::Table(table.ok()?);
        rest.split('.').try_fold(section, |value, part| value.get(part).cloned())
    }
}

fn yes() -> bool {
    true
}
