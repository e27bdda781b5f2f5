//! Checks that a data set has as many images as a trial asks for: before the data is read where its size is known, and again
//! once it is read.

use std::borrow::Borrow;

use super::sweep::document::{Document, Entry, find};
use crate::config::error::{At, Complaint, ExperimentError};
use crate::config::{DatasetConfig, Protocol, Recipe};
use crate::data;

pub(super) const BATCH: &str = "recipe.batch";
const SUBSET: &str = "recipe.subset";
const VALIDATION: &str = "protocol.validation";
const SOURCES: &str = "dataset.sources";
const NAME: &str = "dataset.name";

/// Where a trial's keys that decide about numbers of images were written; a key left at its default is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageKeyPlaces(Box<[(&'static str, At)]>);

impl ImageKeyPlaces {
    /// The places of those keys that are among `entries`.
    pub fn of<E: Borrow<Entry>>(entries: &[E]) -> Self {
        let at = |key: &'static str| find(entries, key).map(|entry| (key, entry.at.clone()));
        Self([BATCH, SUBSET, VALIDATION, SOURCES, NAME].into_iter().filter_map(at).collect())
    }

    /// The same, but that one key is written elsewhere.
    pub(super) fn with(&self, entry: &Entry) -> Self {
        let others = self.0.iter().filter(|(key, _)| *key != entry.key).cloned();
        Self(others.chain(Self::of(std::slice::from_ref(entry)).0).collect())
    }

    /// Where the key was written.
    pub fn at(&self, key: &str) -> Option<&At> {
        self.0.iter().find(|(there, _)| *there == key).map(|(_, at)| at)
    }
}

/// What a trial demands of its data set.
#[derive(Clone, Copy, Debug)]
pub struct ImageDemand<'a> {
    /// The data set's name.
    pub dataset: &'a str,
    /// How it is trained on them.
    pub recipe: &'a Recipe,
    /// Images carved for validation.
    pub validation: usize,
}

/// Refuses to carve no images for validation where something is decided or judged by them: only a test split that the finished
/// network reads once can take their place.
///
/// # Errors
/// No images for validation where settings are tuned, or where the test split is not read.
pub fn check_judged<'a>(
    document: &Document,
    place: impl Fn(&str) -> Option<&'a At>,
    Protocol { validation, test, .. }: &Protocol,
) -> Result<(), ExperimentError> {
    let why = match (validation, document.search.is_empty(), test) {
        (0, false, _) => "leaves nothing to choose by, and settings are tuned",
        (0, true, false) => "leaves nothing to judge by, and protocol.test = false",
        _ => return Ok(()),
    };
    let at = place(VALIDATION).unwrap_or(&At::File);
    let accepted = "at least 1; 0 only where nothing is tuned and protocol.test = true".to_owned();
    Err(document.error(at, Complaint::new(format!("`{VALIDATION}` {why}"), "0".to_owned(), accepted)))
}

/// The most training images that the data can have, where that is known before it is read.
///
/// # Errors
/// A data set that does not exist; an entry of `dataset.sources` that cannot be understood.
pub fn most(config: &DatasetConfig) -> anyhow::Result<Option<usize>> {
    data::most_training_images(config)
}

/// Refuses a trial for which `images` training images are too few: all that the data loader or the training would refuse.
/// `place` tells where a key was written.
///
/// # Errors
/// The key that asks for too much; where it was left at its default, in the line of what makes the default too much.
pub fn check<'a>(
    document: &Document,
    place: impl Fn(&str) -> Option<&'a At>,
    ImageDemand { dataset, recipe, validation }: ImageDemand<'_>,
    images: usize,
) -> Result<(), ExperimentError> {
    if recipe.epochs == 0 {
        return Ok(());
    }
    let fail = |keys: &[&str], what: &str, found: usize, accepted: String| {
        let found = if place(keys[0]).is_some() { found.to_string() } else { format!("{found} (the default)") };
        let at = keys.iter().find_map(|key| place(key)).unwrap_or(&At::File);
        Err(document.error(at, Complaint::new(format!("`{}` {what}", keys[0]), found, accepted)))
    };
    let there = format!("{dataset} has {images} training images");
    let Some(rest) = images.checked_sub(validation).filter(|rest| *rest > 0) else {
        let accepted = format!("0 to {}: {there}", images.saturating_sub(1));
        return fail(&[VALIDATION, SOURCES, NAME], "leaves no image to train on", validation, accepted);
    };
    if recipe.subset > rest {
        let accepted = format!("1 to {rest}, or 0 for all: {there}, {VALIDATION} takes {validation}");
        return fail(&[SUBSET], "is more than the images there are", recipe.subset, accepted);
    }
    let trained = if recipe.subset == 0 { rest } else { recipe.subset };
    if recipe.batch > trained {
        let why = match recipe.subset {
            0 => format!("{there}, {VALIDATION} takes {validation}"),
            _ => format!("{SUBSET} = {trained}"),
        };
        let accepted = format!("1 to {trained}: {why}");
        let keys = [BATCH, SUBSET, VALIDATION, SOURCES, NAME];
        return fail(&keys, "is more than the images trained on", recipe.batch, accepted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::experiment::keys::keys;

    const HEAD: &str =
        "name = 'x'\n[dataset]\nname = 'synthetic'\nsources = ['synthetic:60+20']\n[backbone]\nname = 'resnet20'\n";

    fn load(rest: &str) -> anyhow::Result<Experiment> {
        Experiment::from_document(&Document::parse(keys(), "x.toml", &format!("{HEAD}{rest}"))?)
    }

    #[test]
    fn no_validation_is_accepted_where_the_test_split_judges_alone() {
        assert!(load("[recipe]\nbatch = 60\n[protocol]\nvalidation = 0").is_ok());
        let error = |rest: &str| load(rest).unwrap_err().to_string();
        insta::assert_snapshot!(error("[protocol]\nvalidation = 0\ntest = false"), @r"
        x.toml:8: `protocol.validation` leaves nothing to judge by, and protocol.test = false
             8 | validation = 0
          found:    0
          accepted: at least 1; 0 only where nothing is tuned and protocol.test = true
        ");
        insta::assert_snapshot!(error("[protocol]\nvalidation = 0\n[tune]\nrecipe.lr = [0.1, 0.2]"), @r"
        x.toml:8: `protocol.validation` leaves nothing to choose by, and settings are tuned
             8 | validation = 0
          found:    0
          accepted: at least 1; 0 only where nothing is tuned and protocol.test = true
        ");
    }

    #[test]
    fn what_just_fits_is_accepted_and_one_more_is_not() {
        let asked = |validation, subset, batch| {
            load(&format!("[protocol]\nvalidation = {validation}\n[recipe]\nsubset = {subset}\nbatch = {batch}"))
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(asked(59, 0, 1), Ok(()));
        assert_eq!(asked(10, 50, 50), Ok(()));
        assert_eq!(asked(10, 0, 50), Ok(()));
        insta::assert_snapshot!(asked(60, 0, 1).unwrap_err(), @r"
        x.toml:8: `protocol.validation` leaves no image to train on
             8 | validation = 60
          found:    60
          accepted: 0 to 59: synthetic has 60 training images
        ");
        insta::assert_snapshot!(asked(10, 51, 1).unwrap_err(), @r"
        x.toml:10: `recipe.subset` is more than the images there are
            10 | subset = 51
          found:    51
          accepted: 1 to 50, or 0 for all: synthetic has 60 training images, protocol.validation takes 10
        ");
        insta::assert_snapshot!(asked(10, 0, 51).unwrap_err(), @r"
        x.toml:11: `recipe.batch` is more than the images trained on
            11 | batch = 51
          found:    51
          accepted: 1 to 50: synthetic has 60 training images, protocol.validation takes 10
        ");
        insta::assert_snapshot!(asked(10, 20, 21).unwrap_err(), @r"
        x.toml:11: `recipe.batch` is more than the images trained on
            11 | batch = 21
          found:    21
          accepted: 1 to 20: recipe.subset = 20
        ");
    }

    #[test]
    fn a_default_that_is_too_much_is_told_as_one_and_costs_need_no_images() {
        let error = load("").unwrap_err().to_string();
        assert!(
            error.starts_with("x.toml:4: `protocol.validation`") && error.contains("5000 (the default)"),
            "{error}"
        );
        let error = load("[protocol]\nvalidation = 10").unwrap_err().to_string();
        assert!(error.starts_with("x.toml:8: `recipe.batch`") && error.contains("128 (the default)"), "{error}");
        load("[recipe]\nepochs = 0").unwrap();
    }

    #[test]
    fn a_grid_is_blamed_where_its_value_stands() {
        let error =
            load("[protocol]\nvalidation = 10\n[[grid]]\nrecipe.lr = [0.1, 0.2]\nrecipe.batch = [8, 64]").unwrap_err();
        assert!(error.to_string().starts_with("x.toml:11: `recipe.batch`"), "{error}");
    }
}
