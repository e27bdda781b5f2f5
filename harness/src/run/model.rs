//! A network with its architecture and parameters, and the ways to make another one of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use baselines::masking::{Magnitude, Masks};
use baselines::pruning::{Evidence, Importance, Pruned, widths_of};
use candle_core::{DType, Device, Tensor, Var};
use conv_core::{Cost, Network, ParamStore, meter};

use crate::backbones::{self, Backbone, network_cost};
use crate::config::Recipe;
use crate::data::Batch;
use crate::experiment::nonzero::ranked;
use crate::methods::{Compression, Methods};

/// Batches of training images whose gradients rank filters: as often as the authors of Taylor-FO-BN cut, at least by default.
pub(super) const GRADIENTS: usize = 30;

/// A network with its architecture and parameters.
pub(super) struct Model {
    pub backbone: Box<dyn Backbone>,
    pub store: ParamStore,
    pub network: Network,
}

impl Model {
    pub fn new(backbone: Box<dyn Backbone>, methods: &Methods, seed: u64) -> Result<Self> {
        let store = ParamStore::new(seed, &Device::Cpu);
        let network = backbone.build(methods, store.builder())?;
        Ok(Self { backbone, store, network })
    }

    /// The smaller network that a cut of this one leaves, with the weights that are kept: cut number `step` of the uncut network
    /// `whole`.
    pub fn cut(
        &self,
        whole: &dyn Backbone,
        (pruned, step): (&Pruned, usize),
        importance: &Importance,
        (methods, seed): (&Methods, u64),
    ) -> Result<Self> {
        let [whole, now] = [whole, &*self.backbone].map(|network| network.prunable(pruned.residual()));
        let weights = self.store.snapshot()?;
        let selection = pruned.select(&whole, &now, step, &Evidence { weights: &weights, importance, seed })?;
        let smaller = Self::new(self.backbone.with_widths(&selection.widths())?, methods, seed)?;
        smaller.store.assign(&Pruned::narrow(&now, &selection, &weights)?)?;
        Ok(smaller)
    }

    /// What `batches` of training images say of the filters: gradients in training mode, as the network is. Its running
    /// statistics move with it.
    pub fn importance(&self, recipe: &Recipe, batches: impl Iterator<Item = Result<Batch>>) -> Result<Importance> {
        let (mut importance, mut training) = (Importance::default(), recipe.training(&self.network)?);
        let scale = |(name, scale): (String, Var)| Some((name.strip_suffix(".bn.weight")?.to_owned(), scale));
        let scales: Vec<(String, Var)> = self.store.trainable().into_iter().filter_map(scale).collect();
        for batch in batches {
            let batch = batch?;
            let step = training.step(&batch.images, &batch.labels, recipe.label_smoothing)?;
            for (layer, scale) in &scales {
                if let Some(gradient) = step.gradients.get(scale) {
                    importance.add(layer, scale, gradient)?;
                }
            }
        }
        Ok(importance)
    }

    /// The same architecture made by other methods, with this one's weights fused for it.
    pub fn fuse(&self, trained: &Methods, methods: &Methods, seed: u64) -> Result<Self> {
        let weights = backbones::fuse(&*self.backbone, trained, self.store.snapshot()?)?;
        self.with(methods, &weights, seed)
    }

    /// The same architecture made by methods that make their units of this one's.
    pub fn approximate(&self, methods: &Methods, seed: u64) -> Result<Self> {
        let weights = backbones::approximate(&*self.backbone, methods, self.store.snapshot()?)?;
        self.with(methods, &weights, seed)
    }

    fn with(&self, methods: &Methods, weights: &BTreeMap<String, Tensor>, seed: u64) -> Result<Self> {
        let other = Self::new(self.backbone.with_widths(&BTreeMap::new())?, methods, seed)?;
        other.store.assign(weights)?;
        Ok(other)
    }

    /// The same network with the weights that are left by step number `step` of setting them to 0, and which these are.
    pub fn mask(
        &self,
        (magnitude, step): (&Magnitude, usize),
        before: Option<&Masks>,
        (methods, seed): (&Methods, u64),
    ) -> Result<(Self, Masks)> {
        let names: Vec<String> = ranked(&*self.backbone, methods).into_iter().map(|layer| layer.name).collect();
        let mut weights = self.store.snapshot()?;
        let masks = magnitude.masks(&names, &weights, before, step)?;
        masks.apply(&mut weights)?;
        Ok((self.with(methods, &weights, seed)?, masks))
    }

    /// Multiply-accumulates of the operations that are run for one image of this shape.
    pub fn executed(&self, recipe: &Recipe, (c, h, w): (usize, usize, usize)) -> Result<u64> {
        let image = Tensor::zeros((1, c, h, w), DType::F32, &Device::Cpu)?;
        let (logits, executed) = meter::measure(|| recipe.inference(&self.network)?.forward(&image));
        logits.context("counting what an image takes")?;
        Ok(executed.macs)
    }

    /// The cost as priced, if the parameters that are really there agree with it: otherwise the tables would lie.
    pub fn checked_cost(&self, methods: &Methods) -> Result<Cost> {
        let cost = network_cost(&*self.backbone, methods)?;
        let counted = self.store.params();
        ensure!(
            counted == cost.params,
            "the network has {counted} parameters and its price says {}: a defect of the method or backbone",
            cost.params
        );
        Ok(cost)
    }
}

/// The architecture that a compression has made of the `whole` network, as far as these weights tell.
///
/// # Errors
/// Weights of another network.
pub(super) fn compressed_as(
    whole: &dyn Backbone,
    compression: &Compression,
    weights: &BTreeMap<String, Tensor>,
) -> Result<Box<dyn Backbone>> {
    match compression {
        Compression::Pruned(pruned) => {
            let couplings = whole.prunable(pruned.residual());
            let width = |layer: &str| weights.get(&format!("{layer}.weight"))?.dims().first().copied();
            Ok(whole.with_widths(&widths_of(&couplings, width)?)?)
        }
        Compression::Magnitude { .. } | Compression::Approximated { .. } => Ok(whole.with_widths(&BTreeMap::new())?),
    }
}

#[cfg(test)]
mod tests {
    use conv_core::{Backend, normal_stream};

    use super::*;
    use crate::config::TrialConfig;
    use crate::data::Geometry;
    use crate::experiment::Experiment;
    use crate::experiment::keys::keys;
    use crate::experiment::nonzero::Nonzero;
    use crate::experiment::price;
    use crate::experiment::sweep::document::Document;

    const GEOMETRY: Geometry = Geometry { shape: (3, 32, 32), classes: 10 };

    fn config(rest: &str) -> TrialConfig {
        let file = format!("name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\n{rest}");
        let document = Document::parse(keys(), "x.toml", &file).unwrap();
        Experiment::from_document(&document).unwrap().trials.remove(0).config
    }

    /// With norms and statistics that training might have left.
    fn trained(config: &TrialConfig, methods: &Methods) -> Model {
        let model = Model::new(backbones::by_name(&config.backbone, &GEOMETRY, 1.0).unwrap(), methods, 1).unwrap();
        let mut weights = model.store.snapshot().unwrap();
        for (name, tensor) in &mut weights {
            if conv_core::is_running_statistic(name) || name.contains("bn.") {
                let noise = normal_stream(5, name, tensor.elem_count());
                let values = noise.into_iter().map(|value| (1.0 + 0.2 * value.clamp(-2.0, 2.0)) as f32).collect();
                *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
            }
        }
        model.store.assign(&weights).unwrap();
        model
    }

    fn assert_equal_logits(before: &Model, after: &Model) {
        let images = Tensor::randn(0f32, 1.0, (9, 3, 32, 32), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        let logits = |model: &Model| -> Vec<f32> {
            let mut inference = model.network.inference(Backend::Engine { winograd: true });
            inference.forward(&images).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (before, after) = (logits(before), logits(after));
        let largest = before.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
        for (before, after) in before.iter().zip(&after) {
            assert!((before - after).abs() <= 1e-4 * largest, "{before} {after} of {largest}");
        }
    }

    /// Every unit of the network, those that stay vanilla among them.
    #[test]
    fn a_fused_network_computes_what_the_trained_one_does() {
        let config = config(
            "name = 'resnet20'\n[method]\nname = 'repvgg'\n[[layer]]\nmatch = 'layer2.*'\nmethod.name = 'ghost'\n",
        );
        let methods = Methods::new(&config).unwrap();
        let fused = methods.fused().unwrap();
        let model = trained(&config, &methods);
        let smaller = model.fuse(&methods, &fused, 1).unwrap();
        assert_eq!(smaller.checked_cost(&fused).unwrap(), price::price(&config).unwrap().total);
        assert!(smaller.store.params() < model.store.params());
        assert_equal_logits(&model, &smaller);
    }

    /// At full rank nothing is lost: strides, projections, a stem of 7 x 7 and padded shortcuts among it. What `[[layer]]` gives to
    /// others keeps its weights.
    #[test]
    fn an_approximation_at_full_rank_computes_what_the_trained_network_does() {
        for form in ["tucker2", "svd"] {
            for (backbone, others) in [
                ("name = 'resnet20'\nreplace.stem = true", ["*.1.conv1", "layer1.0.conv1"]),
                (
                    "name = 'resnet18'\nreplace.stem = true\nreplace.layers = ['conv1', 'layer2.0', 'layer1.0.conv2']",
                    ["*.1.conv1", "layer1.0.conv1"],
                ),
                ("name = 'vgg16'\nreplace.layers = ['features.1', 'features.2']", ["features.5", "features.2"]),
            ] {
                let [ghost, vanilla] = others;
                let config = config(&format!(
                    "{backbone}\n[method]\nname = 'lowrank'\nfrom = 'trained'\nform = '{form}'\nratio = 1.0\n[[layer]]\n\
                     match = '{ghost}'\nmethod.name = 'ghost'\n[[layer]]\nmatch = '{vanilla}'\nmethod.name = 'vanilla'\n"
                ));
                let methods = Methods::new(&config).unwrap();
                let before = methods.before().unwrap();
                let model = trained(&config, &before);
                let made = model.approximate(&methods, 2).unwrap();
                assert_eq!(made.checked_cost(&methods).unwrap(), price::price(&config).unwrap().total, "{backbone}");
                assert_equal_logits(&model, &made);
            }
        }
    }

    #[test]
    fn masks_leave_what_was_planned_in_the_layers_that_are_replaced() {
        for (ranking, known) in [("global", false), ("layer", true)] {
            let config = config(&format!(
                "name = 'resnet20'\n[method]\nname = 'magnitude'\nratio = 0.9\nranking = '{ranking}'\n[[layer]]\n\
                 match = 'layer1.*'\nmethod.name = 'vanilla'\n"
            ));
            let methods = Methods::new(&config).unwrap();
            let Some(Compression::Magnitude { magnitude }) = methods.compression() else { panic!("{methods:?}") };
            let model = trained(&config, &methods);
            let (masked, masks) = model.mask((magnitude, 1), None, (&methods, 1)).unwrap();
            let (before, after) = (model.store.snapshot().unwrap(), masked.store.snapshot().unwrap());
            let zeros = |tensor: &Tensor| {
                let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values.iter().filter(|&&value| value == 0.0).count() as u64
            };
            let (mut all, mut gone) = (0, 0);
            for (name, tensor) in &after {
                let ranked = name.starts_with("layer") && !name.starts_with("layer1") && tensor.rank() == 4;
                if ranked {
                    all += tensor.elem_count() as u64;
                    gone += zeros(tensor);
                }
                assert_eq!(zeros(tensor) > zeros(&before[name]), ranked, "{name}");
            }
            let price = price::price(&config).unwrap();
            let planned = price.nonzero.unwrap();
            let nonzero = Nonzero::of(price.total, &ranked(&*masked.backbone, &methods), &masks);
            assert_eq!((price.total, price.total.params), (price.vanilla, planned.params + gone), "{ranking}");
            assert_eq!((nonzero.params, planned.macs.is_some()), (planned.params, known));
            assert!(planned.macs.is_none_or(|macs| Some(macs) == nonzero.macs));
            assert!(gone.abs_diff(all * 9 / 10) < 20, "{gone} of {all}");
        }
    }
}
