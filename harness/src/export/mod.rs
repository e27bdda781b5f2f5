//! A trained network as a file that other programs run: ONNX ([`onnx`]), PyTorch ([`torch`]), safetensors ([`safetensors`]).
//!
//! What is exported is the network as it infers, with the parameters that its trial left. Every format is written from the
//! operations of its [`Graph`](conv_core::Graph), so that a new method is exported without a line of its own; only what was
//! written with `custom` cannot be.

mod class_names;
mod onnx;
mod safetensors;
mod torch;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{Tensor, TensorId};
use clap::ValueEnum;
use conv_core::Network;
use conv_core::graph::Op;

use crate::backbones::Backbone;
use crate::weights::InputSpec;

pub use class_names::class_names;

/// What a network can be exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `model.onnx`: images in [0, 1] to logits, any number of images.
    Onnx,
    /// `model.py`, plain PyTorch, with its `weights.pth`.
    Pytorch,
    /// `weights.safetensors`, with PyTorch's usual names where the network has them.
    Safetensors,
}

/// A network, and what its files say of it.
pub struct Exported<'n> {
    network: &'n Network,
    backbone: &'n dyn Backbone,
    input: &'n InputSpec,
    /// Every parameter and running statistic.
    tensors: BTreeMap<String, Tensor>,
    /// Their names, by what the graph holds.
    names: HashMap<TensorId, String>,
    facts: BTreeMap<String, String>,
}

impl<'n> Exported<'n> {
    /// `tensors`: those that the network reads, by name. `facts`: what else files are to say, such as the trial's key.
    ///
    /// # Errors
    /// A layer that no format can hold.
    pub fn new(
        network: &'n Network,
        backbone: &'n dyn Backbone,
        input: &'n InputSpec,
        tensors: Vec<(String, Tensor)>,
        facts: BTreeMap<String, String>,
    ) -> Result<Self> {
        let names = tensors.iter().map(|(name, tensor)| (tensor.id(), name.clone())).collect();
        let exported = Self { network, backbone, input, tensors: tensors.into_iter().collect(), names, facts };
        for (index, op) in network.graph().ops().iter().enumerate() {
            if let Op::Custom { .. } = op {
                bail!(
                    "`{}` has an operation that is a function of candle tensors (`custom`), which no file can hold\n  accepted: \
                     methods that are written with the operations of a scope",
                    exported.unit(index)
                );
            }
        }
        Ok(exported)
    }

    /// Writes the files of a format into a folder, which is made; their paths.
    ///
    /// # Errors
    /// A folder or file that cannot be written; names it.
    pub fn write(&self, format: Format, folder: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
        match format {
            Format::Onnx => onnx::write(self, folder),
            Format::Pytorch => torch::write(self, folder),
            Format::Safetensors => safetensors::write(self, folder),
        }
    }

    /// All that is said of it: the facts, and what images it is to be given.
    fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.input.metadata();
        metadata.extend(self.facts.clone());
        metadata
    }

    /// The name of a parameter.
    ///
    /// # Errors
    /// One that is none of the network's, or a tensor made of one: a defect of the method.
    fn name(&self, tensor: &Tensor) -> Result<&str> {
        match self.names.get(&tensor.id()) {
            Some(name) => Ok(name),
            None => bail!("a tensor of {:?} has no name: its method does not take it from its scope", tensor.dims()),
        }
    }

    /// The layer that an operation is of; nothing where it is of none.
    fn unit(&self, index: usize) -> &str {
        let units = self.network.graph().units();
        units.iter().find(|(_, places)| places.contains(&index)).map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
