//! Keys for the tests of the language: enough of a vocabulary to write sweeps in, and nothing behind it.

use std::sync::LazyLock;

use toml::{Table, Value};

use super::keys::{Keys, MethodKeys};
use crate::config::Kind;
use crate::config::field::Kind::{Choice, Flag, Integer, List, NonEmptyList, Odd, OneOrList, Text};
use crate::config::field::{FACTOR, Field, INSIDE, NOT_NEGATIVE, POSITIVE, SHARE, at_least};

const SEED: Kind = at_least(0);

const fn field(key: &'static str, kind: Kind) -> Field {
    Field::new(key, kind, "")
}

const METHODS: Kind = Choice(|| vec!["vanilla", "thin", "ghost", "pruned", "compconv"]);

static FIELDS: &[Field] = &[
    field("name", Text),
    field("title", Text),
    field("dataset.name", Choice(|| vec!["cifar10", "synthetic"])),
    field("dataset.sources", List(&Text)),
    field("backbone.name", Choice(|| vec!["resnet20", "resnet32", "vgg16"])),
    field("backbone.replace.stem", Flag),
    field("method.name", METHODS),
    field("recipe.epochs", at_least(0)),
    field("recipe.batch", at_least(1)),
    field("recipe.lr", POSITIVE),
    field("recipe.schedule", Choice(|| vec!["cosine", "step"])),
    field("recipe.milestones", List(&INSIDE)),
    field("recipe.gamma", FACTOR),
    field("recipe.warmup_epochs", NOT_NEGATIVE),
    field("recipe.momentum", SHARE),
    field("recipe.weight_decay", NOT_NEGATIVE),
    field("recipe.label_smoothing", SHARE),
    field("protocol.seeds", NonEmptyList(&SEED)),
    field("protocol.validation", at_least(1)),
    field("protocol.test", Flag),
    field("run.threads", Integer(1, 1024)),
    field("run.jobs", Integer(1, 1024)),
];

static LAYER_FIELDS: &[Field] = &[field("match", Text), field("method.name", METHODS)];

fn method(name: &'static str, options: &'static [Field], defaults: &str) -> MethodKeys {
    MethodKeys { name, options, defaults: defaults.parse::<Table>().unwrap() }
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    const GHOST: &[Field] = &[field("ratio", at_least(2)), field("cheap_kernel", Odd)];
    const PRUNED: &[Field] = &[field("ratio", OneOrList(&SHARE)), field("skip", List(&at_least(1)))];
    const COMPCONV: &[Field] = &[
        field("depth", Integer(0, 6)),
        field("c0", at_least(1)),
        field("shuffle", at_least(1)),
        field("tail", Choice(|| vec!["depthwise", "full", "pointwise"])),
    ];
    let methods = vec![
        method("vanilla", &[], ""),
        method("thin", const { &[field("width", FACTOR)] }, "width = 1.0"),
        method("ghost", GHOST, "ratio = 2\ncheap_kernel = 3"),
        method("pruned", PRUNED, "ratio = 0.5\nskip = []"),
        method("compconv", COMPCONV, "shuffle = 2\ntail = 'depthwise'"),
    ];
    let defaults =
        "recipe = { epochs = 10, lr = 0.1, batch = 128 }\nbackbone.replace.stem = false\nprotocol.test = true";
    let defaults: Value = Value::Table(defaults.parse().unwrap());
    Keys::new(FIELDS, LAYER_FIELDS, methods, move |dotted| {
        dotted.split('.').try_fold(&defaults, |value, part| value.get(part)).cloned()
    })
});

/// The sample's keys.
pub fn keys() -> &'static Keys {
    &KEYS
}
