//! The images one trial trains, validates and is tested on.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use crate::config::TrialConfig;
use crate::data::{self, Dataset, Geometry, Images, Loader, Normalization, Partition, Provenance};
use crate::weights::InputSpec;

/// A loaded data set that trials share.
#[derive(Clone, Debug)]
pub struct SharedData {
    /// Its origin.
    pub provenance: Provenance,
    /// Number of classes.
    pub classes: usize,
    /// Training images, validation not yet carved.
    pub train: Arc<Images>,
    /// Test images.
    pub test: Arc<Images>,
}

impl From<Dataset> for SharedData {
    fn from(dataset: Dataset) -> Self {
        let Dataset { provenance, classes, train, test } = dataset;
        Self { provenance, classes, train: Arc::new(train), test: Arc::new(test) }
    }
}

/// A data set as one trial uses it: split, normalised and batched as its configuration says.
pub struct Feed {
    images: Arc<Images>,
    classes: usize,
    /// Until they are read.
    test: Option<Arc<Images>>,
    split: Partition,
    normalization: Normalization,
    batch: usize,
    augment: bool,
    seed: u64,
    workers: usize,
}

impl Feed {
    /// Channels, height and width of an image.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.images.shape
    }

    /// Splits `data` for the trial; normalisation is that of the images trained on. `workers`: background threads,
    /// which change nothing but the time.
    ///
    /// # Errors
    /// What [`data::split`] refuses; no validation images; fewer training images than one batch.
    pub fn new(data: &SharedData, config: &TrialConfig, workers: usize) -> Result<Self> {
        let recipe = &config.recipe;
        let split = data::split(&data.train, data.classes, config.validation, recipe.subset)?;
        let (train, batch) = (split.train.len(), recipe.batch);
        ensure!(!split.validation.is_empty(), "protocol.validation = 0: a trial needs validation images, e.g. 5000");
        ensure!(batch >= 1, "recipe.batch = 0: a batch holds at least one image");
        ensure!(
            train >= batch,
            "recipe.batch = {batch} is more than the {train} training images; accepted: 1 to {train}"
        );
        Ok(Self {
            normalization: Normalization::of(&data.train, &split.train),
            images: Arc::clone(&data.train),
            classes: data.classes,
            test: Some(Arc::clone(&data.test)),
            split,
            batch,
            augment: config.dataset.augment,
            seed: config.seed,
            workers,
        })
    }

    /// What a network that is trained on it is given.
    pub fn input(&self) -> InputSpec {
        let geometry = Geometry { shape: self.shape(), classes: self.classes };
        InputSpec { geometry, normalization: self.normalization.clone() }
    }

    /// Number of images trained on.
    pub fn train_images(&self) -> usize {
        self.split.train.len()
    }

    /// Optimizer steps an epoch; the last, smaller batch is left out.
    pub fn steps_per_epoch(&self) -> usize {
        self.train_images() / self.batch
    }

    /// The shuffled (and, if asked for, augmented) batches of an epoch, without the `first` ones.
    pub fn train(&self, epoch: usize, first: usize) -> Loader {
        let (images, indices) = (Arc::clone(&self.images), self.split.train.clone());
        let normalization = self.normalization.clone();
        Loader::train(images, indices, normalization, self.batch, self.augment, self.seed, epoch, first, self.workers)
    }

    /// The validation images in order.
    pub fn validation(&self) -> Loader {
        self.eval(&self.images, self.split.validation.clone())
    }

    /// The test images in order, once: what was decided after they were seen would be decided on them.
    ///
    /// # Errors
    /// They were read before.
    pub fn test(&mut self) -> Result<Loader> {
        let Some(test) = self.test.take() else {
            bail!("the test images were read before; a trial reads them once, after everything is decided")
        };
        Ok(self.eval(&test, (0..test.labels.len()).collect()))
    }

    fn eval(&self, images: &Arc<Images>, indices: Vec<usize>) -> Loader {
        Loader::eval(Arc::clone(images), indices, self.normalization.clone(), self.batch, self.workers)
    }
}

/// Background threads for the data, beside so many that compute: preparing a batch is cheap beside a training step.
pub fn workers(threads: usize) -> usize {
    threads.div_ceil(2).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::sweep::document::Document;
    use crate::experiment::{Experiment, keys};

    #[test]
    fn the_test_images_are_read_once() {
        let images = |count: usize| {
            let labels = (0..count).map(|image| (image % 2) as u16).collect();
            Arc::new(Images { shape: (1, 2, 2), pixels: (0..4 * count).map(|pixel| pixel as u8).collect(), labels })
        };
        let provenance = Provenance { label: "x".into(), source: "x".into(), synthetic: true, fingerprint: "x".into() };
        let data = SharedData { provenance, classes: 2, train: images(8), test: images(3) };
        let file = "name = 'x'\n[dataset]\nname = 'synthetic'\n[backbone]\nname = 'resnet20'\n[recipe]\nbatch = 2\n\
             [protocol]\nvalidation = 2\n";
        let document = Document::parse(keys::keys(), "x.toml", file).unwrap();
        let config = Experiment::from_document(&document).unwrap().trials.remove(0).config;
        let mut feed = Feed::new(&data, &config, 1).unwrap();
        assert_eq!(feed.test().unwrap().map(|batch| batch.unwrap().labels.elem_count()).sum::<usize>(), 3);
        let error = feed.test().err().unwrap().to_string();
        assert!(error.contains("were read before"), "{error}");
    }
}
