//! What a trial's network costs, layer by layer, in closed form: nothing is built or loaded.

use std::collections::BTreeMap;

use baselines::pruning::{Coupling, Pruned};
use conv_core::{ConvMethod, Cost, Depth};

use super::TrialConfig;
use super::error::explain;
use super::schema::DatasetConfig;
use crate::backbones::{self, Backbone, Layer, LayerKind, layer_cost};
use crate::data::{self, Geometry};
use crate::methods::Methods;

/// One layer of the network as trained and, for pruning, cut.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPrice {
    /// Its name.
    pub name: String,
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
    /// Which layers the method made, in words.
    pub replaced: String,
    /// What is trained, one line a layer: equal architectures, equal networks. For pruning, the network before the cut.
    pub architecture: String,
}

impl Price {
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
        by_text.iter().map(|(text, layers)| format!("{}: {text}", layers.join(", "))).collect()
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

/// Size and classes of a data set. `imagenet` is known by its size only, for costs.
///
/// # Errors
/// Those of [`data::geometry`].
pub fn geometry(config: &DatasetConfig) -> anyhow::Result<Geometry> {
    match config.name.as_str() {
        "imagenet" => Ok(Geometry { shape: (3, 224, 224), classes: 1000 }),
        _ => data::geometry(config),
    }
}

/// The price of a trial.
///
/// # Errors
/// Data whose size cannot be told, a backbone that cannot take it, a method that cannot serve the backbone.
pub fn price(config: &TrialConfig) -> Result<Price, Unpriceable> {
    let blame = |key: &'static str| move |error: anyhow::Error| Unpriceable { key, why: explain(&error) };
    let method_error = |error: candle_core::Error| blame("method.name")(error.into());
    let geometry = geometry(&config.dataset).map_err(blame("dataset.name"))?;
    let methods = Methods::new(config).map_err(blame("method.name"))?;
    let nominal = backbones::by_name(&config.backbone, &geometry, 1.0).map_err(blame("backbone.name"))?;
    let mut backbone =
        backbones::by_name(&config.backbone, &geometry, methods.width()).map_err(blame("backbone.name"))?;
    let trained = backbone.layers();
    let architecture =
        trained.iter().map(|layer| line(layer, &methods)).collect::<Result<_, _>>().map_err(method_error)?;
    if let Some(pruned) = methods.pruning() {
        let couplings = backbone.prunable();
        pruned.check(&couplings).map_err(method_error)?;
        if let Some(name) = foreign(&trained, &couplings, &methods).map_err(method_error)? {
            let why = format!(
                "pruned cuts vanilla convolutions, and [[layer]] gives `{name}` to another method; \
                 put pruned into an experiment of its own, or leave that layer out of [[layer]]"
            );
            return Err(Unpriceable { key: "method.name", why });
        }
        backbone = cut(&*backbone, pruned).map_err(method_error)?;
    }
    let vanilla = |layer: &Layer| match &layer.kind {
        LayerKind::Unit(spec) => baselines::Vanilla {}.cost(spec, layer.output),
        LayerKind::Linear { .. } => layer_cost(layer, &methods),
    };
    let (layers, nominal) = (backbone.layers(), nominal.layers());
    let layers = layers
        .iter()
        .zip(&nominal)
        .map(|(layer, nominal)| {
            let layout = match &layer.kind {
                LayerKind::Unit(spec) => Some(backbones::Assignment::method(&methods, &layer.name, spec).layout(spec)?),
                LayerKind::Linear { .. } => None,
            };
            let (depth, remarks) = layout.map_or((None, vec![]), |layout| (layout.depth, layout.remarks));
            let cost = layer_cost(layer, &methods)?;
            Ok(LayerPrice { name: layer.name.clone(), cost, vanilla: vanilla(nominal)?, depth, remarks })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(method_error)?;
    Ok(Price {
        total: layers.iter().map(|layer| layer.cost).sum(),
        vanilla: layers.iter().map(|layer| layer.vanilla).sum(),
        replaced: methods.replaced(),
        layers,
        architecture,
    })
}

/// The smaller network that pruning leaves of this one. Which filters go is decided by trained weights; how many is not.
///
/// # Errors
/// Those of [`Backbone::with_widths`].
pub fn cut(backbone: &dyn Backbone, pruned: &Pruned) -> candle_core::Result<Box<dyn Backbone>> {
    let filters: BTreeMap<String, usize> = backbone
        .layers()
        .into_iter()
        .filter_map(|layer| match layer.kind {
            LayerKind::Unit(spec) => Some((layer.name, spec.conv.out_channels)),
            LayerKind::Linear { .. } => None,
        })
        .collect();
    backbone.with_widths(&pruned.widths(&backbone.prunable(), &filters))
}

/// The first layer that is to lose filters or inputs, and is no vanilla convolution.
fn foreign(layers: &[Layer], couplings: &[Coupling], methods: &Methods) -> candle_core::Result<Option<String>> {
    let vanilla = baselines::Vanilla {};
    for layer in layers {
        let cut = |coupling: &Coupling| coupling.producer == layer.name || coupling.consumers.contains(&layer.name);
        let LayerKind::Unit(spec) = &layer.kind else { continue };
        let method = backbones::Assignment::method(methods, &layer.name, spec);
        if couplings.iter().any(cut) && method.layout(spec)?.signature != vanilla.layout(spec)?.signature {
            return Ok(Some(layer.name.clone()));
        }
    }
    Ok(None)
}

/// A layer's line of [`Price::architecture`].
fn line(layer: &Layer, methods: &Methods) -> candle_core::Result<String> {
    let (height, width) = layer.output;
    let what = match &layer.kind {
        LayerKind::Unit(spec) => {
            let method = backbones::Assignment::method(methods, &layer.name, spec);
            let vanilla = baselines::Vanilla {};
            let signature = method.layout(spec)?.signature;
            // A layer that a method leaves dense is the same layer whichever method that was.
            let dense = signature == vanilla.layout(spec)?.signature;
            let version = if dense { vanilla.version() } else { method.version() };
            format!("v{version} {signature}")
        }
        LayerKind::Linear { inputs, outputs, norm } => format!("linear {inputs}->{outputs} norm={norm}"),
    };
    Ok(format!("{} {height}x{width} {what}\n", layer.name))
}
