//! The registry: methods by name, and which of them makes which layer.
//!
//! To add a method: one entry in [`METHODS`], with its options as [`Field`]s.

use std::sync::Arc;

use baselines::pruning::Pruned;
use baselines::{Depthwise, Ghost, Thin, Vanilla};
use compconv::{CompConv, CompConvOptions};
use conv_core::{ConvMethod, Role, UnitSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::backbones::Assignment;
use crate::config::error::Complaint;
use crate::config::field::{FACTOR, Field, Kind, SHARE, at_least};
use crate::config::{MethodConfig, Replace, TrialConfig};

/// A method with its options settled.
#[derive(Clone, Debug)]
pub struct Method {
    /// What makes the convolutions.
    pub conv: Arc<dyn ConvMethod>,
    /// What is cut out of the trained network, for methods that prune.
    pub pruning: Option<Pruned>,
}

/// What there is to know of a method before its options are settled.
pub struct MethodInfo {
    /// As experiments call it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Its options.
    pub options: &'static [Field],
    /// The options' defaults; an option that has none is absent.
    pub defaults: fn() -> Table,
    make: fn(Table) -> anyhow::Result<Method>,
}

/// Every method.
pub static METHODS: &[MethodInfo] = &[
    MethodInfo {
        name: "vanilla",
        summary: "dense convolutions: what everything is compared with",
        options: &[],
        defaults: defaults::<Vanilla>,
        make: |options| conv::<Vanilla>(options, |_| Ok(())),
    },
    MethodInfo {
        name: "thin",
        summary: "dense convolutions in a network of reduced width: the control",
        options: &[option("width", FACTOR, "factor on every channel count of the network")],
        defaults: defaults::<Thin>,
        make: |options| conv(options, Thin::validate),
    },
    MethodInfo {
        name: "depthwise",
        summary: "depthwise separable: k x k per channel, then 1 x 1 (MobileNet)",
        options: &[],
        defaults: defaults::<Depthwise>,
        make: |options| conv(options, Depthwise::validate),
    },
    MethodInfo {
        name: "ghost",
        summary: "Ghost module: some channels computed, the others cheaply derived from them (GhostNet)",
        options: &[
            option("ratio", at_least(2), "output channels per computed channel"),
            option("cheap_kernel", Kind::Odd, "side of the depthwise kernel that derives the others"),
        ],
        defaults: defaults::<Ghost>,
        make: |options| conv(options, Ghost::validate),
    },
    MethodInfo {
        name: "pruned",
        summary: "trained dense, then filters really removed and the rest fine-tuned (Li et al.)",
        options: &[
            option("criterion", Kind::Choice(|| vec!["l1"]), "what ranks the filters: L1 norm"),
            option("ratio", Kind::OneOrList(&SHARE), "share of each layer's filters to remove; a list: one per stage"),
            option("skip", Kind::List(&at_least(1)), "layers that keep all filters, numbered from stem = 1"),
            option("only", Kind::List(&at_least(1)), "if not empty: the only layers that lose filters"),
        ],
        defaults: defaults::<Pruned>,
        make: |options| {
            let pruned: Pruned = options.try_into()?;
            pruned.validate()?;
            Ok(Method { conv: Arc::new(Vanilla {}), pruning: Some(pruned) })
        },
    },
    MethodInfo {
        name: "compconv",
        summary: "CompConv: recursive divide and conquer over channels, input channels handed on",
        options: &[
            option(
                "depth",
                Kind::Integer(0, compconv::MAX_DEPTH as i64),
                "fixed depth; beside c0: cap of the adaptive rule",
            ),
            option(
                "c0",
                at_least(1),
                "C_0 of the adaptive rule (cap 3): larger, lighter compression; without depth: 128",
            ),
            option("shuffle", at_least(1), "groups of the channel shuffle; 1: off"),
            option("tail", Kind::Choice(|| vec!["depthwise", "full", "pointwise"]), "how A_0 is derived from B_0"),
            option("tail_kernel", Kind::Odd, "kernel of the tail; default: the layer's own"),
            option("downsample", Kind::Choice(|| vec!["average", "slice"]), "how identity channels pass a stride"),
            option("inner_norm", Kind::Choice(|| vec!["none", "bn", "bn_relu"]), "what follows each inner convolution"),
            option("identity", Kind::Flag, "hand input channels on; false: derive them by depthwise convolutions"),
            option("integration", Kind::Flag, "every intermediate result is output; false: the last level only"),
        ],
        defaults: defaults::<CompConvOptions>,
        make: |options| {
            let method = CompConv::new(options.try_into()?)?;
            Ok(Method { conv: Arc::new(method), pruning: None })
        },
    },
];

const fn option(key: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { key, kind, meaning }
}

fn conv<M>(options: Table, validate: fn(&M) -> candle_core::Result<()>) -> anyhow::Result<Method>
where
    M: ConvMethod + DeserializeOwned + 'static,
{
    let method: M = options.try_into()?;
    validate(&method)?;
    Ok(Method { conv: Arc::new(method), pruning: None })
}

fn defaults<M: Default + Serialize>() -> Table {
    Table::try_from(M::default()).unwrap_or_default()
}

/// Every method, in the order of the registry.
pub fn all() -> &'static [MethodInfo] {
    METHODS
}

/// Every method's name.
pub fn names() -> Vec<&'static str> {
    METHODS.iter().map(|method| method.name).collect()
}

/// The method of this name.
pub fn find(name: &str) -> Option<&'static MethodInfo> {
    METHODS.iter().find(|method| method.name == name)
}

/// The option that all of these methods have; its field is the first one's.
///
/// # Errors
/// An unknown method; a method without that option, with the options it has.
pub fn option_of(methods: &[&str], option: &str) -> Result<&'static Field, Complaint> {
    let mut found = None;
    for name in methods {
        let Some(method) = find(name) else { return Err(Complaint::unknown("method", name, &names())) };
        let Some(field) = method.options.iter().find(|field| field.key == option) else {
            let options: Vec<&str> = method.options.iter().map(|field| field.key).collect();
            let complaint = Complaint::unknown(&format!("option of {name}"), option, &options);
            let elsewhere = methods.len() > 1 && methods.iter().any(|other| option_of(&[other], option).is_ok());
            return Err(match complaint.help {
                None if elsewhere => complaint.help("give methods with other options a [[grid]] block of their own"),
                _ => complaint,
            });
        };
        found = found.or(Some(field));
    }
    found.ok_or_else(|| Complaint::unknown("method", "", &names()))
}

/// The methods that have the option of a dotted key, if it is one.
pub fn names_with(key: &str) -> Vec<&'static str> {
    let option = key.strip_prefix("method.").unwrap_or_default();
    METHODS
        .iter()
        .filter(|method| method.options.iter().any(|field| field.key == option))
        .map(|info| info.name)
        .collect()
}

/// Settles a method's options.
///
/// # Errors
/// An unknown name or option (with the nearest that exists), a wrong type, a value out of range (with the range).
pub fn resolve(config: &MethodConfig) -> anyhow::Result<Method> {
    let Some(info) = find(&config.name) else {
        return Err(Complaint::unknown("method", &config.name, &names()).into());
    };
    for (key, value) in &config.options {
        option_of(&[info.name], key)?.check(&format!("method.{key}"), value)?;
    }
    (info.make)(config.options.clone())
}

/// A method and what was set of its options, e.g. `compconv depth=2`.
pub fn label(config: &MethodConfig) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string().replace(' ', ""),
    };
    let options = config.options.iter().map(|(key, value)| format!(" {key}={}", shown(value)));
    options.fold(config.name.clone(), |label, option| label + &option)
}

/// Who makes which layer of one trial's network.
#[derive(Debug)]
pub struct Methods {
    vanilla: Vanilla,
    method: Method,
    replace: Replace,
    layers: Vec<(String, Method, String)>,
}

impl Methods {
    /// The assignment of a trial: the first `[[layer]]` whose pattern matches, else the method where `backbone.replace`
    /// says so, else vanilla. Grouped convolutions stay what they are.
    ///
    /// # Errors
    /// Those of [`resolve`]; a method in `[[layer]]` that works on whole networks only.
    pub fn new(config: &TrialConfig) -> anyhow::Result<Self> {
        let layer = |layer: &crate::config::LayerOverride| {
            let method = resolve(&layer.method)?;
            if method.pruning.is_some() || method.conv.width() != 1.0 {
                let what = format!("`{}` works on whole networks, not on single layers", layer.method.name);
                let accepted = METHODS.iter().map(|info| info.name).filter(|name| !["thin", "pruned"].contains(name));
                let accepted = accepted.collect::<Vec<_>>().join(", ");
                return Err(Complaint::new(what, format!("[[layer]] match = \"{}\"", layer.pattern), accepted).into());
            }
            Ok((layer.pattern.clone(), method, label(&layer.method)))
        };
        Ok(Self {
            vanilla: Vanilla {},
            method: resolve(&config.method)?,
            replace: config.backbone.replace,
            layers: config.layers.iter().map(layer).collect::<anyhow::Result<_>>()?,
        })
    }

    /// What is cut after training.
    pub fn pruning(&self) -> Option<&Pruned> {
        self.method.pruning.as_ref()
    }

    /// Factor on the network's channel counts.
    pub fn width(&self) -> f64 {
        self.method.conv.width()
    }

    /// Which layers the method made, in words.
    pub fn replaced(&self) -> String {
        let Replace { stem, spatial, pointwise, shortcut } = self.replace;
        let mut words = match (stem, spatial, pointwise, shortcut) {
            (true, true, true, true) => "every convolution".to_string(),
            (false, true, true, true) => "every convolution but the stem".to_string(),
            (false, false, false, false) => "no convolution".to_string(),
            _ => {
                let roles = [(stem, "stem"), (spatial, "spatial"), (pointwise, "pointwise"), (shortcut, "shortcut")];
                let roles: Vec<&str> = roles.iter().filter(|(on, _)| *on).map(|(_, role)| *role).collect();
                format!("{} convolutions only", roles.join(" and "))
            }
        };
        if self.pruning().is_some() {
            words = "none replaced; filters removed after training".into();
        } else if self.width() != 1.0 {
            words = "none replaced; every layer narrower".into();
        }
        for (pattern, _, label) in &self.layers {
            words += &format!("; {pattern}: {label}");
        }
        words
    }
}

impl Assignment for Methods {
    fn method(&self, name: &str, spec: &UnitSpec) -> &dyn ConvMethod {
        if spec.conv.groups > 1 {
            return &self.vanilla;
        }
        if let Some((_, method, _)) = self.layers.iter().find(|(pattern, ..)| matches(pattern, name)) {
            return &*method.conv;
        }
        let replaced = match spec.role {
            Role::Stem => self.replace.stem,
            Role::Spatial => self.replace.spatial,
            Role::Pointwise => self.replace.pointwise,
            Role::Shortcut => self.replace.shortcut,
        };
        if replaced { &*self.method.conv } else { &self.vanilla }
    }
}

/// Whether a layer's name fits a pattern; `*` stands for any run of characters, `|` between patterns for either.
pub fn matches(pattern: &str, name: &str) -> bool {
    pattern.split('|').any(|pattern| fits(pattern, name))
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, options: &str) -> MethodConfig {
        MethodConfig { name: name.into(), options: toml::from_str(options).unwrap() }
    }

    #[test]
    fn the_listed_options_are_those_that_exist() {
        for method in METHODS {
            let defaults = (method.defaults)();
            for (key, value) in &defaults {
                let field = option_of(&[method.name], key).unwrap_or_else(|e| panic!("{}: {e}", method.name));
                assert!(field.kind.accepts(value), "{}.{key} accepts its default {value}", method.name);
            }
            (method.make)(defaults).unwrap();
            for field in method.options {
                let mut options = Table::new();
                options.insert(field.key.into(), sample(&field.kind));
                (method.make)(options).unwrap_or_else(|e| panic!("{}.{}: {e}", method.name, field.key));
            }
            assert!(resolve(&config(method.name, "no_such_option = 1")).is_err(), "{}", method.name);
        }
    }

    fn sample(kind: &Kind) -> Value {
        match kind {
            Kind::Flag => Value::Boolean(true),
            Kind::Integer(low, _) => Value::Integer(*low),
            Kind::Odd => Value::Integer(3),
            Kind::Number(_) => Value::Float(0.5),
            Kind::Text | Kind::Form(..) => Value::String("x".into()),
            Kind::Choice(names) => Value::String(names()[0].into()),
            Kind::List(inner) | Kind::Filled(inner) | Kind::OneOrList(inner) => Value::Array(vec![sample(inner)]),
        }
    }

    #[test]
    fn every_method_keeps_the_promises_of_one() {
        for method in METHODS {
            let made = (method.make)((method.defaults)()).unwrap();
            // Pruning cuts networks and leaves their units vanilla.
            if made.pruning.is_none() {
                baselines::conformance::check(&*made.conv).unwrap_or_else(|e| panic!("{}: {e}", method.name));
            }
        }
    }

    #[test]
    fn every_choice_exists() {
        for method in METHODS {
            for field in method.options {
                if let Kind::Choice(names) = field.kind {
                    for name in names() {
                        let options = Table::from_iter([(field.key.to_string(), Value::String(name.into()))]);
                        (method.make)(options).unwrap_or_else(|e| panic!("{}.{}: {e}", method.name, field.key));
                    }
                }
            }
        }
    }

    #[test]
    fn slips_are_explained() {
        for (name, options, part) in [
            ("gohst", "", "did you mean `ghost`?"),
            ("compconv", "dept = 1", "did you mean `depth`?"),
            ("compconv", "depth = 7", "from 0 to 6"),
            ("compconv", "tail_kernel = 3\ntail = 'pointwise'", "pointwise"),
            ("ghost", "ratio = 1", "at least 2"),
            ("thin", "width = 0.0", "(0, 1]"),
            ("pruned", "ratio = [0.5, 1.0]", "[0, 1)"),
        ] {
            let error = resolve(&config(name, options)).unwrap_err().to_string();
            assert!(error.contains(part), "{name} {options}: {error}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("layer3.*", "layer3.0.conv1", true),
            ("layer3.*", "layer30", false),
            ("*.conv1", "layer3.0.conv1", true),
            ("layer*.0.*", "layer2.0.conv2", true),
            ("layer*.0.*", "layer2.1.conv2", false),
            ("conv1", "conv1", true),
            ("conv", "conv1", false),
            ("*", "", true),
            ("features.2|features.3", "features.3", true),
            ("features.2|features.3", "features.23", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn labels_show_what_was_set() {
        assert_eq!(label(&config("compconv", "depth = 2\ntail = 'full'")), "compconv depth=2 tail=full");
        assert_eq!(label(&config("pruned", "ratio = [0.6, 0.3]")), "pruned ratio=[0.6,0.3]");
        assert_eq!(label(&config("vanilla", "")), "vanilla");
    }
}
