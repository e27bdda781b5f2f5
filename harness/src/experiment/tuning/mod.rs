//! `[tune]`: every setting tries the same points of one search space, and is trained with the best of them.
//!
//! A *try* is an ordinary trial: of one setting at one point, with a seed that no final trial has, judged on validation alone. So
//! tries have keys, checkpoints and results as all trials have, and [`Choice`](super::choice::Choice) is made of those results. Here is
//! what a file may ask for; [`tries`] makes the trials of it.

mod tries;

use anyhow::Result;
use conv_core::options;
use conv_core::options::{Kind, at_least};
use toml::{Table, Value};

use super::choice::{Point, Terms};
use super::resolve::section;
use super::sweep::condition::Expression;
use super::sweep::document::{Entry, find, plain};
use super::sweep::keys::Key;
use super::sweep::points;
use super::{Document, Trial};
use crate::config::Recipe;
use crate::config::error::{At, Complaint, ExperimentError};

pub use tries::{Tries, TunedSetting};

/// More tries than these are a slip.
const MOST_TRIES: i64 = 1000;
const SEED: Kind = at_least(0);
/// What searches could not leave alike for all settings: how long, and on how many images they are trained.
const BUDGET: [&str; 2] = ["recipe.epochs", "recipe.subset"];

options! {
    /// `[tune]`, beside the keys of the recipe that it searches.
    #[derive(Eq)]
    TuneSettings = "tune", "how settings are tuned" {
        /// Points of the search space that every setting tries, all of them the same.
        tries: usize = 8, Kind::Integer(1, MOST_TRIES);
        /// Decides which points these are; a larger number of tries keeps those that were drawn before.
        seed: u64 = 0, SEED;
        /// Seeds that each try is trained with; none of protocol.seeds.
        training_seeds: Vec<u64> = vec![100], Kind::NonEmptyList(&SEED);
        /// Epochs of a try; when absent: the recipe's.
        epochs: Option<usize> = None, at_least(1);
        /// Whether to stop once everything is tried: no final trial is trained.
        only: bool = false, Kind::Flag;
    }
}

/// How the settings of an experiment are tuned.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What they have alike.
    pub terms: Terms,
    /// The points, in the order in which they were drawn.
    pub points: Vec<Point>,
    /// Whether nothing but the tries is to be trained.
    pub(super) only: bool,
}

impl Tuning {
    /// That of a document whose sweep was checked; none where it has no `[tune]`.
    ///
    /// # Errors
    /// Nothing to search; keys that cannot be searched, or that something else sets too.
    pub(super) fn of(document: &Document) -> Result<Option<Self>> {
        let own = |entry: &&Entry| entry.key.starts_with("tune.");
        let Some(first) = document.base.iter().find(own).or(document.search.first()) else { return Ok(None) };
        let TuneSettings { tries, seed, training_seeds, epochs, only } = section(&document.base, "tune.")?;
        if document.search.is_empty() {
            let accepted = "at least one key of the recipe, e.g. recipe.lr = { log_uniform = [0.01, 0.5] }";
            return Err(document.error(&first.at, Complaint::new("[tune] searches nothing", "", accepted)).into());
        }
        document.search.iter().try_for_each(|entry| check_searched(document, entry))?;
        let drawn = points(document, &document.search, tries as u64, seed)?;
        let point = |entries: Vec<Entry>| entries.into_iter().map(|entry| (bare(&entry.key), entry.value)).collect();
        let space = document.search.iter().map(|entry| (bare(&entry.key), space(&entry.value))).collect();
        let terms = Terms { tries, seed, training_seeds, epochs, space };
        Ok(Some(Self { terms, points: drawn.into_iter().map(point).collect(), only }))
    }

    /// Refuses trials that cannot be tuned.
    fn check(&self, document: &Document, trials: &[Trial]) -> Result<(), ExperimentError> {
        let place = |key: &str| document.get(key).map_or(&document.search[0].at, |entry| &entry.at);
        if let Some(trial) = trials.iter().find(|trial| trial.config.recipe.epochs == 0) {
            let what = format!("[tune] has nothing to tune of {}: it is not trained", trial.label);
            let complaint = Complaint::new(what, "recipe.epochs = 0", "recipe.epochs of at least 1, or no [tune]");
            return Err(document.error(place("recipe.epochs"), complaint));
        }
        let seeds = &self.terms.training_seeds;
        if let Some(trial) = trials.iter().find(|trial| seeds.contains(&trial.config.seed)) {
            let seed = trial.config.seed;
            let what = format!("`tune.training_seeds` has seed {seed} of protocol.seeds");
            let complaint = Complaint::new(what, format!("{seeds:?}"), "seeds that no final trial is trained with");
            let complaint = complaint.help("a choice that was made on a seed would favour it");
            return Err(document.error(place("tune.training_seeds"), complaint));
        }
        Ok(())
    }
}

/// Whether the key may be searched, and nothing else in the document wants to decide it.
fn check_searched(document: &Document, entry: &Entry) -> Result<(), ExperimentError> {
    let key = &entry.key;
    if !key.starts_with("recipe.") || BUDGET.contains(&key.as_str()) {
        let accepted = "keys of the recipe but epochs and subset, e.g. recipe.lr, recipe.weight_decay";
        let complaint = Complaint::new(format!("`{key}` cannot be searched"), "", accepted);
        return Err(document.error(
            &entry.at,
            match key.as_str() {
                key if key.starts_with("method.") => complaint.help(
                    "methods differ in their options: settings of them belong into a block, and each of these is tuned",
                ),
                "recipe.epochs" => complaint.help("tune.epochs sets how long all tries are trained"),
                _ => complaint,
            },
        ));
    }
    let searched = document.place(&entry.at);
    let twice = |at: &At, how: &str| {
        let what = format!("`{key}` is searched by [tune] ({searched}) and {how}: which would hold?");
        Err(document.error(at, Complaint::new(what, "", "one of the two")))
    };
    let set = document.blocks.iter().flat_map(|block| block.lists()).find_map(|entries| find(entries, key));
    if let Some(set) = set {
        return twice(&set.at, "set in a block");
    }
    if let Some(Entry { at: at @ At::Option(_), .. }) = document.get(key) {
        return twice(at, "set here");
    }
    let conditions = document.blocks.iter().flat_map(|block| {
        let cases = block.cases.iter().filter_map(|case| case.condition.as_ref());
        block.conditions.iter().chain(cases)
    });
    for condition in document.conditions.iter().chain(conditions) {
        let asks = |expression: &Expression| expression.asks(&|asked: &Key| *asked == Key::Set(key.clone()));
        if Expression::parse(document.keys, &condition.text).as_ref().is_ok_and(asks) {
            return twice(&condition.at, "asked for by a condition");
        }
    }
    Ok(())
}

/// `lr` of `recipe.lr`.
fn bare(key: &str) -> String {
    key.trim_start_matches("recipe.").to_owned()
}

/// `log-uniform 0.01 to 0.5`, `one of 0.1, 0.2`
fn space(value: &Value) -> String {
    let list = |values: &[Value], between: &str| values.iter().map(plain).collect::<Vec<_>>().join(between);
    match value {
        Value::Table(range) => {
            let ends = range.iter().map(|(form, ends)| {
                let ends = ends.as_array().map_or_else(String::new, |ends| list(ends, " to "));
                format!("{} {ends}", form.replace('_', "-"))
            });
            ends.collect()
        }
        Value::Array(values) => format!("one of {}", list(values, ", ")),
        value => plain(value),
    }
}

/// A recipe without the values of some keys: all that differ in these alone become one.
pub fn without<'k>(recipe: &Recipe, keys: impl IntoIterator<Item = &'k String>) -> Recipe {
    let neutral = || -> Result<Recipe> {
        let (mut table, default) = (Table::try_from(recipe)?, Table::try_from(Recipe::default())?);
        for key in keys {
            match default.get(key) {
                Some(value) => table.insert(key.clone(), value.clone()),
                None => table.remove(key),
            };
        }
        Ok(table.try_into()?)
    };
    // Keys that this harness does not know: nothing of its own differs in them.
    neutral().unwrap_or_else(|_| recipe.clone())
}

#[cfg(test)]
mod tests;
