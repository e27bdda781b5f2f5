//! The smaller network's weights.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};

use super::criterion::filters;
use super::{Coupling, Pruned, Selection};

/// What a convolution holds per filter, besides its weight: only those that are there are cut.
const PER_FILTER: [&str; 5] = ["bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

impl Pruned {
    /// The weights of the smaller network: every producer without the filters that `selection` leaves out (nor their bias,
    /// batch norm and running statistics), every consumer without the matching inputs, everything else as it was.
    ///
    /// A linear consumer may read several values per filter (flattened maps); it loses all of a filter's.
    ///
    /// # Errors
    /// A producer that has no selection or no weight; indices that are not ascending or not there; a consumer that has
    /// not one input channel for every filter (a grouped convolution, or one that reads several producers).
    pub fn narrow(
        couplings: &[Coupling],
        selection: &Selection,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut narrowed = weights.clone();
        for coupling in couplings {
            let producer = &coupling.producer;
            let Some(kept) = selection.kept.get(producer) else { bail!("pruning: nothing selected for `{producer}`") };
            let weight = filters(producer, &narrowed)?;
            let count = weight.dim(0)?;
            if kept.is_empty() || !kept.is_sorted_by(|a, b| a < b) || kept.last().is_some_and(|&last| last >= count) {
                bail!(
                    "pruning: `{producer}` has {count} filters; ascending indices below that are needed, got {kept:?}"
                );
            }
            if kept.len() == count {
                continue;
            }
            let weight = take(weight, kept, 0)?;
            narrowed.insert(format!("{producer}.weight"), weight);
            for part in PER_FILTER {
                if let Some(tensor) = narrowed.get_mut(&format!("{producer}.{part}")) {
                    *tensor = take(tensor, kept, 0)?;
                }
            }
            for consumer in &coupling.consumers {
                let Some(tensor) = narrowed.get_mut(&format!("{consumer}.weight")) else {
                    bail!("pruning: `{consumer}` reads `{producer}`, but there is no `{consumer}.weight`");
                };
                *tensor = take(tensor, &inputs(coupling, consumer, tensor, count, kept)?, 1)?;
            }
        }
        Ok(narrowed)
    }
}

/// Indices into the second dimension of a consumer's weight that stand for the kept ones of `count` filters.
fn inputs(coupling: &Coupling, consumer: &str, weight: &Tensor, count: usize, kept: &[usize]) -> Result<Vec<usize>> {
    let producer = &coupling.producer;
    match *weight.dims() {
        [_, channels, _, _] if channels == count => Ok(kept.to_vec()),
        [_, channels, _, _] => bail!(
            "pruning: `{consumer}` reads {channels} channels per filter where `{producer}` makes {count}: grouped convolutions, \
             and those that read several others, cannot lose inputs; put layer {} in `skip`",
            coupling.number
        ),
        [_, features] if features.is_multiple_of(count) => {
            let pixels = features / count;
            Ok(kept.iter().flat_map(|&filter| filter * pixels..(filter + 1) * pixels).collect())
        }
        [_, features] => {
            bail!("pruning: `{consumer}` reads {features} features, no multiple of `{producer}`'s {count}")
        }
        _ => bail!("pruning: `{consumer}.weight` is {:?}, neither a convolution's nor a linear layer's", weight.dims()),
    }
}

/// The given indices of one dimension, as a tensor of its own.
fn take(tensor: &Tensor, indices: &[usize], dim: usize) -> Result<Tensor> {
    let indices: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
    let indices = Tensor::new(indices.as_slice(), tensor.device())?;
    tensor.detach().contiguous()?.index_select(&indices, dim)
}
