//! How many images of each class there are in each split.

use std::path::Path;

use anyhow::Result;

use super::split::{Partition, split};
use super::{DataRoots, DatasetInfo, Location, by_name, folder, formats, parquet, sources};
use crate::config::DatasetConfig;

/// Classes of the images of both splits, before validation images are carved off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    classes: usize,
    train: Vec<u16>,
    test: Vec<u16>,
}

/// Images of each class, in the order of the classes' numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCounts {
    /// Trained on.
    pub train: Vec<usize>,
    /// Held back for every decision.
    pub validation: Vec<usize>,
    /// Test images.
    pub test: Vec<usize>,
}

/// [`labels_from`] where data lies on this machine.
///
/// # Errors
/// As of [`labels_from`].
pub fn labels(config: &DatasetConfig) -> Result<Option<Labels>> {
    labels_from(config, &DataRoots::from_environment())
}

/// The labels of the data set of `config`, if its files are there, looked for where `roots` say; nothing is downloaded, and images
/// are only decoded where nothing else tells their classes.
///
/// # Errors
/// An unknown name; data that is damaged, incomplete or another data set.
pub fn labels_from(config: &DatasetConfig, roots: &DataRoots) -> Result<Option<Labels>> {
    let info = by_name(&config.name)?;
    if info.reader.is_none() {
        return Ok(None);
    }
    match sources::locate_offline(config, info, roots) {
        Ok(Location::Files(path)) => at(&path, config, info, roots).map(Some),
        _ => Ok(None),
    }
}

fn at(path: &Path, config: &DatasetConfig, info: &DatasetInfo, roots: &DataRoots) -> Result<Labels> {
    if formats::is_encoded(path, config, info)? {
        let (classes, train, test) = folder::labels(path, config, &roots.cache)?;
        return Ok(Labels { classes, train, test });
    }
    if let (Some(geometry), None, columns @ [_, ..]) = (info.geometry, config.test_share, info.reader()?.label_columns)
        && let Some(shards) = parquet::layout::find(path, info.name)?
    {
        let [train, test] = parquet::classes(&shards, columns)?;
        return Ok(Labels { classes: geometry.classes, train, test });
    }
    let found = sources::read(String::new(), &Location::Files(path.to_owned()), config, info, roots)?;
    let [train, test] = [&found.contents.train, &found.contents.test].map(|set| set.labels().to_vec());
    Ok(Labels { classes: found.geometry.classes, train, test })
}

impl Labels {
    /// Images to train on, those for validation among them.
    pub fn training_images(&self) -> usize {
        self.train.len()
    }

    /// Images of each class, with so many carved off for validation and so many of the rest trained on (0: all).
    ///
    /// # Errors
    /// More than there are.
    pub fn counts(&self, validation: usize, subset: usize) -> Result<ClassCounts> {
        let Partition { train, validation } = split(&self.train, self.classes, validation, subset)?;
        let of = |indices: &[usize]| self.count(indices.iter().map(|&index| self.train[index]));
        Ok(ClassCounts { train: of(&train), validation: of(&validation), test: self.count(self.test.iter().copied()) })
    }

    fn count(&self, labels: impl Iterator<Item = u16>) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        labels.for_each(|label| {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        });
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::range;

    #[test]
    fn every_image_is_counted_where_it_is_used() {
        let labels = Labels { classes: 3, train: vec![0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], test: vec![0, 0, 2] };
        let counts = labels.counts(3, 6).unwrap();
        assert_eq!(counts, ClassCounts { train: vec![2; 3], validation: vec![1; 3], test: vec![2, 0, 1] });
        assert_eq!((range(&counts.train), range(&counts.test), range(&[])), ("2".into(), "0 to 2".into(), "0".into()));
        assert!(labels.counts(12, 0).is_err());
    }
}
