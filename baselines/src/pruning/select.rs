//! Which filters stay.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use candle_core::{Result, bail};

use super::{Coupling, Evidence, Pruned};

/// The filters that stay: per coupling their indices, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// By the coupling's name.
    pub kept: BTreeMap<String, Vec<usize>>,
}

impl Selection {
    /// Width of every coupling after the cut.
    pub fn widths(&self) -> BTreeMap<String, usize> {
        self.kept.iter().map(|(name, kept)| (name.clone(), kept.len())).collect()
    }
}

impl Pruned {
    /// Ranks the filters of a network and keeps the best: of each coupling [`Pruned::kept`], or of all together the share of all.
    /// Among equal scores the lower index stays (together: that of the coupling listed first).
    ///
    /// `whole`: the couplings of the uncut network. `now`: the same, of the network that `evidence` is of, before cut number
    /// `step` (counted from 1).
    ///
    /// # Errors
    /// Options that do not fit the network, couplings that are not the same ones, what [`super::Criterion::scores`] refuses.
    pub fn select(
        &self,
        whole: &[Coupling],
        now: &[Coupling],
        step: usize,
        evidence: &Evidence<'_>,
    ) -> Result<Selection> {
        self.check(now)?;
        if !whole.iter().map(Coupling::name).eq(now.iter().map(Coupling::name)) {
            bail!("pruned: the network has other couplings than the uncut one");
        }
        let global = self.is_global();
        let scores = |coupling: &Coupling| self.criterion.scores(coupling, evidence, global);
        let scores: Vec<Vec<f64>> = now.iter().map(scores).collect::<Result<_>>()?;
        let kept = if global {
            self.best_of_all(now, &scores, self.kept_of_all(whole, step))
        } else {
            let most = whole.iter().map(|coupling| self.kept(coupling, step));
            scores.iter().zip(most).map(|(scores, most)| best(scores, most)).collect()
        };
        let named = now.iter().map(|coupling| coupling.name().to_owned()).zip(kept);
        Ok(Selection { kept: named.collect() })
    }

    /// The best of each coupling, then of what is left the best of all, until there are `most`.
    fn best_of_all(&self, couplings: &[Coupling], scores: &[Vec<f64>], most: usize) -> Vec<Vec<usize>> {
        let mut kept: Vec<Vec<usize>> = Vec::new();
        let (mut left, mut count) = (Vec::new(), 0);
        for (index, (coupling, scores)) in couplings.iter().zip(scores).enumerate() {
            if self.cuts(coupling) {
                let first = best(scores, 1);
                count += first.len();
                let others = (0..scores.len()).filter(|filter| !first.contains(filter));
                left.extend(others.map(|filter| (scores[filter], index, filter)));
                kept.push(first);
            } else {
                kept.push((0..scores.len()).collect());
            }
        }
        // In the order of the couplings and their filters, which a stable sort keeps where scores are equal.
        left.sort_by(|(a, ..), (b, ..)| descending(*a, *b));
        for (_, index, filter) in left.into_iter().take(most.saturating_sub(count)) {
            kept[index].push(filter);
        }
        kept.iter_mut().for_each(|kept| kept.sort_unstable());
        kept
    }
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// Indices of the `most` highest scores, ascending.
fn best(scores: &[f64], most: usize) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..scores.len()).collect();
    kept.sort_by(|&a, &b| descending(scores[a], scores[b]));
    kept.truncate(most);
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::pruning::{Importance, Ranking, Ratio};

    /// What stays of layers whose filters have one weight each.
    fn select(pruned: &Pruned, layers: &[&[f32]]) -> Vec<Vec<usize>> {
        let name = |layer: usize| format!("c{layer}");
        let weights = layers.iter().enumerate().map(|(layer, scores)| {
            let weight = Tensor::from_slice(scores, (scores.len(), 1, 1, 1), &Device::Cpu).unwrap();
            (format!("{}.weight", name(layer)), weight)
        });
        let weights = weights.collect();
        let couplings: Vec<Coupling> = (layers.iter().enumerate())
            .map(|(layer, scores)| Coupling::plain(&name(layer), &[], scores.len(), layer + 1, 1))
            .collect();
        let evidence = Evidence { weights: &weights, importance: &Importance::default(), seed: 0 };
        let selection = pruned.select(&couplings, &couplings, 1, &evidence).unwrap();
        (0..layers.len()).map(|layer| selection.kept[&name(layer)].clone()).collect()
    }

    fn of_one(scores: &[f32], ratio: f64) -> Vec<usize> {
        select(&Pruned { ratio: Ratio::Uniform(ratio), ..Pruned::default() }, &[scores]).remove(0)
    }

    #[test]
    fn the_largest_norms_stay_in_order() {
        assert_eq!(of_one(&[0.1, -3.0, 2.0, -0.5, 1.0], 0.4), [1, 2, 4]);
        assert_eq!(of_one(&[0.1, -3.0, 2.0], 0.0), [0, 1, 2]);
        assert_eq!(of_one(&[0.1, -3.0, 2.0], 0.9), [1]);
    }

    #[test]
    fn of_equal_norms_the_first_stay() {
        assert_eq!(of_one(&[1.0, -1.0, 1.0, -1.0], 0.5), [0, 1]);
        assert_eq!(of_one(&[0.0; 6], 0.5), [0, 1, 2]);
    }

    #[test]
    fn of_all_together_the_best_stay_and_one_of_each_layer() {
        let global =
            |ratio| Pruned { ratio: Ratio::Uniform(ratio), ranking: Some(Ranking::Global), ..Pruned::default() };
        let layers: [&[f32]; 3] = [&[5.0, 6.0, 0.5, 4.0], &[0.1, 0.2], &[1.0, 1.0, 3.0, 2.0]];
        // Five of ten: the best of each layer, and the two best of the others.
        assert_eq!(select(&global(0.5), &layers), [vec![0, 1, 3], vec![1], vec![2]]);
        assert_eq!(select(&global(0.9), &layers), [[1], [1], [2]]);
        // Equal ones from the front.
        assert_eq!(select(&global(0.3), &layers), [vec![0, 1, 3], vec![1], vec![0, 2, 3]]);
        let spared = Pruned { skip: vec![2], ..global(0.5) };
        assert_eq!(select(&spared, &layers), [vec![0, 1, 3], vec![0, 1], vec![2]]);
        let layer = Pruned { ranking: None, ..global(0.5) };
        assert_eq!(select(&layer, &layers), [vec![0, 1], vec![1], vec![2, 3]]);
    }
}
