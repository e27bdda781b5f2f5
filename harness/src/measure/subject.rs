//! Which networks are the same to whoever measures them.

use std::collections::BTreeMap;

use crate::config::{Precision, TrialConfig};
use crate::experiment::price::Price;

/// A network and what it is measured for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What tells it from others: 16 hex digits over all that shapes what is measured.
    pub signature: String,
    /// A trial's configuration that makes it; its seed and its way of training mean nothing here.
    pub config: TrialConfig,
    /// Images that it is given at a time.
    pub images: usize,
    /// Filters of its convolutions, where the configuration does not tell them.
    pub widths: BTreeMap<String, usize>,
}

impl Subject {
    /// The network of a trial that infers in the end; with these filters, where only training told them.
    pub fn inferring(config: &TrialConfig, price: &Price, images: usize, widths: &BTreeMap<String, usize>) -> Self {
        Self { widths: widths.clone(), ..Self::new(config, &price.inferring, images) }
    }

    /// The network of a trial that training begins with.
    pub fn trained(config: &TrialConfig, price: &Price, images: usize) -> Self {
        Self::new(config, &price.architecture, images)
    }

    fn new(config: &TrialConfig, architecture: &str, images: usize) -> Self {
        let (backbone, kernels) = (&config.backbone.name, config.recipe.kernels.name());
        // Without a word on f32, as before there was anything else.
        let precision = match config.recipe.precision() {
            Precision::F32 => "",
            Precision::Bf16 => " bf16",
        };
        let text = format!("{backbone} {kernels}{precision} {images}\n{architecture}");
        let signature = blake3::hash(text.as_bytes()).to_hex()[..16].to_owned();
        Self { signature, config: config.clone(), images, widths: BTreeMap::new() }
    }
}
