//! Which method makes which layer of a network.

use std::sync::Arc;

use baselines::Vanilla;
use baselines::pruning::Pruned;
use conv_core::{Method, Role, UnitSpec};

use super::{MethodInfo, MethodInstance, all, label, resolve};
use crate::backbones::Assignment;
use crate::config::error::Complaint;
use crate::config::{LayerOverride, Replace, TrialConfig};

/// Who makes which layer of one trial's network.
#[derive(Debug)]
pub struct Methods {
    vanilla: Vanilla,
    method: MethodInstance,
    replace: Replace,
    layers: Vec<(String, MethodInstance, String)>,
}

impl Methods {
    /// The assignment of a trial: the first `[[layer]]` whose pattern matches, else the method where `backbone.replace`
    /// says so, else vanilla. Grouped convolutions stay what they are.
    ///
    /// # Errors
    /// Those of [`resolve`]; a method in `[[layer]]` that works on whole networks only.
    pub fn new(config: &TrialConfig) -> anyhow::Result<Self> {
        let layer = |layer: &LayerOverride| {
            let method = resolve(&layer.method)?;
            if method.is_whole_network() {
                let what = format!("`{}` works on whole networks, not on single layers", layer.method.name);
                let single =
                    |info: &&MethodInfo| (info.make)((info.defaults)()).is_ok_and(|made| !made.is_whole_network());
                let accepted: Vec<&str> = all().iter().filter(single).map(|info| info.name).collect();
                let found = format!("[[layer]] match = \"{}\"", layer.pattern);
                return Err(Complaint::new(what, found, accepted.join(", ")).into());
            }
            Ok((layer.pattern.clone(), method, label(&layer.method)))
        };
        Ok(Self {
            vanilla: Vanilla {},
            method: resolve(&config.method)?,
            replace: config.backbone.replace.clone(),
            layers: config.layers.iter().map(layer).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Who makes the layers of the network that infers, where that is another one than was trained: a method may fuse its
    /// units once nothing is trained any more.
    pub fn fused(&self) -> Option<Self> {
        let of = |method: &MethodInstance| {
            let conv = method.conv.fused().map(|fused| Arc::from(fused.method));
            conv.map(|conv| MethodInstance { conv, pruning: method.pruning.clone() })
        };
        let layers = self.layers.iter().map(|(pattern, method, label)| {
            (pattern.clone(), of(method).unwrap_or_else(|| method.clone()), label.clone())
        });
        let any = |method: &MethodInstance| method.conv.fused().is_some();
        (any(&self.method) || self.layers.iter().any(|(_, method, _)| any(method))).then(|| Self {
            vanilla: Vanilla {},
            method: of(&self.method).unwrap_or_else(|| self.method.clone()),
            replace: self.replace.clone(),
            layers: layers.collect(),
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
    fn method(&self, name: &str, spec: &UnitSpec) -> &dyn Method {
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
        let named = self.replace.layers.as_ref();
        let meant = named.is_none_or(|named| named.iter().any(|layers| names_layer(layers, name)));
        if replaced && meant { &*self.method.conv } else { &self.vanilla }
    }
}

/// Blocks of residual networks number their convolutions.
const SECOND: (&str, &str) = ("second of each block", "*.conv2");

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
