//! What a trial's network costs, layer by layer, counted from what is written down: nothing is built or loaded.

use std::collections::BTreeMap;
use std::fmt;

use baselines::Vanilla;
use baselines::pruning::{Coupling, Place, widths_of};
use conv_core::{Cost, Depth, Description, Method, describe};

use super::nonzero::{Nonzero, ranked};
use crate::backbones::{self, Assignment, Backbone, Layer, LayerKind, layer_cost, network_cost, vanilla_cost};
use crate::config::error::explain;
use crate::config::{Replace, TrialConfig};
use crate::data;
use crate::methods::{Compression, Methods, names_layer};

/// Remarked where widths are known only after training.
pub const OPEN: &str =
    "global ranking, so that widths are known after training; a plan prices a cut of every layer by the same share";

/// What the remark on a network says that was fused after its training.
pub const FUSED: &str = "fused after the last epoch";

/// One layer of the network as trained and, for pruning, cut.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPrice {
    /// Its name.
    pub name: String,
    /// Whether it is a convolution, which methods make.
    pub is_convolution: bool,
    /// What it costs.
    pub cost: Cost,
    /// What the same layer of the vanilla network costs.
    pub vanilla: Cost,
    /// For methods that recurse.
    pub depth: Option<Depth>,
    /// What the method has to say about it.
    pub remarks: Vec<String>,
}

/// A whole network's price, and what identifies it.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// In execution order.
    pub layers: Vec<LayerPrice>,
    /// Sum over the layers.
    pub total: Cost,
    /// The vanilla network's.
    pub vanilla: Cost,
    /// Of the network as it is trained, before it is cut or fused.
    pub trained: Cost,
    /// MACs after each compression of the trained network; the last are the final network's.
    pub compressed: Vec<u64>,
    /// Whether widths are known only after training. Until then the price is that of a cut of every layer by the same share.
    pub open: bool,
    /// Whether it is fused once it is trained.
    pub fused: bool,
    /// Which layers the method made, in words.
    pub replaced: String,
    /// What is trained, one line a layer: equal architectures, equal networks. For a compression, the network before it.
    pub architecture: String,
    /// What a compression makes of it, in lines, where that does not follow from its options.
    pub outcome: String,
    /// What masks leave, where there will be any.
    pub nonzero: Option<Nonzero>,
    /// The same of what infers in the end, once it is cut or fused.
    pub inferring: String,
}

impl Price {
    /// The architecture and all that becomes of it: what identifies the network.
    pub fn identity(&self) -> String {
        format!("{}{}", self.architecture, self.outcome)
    }

    /// Deepest effective recursion of any layer.
    pub fn depth(&self) -> Option<usize> {
        self.layers.iter().filter_map(|layer| layer.depth.map(|depth| depth.effective)).max()
    }

    /// One line a layer and a last one named total: `layer,params,macs,activations,depth_requested,depth`.
    pub fn csv(&self) -> String {
        let row = |name: &str, cost: &Cost, depth: Option<Depth>| {
            let Cost { params, macs, activations } = cost;
            let (requested, effective) =
                depth.map_or_else(Default::default, |d| (d.requested.to_string(), d.effective.to_string()));
            format!("{name},{params},{macs},{activations},{requested},{effective}\n")
        };
        let layers = self.layers.iter().map(|layer| row(&layer.name, &layer.cost, layer.depth));
        let head = "layer,params,macs,activations,depth_requested,depth\n".to_owned();
        head + &layers.collect::<String>() + &row("total", &self.total, None)
    }

    /// Remarks with the names of the layers they are about, equal ones together.
    pub fn remarks(&self) -> Vec<String> {
        let mut by_text: Vec<(&str, Vec<&str>)> = Vec::new();
        for (layer, text) in self.layers.iter().flat_map(|layer| layer.remarks.iter().map(move |text| (layer, text))) {
            match by_text.iter_mut().find(|(known, _)| known == text) {
                Some((_, layers)) => layers.push(&layer.name),
                None => by_text.push((text, vec![&layer.name])),
            }
        }
        let mut remarks: Vec<String> =
            by_text.iter().map(|(text, layers)| format!("{}: {text}", layers.join(", "))).collect();
        if self.open {
            remarks.push(OPEN.to_owned());
        }
        if self.fused {
            let Cost { params, macs, .. } = self.trained;
            remarks.push(format!(
                "trains with {params} parameters and {macs} MACs; {FUSED} into what is priced and tested"
            ));
        }
        remarks
    }
}

/// A configuration that no network can be made of, and the key to blame.
#[derive(Debug)]
pub struct Unpriceable {
    /// Dotted key.
    pub key: &'static str,
    /// Why.
    pub why: String,
}

impl fmt::Display for Unpriceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for Unpriceable {}

/// The price of a trial.
///
/// # Errors
/// Data whose size cannot be told, a backbone that cannot take it, a method that cannot serve the backbone.
pub fn price(config: &TrialConfig) -> Result<Price, Unpriceable> {
    let blame = |key: &'static str| move |error: anyhow::Error| Unpriceable { key, why: explain(&error) };
    let method_error = |error: candle_core::Error| blame("method.name")(error.into());
    let images = if config.dataset.sources.is_empty() { "dataset.name" } else { "dataset.sources" };
    let geometry = data::geometry(&config.dataset).map_err(blame(images))?;
    let methods = Methods::new(config).map_err(blame("method.name"))?;
    let nominal = backbones::by_name(&config.backbone, &geometry, 1.0).map_err(blame("backbone.name"))?;
    let mut backbone =
        backbones::by_name(&config.backbone, &geometry, methods.width()).map_err(blame("backbone.name"))?;
    let trained = backbone.layers();
    check_names(&config.backbone.replace, &trained)?;
    let before = methods.before();
    let mut descriptions = LayerDescriptions { methods: before.as_ref().unwrap_or(&methods), list: vec![] };
    let (architecture, whole) = descriptions.architecture(&trained).map_err(method_error)?;
    let (mut outcome, mut nonzero) = (String::new(), None);
    let mut compressed_macs = Vec::new();
    if let Some(compression) = methods.compression() {
        match compression {
            Compression::Pruned(pruned) => {
                let couplings = backbone.prunable(pruned.residual());
                if couplings.is_empty() {
                    let why = format!(
                        "no filters of {} can be removed: a depthwise convolution reads them, and would lose its own with \
                         them\n  accepted: a network without such convolutions, as the VGGs and ResNets are",
                        config.backbone.name
                    );
                    return Err(Unpriceable { key: "method.name", why });
                }
                pruned.check(&couplings).map_err(method_error)?;
                if let Some(name) = foreign(&trained, &couplings, &mut descriptions).map_err(method_error)? {
                    let why = format!(
                        "{by} cuts vanilla convolutions, and [[layer]] gives `{name}` to another method; \
                         put {by} into an experiment of its own, or leave that layer out of [[layer]]",
                        by = config.method.name
                    );
                    return Err(Unpriceable { key: "method.name", why });
                }
            }
            Compression::Magnitude { magnitude } => {
                let layers = ranked(&*backbone, &methods);
                if layers.is_empty() {
                    let why = "no convolution is replaced, so that no weights could be set to 0".to_owned();
                    return Err(Unpriceable { key: "method.name", why });
                }
                outcome = layers.iter().map(|layer| format!("masked {}\n", layer.name)).collect();
                nonzero = Some(Nonzero::planned(whole, &layers, magnitude));
            }
            Compression::Approximated { .. } => {
                let mut descriptions = LayerDescriptions { methods: &methods, list: vec![] };
                (outcome, _) = descriptions.architecture(&trained).map_err(method_error)?;
            }
        }
        let mut smaller = None;
        for step in 1..=compression.steps() {
            let network = compressed(&*backbone, compression, step).map_err(method_error)?;
            compressed_macs.push(network_cost(&*network, &methods).map_err(method_error)?.macs);
            smaller = Some(network);
        }
        backbone = smaller.unwrap_or(backbone);
    }
    let fused = methods.fused();
    if before.is_some() || fused.is_some() {
        descriptions = LayerDescriptions { methods: fused.as_ref().unwrap_or(&methods), list: vec![] };
    }
    let layers = descriptions.prices(&*backbone, &*nominal).map_err(method_error)?;
    let (inferring, _) = descriptions.architecture(&backbone.layers()).map_err(method_error)?;
    let total = layers.iter().map(|layer| layer.cost).sum();
    Ok(Price {
        compressed: compressed_macs,
        open: methods.compression().is_some_and(Compression::is_open),
        total,
        vanilla: layers.iter().map(|layer| layer.vanilla).sum(),
        trained: whole,
        // Where every layer stays vanilla there is nothing to fuse.
        fused: fused.is_some() && whole != total,
        replaced: methods.replaced(),
        layers,
        architecture,
        outcome,
        nonzero,
        inferring,
    })
}

impl Price {
    /// The price of the network that came of the training, where it is not the planned one: [`Price::open`].
    ///
    /// # Errors
    /// As of [`price`].
    pub fn of_outcome(&self, config: &TrialConfig, outcome: &dyn Backbone) -> anyhow::Result<Self> {
        let methods = Methods::new(config)?;
        let nominal = backbones::by_name(&config.backbone, &data::geometry(&config.dataset)?, 1.0)?;
        let mut descriptions = LayerDescriptions { methods: &methods, list: vec![] };
        let layers = descriptions.prices(outcome, &*nominal)?;
        let (inferring, _) = descriptions.architecture(&outcome.layers())?;
        let total = layers.iter().map(|layer| layer.cost).sum();
        Ok(Self { layers, total, inferring, ..self.clone() })
    }
}

/// The network that came of a training which alone told its widths, by the filters of its convolutions.
///
/// # Errors
/// A configuration that no network can be made of; filters of another network.
pub fn outcome(config: &TrialConfig, filters: &BTreeMap<String, usize>) -> anyhow::Result<Box<dyn Backbone>> {
    let methods = Methods::new(config)?;
    let whole = backbones::by_name(&config.backbone, &data::geometry(&config.dataset)?, methods.width())?;
    let Some(Compression::Pruned(pruned)) = methods.compression() else { return Ok(whole) };
    let widths = widths_of(&whole.prunable(pruned.residual()), |layer| filters.get(layer).copied())?;
    Ok(whole.with_widths(&widths)?)
}

/// A name that no layer has would leave a network vanilla that its table calls replaced.
fn check_names(replace: &Replace, layers: &[Layer]) -> Result<(), Unpriceable> {
    let convs = layers.iter().filter(|layer| matches!(layer.kind, LayerKind::Unit(_)));
    let convs: Vec<&str> = convs.map(|layer| &*layer.name).collect();
    match replace.layers.iter().flatten().find(|named| !convs.iter().any(|name| names_layer(named, name))) {
        None => Ok(()),
        Some(named) => {
            let [first, last] = [convs.first(), convs.last()].map(|name| name.copied().unwrap_or_default());
            let why = format!(
                "no layer is called `{named}`\n  accepted: layer names ({first} to {last}), patterns of them (*.conv2), stages or \
                 blocks of them (layer3, layer3.0), and `second of each block` where blocks have a second"
            );
            Err(Unpriceable { key: "backbone.replace.layers", why })
        }
    }
}

/// The smaller network that compression number `step`, counted from 1, leaves of this one.
///
/// # Errors
/// Those of [`Backbone::with_widths`].
pub fn compressed(
    backbone: &dyn Backbone,
    compression: &Compression,
    step: usize,
) -> candle_core::Result<Box<dyn Backbone>> {
    match compression {
        // Which filters go is decided by trained weights; how many is not.
        Compression::Pruned(pruned) => {
            backbone.with_widths(&pruned.widths(&backbone.prunable(pruned.residual()), step))
        }
        Compression::Magnitude { .. } | Compression::Approximated { .. } => backbone.with_widths(&BTreeMap::new()),
    }
}

/// The first layer that is to lose filters or inputs, and is no vanilla convolution.
fn foreign(
    layers: &[Layer],
    couplings: &[Coupling],
    descriptions: &mut LayerDescriptions<'_>,
) -> candle_core::Result<Option<String>> {
    for layer in layers {
        let at = |places: &[Place]| places.iter().any(|place| place.layer == layer.name);
        let cut = |coupling: &Coupling| at(&coupling.producers) || at(&coupling.consumers);
        let unit = matches!(layer.kind, LayerKind::Unit(_));
        if unit && couplings.iter().any(cut) && !descriptions.of(layer)?.vanilla {
            return Ok(Some(layer.name.clone()));
        }
    }
    Ok(None)
}

/// What a method makes of a layer, whatever its name.
#[derive(Clone)]
struct LayerDescription {
    cost: Cost,
    depth: Option<Depth>,
    remarks: Vec<String>,
    /// Whether it is what vanilla would make.
    vanilla: bool,
    /// The layer's line of [`Price::architecture`], without its name.
    line: String,
}

/// Descriptions of layers, each made once: networks repeat few kinds of layers many times.
struct LayerDescriptions<'m> {
    methods: &'m Methods,
    list: Vec<(LayerKind, (usize, usize), *const (), LayerDescription)>,
}

impl LayerDescriptions<'_> {
    /// One line for each of the layers, and what they cost together.
    fn architecture(&mut self, layers: &[Layer]) -> candle_core::Result<(String, Cost)> {
        let (mut lines, mut whole) = (String::new(), Cost::default());
        for layer in layers {
            let made = self.of(layer)?;
            whole += made.cost;
            lines += &format!("{} {}\n", layer.name, made.line);
        }
        Ok((lines, whole))
    }

    /// What the layers of a network cost, beside those of the `nominal` one, which has as many.
    fn prices(&mut self, network: &dyn Backbone, nominal: &dyn Backbone) -> candle_core::Result<Vec<LayerPrice>> {
        let price = |(layer, nominal): (Layer, &Layer)| {
            let LayerDescription { cost, depth, mut remarks, .. } = self.of(&layer)?.clone();
            if let LayerKind::Unit(spec) = &layer.kind {
                remarks.extend(self.methods.passed_over(&layer.name, spec).map(String::from));
            }
            let is_convolution = matches!(layer.kind, LayerKind::Unit(_));
            Ok(LayerPrice { name: layer.name, is_convolution, cost, vanilla: vanilla_cost(nominal)?, depth, remarks })
        };
        network.layers().into_iter().zip(&nominal.layers()).map(price).collect()
    }

    fn of(&mut self, layer: &Layer) -> candle_core::Result<&LayerDescription> {
        let method = match &layer.kind {
            LayerKind::Unit(spec) => std::ptr::from_ref(self.methods.method(&layer.name, spec)).cast(),
            LayerKind::Linear { .. } => std::ptr::null(),
        };
        let same = |(kind, input, by, _): &(LayerKind, (usize, usize), *const (), LayerDescription)| {
            *kind == layer.kind && *input == layer.input && std::ptr::eq(*by, method)
        };
        let index = match self.list.iter().position(same) {
            Some(index) => index,
            None => {
                let made = self.describe(layer)?;
                self.list.push((layer.kind.clone(), layer.input, method, made));
                self.list.len() - 1
            }
        };
        Ok(&self.list[index].3)
    }

    fn describe(&self, layer: &Layer) -> candle_core::Result<LayerDescription> {
        let (height, width) = layer.output;
        match &layer.kind {
            LayerKind::Unit(spec) => {
                let method = self.methods.method(&layer.name, spec);
                let described = describe(method, spec, layer.input);
                let Description { cost, signature, vanilla, depth, remarks } =
                    described.map_err(|error| candle_core::Error::Msg(format!("layer `{}`: {error}", layer.name)))?;
                // A layer that a method leaves vanilla is the same layer whichever method that was.
                let version = if vanilla { Vanilla {}.version() } else { method.version() };
                Ok(LayerDescription {
                    cost,
                    depth,
                    remarks,
                    vanilla,
                    line: format!("{height}x{width} v{version} {signature}"),
                })
            }
            LayerKind::Linear { inputs, outputs, norm } => {
                let line = format!("{height}x{width} linear {inputs}->{outputs} norm={norm}");
                Ok(LayerDescription {
                    cost: layer_cost(layer, self.methods)?,
                    depth: None,
                    remarks: vec![],
                    vanilla: true,
                    line,
                })
            }
        }
    }
}
