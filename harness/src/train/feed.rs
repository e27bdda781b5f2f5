//! The images one trial trains, validates and is tested on.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::config::TrialConfig;
use crate::data::{self, Dataset, Draw, Geometry, ImageSet, Loader, Normalization, Partition, Provenance, Transform};
use crate::weights::InputSpec;

/// A loaded data set that trials share.
#[derive(Clone, Debug)]
pub struct SharedData {
    /// Its origin.
    pub provenance: Provenance,
    /// What a network sees of it.
    pub geometry: Geometry,
    /// Training images, validation not yet carved.
    pub train: ImageSet,
    /// Test images.
    pub test: ImageSet,
}

impl From<Dataset> for SharedData {
    fn from(dataset: Dataset) -> Self {
        let Dataset { provenance, geometry, train, test } = dataset;
        Self { provenance, geometry, train, test }
    }
}

/// A data set as one trial uses it: split, normalised and batched as its configuration says.
pub struct Feed {
    images: ImageSet,
    classes: usize,
    /// Until they are read.
    test: Option<ImageSet>,
    split: Partition,
    transform: Transform,
    normalization: Normalization,
    batch: usize,
    seed: u64,
    workers: usize,
}

impl Feed {
    /// Channels, height and width of an image, as the network sees it.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.transform.shape()
    }

    /// What its images are normalised by.
    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    /// Splits `data` for the trial; normalisation is that of the images trained on. `workers`: background threads,
    /// which change nothing but the time.
    ///
    /// # Errors
    /// What [`data::split`] refuses; fewer training images than one batch.
    pub fn new(data: &SharedData, config: &TrialConfig, workers: usize) -> Result<Self> {
        let recipe = &config.recipe;
        let split = data::split(data.train.labels(), data.geometry.classes, config.validation, recipe.subset)?;
        let (train, batch) = (split.train.len(), recipe.batch);
        ensure!(batch >= 1, "recipe.batch = 0: a batch holds at least one image");
        ensure!(
            train >= batch,
            "recipe.batch = {batch} is more than the {train} training images; accepted: 1 to {train}"
        );
        ensure!(
            !(config.test && data.test.is_empty()),
            "{}: has no test split; accepted: protocol.test = false, or dataset.test_share = 0.2, which makes one of a part of each class",
            data.provenance.source
        );
        let transform = Transform::of(&config.dataset, data.geometry.shape);
        Ok(Self {
            normalization: Normalization::for_training(&config.dataset.name, &data.train, &split.train, &transform)?,
            images: data.train.clone(),
            test: Some(data.test.clone()),
            classes: data.geometry.classes,
            split,
            transform,
            batch,
            seed: config.seed,
            workers: if data.train.resident().is_none() { rayon::current_num_threads() } else { workers },
        })
    }

    /// What a network that is trained on it is given.
    pub fn input(&self) -> InputSpec {
        let geometry = Geometry { shape: self.shape(), classes: self.classes };
        InputSpec { geometry, normalization: self.normalization.clone() }
    }

    /// Says for how much of an epoch's time training has waited for images that are decoded meanwhile.
    pub fn tell_waiting(&self, epoch: usize, waited: Duration, of: Duration) {
        if self.images.resident().is_none() {
            let share = 100.0 * waited.as_secs_f64() / of.as_secs_f64().max(1e-9);
            say!("epoch {epoch}: training waited for images for {share:.1} % of {:.0} s", of.as_secs_f64());
        }
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
        let (images, indices) = (self.images.clone(), self.split.train.clone());
        let (looks, draw) = ((self.transform.clone(), &self.normalization), Draw { seed: self.seed, epoch });
        Loader::train(images, indices, looks, self.batch, draw, first, self.workers)
    }

    /// The validation images in order; none where no images validate.
    pub fn validation(&self) -> Option<Loader> {
        let images = &self.split.validation;
        (!images.is_empty()).then(|| self.eval(&self.images, images.clone()))
    }

    /// The test images in order, once: what was decided after they were seen would be decided on them.
    ///
    /// # Errors
    /// They were read before.
    pub fn test(&mut self) -> Result<Loader> {
        let Some(test) = self.test.take() else {
            bail!("the test images were read before; a trial reads them once, after everything is decided")
        };
        Ok(self.eval(&test, (0..test.len()).collect()))
    }

    fn eval(&self, images: &ImageSet, indices: Vec<usize>) -> Loader {
        let looks = (self.transform.clone(), &self.normalization);
        Loader::eval(images.clone(), indices, looks, self.batch, self.workers)
    }
}

/// Background threads for the data, beside so many that compute: preparing a batch is cheap beside a training step.
pub fn workers(threads: usize) -> usize {
    threads.div_ceil(2).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use crate::experiment::sweep::document::Document;
    use crate::experiment::{Experiment, keys};

    #[test]
    fn the_test_images_are_read_once() {
        let images = |count: usize| -> ImageSet {
            let labels = (0..count).map(|image| (image % 2) as u16).collect();
            Images { shape: (1, 2, 2), pixels: (0..4 * count).map(|pixel| pixel as u8).collect(), labels }.into()
        };
        let [label, source, fingerprint] = ["x"; 3].map(String::from);
        let provenance = Provenance { label, source, synthetic: true, fingerprint, remarks: vec![] };
        let geometry = Geometry { shape: (1, 2, 2), classes: 2 };
        let data = SharedData { provenance, geometry, train: images(8), test: images(3) };
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
