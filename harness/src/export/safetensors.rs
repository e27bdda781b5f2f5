//! Weights alone, for other people's code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Tensor;

use super::Exported;
use crate::weights::WeightsFile;
use crate::weights::names::TorchNames;

/// `weights.safetensors`. The names are those of PyTorch's implementations where every tensor of the network has one, that is where
/// all its layers are vanilla (pruned ones too), and this harness's own otherwise: never a mixture. Which of the two, the metadata
/// says under `names`.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(exported: &Exported<'_>, folder: &Path) -> Result<Vec<PathBuf>> {
    let (names, tensors) = named(exported);
    let mut metadata = exported.metadata();
    metadata.insert("names".to_owned(), names.to_owned());
    // What transformers and others ask for before they read on.
    metadata.insert("format".to_owned(), "pt".to_owned());
    let path = folder.join("weights.safetensors");
    WeightsFile { tensors, metadata }.write(&path)?;
    Ok(vec![path])
}

fn named(exported: &Exported<'_>) -> (&'static str, BTreeMap<String, Tensor>) {
    let Some(names) = TorchNames::of(exported.backbone) else { return ("harness", exported.tensors.clone()) };
    let theirs = exported.tensors.iter().map(|(ours, tensor)| Some((names.theirs(ours)?, tensor.clone())));
    match theirs.collect::<Option<BTreeMap<_, _>>>() {
        Some(theirs) => ("pytorch", theirs),
        None => ("harness", exported.tensors.clone()),
    }
}
