//! What is cut, how much of it, and when.

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use conv_core::options::{Described, Kind, Literal, NOT_NEGATIVE, OptionType, SHARE, at_least};
use conv_core::{choice, options};
use serde::{Deserialize, Serialize};

use super::{Coupling, Criterion};

/// Penalty of [`Criterion::Slimming`] where none is given, as in the authors' code.
const SLIMMING_PENALTY: f64 = 1e-4;

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

choice! {
    /// Which filters are ranked against each other.
    Ranking {
        /// Those of each coupling, which loses its share.
        Layer = "layer",
        /// All that can be removed: the same share of all of them goes, and at least one of each coupling stays.
        Global = "global",
    }
}

choice! {
    /// What the cut network starts from.
    Weights {
        /// The trained weights of the filters that are kept.
        Kept = "kept",
        /// Fresh ones, trained for the whole recipe.
        Scratch = "scratch",
        /// Fresh ones, trained for as many multiply-accumulates as the pruned network's own training took.
        ScratchCompute = "scratch_compute",
    }
}

options! {
    /// Options of filter pruning. `floor(n (1 - ratio))` of n filters stay, at least 1.
    ///
    /// An option that came later is an [`Option`] that is absent at its default: trials that do not set it stay the trials they were.
    Pruned = "pruned", "trained dense, then filters really removed and the rest fine-tuned (Li et al.)" {
        /// What ranks the filters: their L1 norm, distances to the others of the layer (fpgm), batch norm's scale (slimming),
        /// the loss's change to first order (taylor), or a draw (random).
        criterion: Criterion = Criterion::L1, Kind::Choice(Criterion::names);
        /// Share of each convolution's filters to remove; a list: one per stage.
        ratio: Ratio = Ratio::Uniform(0.5), Kind::OneOrList(&SHARE);
        /// Layers that keep all filters, numbered from stem = 1.
        skip: Vec<usize> = Vec::new(), Kind::List(&at_least(1));
        /// If not empty: the only layers that lose filters, numbered from stem = 1.
        only: Vec<usize> = Vec::new(), Kind::List(&at_least(1));
        /// Whether filters are ranked in each layer, or all of the network against each other (global); layer when absent.
        ranking: Option<Ranking> = None, Kind::Choice(Ranking::names);
        /// Cuts, each of an equal factor, with the fine-tuning epochs divided among them; 1 when absent.
        steps: Option<usize> = None, at_least(1);
        /// Whether the filters that residual additions tie together are removed too; false when absent.
        residual: Option<bool> = None, Kind::Flag;
        /// What the cut network starts from: kept weights, or fresh ones trained as long as the recipe says (scratch) or for as many
        /// MACs as pruning took (scratch_compute); kept when absent.
        weights: Option<Weights> = None, Kind::Choice(Weights::names);
        /// L1 penalty on all scales of batch norms in the training before the first cut; when absent 1e-4 for slimming, else 0.
        penalty: Option<f64> = None, NOT_NEGATIVE;
    }
    knob = ratio
    check = Pruned::check_together
}

impl Pruned {
    /// Raised whenever the same options cut other filters or another way, so that results never mix.
    pub const VERSION: u32 = 1;

    /// What no option can hold by itself.
    fn check_together(&self) -> Result<()> {
        if let Some(both) = self.skip.iter().find(|number| self.only.contains(number)) {
            bail!("pruned: layer {both} is both in `skip` and in `only`");
        }
        if self.is_global() && matches!(self.ratio, Ratio::PerStage(_)) {
            bail!("pruned: ranking = \"global\" takes one ratio for the whole network, not one per stage");
        }
        if self.is_global() && self.weights() != Weights::Kept && self.steps() > 1 {
            bail!(
                "pruned: with ranking = \"global\" and fresh weights the widths are those of one cut; accepted: steps = 1, or \
                 weights = \"kept\""
            );
        }
        Ok(())
    }

    /// The same options, those at their defaults left out, and those that decide nothing at theirs: equal trainings have equal
    /// options.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if self.weights() != Weights::Kept && !self.is_global() {
            // Widths follow from the ratio, and no filter is ever ranked.
            (self.criterion, self.penalty) = (Criterion::L1, None);
            if self.weights() == Weights::Scratch {
                self.steps = None;
            }
        }
        let usual = Self { penalty: None, ..self.clone() }.penalty();
        self.penalty = self.penalty.filter(|&penalty| penalty != usual);
        self.ranking = self.ranking.filter(|&ranking| ranking != Ranking::Layer);
        self.steps = self.steps.filter(|&steps| steps != 1);
        self.residual = self.residual.filter(|&residual| residual);
        self.weights = self.weights.filter(|&weights| weights != Weights::Kept);
        self
    }

    /// Whether all filters are ranked together, so that widths are known only after training.
    pub fn is_global(&self) -> bool {
        self.ranking == Some(Ranking::Global)
    }

    /// Number of cuts, at least 1.
    pub fn steps(&self) -> usize {
        self.steps.unwrap_or(1).max(1)
    }

    /// Whether filters that residual additions tie together go too.
    pub fn residual(&self) -> bool {
        self.residual.unwrap_or(false)
    }

    /// What the cut network starts from.
    pub fn weights(&self) -> Weights {
        self.weights.unwrap_or(Weights::Kept)
    }

    /// L1 penalty on all scales of batch norms, before the first cut.
    pub fn penalty(&self) -> f64 {
        let usual = if self.criterion == Criterion::Slimming { SLIMMING_PENALTY } else { 0.0 };
        self.penalty.unwrap_or(usual)
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
        let mut numbers: Vec<usize> = couplings.iter().map(|coupling| coupling.number).collect();
        numbers.sort_unstable();
        if let Some(unknown) = self.skip.iter().chain(&self.only).find(|number| !numbers.contains(number)) {
            bail!("pruned: layer {unknown} in `skip` or `only` cannot lose filters here; those that can: {numbers:?}");
        }
        Ok(())
    }

    /// Whether this coupling loses filters at all.
    pub(super) fn cuts(&self, coupling: &Coupling) -> bool {
        let meant = self.only.is_empty() || self.only.contains(&coupling.number);
        meant && !self.skip.contains(&coupling.number)
    }

    /// How many of its filters a coupling of the uncut network keeps after cut number `step`, counted from 1, where each is ranked
    /// by itself: `floor(n (1 - ratio))` after the last, at least 1; all where it is not pruned.
    pub fn kept(&self, coupling: &Coupling, step: usize) -> usize {
        if !self.cuts(coupling) {
            return coupling.filters();
        }
        let ratio = match &self.ratio {
            Ratio::Uniform(ratio) => *ratio,
            Ratio::PerStage(ratios) => {
                coupling.stage.checked_sub(1).and_then(|stage| ratios.get(stage)).copied().unwrap_or(0.0)
            }
        };
        self.floor(coupling.filters(), ratio, step).clamp(1, coupling.filters().max(1))
    }

    /// How many of all filters of the uncut network stay after cut number `step` where all are ranked together.
    pub(super) fn kept_of_all(&self, couplings: &[Coupling], step: usize) -> usize {
        let filters = couplings.iter().filter(|coupling| self.cuts(coupling)).map(Coupling::filters).sum();
        let ratio = match &self.ratio {
            Ratio::Uniform(ratio) => *ratio,
            Ratio::PerStage(_) => 0.0,
        };
        self.floor(filters, ratio, step)
    }

    fn floor(&self, filters: usize, ratio: f64, step: usize) -> usize {
        kept(filters as u64, ratio, step, self.steps()) as usize
    }

    /// The couplings' widths after cut number `step` of the uncut network, where each is ranked by itself: what the smaller
    /// network costs, before any training.
    pub fn widths(&self, couplings: &[Coupling], step: usize) -> BTreeMap<String, usize> {
        couplings.iter().map(|coupling| (coupling.name().to_owned(), self.kept(coupling, step))).collect()
    }
}

/// How many of `count` stay after step number `step` (counted from 1) of `steps` by an equal factor: `floor(count (1 - ratio))` after
/// the last.
pub(crate) fn kept(count: u64, ratio: f64, step: usize, steps: usize) -> u64 {
    let share = if step >= steps { 1.0 - ratio } else { (1.0 - ratio).powf(step as f64 / steps as f64) };
    // The ratio is a decimal that a double only approximates: 10 (1 - 0.9) is 0.99..98 and has to be 1. The slack is far above
    // that error and far below what a ratio written by hand can mean.
    (count as f64 * share + 1e-6).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_of(number: usize, stage: usize, filters: usize) -> Coupling {
        Coupling::plain(&format!("conv{number}"), &["next"], filters, number, stage)
    }

    fn layer(number: usize, stage: usize) -> Coupling {
        layer_of(number, stage, 64)
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
                assert_eq!(uniform(ratio).kept(&layer_of(2, 1, filters), 1), exact, "{filters} filters, ratio {ratio}");
            }
        }
        assert_eq!(uniform(0.9).kept(&layer_of(2, 1, 10), 1), 1);
        assert_eq!(uniform(0.99).kept(&layer_of(2, 1, 3), 1), 1);
    }

    #[test]
    fn li_et_al_keep_these_filters() {
        // ResNet-56-A: 10 %, skipping 16, 20, 38, 54.
        let a = Pruned { skip: vec![16, 20, 38, 54], ..uniform(0.1) };
        assert_eq!([16, 32, 64].map(|n| a.kept(&layer_of(2, 1, n), 1)), [14, 28, 57]);
        assert_eq!([16, 20, 38, 54].map(|number| a.kept(&layer(number, 1), 1)), [64; 4]);
        // ResNet-56-B: 60 / 30 / 10 % per stage.
        let b = Pruned { ratio: Ratio::PerStage(vec![0.6, 0.3, 0.1]), ..Pruned::default() };
        assert_eq!([(1, 16), (2, 32), (3, 64)].map(|(stage, n)| b.kept(&layer_of(2, stage, n), 1)), [6, 22, 57]);
        // VGG-16-A: half of convolutions 1 and 8 to 13.
        let vgg = Pruned { only: vec![1, 8, 9, 10, 11, 12, 13], ..uniform(0.5) };
        assert_eq!([1, 2, 7, 8, 13].map(|number| vgg.kept(&layer_of(number, 1, 512), 1)), [256, 512, 512, 256, 256]);
    }

    #[test]
    fn steps_cut_by_equal_factors_and_end_where_one_cut_does() {
        let once = uniform(0.75);
        let four = Pruned { steps: Some(4), ..once.clone() };
        let coupling = layer_of(2, 1, 64);
        // 64 / 2^(1/2), and so on.
        assert_eq!([1, 2, 3, 4].map(|step| four.kept(&coupling, step)), [45, 32, 22, 16]);
        assert_eq!(once.kept(&coupling, 1), 16);
        let couplings = [layer_of(1, 1, 64), layer_of(2, 1, 7), layer_of(3, 1, 9)];
        assert_eq!([1, 2, 3, 4].map(|step| four.kept_of_all(&couplings, step)), [56, 40, 28, 20]);
        let spared = Pruned { skip: vec![1], ..four };
        assert_eq!((spared.kept_of_all(&couplings, 4), spared.kept(&couplings[0], 4)), (4, 64));
        let widths = uniform(0.5).widths(&couplings, 1);
        assert_eq!(
            widths,
            BTreeMap::from([("conv1".to_owned(), 32), ("conv2".to_owned(), 3), ("conv3".to_owned(), 4)])
        );
    }

    #[test]
    fn equal_trainings_have_equal_options() {
        let settled = |options: &str| serde_json::from_str::<Pruned>(options).unwrap().settled();
        let usual = r#"{"ranking":"layer","steps":1,"residual":false,"weights":"kept","penalty":0.0}"#;
        assert_eq!(settled(usual), Pruned::default());
        let slimming = settled(r#"{"criterion":"slimming","penalty":1e-4}"#);
        assert_eq!((slimming.penalty, slimming.penalty()), (None, 1e-4));
        assert_eq!(settled(r#"{"criterion":"slimming","penalty":0}"#).penalty(), 0.0);
        let scratch = r#"{"weights":"scratch"}"#;
        assert_eq!(settled(r#"{"weights":"scratch","criterion":"slimming","steps":3}"#), settled(scratch));
        assert_ne!(settled(r#"{"weights":"scratch","ranking":"global","criterion":"fpgm"}"#), settled(scratch));
        // Compute depends on the steps.
        assert_ne!(settled(r#"{"weights":"scratch_compute","steps":3}"#), settled(r#"{"weights":"scratch_compute"}"#));
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
        let global = Pruned { ranking: Some(Ranking::Global), ..uniform(0.5) };
        refused(Pruned { ratio: Ratio::PerStage(vec![0.1, 0.2]), ..global.clone() }, "takes one ratio");
        refused(Pruned { weights: Some(Weights::Scratch), steps: Some(2), ..global }, "accepted: steps = 1");
        refused(Pruned { steps: Some(0), ..uniform(0.5) }, "an integer of at least 1");
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
