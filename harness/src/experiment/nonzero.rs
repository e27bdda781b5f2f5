//! What masks leave of a network: nothing less to compute, and fewer numbers that are not 0.

use baselines::masking::{Magnitude, Masks};
use conv_core::Cost;

use crate::backbones::{Backbone, LayerKind};
use crate::methods::Methods;

/// A convolution whose weights are ranked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedLayer {
    /// Its name.
    pub name: String,
    /// Values of its weight.
    weights: u64,
    /// Of its output: each weight is multiplied once for each of them.
    pixels: u64,
}

/// The convolutions of which weights become 0: those that the method replaces.
pub fn ranked(backbone: &dyn Backbone, methods: &Methods) -> Vec<RankedLayer> {
    let layers = backbone.layers().into_iter().filter_map(|layer| match layer.kind {
        LayerKind::Unit(spec) if methods.replaces(&layer.name, &spec) => Some(RankedLayer {
            name: layer.name,
            weights: spec.conv.weight_shape().iter().map(|&length| length as u64).product(),
            pixels: layer.output.0 as u64 * layer.output.1 as u64,
        }),
        _ => None,
    });
    layers.collect()
}

/// A network's numbers that are not masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonzero {
    /// Parameters.
    pub params: u64,
    /// Multiply-accumulates with them; none where only a training tells in which layers they are.
    pub macs: Option<u64>,
}

impl Nonzero {
    /// What is known before any training of a network of this cost.
    pub fn planned(cost: Cost, layers: &[RankedLayer], magnitude: &Magnitude) -> Self {
        let all: u64 = layers.iter().map(|layer| layer.weights).sum();
        let kept = magnitude.kept_of_all(layers.iter().map(|layer| layer.weights), magnitude.steps);
        let removed =
            |layer: &RankedLayer| (layer.weights - magnitude.kept(layer.weights, magnitude.steps)) * layer.pixels;
        let by_layer = !magnitude.is_global();
        Self {
            params: cost.params - (all - kept),
            macs: by_layer.then(|| cost.macs - layers.iter().map(removed).sum::<u64>()),
        }
    }

    /// What is left by these masks.
    pub fn of(cost: Cost, layers: &[RankedLayer], masks: &Masks) -> Self {
        let removed = |layer: &RankedLayer| masks.removed(&format!("{}.weight", layer.name));
        Self {
            params: cost.params - layers.iter().map(removed).sum::<u64>(),
            macs: Some(cost.macs - layers.iter().map(|layer| removed(layer) * layer.pixels).sum::<u64>()),
        }
    }
}
