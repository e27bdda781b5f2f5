//! What a network starts from, where weights are given: which tensor of a file is which of the network's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use conv_core::ParamStore;

use super::given::{Given, GivenWeights};
use super::matching::Matching;
use crate::backbones::{self, Backbone, LayerKind};
use crate::config::{GivenClassifier, InitConfig, TrialConfig};
use crate::data;
use crate::methods::Methods;

/// Of lists of names so many are shown.
const SHOWN: usize = 6;

/// How names of classifiers begin, in this harness and elsewhere.
const CLASSIFIERS: [&str; 3] = ["fc.", "linear.", "classifier."];

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
    /// What else there is to say of it, in the middle of a sentence.
    remarks: Vec<String>,
}

/// A tensor of the network that the file does not give, and why.
struct Misfit<'n> {
    ours: &'n str,
    what: &'static str,
    /// For a list of such.
    text: String,
}

const MISSING: &str = "missing";
const MISSHAPEN: &str = "of another shape";
const UNREAD: &str = "of a type that is not read";

impl Start {
    /// What the file of `[init]` gives the network that a trial trains first.
    ///
    /// # Errors
    /// As of [`Start::read`].
    pub fn of_trial(config: &TrialConfig) -> Result<Self> {
        let methods = Methods::new(config)?;
        let backbone = backbones::by_name(&config.backbone, &data::geometry(&config.dataset)?, methods.width())?;
        let store = ParamStore::new(config.seed, &Device::Cpu);
        backbone.build(methods.before().as_ref().unwrap_or(&methods), store.builder())?;
        Self::read(&config.init, &*backbone, &store).context("init.file")
    }

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
        let wanted: Vec<(String, Vec<usize>)> =
            store.named().into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect();
        let names = Matching::of(file, &wanted, backbone);
        let heads = heads(backbone);
        let of_head = |ours: &str| heads.iter().any(|head| under(ours, head));
        let new_head = init.classifier == GivenClassifier::New;
        let mut start = Self {
            tensors: BTreeMap::new(),
            fresh: vec![],
            unused: vec![],
            converted: file.converted(),
            remarks: file.remarks().to_vec(),
        };
        if !names.prefix.is_empty() {
            start.remarks.push(format!("names without their `{}`", names.prefix));
        }
        let (mut used, mut misfits) = (BTreeSet::new(), vec![]);
        for (ours, shape) in &wanted {
            let theirs = names.theirs(ours);
            let found = file.get(&theirs);
            if found.is_some() {
                used.insert(theirs.clone());
            }
            if new_head && of_head(ours) {
                start.fresh.push(ours.clone());
                continue;
            }
            let (what, text) = match found {
                None => (MISSING, format!("`{theirs}`")),
                Some(given) => match (given.shape(), given.unread()) {
                    (Some(given), _) if given == shape => {
                        start.tensors.insert(ours.clone(), file.tensor(&theirs)?);
                        continue;
                    }
                    (Some(other), _) => (MISSHAPEN, format!("`{}` is {other:?}, expected {shape:?}", given.name)),
                    (None, kind) => (UNREAD, format!("`{}` is {}", given.name, kind.unwrap_or_default())),
                },
            };
            start.fresh.push(ours.clone());
            misfits.push(Misfit { ours, what, text });
        }
        start.fold_biases(file, &names, &wanted, &mut used)?;
        // Another classifier's layers need not have this one's names.
        let of_classifier = |name: &str| {
            let bare = name.strip_prefix(&names.prefix).unwrap_or(name);
            CLASSIFIERS.iter().any(|head| bare.starts_with(head))
        };
        // Types that are not read are counts and flags, or were wanted and told of above.
        let others = file.tensors().filter(|(name, given)| given.shape().is_some() && !used.contains(*name));
        let others: Vec<_> = others.filter(|(name, _)| !(new_head && of_classifier(name))).collect();
        start.unused = others.iter().map(|(_, given)| given.name.clone()).collect();
        ensure!(
            !start.tensors.is_empty() || misfits.iter().any(|misfit| misfit.what != MISSING),
            "none of its tensors is one of this network's\n  found: {}\n  accepted: {}",
            list(file.tensors().map(|(_, given)| format!("`{}`", given.name))),
            list(wanted.iter().map(|(ours, _)| format!("`{}`", names.theirs(ours))))
        );
        if start.tensors.is_empty() || !(init.partial || misfits.is_empty() && others.is_empty()) {
            let only_head =
                misfits.iter().all(|misfit| of_head(misfit.ours)) && others.iter().all(|(name, _)| of_classifier(name));
            let help = if only_head {
                "init.classifier = \"new\" makes the classifier anew"
            } else {
                "init.partial = true loads what fits and leaves the rest fresh"
            };
            bail!("does not fit the network{}\n  help: {help}", lines(&misfits, &start.unused));
        }
        let unread = misfits.iter().filter(|misfit| misfit.what == UNREAD).count();
        if unread > 0 {
            start.remarks.push(format!("{unread} of a type that is not read"));
        }
        start.check_finite(file, &names)?;
        Ok(start)
    }

    /// Takes the bias of a convolution that a batch norm follows off the norm's mean, as networks here have no such biases. The norm
    /// subtracts what is added before it, of a batch as of the running mean, so that nothing else changes.
    fn fold_biases(
        &mut self,
        file: &GivenWeights,
        names: &Matching,
        wanted: &[(String, Vec<usize>)],
        used: &mut BTreeSet<String>,
    ) -> Result<()> {
        let mut folded = 0;
        for (ours, shape) in wanted {
            let Some(layer) = ours.strip_suffix(".bn.running_mean") else { continue };
            let bias = format!("{layer}.bias");
            let theirs = names.theirs(&bias);
            let Some(mean) = self.tensors.get_mut(ours) else { continue };
            let has_bias = wanted.iter().any(|(name, _)| *name == bias);
            if has_bias || file.get(&theirs).and_then(Given::shape) != Some(shape) {
                continue;
            }
            *mean = mean.sub(&file.tensor(&theirs)?)?;
            used.insert(theirs);
            folded += 1;
        }
        if folded > 0 {
            self.remarks.push(format!("{folded} biases of convolutions taken off the means of the norms behind them"));
        }
        Ok(())
    }

    /// # Errors
    /// Values that are no numbers, or beyond those of f32: nothing could be made of such a network.
    fn check_finite(&self, file: &GivenWeights, names: &Matching) -> Result<()> {
        let mut broken = vec![];
        for (ours, tensor) in &self.tensors {
            if !tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite()) {
                let theirs = names.theirs(ours);
                broken.push(format!("`{}`", file.get(&theirs).map_or(&theirs, |given| &given.name)));
            }
        }
        ensure!(
            broken.is_empty(),
            "has values that are infinite or no numbers\n  found: in {}\n  accepted: finite values of f32",
            list(broken)
        );
        Ok(())
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
        let Self { tensors, fresh, unused, converted, remarks } = self;
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
        remarks.iter().fold(text, |text, remark| format!("{text}, {remark}"))
    }
}

/// The linear layer that makes the logits, and its norm.
fn heads(backbone: &dyn Backbone) -> Vec<String> {
    let linear = |layer: crate::backbones::Layer| matches!(layer.kind, LayerKind::Linear { .. }).then_some(layer.name);
    backbone.layers().into_iter().filter_map(linear).collect()
}

fn under(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
}

/// What does not fit, a line of each kind that there is.
fn lines(misfits: &[Misfit<'_>], unused: &[String]) -> String {
    let of_kind = |kind| misfits.iter().filter(move |misfit| misfit.what == kind).map(|misfit| misfit.text.clone());
    let kinds = [MISSING, MISSHAPEN, UNREAD].map(|kind| (kind, list(of_kind(kind))));
    let unused = ("not of this network", list(unused.iter().map(|name| format!("`{name}`"))));
    let there = kinds.into_iter().chain([unused]).filter(|(_, names)| !names.is_empty());
    there.map(|(what, names)| format!("\n  {what}: {names}")).collect()
}

/// The first few, and how many more there are.
fn list(all: impl IntoIterator<Item = String>) -> String {
    let all: Vec<String> = all.into_iter().collect();
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{shown} and {} more ({} in all)", all.len() - SHOWN, all.len()) } else { shown }
}
