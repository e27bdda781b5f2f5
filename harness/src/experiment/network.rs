//! The networks of a sweep: settings that differ in the recipe alone share one, made and priced once.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use blake3::Hasher;
use conv_core::Cost;
use toml::Value;

use super::given::Inits;
use super::nonzero::Nonzero;
use super::phases::Phases;
use super::resolve::{Parts, is_part, parts};
use super::sweep::Document;
use super::sweep::document::{Entry, find};
use super::{identity, images, price};
use crate::config::error::{At, Complaint, explain};
use crate::config::{InitConfig, LayerOverride, Recipe, TrialConfig};
use crate::methods::{self, Compression, Methods};

/// At most this many networks are remembered: beyond that, memory counts for more than time.
const MOST_REMEMBERED: usize = 1 << 17;

/// A network on its data, before anyone trained it.
#[derive(Debug)]
pub struct Network {
    /// What it is made of, and on what data.
    pub parts: Parts,
    /// The method and what was set of its options.
    pub label: String,
    /// What makes another network of the trained one.
    pub compression: Option<Compression>,
    /// Price of the final network, counted from what is written down.
    pub cost: Cost,
    /// What masks leave of it, where there will be any.
    pub nonzero: Option<Nonzero>,
    /// Price of the same backbone, vanilla.
    pub vanilla: Cost,
    /// Price of what is trained, before it is cut or fused.
    pub trained: Cost,
    /// MACs after each compression of the trained network.
    pub compressed: Box<[u64]>,
    /// Deepest effective recursion of any layer.
    pub depth: Option<usize>,
    /// What the method remarks about layers, with their names.
    pub remarks: Arc<[String]>,
    /// Which layers the method made, in words.
    pub replaced: Arc<str>,
    /// The beginning of its trials' identity: in full where trials are to be trained, else its hash.
    pub(super) head: Box<[u8]>,
    /// The most training images that its data can have, where that is known.
    pub images: Option<usize>,
    /// Whether each `[[layer]]` block fits any of its layers.
    pub(super) matched: Vec<bool>,
}

impl Network {
    /// Which epochs of a recipe train which network.
    pub fn phases(&self, recipe: &Recipe) -> Phases {
        Phases::new(recipe, self.compression.as_ref(), self.trained.macs, &self.compressed)
    }

    /// Whether it is what filters are removed from.
    pub fn is_pruned(&self) -> bool {
        matches!(self.compression, Some(Compression::Pruned(_)))
    }
}

/// The networks of a sweep, each made when a setting first asks for it.
#[derive(Debug)]
pub(super) struct Networks<'d> {
    /// Where complaints belong.
    pub document: &'d Document,
    layers: Arc<[LayerOverride]>,
    /// What is known of files of weights.
    pub inits: Inits,
    /// Whether each network keeps the beginning of its trials' identity in full: only trials to be trained need it, and it
    /// takes more room than all the rest.
    pub keeps_heads: bool,
    cache: RwLock<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    networks: HashMap<[u8; 32], Arc<Network>>,
    remarks: HashSet<Arc<[String]>>,
}

impl<'d> Networks<'d> {
    pub fn new(document: &'d Document, layers: Arc<[LayerOverride]>, keeps_heads: bool) -> Self {
        Self { document, layers, inits: Inits::default(), keeps_heads, cache: RwLock::default() }
    }

    /// The network that these values make.
    ///
    /// # Errors
    /// Missing keys, options that the method has not, a network that cannot be made or priced.
    pub fn get(&self, entries: &[Cow<'_, Entry>]) -> anyhow::Result<Arc<Network>> {
        let key = Self::key(entries, None);
        // A thread that panicked has left what was known before.
        if let Some(network) = self.cache.read().unwrap_or_else(PoisonError::into_inner).networks.get(&key) {
            return Ok(network.clone());
        }
        let mut network = self.make(entries)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.networks.len() >= MOST_REMEMBERED {
            *cache = Cache::default();
        }
        // Many networks are remarked upon in the same words.
        match cache.remarks.get(&network.remarks) {
            Some(same) => network.remarks = same.clone(),
            None => drop(cache.remarks.insert(network.remarks.clone())),
        }
        Ok(cache.networks.entry(key).or_insert(Arc::new(network)).clone())
    }

    /// A hash of the values that make a network, and of those of another section.
    pub fn key(entries: &[Cow<'_, Entry>], section: Option<&str>) -> [u8; 32] {
        let mut hasher = Hasher::new();
        let counts = |key: &str| is_part(key) || section.is_some_and(|section| key.starts_with(section));
        for entry in entries.iter().filter(|entry| counts(&entry.key)) {
            hasher.update(&(entry.key.len() as u64).to_le_bytes()).update(entry.key.as_bytes());
            hash(&mut hasher, &entry.value);
        }
        *hasher.finalize().as_bytes()
    }

    /// The configuration of a network that is not trained.
    ///
    /// # Errors
    /// Missing keys, options that the method has not.
    pub fn config(&self, entries: &[Cow<'_, Entry>]) -> anyhow::Result<TrialConfig> {
        let Parts { dataset, backbone, method } = parts(self.document, entries)?;
        Ok(TrialConfig {
            dataset,
            backbone,
            method,
            layers: self.layers.to_vec(),
            init: InitConfig::default(),
            recipe: Recipe::default(),
            validation: 0,
            test: false,
            seed: 0,
        })
    }

    fn make(&self, entries: &[Cow<'_, Entry>]) -> anyhow::Result<Network> {
        let place = |key: &str| find(entries, key).map_or(&At::File, |entry| &entry.at);
        let config = self.config(entries)?;
        let price = price::price(&config).map_err(|error| {
            // A complaint from below keeps its own lines.
            self.document.error(place(error.key), Complaint::new(error.why, "", ""))
        })?;
        let images = images::most(&config.dataset)
            .map_err(|error| self.document.error(place("dataset.sources"), Complaint::new(explain(&error), "", "")))?;
        let head = identity::head(&config.backbone, &price.identity(), &config.dataset)?;
        // Of several that fit the first makes a layer, and none makes what is no convolution.
        let convolutions = price.layers.iter().filter(|layer| layer.is_convolution);
        let makers: BTreeSet<usize> = convolutions
            .filter_map(|layer| self.layers.iter().position(|of| methods::matches(&of.pattern, &layer.name)))
            .collect();
        Ok(Network {
            label: methods::network_label(&config),
            compression: Methods::new(&config)?.compression().cloned(),
            cost: price.total,
            nonzero: price.nonzero,
            vanilla: price.vanilla,
            trained: price.trained,
            compressed: price.compressed.as_slice().into(),
            depth: price.depth(),
            remarks: price.remarks().into(),
            replaced: price.replaced.as_str().into(),
            head: if self.keeps_heads {
                head.into_bytes().into()
            } else {
                blake3::hash(head.as_bytes()).as_slice().into()
            },
            images,
            matched: (0..self.layers.len()).map(|layer| makers.contains(&layer)).collect(),
            parts: Parts { dataset: config.dataset, backbone: config.backbone, method: config.method },
        })
    }
}

/// Hashes a value so that no two different values give the hasher the same bytes.
fn hash(hasher: &mut Hasher, value: &Value) {
    match value {
        Value::Integer(number) => hasher.update(b"i").update(&number.to_le_bytes()),
        Value::Float(number) => hasher.update(b"f").update(&number.to_le_bytes()),
        Value::Boolean(flag) => hasher.update(if *flag { b"t" } else { b"n" }),
        Value::String(text) => hasher.update(b"s").update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes()),
        Value::Array(list) => {
            list.iter().for_each(|element| hash(hasher, element));
            hasher.update(b"a").update(&(list.len() as u64).to_le_bytes())
        }
        // No key takes values of these types.
        Value::Datetime(_) | Value::Table(_) => hasher.update(b"o").update(value.to_string().as_bytes()),
    };
}
