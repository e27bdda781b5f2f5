//! How PyTorch's common implementations call the tensors of vanilla networks.
//!
//! Here a batch norm stands under its convolution (`layer1.0.conv1.bn.weight`); PyTorch's modules keep it beside
//! (`layer1.0.bn1.weight`). Everything else of a name follows from where the modules of a family keep their layers:
//!
//! | backbone | names of |
//! | --- | --- |
//! | `resnet18`, `resnet34`, `resnet50`, `mobilenet_v2`, `mobilenet_v2_cifar` | torchvision |
//! | `resnet20`, `resnet32`, ... (CIFAR) | torchvision's scheme for ResNets, as CIFAR's implementations have it too |
//! | `vgg16`, linear head | torchvision's `vgg16_bn` for `features`, one `classifier`, as pytorch-cifar has it |
//! | `vgg16`, mlp head | the same, with `classifier.0` (linear), `.1` (batch norm) and `.3` (linear) |
//!
//! MobileNetV1 and airbench94 have no implementation that others follow, and so keep the names of this harness.

use crate::backbones::{Backbone, Layer, LayerKind};

/// Where PyTorch keeps a layer: the prefixes of its tensors' names, without the dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorchLayer {
    /// The layer as this harness calls it, e.g. `layer1.0.conv1`.
    pub layer: String,
    /// Its convolution or linear map in PyTorch, e.g. `layer1.0.conv1`.
    pub weights: String,
    /// The batch norm behind it in PyTorch, e.g. `layer1.0.bn1`; of no use for a layer that has none.
    pub norm: String,
}

/// The names of a vanilla network, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorchNames(Vec<TorchLayer>);

impl TorchNames {
    /// Those of a backbone; none for one that PyTorch's implementations do not agree on.
    pub fn of(backbone: &dyn Backbone) -> Option<Self> {
        let layers = backbone.layers();
        let name = backbone.name();
        if name.starts_with("resnet") {
            Some(Self(layers.iter().map(resnet).collect()))
        } else if name.starts_with("vgg") {
            Some(Self(vgg(&layers)))
        } else if name.starts_with("mobilenet_v2") {
            Some(Self(mobilenet_v2(&layers)))
        } else {
            None
        }
    }

    /// Every layer, in execution order.
    pub fn layers(&self) -> &[TorchLayer] {
        &self.0
    }

    /// PyTorch's name of a tensor that this harness calls `ours`; none where no vanilla layer has one of that name.
    pub fn theirs(&self, ours: &str) -> Option<String> {
        self.0.iter().find_map(|TorchLayer { layer, weights, norm }| {
            let own = ours.strip_prefix(layer)?.strip_prefix('.')?;
            match own.strip_prefix("bn.") {
                Some(own) if is_of_norm(own) => Some(format!("{norm}.{own}")),
                None if is_of_weights(own) => Some(format!("{weights}.{own}")),
                _ => None,
            }
        })
    }

    /// This harness's name of a tensor that PyTorch calls `theirs`; none where no layer has one of that name.
    pub fn ours(&self, theirs: &str) -> Option<String> {
        let own = |prefix: &str| theirs.strip_prefix(prefix)?.strip_prefix('.');
        self.0.iter().find_map(|TorchLayer { layer, weights, norm }| {
            let of_weights = || own(weights).filter(|own| is_of_weights(own)).map(|own| format!("{layer}.{own}"));
            let of_norm = || own(norm).filter(|own| is_of_norm(own)).map(|own| format!("{layer}.bn.{own}"));
            of_weights().or_else(of_norm)
        })
    }
}

fn is_of_weights(own: &str) -> bool {
    ["weight", "bias"].contains(&own)
}

fn is_of_norm(own: &str) -> bool {
    ["weight", "bias", "running_mean", "running_var"].contains(&own)
}

/// `conv1` with `bn1` beside it; a projection is a sequence of both.
fn resnet(layer: &Layer) -> TorchLayer {
    let name = layer.name.clone();
    let (weights, norm) = match name.rsplit_once("conv") {
        _ if name.ends_with("downsample") => (format!("{name}.0"), format!("{name}.1")),
        Some((block, number)) => (name.clone(), format!("{block}bn{number}")),
        None => (name.clone(), format!("{name}.bn")),
    };
    TorchLayer { layer: name, weights, norm }
}

/// One sequence of convolutions, norms, ReLUs and poolings, all of which count.
fn vgg(layers: &[Layer]) -> Vec<TorchLayer> {
    let mut next = 0;
    let mut mlp = false;
    let named = layers.iter().enumerate().map(|(index, layer)| {
        let (weights, norm) = match layer.kind {
            LayerKind::Unit(_) => {
                let at = next;
                let pooled = layers.get(index + 1).is_some_and(|following| following.input != layer.output);
                next += 3 + usize::from(pooled);
                (format!("features.{at}"), format!("features.{}", at + 1))
            }
            LayerKind::Linear { norm: true, .. } => {
                mlp = true;
                ("classifier.0".to_owned(), "classifier.1".to_owned())
            }
            LayerKind::Linear { .. } if mlp => ("classifier.3".to_owned(), "classifier.4".to_owned()),
            LayerKind::Linear { .. } => ("classifier".to_owned(), "classifier.bn".to_owned()),
        };
        TorchLayer { layer: layer.name.clone(), weights, norm }
    });
    named.collect()
}

/// One sequence of blocks; in a block its convolutions in a row, each with norm and activation in a sequence of its own but for
/// the last, which has its norm behind it.
fn mobilenet_v2(layers: &[Layer]) -> Vec<TorchLayer> {
    let (mut block, mut place) = (0, 0);
    let named = layers.iter().map(|layer| {
        let name = layer.name.clone();
        let (weights, norm) = match name.rsplit_once('.') {
            Some((_, convolution)) => {
                let at = format!("features.{}.conv.{place}", block + 1);
                place += 1;
                if convolution == "project" {
                    let behind = format!("features.{}.conv.{place}", block + 1);
                    (block, place) = (block + 1, 0);
                    (at, behind)
                } else {
                    (format!("{at}.0"), format!("{at}.1"))
                }
            }
            None if name == "fc" => ("classifier.1".to_owned(), "classifier.2".to_owned()),
            None if name == "last" => (format!("features.{}.0", block + 1), format!("features.{}.1", block + 1)),
            None => ("features.0.0".to_owned(), "features.0.1".to_owned()),
        };
        TorchLayer { layer: name, weights, norm }
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use conv_core::ParamStore;

    use super::*;
    use crate::backbones;
    use crate::config::{BackboneConfig, Head};
    use crate::data::Geometry;

    fn backbone(name: &str, head: Head) -> Box<dyn Backbone> {
        let geometry = Geometry { shape: (3, 32, 32), classes: 10 };
        let config = BackboneConfig { name: name.to_owned(), head, ..BackboneConfig::default() };
        backbones::by_name(&config, &geometry, 1.0).unwrap()
    }

    fn theirs(name: &str, head: Head, ours: &str) -> Option<String> {
        TorchNames::of(&*backbone(name, head)).and_then(|names| names.theirs(ours))
    }

    /// Names as they stand in the published files.
    #[test]
    fn layers_are_where_torchvision_keeps_them() {
        for (name, ours, expected) in [
            ("resnet18", "conv1.bn.running_var", "bn1.running_var"),
            ("resnet18", "layer2.0.downsample.weight", "layer2.0.downsample.0.weight"),
            ("resnet18", "layer2.0.downsample.bn.bias", "layer2.0.downsample.1.bias"),
            ("resnet50", "layer1.2.conv3.bn.weight", "layer1.2.bn3.weight"),
            ("resnet20", "fc.bias", "fc.bias"),
            ("vgg16", "features.0.weight", "features.0.weight"),
            ("vgg16", "features.2.weight", "features.7.weight"),
            ("vgg16", "features.12.bn.running_mean", "features.41.running_mean"),
            ("vgg16", "classifier.weight", "classifier.weight"),
            ("mobilenet_v2", "conv1.weight", "features.0.0.weight"),
            ("mobilenet_v2", "layer1.0.depthwise.bn.bias", "features.1.conv.0.1.bias"),
            ("mobilenet_v2", "layer1.0.project.weight", "features.1.conv.1.weight"),
            ("mobilenet_v2", "layer2.0.project.bn.weight", "features.2.conv.3.weight"),
            ("mobilenet_v2", "layer7.0.depthwise.weight", "features.17.conv.1.0.weight"),
            ("mobilenet_v2", "last.bn.weight", "features.18.1.weight"),
            ("mobilenet_v2", "fc.weight", "classifier.1.weight"),
        ] {
            assert_eq!(theirs(name, Head::Linear, ours).as_deref(), Some(expected), "{name}");
        }
        let hidden = theirs("vgg16", Head::Mlp, "hidden.bn.weight");
        let classifier = theirs("vgg16", Head::Mlp, "classifier.bias");
        assert_eq!(
            (hidden.as_deref(), classifier.as_deref()),
            (Some("classifier.1.weight"), Some("classifier.3.bias"))
        );
    }

    #[test]
    fn every_tensor_of_a_vanilla_network_has_one_name_that_leads_back() {
        for info in backbones::all() {
            for &head in info.heads {
                let backbone = backbone(info.name, head);
                let Some(names) = TorchNames::of(&*backbone) else {
                    assert!(["mobilenet_v1", "airbench"].iter().any(|own| info.name.starts_with(own)), "{}", info.name);
                    continue;
                };
                let store = ParamStore::new(0, &Device::Cpu);
                backbone.build(&baselines::Vanilla {}, store.builder()).unwrap();
                let mut seen = std::collections::BTreeSet::new();
                for (ours, _) in store.named() {
                    let theirs = names.theirs(&ours).unwrap_or_else(|| panic!("{}: {ours}", info.name));
                    assert_eq!(names.ours(&theirs), Some(ours));
                    assert!(seen.insert(theirs));
                }
            }
        }
    }

    #[test]
    fn what_no_vanilla_layer_has_is_nobodys() {
        let names = TorchNames::of(&*backbone("resnet20", Head::Linear)).unwrap();
        for ours in ["layer1.0.conv1.primary.weight", "layer1.0.conv1.bn.momentum", "layer1.0.conv12.weight", "fc"] {
            assert_eq!(names.theirs(ours), None, "{ours}");
        }
        for theirs in ["bn1.num_batches_tracked", "linear.weight", "layer9.0.conv1.weight"] {
            assert_eq!(names.ours(theirs), None, "{theirs}");
        }
    }
}
