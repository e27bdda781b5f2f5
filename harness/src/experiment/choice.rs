//! Which of a setting's tries is the best: a pure function of what they came to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::sweep::document::plain;

/// A value for each searched key, by the key's name in the recipe.
pub type Point = BTreeMap<String, Value>;

/// What settings that are tuned at parity have alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Points that each setting tries.
    pub tries: usize,
    /// Decides which points these are.
    pub seed: u64,
    /// Seeds that each try is trained with.
    pub training_seeds: Vec<u64>,
    /// Epochs of a try, where they are not the recipe's.
    pub epochs: Option<usize>,
    /// For each searched key in words what is drawn from.
    pub space: BTreeMap<String, String>,
}

impl fmt::Display for Terms {
    /// `8 tries each over lr log-uniform 0.01 to 0.5, weight_decay one of 0.0, 0.0005`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space: Vec<String> = self.space.iter().map(|(key, space)| format!("{key} {space}")).collect();
        let tries = if self.tries == 1 { "try" } else { "tries" };
        write!(f, "{} {tries} each over {}", self.tries, space.join(", "))?;
        self.epochs.map_or(Ok(()), |epochs| write!(f, ", {epochs} epoch{} a try", if epochs == 1 { "" } else { "s" }))
    }
}

/// The best of a setting's tries, and how it stands among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Names the setting, whatever the values of its searched keys.
    pub setting: String,
    /// How it was tuned.
    pub terms: Terms,
    /// The number of the try, from 1 on.
    pub number: usize,
    /// Its values.
    pub values: Point,
    /// Keys whose value is the largest or smallest of those that were drawn: the space may be too small.
    pub edges: Vec<String>,
    /// Its top-1 on validation after the last epoch, as a share of 1: the mean over its training seeds.
    pub best: f64,
    /// The same of the worst try that was trained to its end.
    pub worst: f64,
    /// Tries that failed: they count, and none can be the best.
    pub failed: usize,
}

impl Choice {
    /// Chooses among tries of these `points`, given what each came to, nothing for those that failed; of equal ones the first.
    /// None where all failed.
    pub fn of(setting: &str, terms: &Terms, points: &[Point], tries: &[Option<f64>]) -> Option<Self> {
        let done = || tries.iter().enumerate().filter_map(|(at, result)| Some((at, (*result)?)));
        let (at, best) = done().reduce(|best, other| if other.1 > best.1 { other } else { best })?;
        let worst = done().map(|(_, result)| result).fold(best, f64::min);
        let values = points.get(at)?.clone();
        let edge = |key: &&String| {
            let drawn: Option<Vec<f64>> = points.iter().map(|point| number(point.get(*key)?)).collect();
            let (Some(drawn), Some(chosen)) = (drawn, values.get(*key).and_then(number)) else { return false };
            let low = drawn.iter().copied().fold(f64::INFINITY, f64::min);
            let high = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            low < high && (chosen == low || chosen == high)
        };
        Some(Self {
            setting: setting.to_owned(),
            terms: terms.clone(),
            number: at + 1,
            edges: values.keys().filter(edge).cloned().collect(),
            values,
            best,
            worst,
            failed: tries.iter().filter(|result| result.is_none()).count(),
        })
    }
}

/// `lr=0.0377 weight_decay=0.0001`
pub fn words(point: &Point) -> String {
    point.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ")
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|n| n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rates: &[f64]) -> Vec<Point> {
        let point = |rate: &f64| {
            let schedule = Value::String(if *rate > 0.1 { "step" } else { "cosine" }.into());
            Point::from([("lr".to_owned(), Value::Float(*rate)), ("schedule".to_owned(), schedule)])
        };
        rates.iter().map(point).collect()
    }

    fn choose(rates: &[f64], tries: &[Option<f64>]) -> Option<Choice> {
        let space = BTreeMap::from([("lr".to_owned(), "log-uniform 0.01 to 1.0".to_owned())]);
        let terms = Terms { tries: rates.len(), seed: 7, training_seeds: vec![100], epochs: None, space };
        Choice::of("s", &terms, &points(rates), tries)
    }

    #[test]
    fn the_best_try_is_chosen_and_of_equal_ones_the_first() {
        let choice = choose(&[0.1, 0.3, 0.2, 0.5], &[Some(0.5), Some(0.7), Some(0.7), Some(0.2)]).unwrap();
        assert_eq!((choice.number, choice.best, choice.worst, choice.failed), (2, 0.7, 0.2, 0));
        assert_eq!(words(&choice.values), "lr=0.3 schedule=step");
        assert_eq!(choice.edges, [""; 0], "0.3 lies between 0.1 and 0.5");
        assert_eq!(choice.terms.to_string(), "4 tries each over lr log-uniform 0.01 to 1.0");
    }

    #[test]
    fn a_failed_try_counts_and_never_wins() {
        let choice = choose(&[0.1, 0.2, 0.9], &[None, Some(0.0), None]).unwrap();
        assert_eq!((choice.number, choice.best, choice.worst, choice.failed), (2, 0.0, 0.0, 2));
        assert_eq!(choice.edges, [""; 0], "what failed was drawn");
        assert_eq!(choose(&[0.1, 0.2], &[None, None]), None);
    }

    #[test]
    fn outermost_draws_are_marked_where_there_is_an_order() {
        assert_eq!(choose(&[0.2, 0.1, 0.3], &[Some(0.1), Some(0.9), Some(0.2)]).unwrap().edges, ["lr"]);
        assert_eq!(choose(&[0.2, 0.2], &[Some(0.1), Some(0.9)]).unwrap().edges, [""; 0], "one value has no edge");
    }

    #[test]
    fn choices_read_back_as_they_were_written() {
        let choice = choose(&[0.030_000_000_000_000_002, 0.2], &[Some(1.0 / 3.0), None]).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&serde_json::to_string(&choice).unwrap()).unwrap(), choice);
    }
}
