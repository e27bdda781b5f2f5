//! Batches, prepared in background threads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::random::{Purpose, shuffle, stream};
use super::{Draw, ImageSet, Normalization, Transform};

/// Batches a worker may be ahead of the consumer.
const AHEAD: usize = 2;

/// What one training or evaluation step sees.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[b, c, h, w]`, f32, normalised.
    pub images: Tensor,
    /// `[b]`, u32.
    pub labels: Tensor,
}

/// One pass over a set of images, as batches in a fixed order.
///
/// Worker i of n makes the batches whose number leaves i when divided by n, and has a queue of its own; reading the queues
/// in turn gives the batches in order without any reordering. Where images have to be decoded or resized, one worker makes all
/// batches, each on all threads: so that few batches are in memory, however many threads there are. Dropping a loader early stops
/// its workers.
pub struct Loader {
    queues: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    next: usize,
    batches: usize,
    waited: Duration,
}

/// What the workers share.
struct Job {
    images: ImageSet,
    order: Vec<usize>,
    transform: Transform,
    table: Vec<[f32; 256]>,
    batch: usize,
    /// For training.
    draw: Option<Draw>,
    /// What decodes.
    threads: Option<ThreadPool>,
}

impl Loader {
    /// One training epoch: the images at `indices` in an order of the `draw`, transformed by that and the image. The last, partial
    /// batch is left out, and so are the `first` ones: what follows is what would follow them.
    ///
    /// The batches are the same for any number of `workers`.
    pub fn train(
        images: ImageSet,
        mut indices: Vec<usize>,
        looks: (Transform, &Normalization),
        batch: usize,
        draw: Draw,
        first: usize,
        workers: usize,
    ) -> Self {
        shuffle(&mut indices, &mut stream(Purpose::Order, draw.seed, draw.epoch as u64, 0));
        let batches = indices.len() / batch.max(1);
        Self::start(Job::new(images, indices, looks, batch, Some(draw)), first.min(batches)..batches, workers)
    }

    /// The images at `indices`, in that order, as evaluations see them; the last batch may be smaller.
    pub fn eval(
        images: ImageSet,
        indices: Vec<usize>,
        looks: (Transform, &Normalization),
        batch: usize,
        workers: usize,
    ) -> Self {
        let batches = indices.len().div_ceil(batch.max(1));
        Self::start(Job::new(images, indices, looks, batch, None), 0..batches, workers)
    }

    /// Number of batches in the pass, those included that were left out at its start.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Time for which whoever takes the batches has waited for them.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn start(mut job: Job, numbers: Range<usize>, mut workers: usize) -> Self {
        if job.images.is_work(&job.transform) && !numbers.is_empty() {
            let pool =
                ThreadPoolBuilder::new().num_threads(workers.max(1)).thread_name(|index| format!("decode-{index}"));
            // Without threads of its own the worker decodes by itself.
            (job.threads, workers) = (pool.build().ok(), 1);
        }
        let job = Arc::new(job);
        let stride = workers.clamp(1, numbers.len().max(1));
        let (mut queues, mut handles) = (Vec::new(), Vec::new());
        for worker in 0..stride {
            let (sender, receiver) = sync_channel(AHEAD);
            let (job, numbers) = (Arc::clone(&job), numbers.clone());
            queues.push(receiver);
            handles.push(std::thread::spawn(move || {
                for number in numbers.filter(|number| number % stride == worker) {
                    // The consumer is gone: nobody needs the rest.
                    if sender.send(job.batch(number)).is_err() {
                        return;
                    }
                }
            }));
        }
        Self { queues, workers: handles, next: numbers.start, batches: numbers.end, waited: Duration::ZERO }
    }
}

impl Job {
    fn new(
        images: ImageSet,
        order: Vec<usize>,
        (transform, norm): (Transform, &Normalization),
        batch: usize,
        draw: Option<Draw>,
    ) -> Self {
        Self { images, order, transform, table: norm.table(), batch: batch.max(1), draw, threads: None }
    }

    fn batch(&self, number: usize) -> Result<Batch> {
        let (c, h, w) = self.transform.shape();
        let start = number * self.batch;
        let members = &self.order[start..(start + self.batch).min(self.order.len())];
        let mut pixels = vec![0.0; members.len() * c * h * w];
        let write = |(&index, out): (&usize, &mut [f32])| {
            self.images.write(&self.transform, self.draw, index, &self.table, out)
        };
        match &self.threads {
            None => members.iter().zip(pixels.chunks_exact_mut(c * h * w)).try_for_each(write)?,
            Some(threads) => threads.install(|| -> Result<()> {
                let images = members.par_iter().zip(pixels.par_chunks_exact_mut(c * h * w)).map(write);
                images.find_first(Result::is_err).unwrap_or(Ok(()))
            })?,
        }
        let label = |&index: &usize| self.images.labels().get(index).map(|&label| u32::from(label));
        let labels = members.iter().map(label).collect::<Option<Vec<_>>>().context("an image without a label")?;
        Ok(Batch {
            images: Tensor::from_vec(pixels, (members.len(), c, h, w), &Device::Cpu)?,
            labels: Tensor::from_vec(labels, members.len(), &Device::Cpu)?,
        })
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.batches {
            return None;
        }
        let queue = &self.queues[self.next % self.queues.len()];
        let lost = || anyhow!("a data worker died while preparing batch {} of {}", self.next + 1, self.batches);
        let asked = Instant::now();
        let batch = queue.recv().unwrap_or_else(|_| Err(lost()));
        self.waited += asked.elapsed();
        // After an error there is nothing more to come.
        self.next = if batch.is_ok() { self.next + 1 } else { self.batches };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.batches - self.next))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Closed queues let workers that wait for room go on, and end.
        self.queues.clear();
        self.workers.drain(..).for_each(|worker| {
            let _ = worker.join();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatasetConfig;
    use crate::data::Images;

    fn images(n: usize) -> (Arc<Images>, Normalization) {
        let shape = (3, 8, 8);
        let pixels = (0..n * 3 * 64).map(|i| (i * 31 % 253) as u8).collect();
        let images = Images { pixels, labels: (0..n).map(|i| i as u16).collect(), shape };
        let norm = Normalization::of(&images, &(0..n).collect::<Vec<_>>());
        (Arc::new(images), norm)
    }

    fn transform(augment: bool) -> Transform {
        Transform::of(&DatasetConfig { augment, ..DatasetConfig::default() }, (3, 8, 8))
    }

    type Contents = Vec<(Vec<f32>, Vec<u32>)>;

    fn contents(loader: Loader) -> Result<Contents> {
        let batch = |b: Batch| Ok((b.images.flatten_all()?.to_vec1()?, b.labels.to_vec1()?));
        loader.map(|b| batch(b?)).collect()
    }

    fn train(augment: bool, seed: u64, epoch: usize, workers: usize) -> Result<Contents> {
        let (images, norm) = images(53);
        let (images, draw) = (ImageSet::Resident(images), Draw { seed, epoch });
        contents(Loader::train(images, (0..53).collect(), (transform(augment), &norm), 8, draw, 0, workers))
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers() -> Result<()> {
        for augment in [false, true] {
            let one = train(augment, 7, 2, 1)?;
            assert_eq!(one.len(), 6, "the partial batch of 5 is left out");
            for workers in [0, 2, 5, 64] {
                assert_eq!(one, train(augment, 7, 2, workers)?, "{workers} workers, augment {augment}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_pass_goes_on_anywhere_as_if_it_had_been_run_through() -> Result<()> {
        let whole = train(true, 7, 2, 2)?;
        let (images, norm) = images(53);
        for first in 0..=whole.len() + 1 {
            for workers in [1, 2, 3, 5] {
                let indices = (0..53).collect();
                let (images, draw) = (ImageSet::Resident(Arc::clone(&images)), Draw { seed: 7, epoch: 2 });
                let rest = Loader::train(images, indices, (transform(true), &norm), 8, draw, first, workers);
                let expected = &whole[first.min(whole.len())..];
                assert_eq!(contents(rest)?, expected, "from batch {first} with {workers} workers");
            }
        }
        Ok(())
    }

    #[test]
    fn order_and_crops_change_with_epoch_and_seed() -> Result<()> {
        let labels = |c: &Contents| c.iter().flat_map(|b| b.1.clone()).collect::<Vec<_>>();
        let first = train(true, 0, 0, 2)?;
        for other in [train(true, 0, 1, 2)?, train(true, 1, 0, 2)?] {
            assert_ne!(labels(&first), labels(&other));
        }
        // One image's pixels in two epochs: other crop, unless augmentation is off.
        let pixels = |c: &Contents, label| {
            let (batch, at) = c.iter().find_map(|b| Some((b, b.1.iter().position(|&l| l == label)?)))?;
            Some(batch.0[at * 192..][..192].to_vec())
        };
        let (plain0, plain1, cropped1) = (train(false, 0, 0, 2)?, train(false, 0, 1, 2)?, train(true, 0, 1, 2)?);
        assert_eq!(labels(&plain1), labels(&cropped1), "augmentation leaves the order alone");
        let (mut same, mut differs) = (0, 0);
        for label in 0..53 {
            if let (Some(a), Some(b)) = (pixels(&plain0, label), pixels(&plain1, label)) {
                same += 1;
                assert_eq!(a, b);
            }
            differs += usize::from(pixels(&first, label) != pixels(&cropped1, label));
        }
        assert!(same > 30 && differs > 45, "{same} {differs}");
        Ok(())
    }

    #[test]
    fn eval_keeps_the_order_and_the_partial_batch() -> Result<()> {
        let (images, norm) = images(20);
        let indices = vec![3, 1, 4, 15, 9, 2, 6];
        let batches =
            contents(Loader::eval(ImageSet::Resident(Arc::clone(&images)), indices, (transform(true), &norm), 3, 2))?;
        let labels: Vec<Vec<u32>> = batches.iter().map(|b| b.1.clone()).collect();
        assert_eq!(labels, [vec![3, 1, 4], vec![15, 9, 2], vec![6]]);
        let expected = (f32::from(images.image(6)[70]) / 255.0 - norm.mean[1]) / norm.std[1];
        assert_eq!(batches[2].0[70], expected);
        Ok(())
    }

    #[test]
    fn an_early_drop_ends_the_workers() -> Result<()> {
        let (images, norm) = images(53);
        let weak = Arc::downgrade(&images);
        let (images, draw) = (ImageSet::Resident(images), Draw { seed: 0, epoch: 0 });
        let mut loader = Loader::train(images, (0..53).collect(), (transform(true), &norm), 2, draw, 0, 3);
        assert_eq!(loader.batches(), 26);
        loader.next().transpose()?;
        drop(loader);
        assert!(weak.upgrade().is_none(), "a worker still holds the images");
        Ok(())
    }

    #[test]
    fn no_images_are_no_batches() -> Result<()> {
        let (images, norm) = images(5);
        let images = ImageSet::Resident(images);
        assert!(contents(Loader::eval(images.clone(), vec![], (transform(true), &norm), 4, 2))?.is_empty());
        let draw = Draw { seed: 0, epoch: 0 };
        assert!(contents(Loader::train(images, vec![1, 2], (transform(true), &norm), 4, draw, 0, 2))?.is_empty());
        Ok(())
    }
}
