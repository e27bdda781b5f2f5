//! Unstructured pruning: which weights of a trained vanilla network stay, and which are 0 from then on.
//!
//! The way of Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (NeurIPS 2015, arXiv 1506.02626),
//! ranked over the whole network: train, set the weights of the smallest magnitude to 0, fine-tune the others, and keep the
//! zeros. Biases and norms stay.
//!
//! Cost: vanilla's. Zeros are multiplied like any other numbers; what a machine could leave out that knew of them is counted
//! beside that, as nonzero parameters and MACs.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, bail};
use conv_core::options;
use conv_core::options::{Kind, SHARE, at_least};

use crate::pruning::{Ranking, kept};

options! {
    /// Options of magnitude pruning. `floor(n (1 - ratio))` of n weights stay.
    Magnitude = "magnitude", "trained dense, then its smallest weights set to 0 for good; saves no executed multiplication" {
        /// Share of the replaced convolutions' weights that become 0.
        ratio: f64 = 0.5, SHARE;
        /// Whether all weights are ranked against each other (global), or those of each convolution, which loses the share (layer).
        ranking: Ranking = Ranking::Global, Kind::Choice(Ranking::names);
        /// How often weights are set to 0, each time a share by an equal factor, with the fine-tuning epochs divided among them.
        steps: usize = 1, at_least(1);
    }
}

/// Which weights stay; all others are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    kept: BTreeMap<String, Vec<bool>>,
}

impl Magnitude {
    /// Raised whenever the same options leave other weights, so that results never mix.
    pub const VERSION: u32 = 1;

    /// Whether all weights are ranked together, so that only training tells in which convolutions those are that stay.
    pub fn is_global(&self) -> bool {
        self.ranking == Ranking::Global
    }

    /// How many of `weights` that are ranked together stay after step number `step`, counted from 1.
    pub fn kept(&self, weights: u64, step: usize) -> u64 {
        kept(weights, self.ratio, step, self.steps)
    }

    /// How many weights stay in all, of convolutions of so many each.
    pub fn kept_of_all(&self, layers: impl IntoIterator<Item = u64>, step: usize) -> u64 {
        match self.ranking {
            Ranking::Global => self.kept(layers.into_iter().sum(), step),
            Ranking::Layer => layers.into_iter().map(|weights| self.kept(weights, step)).sum(),
        }
    }

    /// The weights of the convolutions called `layers` that stay after step number `step`: the largest by magnitude, of equal
    /// ones the first, by layer and place. What an earlier step has set to 0, as its masks `before` say, comes after all others,
    /// whatever others have become.
    ///
    /// # Errors
    /// No `LAYER.weight`, masks of other weights, or weights that are not finite.
    pub fn masks(
        &self,
        layers: &[String],
        weights: &BTreeMap<String, Tensor>,
        before: Option<&Masks>,
        step: usize,
    ) -> Result<Masks> {
        let keys = layers.iter().map(|layer| Ok((format!("{layer}.weight"), keys(layer, weights, before)?)));
        let keys: Vec<(String, Vec<u64>)> = keys.collect::<Result<_>>()?;
        let together = match self.ranking {
            Ranking::Global => keys.iter().flat_map(|(_, keys)| keys).copied().collect(),
            Ranking::Layer => vec![],
        };
        let together = largest(&together, self.kept(together.len() as u64, step));
        let mut rest = &together[..];
        let mut kept = BTreeMap::new();
        for (name, keys) in keys {
            let own = match self.ranking {
                Ranking::Global => {
                    let (own, others) = rest.split_at(keys.len());
                    rest = others;
                    own.to_vec()
                }
                Ranking::Layer => largest(&keys, self.kept(keys.len() as u64, step)),
            };
            kept.insert(name, own);
        }
        Ok(Masks { kept })
    }
}

/// Numbers in the order of a layer's weights by magnitude; those that are 0 already are below all others.
fn keys(layer: &str, weights: &BTreeMap<String, Tensor>, before: Option<&Masks>) -> Result<Vec<u64>> {
    let name = format!("{layer}.weight");
    let Some(weight) = weights.get(&name) else { bail!("magnitude: no `{name}`; only vanilla convolutions have one") };
    let values = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().any(|value| !value.is_finite()) {
        bail!("magnitude: `{name}` is not finite: the network has diverged");
    }
    // Of numbers that are not negative the bits are in the numbers' order.
    let mut keys: Vec<u64> = values.iter().map(|value| (1 << 32) + u64::from(value.abs().to_bits())).collect();
    if let Some(masks) = before {
        match masks.kept(&name) {
            Some(kept) if kept.len() == keys.len() => {
                keys.iter_mut().zip(kept).filter(|(_, kept)| !**kept).for_each(|(key, _)| *key = 0);
            }
            _ => bail!("magnitude: `{name}` has no mask of {} weights from the step before", keys.len()),
        }
    }
    Ok(keys)
}

/// Whether each of the `keys` is among the `most` largest, of equal ones the first.
fn largest(keys: &[u64], most: u64) -> Vec<bool> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(keys.len());
    let mut order: Vec<usize> = (0..keys.len()).collect();
    if 0 < most && most < order.len() {
        order.select_nth_unstable_by(most - 1, |&a, &b| keys[b].cmp(&keys[a]).then(a.cmp(&b)));
    }
    let mut kept = vec![false; keys.len()];
    order[..most].iter().for_each(|&index| kept[index] = true);
    kept
}

impl Masks {
    /// For each value of the weight called so, whether it stays; none where all do.
    pub fn kept(&self, weight: &str) -> Option<&[bool]> {
        self.kept.get(weight).map(Vec::as_slice)
    }

    /// How many values of the weight called so are 0.
    pub fn removed(&self, weight: &str) -> u64 {
        self.kept(weight).unwrap_or_default().iter().filter(|kept| !**kept).count() as u64
    }

    /// Sets to 0 whatever does not stay.
    ///
    /// # Errors
    /// A weight that is missing or has another size than its mask.
    pub fn apply(&self, weights: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, kept) in &self.kept {
            let Some(weight) = weights.get_mut(name).filter(|weight| weight.elem_count() == kept.len()) else {
                bail!("magnitude: no `{name}` of {} values for its mask", kept.len());
            };
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            let values = values.into_iter().zip(kept).map(|(value, &kept)| if kept { value } else { 0.0 }).collect();
            *weight = Tensor::from_vec(values, weight.shape(), weight.device())?;
        }
        Ok(())
    }

    /// Whether all is 0 that does not stay.
    ///
    /// # Errors
    /// A weight that is missing or not f32.
    pub fn hold(&self, weights: &BTreeMap<String, Tensor>) -> Result<bool> {
        for (name, kept) in &self.kept {
            let Some(weight) = weights.get(name) else { bail!("magnitude: no `{name}` for its mask") };
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            if values.len() != kept.len() || values.iter().zip(kept).any(|(&value, &kept)| !kept && value != 0.0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As tensors of ones and zeros, to be written down.
    ///
    /// # Errors
    /// Those of making tensors.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |kept: &Vec<bool>| {
            let values: Vec<f32> = kept.iter().map(|&kept| f32::from(u8::from(kept))).collect();
            Tensor::from_vec(values, kept.len(), &Device::Cpu)
        };
        self.kept.iter().map(|(name, kept)| Ok((name.clone(), tensor(kept)?))).collect()
    }

    /// As [`Masks::tensors`] wrote them.
    ///
    /// # Errors
    /// Tensors that are not f32.
    pub fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let read = |tensor: &Tensor| -> Result<Vec<bool>> {
            Ok(tensor.flatten_all()?.to_vec1::<f32>()?.iter().map(|&value| value != 0.0).collect())
        };
        let kept = tensors.iter().map(|(name, tensor)| Ok((name.clone(), read(tensor)?)));
        Ok(Self { kept: kept.collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(layers: &[&[f32]]) -> (Vec<String>, BTreeMap<String, Tensor>) {
        let name = |layer: usize| format!("c{layer}");
        let weight = |(layer, values): (usize, &&[f32])| {
            (
                format!("{}.weight", name(layer)),
                Tensor::from_slice(values, (1, values.len(), 1, 1), &Device::Cpu).unwrap(),
            )
        };
        ((0..layers.len()).map(name).collect(), layers.iter().enumerate().map(weight).collect())
    }

    fn left(magnitude: &Magnitude, layers: &[&[f32]], before: Option<&Masks>, step: usize) -> (Masks, Vec<Vec<f32>>) {
        let (names, mut weights) = weights(layers);
        let masks = magnitude.masks(&names, &weights, before, step).unwrap();
        assert!(!masks.hold(&weights).unwrap() || masks.kept.values().flatten().all(|&kept| kept));
        masks.apply(&mut weights).unwrap();
        assert!(masks.hold(&weights).unwrap());
        let values = weights.values().map(|weight| weight.flatten_all().unwrap().to_vec1().unwrap());
        (masks, values.collect())
    }

    #[test]
    fn the_largest_magnitudes_of_all_stay() {
        let layers: [&[f32]; 2] = [&[0.1, -3.0, 2.0, -0.5], &[-0.2, 0.3]];
        let global = Magnitude::default();
        let (masks, values) = left(&global, &layers, None, 1);
        assert_eq!(values, [vec![0.0, -3.0, 2.0, -0.5], vec![0.0, 0.0]]);
        assert_eq!((masks.removed("c0.weight"), masks.removed("c1.weight"), masks.removed("fc.weight")), (1, 2, 0));
        let layer = Magnitude { ranking: Ranking::Layer, ..global };
        assert_eq!(left(&layer, &layers, None, 1).1, [vec![0.0, -3.0, 2.0, 0.0], vec![0.0, 0.3]]);
        // Of equal ones the first, and no zero with a sign.
        let bits: Vec<u32> =
            left(&layer, &[&[-1.0, 1.0, -1.0, -1.0]], None, 1).1[0].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [-1.0f32, 1.0, 0.0, 0.0].map(f32::to_bits));
        assert_eq!(left(&Magnitude { ratio: 0.0, ..layer }, &layers, None, 1).1, layers);
    }

    #[test]
    fn a_weight_that_training_made_0_is_not_one_that_was_removed() {
        let twice = Magnitude { ratio: 0.75, steps: 2, ranking: Ranking::Layer };
        assert_eq!([1, 2].map(|step| twice.kept(4, step)), [2, 1]);
        let (masks, _) = left(&twice, &[&[1.0, 2.0, 4.0, 3.0]], None, 1);
        // Those that stay become 0, those that were removed may not come back however large they look.
        let (next, values) = left(&twice, &[&[9.0, 9.0, 0.0, -0.0]], Some(&masks), 2);
        assert_eq!(next.kept("c0.weight"), Some(&[false, false, true, false][..]));
        assert_eq!(values, [[0.0; 4]]);
    }

    #[test]
    fn counts_are_the_exact_floor_for_every_percentage() {
        for weights in [1u64, 9, 100, 2_304, 270_896, 14_710_464] {
            for percent in 0..100 {
                let magnitude = Magnitude { ratio: percent as f64 / 100.0, ..Magnitude::default() };
                assert_eq!(magnitude.kept(weights, 1), weights * (100 - percent) / 100, "{weights} {percent}");
            }
        }
        let half = Magnitude::default();
        assert_eq!(half.kept_of_all([3, 3], 1), 3);
        assert_eq!(Magnitude { ranking: Ranking::Layer, ..half }.kept_of_all([3, 3], 1), 2);
    }

    #[test]
    fn masks_are_read_as_they_are_written() {
        let (masks, _) = left(&Magnitude::default(), &[&[0.1, -3.0, 2.0], &[-0.2]], None, 1);
        assert_eq!(Masks::from_tensors(&masks.tensors().unwrap()).unwrap(), masks);
        assert_eq!(Masks::from_tensors(&BTreeMap::new()).unwrap(), Masks::default());
    }

    #[test]
    fn what_is_no_trained_network_is_refused() {
        let (names, weights) = weights(&[&[1.0, f32::NAN]]);
        let refused =
            |names: &[String], before| Magnitude::default().masks(names, &weights, before, 1).unwrap_err().to_string();
        assert!(refused(&names, None).contains("has diverged"));
        assert!(refused(&["d".into()], None).contains("no `d.weight`"));
        let (_, finite) = self::weights(&[&[1.0, 2.0]]);
        let error = Magnitude::default().masks(&names, &finite, Some(&Masks::default()), 1).unwrap_err().to_string();
        assert!(error.contains("no mask of 2 weights"), "{error}");
        let (masks, _) = left(&Magnitude::default(), &[&[1.0, 2.0, 3.0]], None, 1);
        assert!(masks.apply(&mut self::weights(&[&[1.0]]).1).is_err());
    }
}
