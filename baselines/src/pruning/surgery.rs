//! The smaller network's weights.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};

use super::criterion::filters;
use super::{Coupling, Place, Pruned, Selection};

/// What a convolution holds per filter, besides its weight: only those that are there are cut.
const PER_FILTER: [&str; 5] = ["bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

/// One side of a layer, its outputs or its inputs.
#[derive(Default)]
struct Side {
    /// Channels before the cut.
    channels: usize,
    /// Those that stay, in the order in which the smaller network has them.
    kept: Vec<usize>,
    /// Layer number to put into `skip` if they cannot go.
    number: usize,
}

impl Side {
    /// Whether the cut leaves it as it is.
    fn is_whole(&self) -> bool {
        self.kept.len() == self.channels && self.kept.is_sorted()
    }
}

impl Pruned {
    /// The weights of the smaller network: every producer without the filters that `selection` leaves out (nor their bias,
    /// batch norm and running statistics), every consumer without the matching inputs, everything else as it was.
    ///
    /// Where couplings share a layer, its channels are put in the order that [`Coupling`] promises: what a padded shortcut adds
    /// zeros to is the same to it in any order, and so its zeros stay half before and half behind.
    ///
    /// A linear consumer may read several values per filter (flattened maps); it loses all of a filter's.
    ///
    /// # Errors
    /// A coupling that has no selection or a producer no weight; indices that are not ascending or not there; a consumer that
    /// has not one input channel for every filter (a grouped convolution, or one that reads what no coupling is of).
    pub fn narrow(
        couplings: &[Coupling],
        selection: &Selection,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut narrowed = weights.clone();
        for (producer, side) in sides(couplings, selection, |coupling| &coupling.producers)? {
            let weight = filters(producer, &narrowed)?;
            if weight.dim(0)? != side.channels {
                bail!("pruning: `{producer}` has {} filters where {} were expected", weight.dim(0)?, side.channels);
            }
            if side.is_whole() {
                continue;
            }
            let weight = take(weight, &side.kept, 0)?;
            narrowed.insert(format!("{producer}.weight"), weight);
            for part in PER_FILTER {
                if let Some(tensor) = narrowed.get_mut(&format!("{producer}.{part}")) {
                    *tensor = take(tensor, &side.kept, 0)?;
                }
            }
        }
        for (consumer, side) in sides(couplings, selection, |coupling| &coupling.consumers)? {
            if side.is_whole() {
                continue;
            }
            let Some(tensor) = narrowed.get_mut(&format!("{consumer}.weight")) else {
                bail!("pruning: `{consumer}` reads what is cut, but there is no `{consumer}.weight`");
            };
            *tensor = take(tensor, &inputs(consumer, tensor, &side)?, 1)?;
        }
        Ok(narrowed)
    }
}

/// What stays of every layer that has a place in some coupling.
fn sides<'c>(
    couplings: &'c [Coupling],
    selection: &Selection,
    places: fn(&Coupling) -> &[Place],
) -> Result<BTreeMap<&'c str, Side>> {
    let mut sides: BTreeMap<&str, Side> = BTreeMap::new();
    for coupling in couplings {
        let (name, count) = (coupling.name(), coupling.filters());
        let Some(kept) = selection.kept.get(name) else { bail!("pruning: nothing selected for `{name}`") };
        if kept.is_empty() || !kept.is_sorted_by(|a, b| a < b) || kept.last().is_some_and(|&last| last >= count) {
            bail!("pruning: `{name}` has {count} filters; ascending indices below that are needed, got {kept:?}");
        }
        for place in places(coupling) {
            let Some(own) = kept.iter().map(|&filter| place.channels.get(filter).copied()).collect::<Option<Vec<_>>>()
            else {
                bail!(
                    "pruning: `{}` has channels for {} of the {count} filters of `{name}`",
                    place.layer,
                    place.channels.len()
                );
            };
            let side = sides.entry(&place.layer).or_default();
            let (before, behind) = own.split_at(own.len() / 2);
            side.kept = [before, &side.kept, behind].concat();
            side.channels += count;
            side.number = coupling.number;
        }
    }
    Ok(sides)
}

/// Indices into the second dimension of a consumer's weight that stand for the inputs that stay.
fn inputs(consumer: &str, weight: &Tensor, side: &Side) -> Result<Vec<usize>> {
    let &Side { channels: count, ref kept, number } = side;
    match *weight.dims() {
        [_, channels, _, _] if channels == count => Ok(kept.clone()),
        [_, channels, _, _] => bail!(
            "pruning: `{consumer}` reads {channels} channels per filter where {count} can be cut: grouped convolutions, and \
             those that read something else too, cannot lose inputs; put layer {number} in `skip`"
        ),
        [_, features] if features.is_multiple_of(count) => {
            let pixels = features / count;
            Ok(kept.iter().flat_map(|&filter| filter * pixels..(filter + 1) * pixels).collect())
        }
        [_, features] => bail!("pruning: `{consumer}` reads {features} features, no multiple of {count} channels"),
        _ => bail!("pruning: `{consumer}.weight` is {:?}, neither a convolution's nor a linear layer's", weight.dims()),
    }
}

/// The given indices of one dimension, as a tensor of its own.
fn take(tensor: &Tensor, indices: &[usize], dim: usize) -> Result<Tensor> {
    let indices: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
    let indices = Tensor::new(indices.as_slice(), tensor.device())?;
    tensor.detach().contiguous()?.index_select(&indices, dim)
}
