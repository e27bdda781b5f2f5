//! What can be cut out of a network.

use std::collections::BTreeMap;

use candle_core::{Result, bail};

/// Filters that can be removed, with everything that reads their outputs.
///
/// Each of its filters is a channel of every producer and consumer: most couplings have one producer, those of a residual addition
/// have all whose outputs are added. Where couplings share a layer (a residual addition of padded shortcuts), they are listed
/// in the order in which the network comes to them, and the channels of each lie half before (of an odd number the smaller half)
/// and half behind those of the ones listed earlier, before a cut and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupling {
    /// Convolutions that lose filters (and entries of their batch norms, `LAYER.bn`). The first names the coupling.
    pub producers: Vec<Place>,
    /// Convolutions or linear layers that lose the matching inputs.
    pub consumers: Vec<Place>,
    /// Layer number of its first convolution as Li et al. count: the stem is 1, convolutions in execution order, projections not
    /// counted.
    pub number: usize,
    /// Stage of the network, counted from 1 (for ratios per stage).
    pub stage: usize,
}

/// Where the filters of a coupling are in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The layer's name.
    pub layer: String,
    /// For each of the coupling's filters the output (of a producer) or input channel (of a consumer) that it is, ascending.
    pub channels: Vec<usize>,
}

impl Place {
    /// All `filters` of a layer.
    pub fn whole(layer: &str, filters: usize) -> Self {
        Self { layer: layer.to_owned(), channels: (0..filters).collect() }
    }
}

impl Coupling {
    /// All `filters` of one convolution, which these layers and nothing else read.
    pub fn plain(producer: &str, consumers: &[&str], filters: usize, number: usize, stage: usize) -> Self {
        Self {
            producers: vec![Place::whole(producer, filters)],
            consumers: consumers.iter().map(|consumer| Place::whole(consumer, filters)).collect(),
            number,
            stage,
        }
    }

    /// The first producer's name.
    pub fn name(&self) -> &str {
        self.producers.first().map_or("", |first| &first.layer)
    }

    /// How many filters it has.
    pub fn filters(&self) -> usize {
        self.producers.first().map_or(0, |first| first.channels.len())
    }
}

/// How many filters each of the couplings of a network has that is cut already, out of the widths of its convolutions.
///
/// # Errors
/// A convolution without a width, or with fewer filters than the couplings listed before have in it.
pub fn widths_of(couplings: &[Coupling], width: impl Fn(&str) -> Option<usize>) -> Result<BTreeMap<String, usize>> {
    let mut widths: BTreeMap<String, usize> = BTreeMap::new();
    for (index, coupling) in couplings.iter().enumerate() {
        let name = coupling.name();
        let shares = |other: &&Coupling| other.producers.iter().any(|place| place.layer == name);
        let earlier = couplings[..index].iter().filter(shares);
        let taken: usize = earlier.filter_map(|other| widths.get(other.name())).sum();
        let Some(own) = width(name).and_then(|all| all.checked_sub(taken)) else {
            bail!("pruning: no width of `{name}` that leaves room beside the {taken} filters of other couplings");
        };
        widths.insert(name.to_owned(), own);
    }
    Ok(widths)
}
