//! Images of each class in the splits of what a plan trains on.

use crate::config::DatasetConfig;
use crate::config::error::explain;
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

/// What there is to say of the splits of a data set, for people; nothing where its files are not there.
pub fn told(config: &DatasetConfig, validation: usize, subset: usize) -> Option<String> {
    match labels(config).and_then(|labels| labels.map(|labels| labels.counts(validation, subset)).transpose()) {
        Ok(counts) => counts.map(|ClassCounts { train, validation, test }| {
            format!(
                "images of a class: {} to train on, {} to validate, {} to test ({} classes)",
                range(&train),
                range(&validation),
                range(&test),
                train.len()
            )
        }),
        Err(error) => Some(explain(&error)),
    }
}
