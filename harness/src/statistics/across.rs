//! One method over several tasks, a task being a data set and a backbone (R. Agarwal and others, *Deep Reinforcement Learning at
//! the Edge of the Statistical Precipice*, NeurIPS 2021). Scores of different tasks have to be on one scale, such as differences
//! to vanilla in percentage points. `tasks` holds for each task a score for each seed.

use super::Interval;
use super::bootstrap::percentiles;

/// Mean of the middle half of all scores: a quarter of them, rounded down, is left out at each end. None without scores; NaN
/// where a score is.
pub fn interquartile_mean(tasks: &[Vec<f64>]) -> Option<f64> {
    middle_mean(tasks.concat())
}

/// 95 % percentile interval of the [`interquartile_mean`] over seeds, drawn within each task: the tasks are these, and no sample
/// of others. None where no task has two seeds, or a score is not finite.
pub fn interquartile_mean_interval(tasks: &[Vec<f64>]) -> Option<Interval> {
    if tasks.iter().all(|scores| scores.len() < 2) {
        return None;
    }
    percentiles(|draw| {
        let mut drawn = Vec::new();
        for scores in tasks {
            drawn.extend(scores.iter().map(|_| scores[draw(scores.len())]));
        }
        middle_mean(drawn).unwrap_or(f64::NAN)
    })
}

/// For each threshold, the share of runs whose score is above it: the mean over tasks of each task's own share, so that a task
/// with more seeds has no more weight. None without scores, or where a score is NaN.
pub fn performance_profile(tasks: &[Vec<f64>], thresholds: &[f64]) -> Option<Vec<f64>> {
    let tasks: Vec<&Vec<f64>> = tasks.iter().filter(|scores| !scores.is_empty()).collect();
    if tasks.is_empty() || tasks.iter().any(|scores| scores.iter().any(|score| score.is_nan())) {
        return None;
    }
    let share = |scores: &[f64], threshold: f64| {
        scores.iter().filter(|score| **score > threshold).count() as f64 / scores.len() as f64
    };
    let mean = |threshold: &f64| tasks.iter().map(|scores| share(scores, *threshold)).sum::<f64>() / tasks.len() as f64;
    Some(thresholds.iter().map(mean).collect())
}

fn middle_mean(mut scores: Vec<f64>) -> Option<f64> {
    if scores.iter().any(|score| score.is_nan()) {
        return Some(f64::NAN);
    }
    scores.sort_unstable_by(f64::total_cmp);
    let quarter = scores.len() / 4;
    let middle = &scores[quarter..scores.len() - quarter];
    (!middle.is_empty()).then(|| middle.iter().sum::<f64>() / middle.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.trim_mean(.., 0.25)`, which rliable uses.
    #[test]
    fn the_middle_half_is_scipys() {
        let tasks = [vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![6.0, 7.0, 100.0, 0.5, 3.0]];
        assert!((interquartile_mean(&tasks).unwrap() - 23.0 / 6.0).abs() < 1e-15);
        assert_eq!(interquartile_mean(&[vec![1.0, 2.0, 3.0, 4.0]]), Some(2.5));
        assert_eq!(interquartile_mean(&[vec![7.0]]), Some(7.0));
        assert_eq!(interquartile_mean(&[vec![]]), None);
        assert!(interquartile_mean(&[vec![1.0, f64::NAN]]).unwrap().is_nan());
    }

    #[test]
    fn seeds_are_drawn_within_their_task() {
        // Each task's seeds agree: whatever is drawn, the score is the same, however far tasks are apart.
        let tasks = [vec![1.0; 3], vec![50.0; 3], vec![99.0; 3]];
        let middle = interquartile_mean(&tasks).unwrap();
        assert_eq!(interquartile_mean_interval(&tasks), Some(Interval { low: middle, high: middle }));
        let spread = [vec![1.0, 2.0, 3.0], vec![49.0, 50.0, 51.0]];
        let Interval { low, high } = interquartile_mean_interval(&spread).unwrap();
        assert!(low < interquartile_mean(&spread).unwrap() && high > interquartile_mean(&spread).unwrap());
        assert_eq!(interquartile_mean_interval(&[vec![1.0], vec![2.0]]), None);
    }

    #[test]
    fn a_profile_is_a_share_of_runs_with_tasks_of_equal_weight() {
        let tasks = [vec![1.0, 3.0], vec![2.0, 2.0, 2.0, 5.0]];
        assert_eq!(performance_profile(&tasks, &[0.0, 1.0, 2.0, 4.0, 5.0]).unwrap(), [1.0, 0.75, 0.375, 0.125, 0.0]);
        assert_eq!(performance_profile(&[vec![]], &[0.0]), None);
        assert_eq!(performance_profile(&[vec![f64::NAN]], &[0.0]), None);
    }
}
