//! Images of each class in the splits of what a plan trains on, and what a run would refuse of them.

use anyhow::{Result, bail, ensure};

use crate::config::DatasetConfig;
use crate::config::error::explain;
use crate::data::counts::{ClassCounts, Labels, labels};
use crate::data::range;
use crate::experiment::Document;
use crate::experiment::setting::Setting;

/// The data sets of a plan with their labels, each read once.
#[derive(Default)]
pub struct SplitSizes {
    known: Vec<(DatasetConfig, Result<Option<Labels>, String>)>,
}

impl SplitSizes {
    /// Images of each class that a setting trains on, validates with and tests on; none where nothing is trained, or where the data
    /// cannot be read now.
    pub fn of(&mut self, setting: &Setting) -> Option<ClassCounts> {
        if setting.recipe.epochs == 0 {
            return None;
        }
        let labels = self.labels(&setting.network.parts.dataset).as_ref().ok()?.as_ref()?;
        labels.counts(setting.validation, setting.recipe.subset).ok()
    }

    /// What there is to say of a setting's splits, for people; nothing where the files are not there.
    ///
    /// # Errors
    /// What a run would refuse: files that cannot be read, fewer images than are asked for, no test split where it is read.
    pub fn told(&mut self, setting: &Setting, document: &Document) -> Result<Option<String>> {
        let dataset = &setting.network.parts.dataset;
        let labels = match self.labels(dataset) {
            Ok(Some(labels)) => labels,
            Ok(None) => return Ok(None),
            Err(why) => bail!(why.clone()),
        };
        setting.check_images(document, labels.training_images())?;
        let ClassCounts { train, validation, test } = labels.counts(setting.validation, setting.recipe.subset)?;
        ensure!(
            !setting.test || test.iter().any(|&count| count > 0),
            "{} has no test split\n  accepted: protocol.test = false; or dataset.test_share = 0.2, say, where a part of each class \
             is to become it",
            dataset.name
        );
        Ok(Some(format!(
            "images of a class: {} to train on, {} to validate, {} to test ({} classes)",
            range(&train),
            range(&validation),
            range(&test),
            train.len()
        )))
    }

    fn labels(&mut self, dataset: &DatasetConfig) -> &Result<Option<Labels>, String> {
        let place = self.known.iter().position(|(known, _)| same_images(known, dataset)).unwrap_or_else(|| {
            self.known.push((dataset.clone(), labels(dataset).map_err(|error| explain(&error))));
            self.known.len() - 1
        });
        &self.known[place].1
    }
}

/// Whether two data sets have the same images in the same splits.
pub fn same_images(a: &DatasetConfig, b: &DatasetConfig) -> bool {
    (&a.name, &a.sources, a.test_share) == (&b.name, &b.sources, b.test_share)
}
