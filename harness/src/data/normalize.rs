//! Per-channel standardisation.

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::random::{Purpose, shuffle, stream};
use super::{ImageSet, Images, Transform, registry};

/// Images that are measured of a set that is not kept as the network sees it.
const SAMPLE: usize = 2000;

/// Mean and standard deviation per channel, of pixels scaled to [0, 1].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// One per channel.
    pub mean: Vec<f32>,
    /// One per channel; 1 where a channel is constant.
    pub std: Vec<f32>,
    /// What they are of, in words.
    pub of: String,
}

impl Normalization {
    /// What the images of data set `name` at `indices` are normalised by. Its published constants, where the field uses such; else
    /// those of the images themselves where they lie in memory as the network sees them, or of 2,000 of them, drawn by a fixed
    /// seed, as an evaluation sees them. Pass those trained on, so that nothing of validation or test leaks in.
    ///
    /// # Errors
    /// An image that cannot be read; names it.
    pub fn for_training(name: &str, images: &ImageSet, indices: &[usize], transform: &Transform) -> Result<Self> {
        let channels = transform.shape().0;
        if let Some(info) = registry::find(name)
            && let (Some((mean, std)), 3) = (info.published, channels)
        {
            let of = format!("those published for {}", info.title);
            return Ok(Self { mean: mean.to_vec(), std: std.to_vec(), of });
        }
        if let Some(resident) = images.resident().filter(|images| transform.keeps(images.shape)) {
            return Ok(Self::of(resident, indices));
        }
        let mut drawn = indices.to_vec();
        shuffle(&mut drawn, &mut stream(Purpose::Sample, 0, 0, 0));
        drawn.truncate(SAMPLE);
        let none = || vec![[0; 256]; channels];
        let count = |index: &usize| -> Result<Vec<[u64; 256]>> {
            let pixels = images.evaluated(transform, *index)?;
            let plane = pixels.len() / channels.max(1);
            let mut counts = none();
            pixels.chunks_exact(plane.max(1)).zip(&mut counts).for_each(|(plane, counts)| add_pixels(counts, plane));
            Ok(counts)
        };
        let sum = |mut sum: Vec<[u64; 256]>, other: Vec<[u64; 256]>| {
            for (sum, other) in sum.iter_mut().zip(other) {
                sum.iter_mut().zip(other).for_each(|(sum, count)| *sum += count);
            }
            Ok(sum)
        };
        let counts = drawn.par_iter().map(count).try_reduce(none, sum)?;
        let of = if drawn.len() < indices.len() {
            format!("those of {} of the images trained on, drawn by a fixed seed", drawn.len())
        } else {
            TRAINED_ON.to_owned()
        };
        Ok(Self { of, ..Self::of_counts(&counts) })
    }

    /// That of the images at `indices`: pass those trained on, so that nothing of validation or test leaks in.
    ///
    /// Counts values in integers and divides once: exact, and the same in any order.
    pub fn of(images: &Images, indices: &[usize]) -> Self {
        let (channels, h, w) = images.shape;
        let mut counts = vec![[0u64; 256]; channels];
        for &index in indices {
            let planes = images.image(index).chunks_exact(h * w);
            planes.zip(&mut counts).for_each(|(plane, counts)| add_pixels(counts, plane));
        }
        Self::of_counts(&counts)
    }

    /// That of so many pixels of each value in each channel.
    fn of_counts(counts: &[[u64; 256]]) -> Self {
        let total = counts.first().map_or(0, |counts| counts.iter().sum::<u64>()).max(1) as f64;
        let moment = |counts: &[u64; 256], power| {
            counts.iter().enumerate().map(|(v, &n)| n as f64 * (v as f64 / 255.0).powi(power)).sum::<f64>() / total
        };
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for counts in counts {
            let m = moment(counts, 1);
            let variance = moment(counts, 2) - m * m;
            mean.push(m as f32);
            std.push(if variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 });
        }
        Self { mean, std, of: TRAINED_ON.to_owned() }
    }

    /// The normalised value of every pixel value, per channel: conversion and normalisation in one look-up.
    pub fn table(&self) -> Vec<[f32; 256]> {
        let row = |(&mean, &std): (&f32, &f32)| std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(row).collect()
    }
}

const TRAINED_ON: &str = "those of the images trained on";

/// Counts the values of a plane's pixels.
fn add_pixels(counts: &mut [u64; 256], plane: &[u8]) {
    plane.iter().for_each(|&value| counts[usize::from(value)] += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardises_exactly_the_chosen_images() {
        let pixels = (0..3 * 2 * 2 * 3).map(|i| (i * 37 % 251) as u8).collect::<Vec<_>>();
        let images = Images { pixels, labels: vec![0; 3], shape: (2, 2, 3) };
        let norm = Normalization::of(&images, &[0, 2]);
        for (channel, table) in norm.table().iter().enumerate() {
            let values: Vec<f64> = [0, 2]
                .iter()
                .flat_map(|&i| images.image(i)[channel * 6..][..6].iter().map(|&v| f64::from(table[usize::from(v)])))
                .collect();
            let mean = values.iter().sum::<f64>() / 12.0;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 12.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
        }
        assert_ne!(norm, Normalization::of(&images, &[0, 1]));
    }

    #[test]
    fn a_constant_channel_is_not_divided_by_zero() {
        let images = Images { pixels: vec![51; 8], labels: vec![0; 2], shape: (1, 2, 2) };
        let norm = Normalization::of(&images, &[0, 1]);
        assert_eq!((norm.mean[0], norm.std[0]), (0.2, 1.0));
    }
}
