//! The learning rate, step by step.

use std::f64::consts::PI;

use crate::config::{Recipe, Schedule};

/// The rate of every optimizer step of one training.
///
/// With steps `t = 0 .. T`, `W` of them warm-up and peak rate `lr`:
///
/// - warm-up, `t < W`: `lr (t + 1) / W`, so that the last warm-up step has the peak rate and none has 0;
/// - `cosine`: `lr (1 + cos(pi (t - W) / (T - W))) / 2`, which would reach 0 at step `T`;
/// - `linear`: `lr (1 - (t - W) / (T - W))`, which would reach 0 there too;
/// - `step`: `lr gamma^m` with `m` the number of milestones reached, a milestone `f` being reached at step `round(f T)`
///   (fractions count from the start, warm-up included);
/// - `constant`: `lr`.
///
/// In PyTorch, stepped once per batch: `LinearLR(start_factor=1/W, total_iters=W-1)` and then
/// `CosineAnnealingLR(T_max=T-W)` or `LinearLR(1, 0, T-W)`, joined by `SequentialLR` at `W`; `MultiStepLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    schedule: Schedule,
    peak: f64,
    steps: usize,
    warmup: usize,
    milestones: Vec<usize>,
    gamma: f64,
}

impl LearningRate {
    /// The recipe's schedule for `epochs` epochs of `steps_per_epoch` steps.
    pub fn of_recipe(recipe: &Recipe, epochs: usize, steps_per_epoch: usize) -> Self {
        let steps = epochs * steps_per_epoch;
        let warmup = (recipe.warmup_epochs * steps_per_epoch as f64).round() as usize;
        Self {
            schedule: recipe.schedule,
            peak: recipe.lr,
            steps,
            warmup: warmup.min(steps),
            milestones: recipe.milestones.iter().map(|fraction| (fraction * steps as f64).round() as usize).collect(),
            gamma: recipe.gamma,
        }
    }

    /// Half a cosine from `peak` to 0 without warm-up, as after a cut.
    pub fn cosine(peak: f64, steps: usize) -> Self {
        Self { schedule: Schedule::Cosine, peak, steps, warmup: 0, milestones: Vec::new(), gamma: 1.0 }
    }

    /// Number of steps, `T`.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The rate of step `t`, counted from 0.
    pub fn at(&self, t: usize) -> f64 {
        if t < self.warmup {
            return self.peak * (t + 1) as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => self.peak,
            Schedule::Step => {
                let reached = self.milestones.iter().filter(|&&milestone| milestone <= t).count();
                self.peak * self.gamma.powi(reached as i32)
            }
            Schedule::Cosine => self.peak * (1.0 + (PI * self.progress(t)).cos()) / 2.0,
            Schedule::Linear => self.peak * (1.0 - self.progress(t)),
        }
    }

    /// How much of what follows the warm-up lies before step `t`, in [0, 1].
    fn progress(&self, t: usize) -> f64 {
        let length = (self.steps - self.warmup).max(1) as f64;
        ((t - self.warmup) as f64 / length).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(recipe: &Recipe, epochs: usize, steps_per_epoch: usize) -> Vec<f64> {
        let rate = LearningRate::of_recipe(recipe, epochs, steps_per_epoch);
        (0..rate.steps()).map(|t| rate.at(t)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-12, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn cosine_with_warmup_by_hand() {
        let recipe = Recipe { lr: 0.4, warmup_epochs: 1.0, ..Recipe::default() };
        // Two steps of warm-up, then four of the cosine: cos 0, pi/4, pi/2, 3 pi/4.
        let half_root = 0.5f64.sqrt();
        let expected = [0.2, 0.4, 0.4, 0.2 * (1.0 + half_root), 0.2, 0.2 * (1.0 - half_root)];
        assert_close(&rates(&recipe, 3, 2), &expected);
    }

    #[test]
    fn one_cycle_by_hand() {
        let recipe = Recipe { lr: 0.4, warmup_epochs: 1.0, schedule: Schedule::Linear, ..Recipe::default() };
        assert_close(&rates(&recipe, 3, 2), &[0.2, 0.4, 0.4, 0.3, 0.2, 0.1]);
    }

    #[test]
    fn warmup_may_be_a_fraction_of_an_epoch_or_everything() {
        let recipe = Recipe { lr: 1.0, schedule: Schedule::Constant, warmup_epochs: 0.5, ..Recipe::default() };
        assert_close(&rates(&recipe, 1, 4), &[0.5, 1.0, 1.0, 1.0]);
        let recipe = Recipe { warmup_epochs: 9.0, ..recipe };
        assert_close(&rates(&recipe, 1, 4), &[0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn milestones_are_fractions_of_the_whole_training() {
        let recipe =
            Recipe { lr: 1.0, schedule: Schedule::Step, milestones: vec![0.5, 0.75], gamma: 0.1, ..Recipe::default() };
        assert_close(&rates(&recipe, 4, 2), &[1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]);
    }

    #[test]
    fn fine_tuning_ends_near_zero_and_never_leaves_it() {
        let rate = LearningRate::cosine(0.01, 100);
        assert_eq!(rate.at(0), 0.01);
        assert!(rate.at(99) > 0.0 && rate.at(99) < 1e-5);
        assert_eq!(rate.at(100), rate.at(150));
    }
}
