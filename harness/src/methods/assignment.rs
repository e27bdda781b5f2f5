//! Which method makes which layer of a network.

use std::collections::BTreeSet;
use std::sync::Arc;

use baselines::Vanilla;
use conv_core::{Checked, Method, Role, UnitSpec};

use super::{Compression, MethodInstance, all, label, resolve};
use crate::backbones::Assignment;
use crate::config::error::Complaint;
use crate::config::{LayerOverride, Replace, TrialConfig};

/// Who makes which layer of one trial's network.
#[derive(Debug)]
pub struct Methods {
    vanilla: Vanilla,
    method: MethodInstance,
    replace: Replace,
    /// Of the backbone, beside the method's own.
    width: f64,
    layers: Vec<(String, MethodInstance, String)>,
    compression: Option<Compression>,
}

impl Methods {
    /// The assignment of a trial: the first `[[layer]]` whose pattern matches, else the method where `backbone.replace`
    /// says so, else vanilla. Grouped convolutions stay what they are.
    ///
    /// # Errors
    /// Those of [`resolve`]; a method in `[[layer]]` that works on whole networks only; one that makes its units of trained ones in
    /// a network that is compressed in another way.
    pub fn new(config: &TrialConfig) -> anyhow::Result<Self> {
        let layer = |layer: &LayerOverride| {
            let method = resolve(&layer.method)?;
            if method.is_whole_network() {
                let what = format!("`{}` works on whole networks, not on single layers", layer.method.name);
                let accepted: Vec<&str> =
                    all().iter().filter(|info| info.makes_layers()).map(|info| info.name).collect();
                let found = format!("[[layer]] match = \"{}\"", layer.pattern);
                return Err(Complaint::new(what, found, accepted.join(", ")).into());
            }
            Ok((layer.pattern.clone(), method, label(&layer.method)))
        };
        let method = resolve(&config.method)?;
        let layers: Vec<_> = config.layers.iter().map(layer).collect::<anyhow::Result<_>>()?;
        let approximates = |method: &MethodInstance| method.conv.approximates().is_some();
        let approximated = layers.iter().find(|(_, method, _)| approximates(method));
        let compression = match (method.compression.clone(), approximated) {
            (Some(_), Some((pattern, _, label))) => {
                let name = &config.method.name;
                let what = format!("`{label}` and `{name}` each make another network of the trained one");
                let accepted =
                    format!("either of them in an experiment of its own; beside {name} its from = \"scratch\"");
                return Err(Complaint::new(what, format!("[[layer]] match = \"{pattern}\""), accepted).into());
            }
            (None, None) if !approximates(&method) => None,
            (None, _) => Some(Compression::APPROXIMATED),
            (compression, None) => compression,
        };
        Ok(Self {
            vanilla: Vanilla {},
            method,
            replace: config.backbone.replace.clone(),
            width: config.backbone.width.unwrap_or(1.0),
            layers,
            compression,
        })
    }

    /// Who makes the layers of the network that is trained first, where a method makes its units of trained vanilla ones.
    pub fn before(&self) -> Option<Self> {
        let begins = |method: &MethodInstance| {
            let approximates = method.conv.approximates().is_some();
            approximates.then(|| MethodInstance { conv: Arc::new(Vanilla {}), compression: None })
        };
        self.with(begins)
    }

    /// Who makes the layers of the network that infers, where that is another one than was trained: a method may fuse its
    /// units once nothing is trained any more.
    pub fn fused(&self) -> Option<Self> {
        self.with(|method| {
            let conv = method.conv.fused().map(|fused| Arc::from(fused.method));
            conv.map(|conv| MethodInstance { conv, compression: method.compression.clone() })
        })
    }

    /// With other methods in the place of those that have others; none if no method has.
    fn with(&self, other: impl Fn(&MethodInstance) -> Option<MethodInstance>) -> Option<Self> {
        let method = other(&self.method);
        let layers: Vec<_> = self.layers.iter().map(|(_, method, _)| other(method)).collect();
        let any = method.is_some() || layers.iter().any(Option::is_some);
        let layers = self.layers.iter().zip(layers).map(|((pattern, method, label), other)| {
            (pattern.clone(), other.unwrap_or_else(|| method.clone()), label.clone())
        });
        any.then(|| Self {
            vanilla: Vanilla {},
            method: method.unwrap_or_else(|| self.method.clone()),
            replace: self.replace.clone(),
            width: self.width,
            layers: layers.collect(),
            compression: self.compression.clone(),
        })
    }

    /// What is fused after training, in words; nothing where all layers infer as they were trained.
    pub fn fusions(&self) -> BTreeSet<&'static str> {
        let methods = std::iter::once(&self.method).chain(self.layers.iter().map(|(_, method, _)| method));
        methods.filter_map(|method| Some(method.conv.fused()?.what)).collect()
    }

    /// What makes another network of the trained one.
    pub fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Factor on the network's channel counts.
    pub fn width(&self) -> f64 {
        self.method.conv.width() * self.width
    }

    /// Which layers the method made, in words.
    pub fn replaced(&self) -> String {
        let Replace { stem, spatial, pointwise, shortcut, ref layers } = self.replace;
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
        if let Some(layers) = layers {
            words += &format!(", of these only {}", layers.join(", "));
        }
        if let Some(compression) = self.compression() {
            words = compression.words(&words);
        } else if self.method.conv.width() != 1.0 {
            words = "none replaced; every layer narrower".into();
        }
        if self.width != 1.0 {
            words += &format!("; the backbone's width times {}", self.width);
        }
        for (pattern, _, label) in &self.layers {
            words += &format!("; {pattern}: {label}");
        }
        words
    }
}

/// Who is responsible for a layer.
enum By<'m> {
    /// Nobody: it stays what it is.
    Nobody,
    /// A `[[layer]]`.
    Layer(&'m MethodInstance),
    /// The network's method.
    Method,
}

impl Methods {
    /// Whether the network's method, and no other, makes this convolution.
    pub fn replaces(&self, name: &str, spec: &UnitSpec) -> bool {
        spec.conv.groups == 1 && std::matches!(self.by(name, spec), By::Method)
    }

    /// Why a layer stays vanilla before its method is asked, if it does.
    pub fn passed_over(&self, name: &str, spec: &UnitSpec) -> Option<&'static str> {
        let asked = self.asked(name, spec);
        // One that narrows the network as a whole makes no layer otherwise.
        let is_left = spec.conv.groups > 1 && asked.name() != self.vanilla.name() && asked.width() == 1.0;
        is_left.then_some("stays vanilla: it is grouped already")
    }

    /// The method that is to make a layer, if it is no grouped one.
    fn asked(&self, name: &str, spec: &UnitSpec) -> &dyn Method {
        match self.by(name, spec) {
            By::Nobody => &self.vanilla,
            By::Layer(method) => &*method.conv,
            By::Method => &*self.method.conv,
        }
    }

    fn by(&self, name: &str, spec: &UnitSpec) -> By<'_> {
        if let Some((_, method, _)) = self.layers.iter().find(|(pattern, ..)| matches(pattern, name)) {
            return By::Layer(method);
        }
        let replaced = match spec.role {
            Role::Stem => self.replace.stem,
            Role::Spatial => self.replace.spatial,
            Role::Pointwise => self.replace.pointwise,
            Role::Shortcut => self.replace.shortcut,
        };
        let named = self.replace.layers.as_ref();
        let meant = named.is_none_or(|named| named.iter().any(|layers| names_layer(layers, name)));
        if replaced && meant { By::Method } else { By::Nobody }
    }
}

impl Assignment for Methods {
    fn method(&self, name: &str, spec: &UnitSpec) -> &dyn Method {
        if spec.conv.groups > 1 { &self.vanilla } else { self.asked(name, spec) }
    }
}

/// What `backbone.replace.layers` calls the second convolution of each block.
pub const SECOND_OF_EACH_BLOCK: &str = "second of each block";

/// Blocks of residual networks number their convolutions.
const SECOND: (&str, &str) = (SECOND_OF_EACH_BLOCK, "*.conv2");

/// Whether an entry of `backbone.replace.layers` means the layer of this name: its name or a pattern of it, the stage or block
/// that it is in, or [`SECOND`].
pub fn names_layer(layers: &str, name: &str) -> bool {
    let pattern = if layers == SECOND.0 { SECOND.1 } else { layers };
    pattern.split('|').any(|pattern| fits(pattern, name) || fits(&format!("{pattern}.*"), name))
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

    #[test]
    fn layers_are_named_by_name_stage_block_or_place() {
        for (layers, name, meant) in [
            ("layer1.0.conv1", "layer1.0.conv1", true),
            ("layer1", "layer1.0.conv1", true),
            ("layer1", "layer10.0.conv1", false),
            ("layer1.1", "layer1.1.conv2", true),
            ("layer1.1", "layer1.10.conv2", false),
            ("layer*.0", "layer2.0.conv2", true),
            ("second of each block", "layer3.8.conv2", true),
            ("second of each block", "layer3.8.conv1", false),
            ("second of each block", "conv1", false),
            ("layer1|layer2.0", "layer2.0.conv2", true),
            ("", "conv1", false),
        ] {
            assert_eq!(names_layer(layers, name), meant, "{layers} {name}");
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
}
