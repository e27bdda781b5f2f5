//! Structured filter pruning: which filters of a trained vanilla network to keep, and the smaller network's weights.
//!
//! The way of Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017, arXiv 1608.08710): train, rank the filters of
//! each convolution by a [`Criterion`], cut the lowest, fine-tune. The cut is real: a convolution loses filters, bias and
//! batch norm entries (running statistics too), and every layer that reads it loses the matching inputs, so that what
//! remains is an ordinary smaller network. Layers are ranked independently of each other, on the trained weights (the
//! paper's "independent" strategy), so the order of the cuts does not matter.
//!
//! The network says what can be cut as a list of [`Coupling`]s; outputs that meet in a residual addition are not among
//! them. Cost: that of a vanilla network with the widths that [`Pruned::widths`] gives.

mod criterion;
mod select;
mod surgery;

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use conv_core::options;
use conv_core::options::{Described, Kind, Literal, OptionType, SHARE, at_least};
use serde::{Deserialize, Serialize};

pub use criterion::Criterion;
pub use select::Selection;

/// A convolution whose filters can be removed, with everything that reads its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupling {
    /// Name of the convolution that loses filters (and of its batch norm, `NAME.bn`).
    pub producer: String,
    /// Names of the convolutions or linear layers that lose the matching inputs.
    pub consumers: Vec<String>,
    /// Layer number as Li et al. count: the stem is 1, convolutions in execution order.
    pub number: usize,
    /// Stage of the network, counted from 1 (for ratios per stage).
    pub stage: usize,
}

/// Share of the filters to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number in [0, 1), or a list of them, one per stage")]
pub enum Ratio {
    /// The same everywhere.
    Uniform(f64),
    /// One per stage of the network.
    PerStage(Vec<f64>),
}

impl OptionType for Ratio {
    fn literal(&self) -> Literal<'_> {
        match self {
            Self::Uniform(ratio) => ratio.literal(),
            Self::PerStage(ratios) => ratios.literal(),
        }
    }
}

options! {
    /// Options of filter pruning. `floor(n (1 - ratio))` of n filters stay, at least 1.
    Pruned = "pruned", "trained dense, then filters really removed and the rest fine-tuned (Li et al.)" {
        /// What ranks the filters: L1 norm.
        criterion: Criterion = Criterion::L1, Kind::Choice(Criterion::names);
        /// Share of each convolution's filters to remove; a list: one per stage.
        ratio: Ratio = Ratio::Uniform(0.5), Kind::OneOrList(&SHARE);
        /// Layers that keep all filters, numbered from stem = 1.
        skip: Vec<usize> = Vec::new(), Kind::List(&at_least(1));
        /// If not empty: the only layers that lose filters, numbered from stem = 1.
        only: Vec<usize> = Vec::new(), Kind::List(&at_least(1));
    }
    check = Pruned::check_lists
}

impl Pruned {
    /// Raised whenever the same options cut other filters or another way, so that results never mix.
    pub const VERSION: u32 = 1;

    /// No layer keeps all its filters and loses some.
    fn check_lists(&self) -> Result<()> {
        if let Some(both) = self.skip.iter().find(|number| self.only.contains(number)) {
            bail!("pruned: layer {both} is both in `skip` and in `only`");
        }
        Ok(())
    }

    /// Checks the options against a network.
    ///
    /// # Errors
    /// Options out of range; a list of ratios that is not as long as there are stages; a number in `skip` or
    /// `only` that is no layer whose filters can be removed.
    pub fn check(&self, couplings: &[Coupling]) -> Result<()> {
        self.check_options()?;
        let stages = couplings.iter().map(|coupling| coupling.stage).max().unwrap_or(0);
        if let Ratio::PerStage(ratios) = &self.ratio
            && ratios.len() != stages
        {
            bail!("pruned: ratio lists {} numbers, but this network has {stages} stages", ratios.len());
        }
        let numbers: Vec<usize> = couplings.iter().map(|coupling| coupling.number).collect();
        if let Some(unknown) = self.skip.iter().chain(&self.only).find(|number| !numbers.contains(number)) {
            bail!("pruned: layer {unknown} in `skip` or `only` cannot lose filters here; those that can: {numbers:?}");
        }
        Ok(())
    }

    /// How many of `filters` this layer keeps: `floor(filters (1 - ratio))`, at least 1; all where it is not pruned.
    pub fn kept(&self, coupling: &Coupling, filters: usize) -> usize {
        let pruned = self.only.is_empty() || self.only.contains(&coupling.number);
        if !pruned || self.skip.contains(&coupling.number) {
            return filters;
        }
        let ratio = match &self.ratio {
            Ratio::Uniform(ratio) => *ratio,
            Ratio::PerStage(ratios) => {
                coupling.stage.checked_sub(1).and_then(|stage| ratios.get(stage)).copied().unwrap_or(0.0)
            }
        };
        // The ratio is a decimal that a double only approximates: 10 (1 - 0.9) is 0.99..98 and has to be 1. The slack is
        // far above that error and far below what a ratio written by hand can mean.
        let kept = (filters as f64 * (1.0 - ratio) + 1e-6).floor() as usize;
        kept.clamp(1, filters.max(1))
    }

    /// The widths after pruning, given each producer's `filters`: what the smaller network costs, before any training.
    pub fn widths(&self, couplings: &[Coupling], filters: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
        let width = |coupling: &Coupling| {
            let &filters = filters.get(&coupling.producer)?;
            Some((coupling.producer.clone(), self.kept(coupling, filters)))
        };
        couplings.iter().filter_map(width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: usize, stage: usize) -> Coupling {
        Coupling { producer: format!("conv{number}"), consumers: vec!["next".into()], number, stage }
    }

    fn uniform(ratio: f64) -> Pruned {
        Pruned { ratio: Ratio::Uniform(ratio), ..Pruned::default() }
    }

    #[test]
    fn kept_is_the_exact_floor_for_every_percentage() {
        for filters in 1..=600 {
            for percent in 0..100 {
                let exact = (filters * (100 - percent) / 100).max(1);
                let ratio = percent as f64 / 100.0;
                assert_eq!(uniform(ratio).kept(&layer(2, 1), filters), exact, "{filters} filters, ratio {ratio}");
            }
        }
        assert_eq!(uniform(0.9).kept(&layer(2, 1), 10), 1);
        assert_eq!(uniform(0.99).kept(&layer(2, 1), 3), 1);
    }

    #[test]
    fn li_et_al_keep_these_filters() {
        // ResNet-56-A: 10 %, skipping 16, 20, 38, 54.
        let a = Pruned { skip: vec![16, 20, 38, 54], ..uniform(0.1) };
        assert_eq!([16, 32, 64].map(|n| a.kept(&layer(2, 1), n)), [14, 28, 57]);
        assert_eq!([16, 20, 38, 54].map(|number| a.kept(&layer(number, 1), 64)), [64; 4]);
        // ResNet-56-B: 60 / 30 / 10 % per stage.
        let b = Pruned { ratio: Ratio::PerStage(vec![0.6, 0.3, 0.1]), ..Pruned::default() };
        assert_eq!([(1, 16), (2, 32), (3, 64)].map(|(stage, n)| b.kept(&layer(2, stage), n)), [6, 22, 57]);
        // VGG-16-A: half of convolutions 1 and 8 to 13.
        let vgg = Pruned { only: vec![1, 8, 9, 10, 11, 12, 13], ..uniform(0.5) };
        assert_eq!([1, 2, 7, 8, 13].map(|number| vgg.kept(&layer(number, 1), 512)), [256, 512, 512, 256, 256]);
    }

    #[test]
    fn widths_cover_the_producers_that_are_there() {
        let filters = BTreeMap::from([("conv1".to_owned(), 64), ("conv2".to_owned(), 7)]);
        let widths = uniform(0.5).widths(&[layer(1, 1), layer(2, 1), layer(3, 1)], &filters);
        assert_eq!(widths, BTreeMap::from([("conv1".to_owned(), 32), ("conv2".to_owned(), 3)]));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let couplings = [layer(2, 1), layer(4, 2)];
        let refused = |pruned: Pruned, says: &str| {
            let error = pruned.check(&couplings).unwrap_err().to_string();
            assert!(error.contains(says), "{error:?} lacks {says:?}");
        };
        for ratio in [1.0, -0.1, f64::NAN] {
            refused(uniform(ratio), "accepted: a number in [0, 1), or a list of such");
        }
        let per_stage = |ratios| Pruned { ratio: Ratio::PerStage(ratios), ..Pruned::default() };
        refused(per_stage(vec![]), "ratio = [] is out of range");
        refused(per_stage(vec![0.1, 1.5]), "ratio = [0.1, 1.5]");
        refused(per_stage(vec![0.1]), "this network has 2 stages");
        refused(
            Pruned { skip: vec![0], ..uniform(0.5) },
            "skip = [0] is out of range; accepted: a list, each element an integer of at least 1",
        );
        refused(Pruned { skip: vec![2], only: vec![2], ..uniform(0.5) }, "both");
        refused(Pruned { only: vec![3], ..uniform(0.5) }, "those that can: [2, 4]");
        per_stage(vec![0.1, 0.2]).check(&couplings).unwrap();
    }

    #[test]
    fn options_read_as_written() {
        let read = |text| serde_json::from_str::<Pruned>(text);
        assert_eq!(read("{}").unwrap(), Pruned::default());
        assert_eq!(read(r#"{"criterion": "l1", "ratio": 0}"#).unwrap().ratio, Ratio::Uniform(0.0));
        assert_eq!(read(r#"{"ratio": [0.6, 0.3, 0.1]}"#).unwrap().ratio, Ratio::PerStage(vec![0.6, 0.3, 0.1]));
        assert!(read(r#"{"ratio": "half"}"#).unwrap_err().to_string().contains("one per stage"));
        assert!(read(r#"{"criterion": "l3"}"#).is_err());
        assert!(read(r#"{"ration": 0.5}"#).is_err());
    }
}
