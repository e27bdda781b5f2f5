//! What a network starts from, where weights are given: which tensor of a file is which of the network's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use conv_core::ParamStore;

use super::given::GivenWeights;
use super::names::TorchNames;
use crate::backbones::{Backbone, LayerKind};
use crate::config::{GivenClassifier, InitConfig};

/// Of lists of names so many are shown.
const SHOWN: usize = 6;

/// How implementations of the same networks differ from torchvision's names: the CIFAR ones call the classifier `linear`, and a
/// projection `shortcut`.
const ALIASES: [(&str, &str); 2] = [("fc.", "linear."), (".downsample.", ".shortcut.")];

/// What a file gives a network.
#[derive(Debug)]
pub struct Start {
    tensors: BTreeMap<String, Tensor>,
    /// Those of the network's that keep their fresh values.
    pub fresh: Vec<String>,
    /// Those of the file's that nothing reads.
    pub unused: Vec<String>,
    /// How the file writes numbers, where that is not f32.
    pub converted: Option<&'static str>,
}

impl Start {
    /// What the file of `[init]` gives the network `backbone`, whose parameters are the store's.
    ///
    /// # Errors
    /// A file that cannot be read, or is another than was planned with; tensors that are missing, left over or of another shape,
    /// all in one list, unless `init` allows for them.
    pub fn read(init: &InitConfig, backbone: &dyn Backbone, store: &ParamStore) -> Result<Self> {
        let path = init.file.as_deref().context("no file of weights is named")?;
        let file = GivenWeights::read(Path::new(path))?;
        let digest = file.digest();
        if let Some(planned) = init.digest.as_ref().filter(|planned| **planned != digest) {
            bail!(
                "{path}: has changed\n  found: BLAKE3 {digest}\n  accepted: {planned}, as when the trial was planned"
            );
        }
        Self::of(&file, init, backbone, store).with_context(|| path.to_owned())
    }

    /// The same of a file that was read.
    ///
    /// # Errors
    /// As of [`Start::read`].
    pub fn of(file: &GivenWeights, init: &InitConfig, backbone: &dyn Backbone, store: &ParamStore) -> Result<Self> {
        let shapes: BTreeMap<&str, &[usize]> = file.shapes().collect();
        let wanted: Vec<(String, Vec<usize>)> =
            store.named().into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect();
        let names = naming(&shapes, &wanted, backbone);
        let heads = heads(backbone);
        let is_head =
            |ours: &str| init.classifier == GivenClassifier::New && heads.iter().any(|head| under(ours, head));
        let mut start = Self { tensors: BTreeMap::new(), fresh: vec![], unused: vec![], converted: file.converted() };
        let (mut used, mut missing, mut misshapen) = (BTreeSet::new(), vec![], vec![]);
        let mut of_head = vec![];
        for (ours, shape) in &wanted {
            let theirs = names.get(ours).map(String::as_str).filter(|theirs| shapes.contains_key(theirs));
            used.extend(theirs);
            if is_head(ours) {
                start.fresh.push(ours.clone());
                continue;
            }
            match theirs.map(|theirs| (theirs, shapes[theirs])) {
                Some((theirs, given)) if given == shape => {
                    start.tensors.insert(ours.clone(), file.tensor(theirs)?);
                }
                Some((theirs, given)) => {
                    if heads.iter().any(|head| under(ours, head)) {
                        of_head.push(ours);
                    }
                    misshapen.push(format!("`{theirs}` is {given:?}, expected {shape:?}"));
                    start.fresh.push(ours.clone());
                }
                None => {
                    missing.push(format!("`{}`", names.get(ours).unwrap_or(ours)));
                    start.fresh.push(ours.clone());
                }
            }
        }
        let others = shapes.keys().filter(|theirs| !used.contains(*theirs));
        // Another classifier's layers need not have this one's names.
        let replaced = |theirs: &str| {
            init.classifier == GivenClassifier::New
                && ["fc.", "linear.", "classifier."].iter().any(|head| theirs.starts_with(head))
        };
        start.unused = others.filter(|theirs| !replaced(theirs)).map(|theirs| (*theirs).to_owned()).collect();
        ensure!(
            !start.tensors.is_empty(),
            "none of its tensors is one of this network's\n  found: {}\n  accepted: {}",
            list(&shapes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>()),
            list(&wanted.iter().map(|(ours, _)| format!("`{}`", names.get(ours).unwrap_or(ours))).collect::<Vec<_>>())
        );
        let left = |all: &[String]| list(&all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>());
        let whole = missing.is_empty() && misshapen.is_empty() && start.unused.is_empty();
        if !(init.partial || whole) {
            let lines = [
                ("missing", list(&missing)),
                ("of another shape", list(&misshapen)),
                ("not of this network", left(&start.unused)),
            ];
            let lines = lines.iter().filter(|(_, names)| !names.is_empty());
            let lines: String = lines.map(|(what, names)| format!("\n  {what}: {names}")).collect();
            let only_head = missing.is_empty() && start.unused.is_empty() && of_head.len() == misshapen.len();
            let help = if only_head {
                "init.classifier = \"new\" makes the classifier anew"
            } else {
                "init.partial = true loads what fits and leaves the rest fresh"
            };
            bail!("does not fit the network{lines}\n  help: {help}");
        }
        Ok(start)
    }

    /// Gives the network these weights.
    ///
    /// # Errors
    /// Another store than the one that was asked for.
    pub fn give(&self, store: &ParamStore) -> Result<()> {
        let mut weights = store.snapshot()?;
        weights.extend(self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
        Ok(store.assign(&weights)?)
    }

    /// What there is to say of it under a table.
    pub fn remark(&self, init: &InitConfig) -> String {
        let Self { tensors, fresh, unused, converted } = self;
        let mut text = format!("starts from given weights ({}", init.name());
        if let Some(kind) = converted {
            text += &format!(", converted from {kind}");
        }
        text += ")";
        if !fresh.is_empty() {
            text += &format!(", {} tensors of {} fresh", fresh.len(), fresh.len() + tensors.len());
        }
        if !unused.is_empty() {
            text += &format!(", {} of the file's not used", unused.len());
        }
        text
    }
}

/// The network's tensors as the file calls them: by this harness's names or by PyTorch's, whichever fit more of it. One scheme for
/// all: the second convolution of a VGG is `features.1` here, where PyTorch's first norm is.
fn naming(
    shapes: &BTreeMap<&str, &[usize]>,
    wanted: &[(String, Vec<usize>)],
    backbone: &dyn Backbone,
) -> BTreeMap<String, String> {
    let own: BTreeMap<String, String> = wanted.iter().map(|(ours, _)| (ours.clone(), ours.clone())).collect();
    let Some(torch) = TorchNames::of(backbone) else { return own };
    let theirs = |ours: &str| {
        let torch = torch.theirs(ours)?;
        let alias = ALIASES.iter().fold(torch.clone(), |name, (usual, other)| {
            if name.starts_with(usual) || usual.starts_with('.') { name.replacen(usual, other, 1) } else { name }
        });
        Some(if shapes.contains_key(torch.as_str()) || !shapes.contains_key(alias.as_str()) { torch } else { alias })
    };
    let torch = wanted.iter().map(|(ours, _)| (ours.clone(), theirs(ours).unwrap_or_else(|| ours.clone()))).collect();
    let fitting = |names: &BTreeMap<String, String>| {
        let fits = |(ours, shape): &&(String, Vec<usize>)| {
            names.get(ours).and_then(|theirs| shapes.get(theirs.as_str())).is_some_and(|given| given == shape)
        };
        wanted.iter().filter(fits).count()
    };
    if fitting(&torch) >= fitting(&own) { torch } else { own }
}

/// The linear layer that makes the logits, and its norm.
fn heads(backbone: &dyn Backbone) -> Vec<String> {
    let linear = |layer: crate::backbones::Layer| matches!(layer.kind, LayerKind::Linear { .. }).then_some(layer.name);
    backbone.layers().into_iter().filter_map(linear).collect()
}

fn under(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
}

/// The first few, and how many more there are.
fn list(all: &[String]) -> String {
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{shown} and {} more ({} in all)", all.len() - SHOWN, all.len()) } else { shown }
}
