//! Images of each class in the splits of what a plan trains on.

use anyhow::{Result, ensure};

use crate::config::DatasetConfig;
use crate::data::counts::{ClassCounts, Labels, labels};
use crate::data::range;
use crate::experiment::setting::Setting;

/// The data sets of a plan with their labels, each read once.
#[derive(Default)]
pub struct SplitSizes {
    known: Vec<(DatasetConfig, Option<Labels>)>,
}

impl SplitSizes {
    /// Images of each class that a setting trains on, validates with and tests on; none where nothing is trained, or where the data
    /// cannot be read now.
    pub fn of(&mut self, setting: &Setting) -> Option<ClassCounts> {
        if setting.recipe.epochs == 0 {
            return None;
        }
        let dataset = &setting.network.parts.dataset;
        let same = |known: &DatasetConfig| {
            (&known.name, &known.sources, known.test_share) == (&dataset.name, &dataset.sources, dataset.test_share)
        };
        let place = self.known.iter().position(|(known, _)| same(known)).unwrap_or_else(|| {
            self.known.push((dataset.clone(), labels(dataset).ok().flatten()));
            self.known.len() - 1
        });
        self.known[place].1.as_ref()?.counts(setting.validation, setting.recipe.subset).ok()
    }
}

/// What the trials of a plan ask of a data set.
pub struct DataUse {
    /// The images.
    pub dataset: DatasetConfig,
    /// Images carved for validation.
    validation: usize,
    /// Images trained on, of those that are left; 0: all.
    subset: usize,
    /// Whether the test split is read.
    test: bool,
}

impl DataUse {
    /// That of a setting.
    pub fn of(setting: &Setting) -> Self {
        Self {
            dataset: setting.network.parts.dataset.clone(),
            validation: setting.validation,
            subset: setting.recipe.subset,
            test: setting.test,
        }
    }

    /// What there is to say of its splits, for people; nothing where its files are not there.
    ///
    /// # Errors
    /// What a run would refuse: files that cannot be read, fewer images than are asked for, no test split where it is read.
    pub fn told(&self) -> Result<Vec<String>> {
        let Some(labels) = labels(&self.dataset)? else { return Ok(vec![]) };
        let ClassCounts { train, validation, test } = labels.counts(self.validation, self.subset)?;
        ensure!(
            !self.test || test.iter().any(|&count| count > 0),
            "{} has no test split\n  accepted: protocol.test = false; or dataset.test_share = 0.2, say, where a part of each class \
             is to become it",
            self.dataset.name
        );
        Ok(vec![format!(
            "images of a class: {} to train on, {} to validate, {} to test ({} classes)",
            range(&train),
            range(&validation),
            range(&test),
            train.len()
        )])
    }
}
