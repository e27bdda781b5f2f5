//! Every key of an experiment file but the methods' own options (those are in [`crate::methods`]).

use std::sync::LazyLock;

use toml::{Table, Value};

use super::run_options;
use super::sweep::Keys;
use super::sweep::keys::MethodKeys;
use crate::config::field::Kind::{Choice, Filled, Flag, Form, Integer, List, Text};
use crate::config::field::{FACTOR, INSIDE, NOT_NEGATIVE, POSITIVE, SHARE, at_least};
use crate::config::{BackboneConfig, DatasetConfig, Field, Kind, Protocol, Recipe};
use crate::{backbones, data, methods};

/// More threads to compute on are a slip.
pub const MOST_THREADS: i64 = 1024;

const SEED: Kind = at_least(0);

const TIME: Kind = Form(|text| run_options::duration(text).is_some(), "a time, e.g. \"90s\", \"30min\", \"6h\"");
const MEMORY: Kind = Form(|text| run_options::bytes(text).is_some(), "a size, e.g. \"500MiB\", \"4GiB\"");
const POLICY: Kind =
    Form(|text| run_options::on_failure(text).is_some(), "\"continue\", \"stop\" or \"retry(N)\" with N from 1 to 100");

const fn key(key: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { key, kind, meaning }
}

/// All keys, by section.
pub const KEYS: &[Field] = &[
    key("name", Text, "Names the folder of the results, reports/NAME: letters, digits, `-`, `_` and `.`."),
    key("title", Text, "Heads the report."),
    key("description", Text, "Opens the report."),
    key("dataset.name", Choice(datasets_by_name), "The data."),
    key(
        "dataset.sources",
        List(&Text),
        "Where it may come from, tried in order: folders or files, download, synthetic; []: data/NAME, then these two.",
    ),
    key("dataset.augment", Flag, "Random crops (4 pixels of padding) and horizontal flips while training."),
    key("backbone.name", Choice(backbones_by_name), "The network."),
    key(
        "backbone.head",
        Choice(|| vec!["linear", "mlp"]),
        "VGG's classifier: 512 -> classes, or 512 -> 512 -> classes.",
    ),
    key("backbone.replace.stem", Flag, "Whether the method replaces the first convolution."),
    key("backbone.replace.spatial", Flag, "Whether it replaces kernels larger than 1 x 1."),
    key("backbone.replace.pointwise", Flag, "Whether it replaces 1 x 1 convolutions on the main path."),
    key("backbone.replace.shortcut", Flag, "Whether it replaces projections of residual connections."),
    key("method.name", Choice(methods::names), "What makes the convolutions; its options stand beside it."),
    key("recipe.epochs", at_least(0), "Passes over the training images; 0: nothing is trained, costs only."),
    key("recipe.batch", at_least(1), "Images per optimizer step."),
    key("recipe.lr", POSITIVE, "Peak learning rate."),
    key("recipe.schedule", Choice(|| vec!["cosine", "step", "constant"]), "Shape of the learning rate after warm-up."),
    key("recipe.milestones", List(&INSIDE), "For step: fractions of the training at which the rate drops."),
    key("recipe.gamma", FACTOR, "For step: the factor at each milestone."),
    key("recipe.warmup_epochs", NOT_NEGATIVE, "Epochs over which the rate grows linearly from 0 to lr."),
    key("recipe.momentum", SHARE, "SGD momentum."),
    key("recipe.nesterov", Flag, "Nesterov's form of it."),
    key("recipe.weight_decay", NOT_NEGATIVE, "L2 penalty, added to the gradient."),
    key("recipe.decay_norm_and_bias", Flag, "Whether batch norms and biases decay too."),
    key("recipe.label_smoothing", SHARE, "Share of the target spread evenly over all classes."),
    key("recipe.subset", at_least(0), "Train on this many images only, drawn class-balanced; 0: all."),
    key(
        "recipe.finetune_epochs",
        at_least(0),
        "For pruning: how many of the epochs, the last ones, come after the cut.",
    ),
    key("recipe.finetune_lr", POSITIVE, "For pruning: peak rate after the cut."),
    key(
        "recipe.kernels",
        Choice(|| vec!["own", "direct", "candle"]),
        "What computes: own kernels, the same without Winograd's, or candle's operations (slow); equal to rounding.",
    ),
    key("protocol.seeds", Filled(&SEED), "One training per seed."),
    key("protocol.validation", at_least(1), "Images carved from the training set, class-balanced, for every decision."),
    key("protocol.test", Flag, "Whether the finished network is measured, once, on the test split."),
    key("run.threads", Integer(1, MOST_THREADS), "Threads that compute, of each trial; changes no result."),
    key("run.jobs", Integer(1, MOST_THREADS), "Trials that run at once, each in a process of its own."),
    key("run.memory", MEMORY, "Most memory a trial may hold; beyond it, it fails."),
    key("run.time_limit", TIME, "Most time an attempt at a trial may take; beyond it, it fails."),
    key("run.checkpoint_every", TIME, "Time between checkpoints, from which an interrupted trial goes on."),
    key("run.on_failure", POLICY, "What a failed trial does to the others."),
];

/// Keys of a `[[layer]]` block, beside its method's options.
pub const LAYER_KEYS: &[Field] = &[
    key("match", Text, "A layer's name as `harness cost` prints it; `*` stands for any run of characters."),
    key("method.name", Choice(methods::names), "The method there, whatever backbone.replace says."),
];

/// The keys in the form in which the language of sweeps takes them.
pub fn keys() -> &'static Keys {
    static WHOLE: LazyLock<Keys> = LazyLock::new(|| {
        let method = |info: &methods::MethodInfo| MethodKeys {
            name: info.name,
            options: info.options,
            defaults: (info.defaults)(),
        };
        Keys::new(KEYS, LAYER_KEYS, methods::all().iter().map(method).collect(), default_of)
    });
    &WHOLE
}

/// The default of a key outside of methods, if it has one.
fn default_of(dotted: &str) -> Option<Value> {
    let name = || Table::from_iter([("name".to_string(), Value::String("cifar10".into()))]);
    let (section, rest) = dotted.split_once('.')?;
    let defaults = match section {
        "dataset" => Table::try_from(name().try_into::<DatasetConfig>().ok()?),
        "backbone" => Table::try_from(name().try_into::<BackboneConfig>().ok()?),
        "recipe" => Table::try_from(Recipe::default()),
        "protocol" => Table::try_from(Protocol::default()),
        _ => return None,
    };
    let value = Value::Table(defaults.ok()?);
    rest.split('.').try_fold(value, |value, part| value.get(part).cloned())
}

fn backbones_by_name() -> Vec<&'static str> {
    backbones::all().map(|info| info.name).collect()
}

fn datasets_by_name() -> Vec<&'static str> {
    data::DATASETS.iter().map(|info| info.name).collect()
}
