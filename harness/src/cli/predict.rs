//! `harness predict`: what a trained network takes single images for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::Args;

use super::choice::TrialChoice;
use super::table::{Cell, Format, Table};
use crate::data::{StoredImage, Transform};
use crate::export::class_names;
use crate::run::compute_threads;
use crate::weights::InputSpec;

/// What a trained network takes image files for, with probabilities
///
/// Images are brought to the network's size as its trial's evaluation brought its own; that is said.
#[derive(Args, Debug)]
pub struct PredictArgs {
    #[command(flatten)]
    trial: TrialChoice,
    /// Image files (PNG, JPEG, WebP, BMP, TIFF, GIF).
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Classes shown for each image.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn predict(args: &PredictArgs) -> Result<String> {
    let finished = args.trial.open()?;
    let input = &finished.input;
    let names = class_names(&finished.record.trial.config.dataset, input.geometry.classes).unwrap_or_default();
    let transform = Transform::of(&finished.record.trial.config.dataset, input.geometry.shape);
    let mut table = Table::new(&["image", "rank", "class", "name", "probability"]);
    let pool = compute_threads(0)?;
    // One at a time: any number of files, in the memory of one.
    for path in &args.images {
        let image =
            read(path, input, &transform).with_context(|| format!("{}: cannot be used as an image", path.display()))?;
        let logits = pool.install(|| finished.recipe().inference(finished.network())?.forward(&image))?;
        let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        ensure!(logits.iter().all(|logit| !logit.is_nan()), "{}: the logits are not numbers", path.display());
        let shares = softmax(&logits);
        let mut classes: Vec<usize> = (0..shares.len()).collect();
        classes.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        for (rank, &class) in classes.iter().take(usize::from(args.top)).enumerate() {
            table.push(vec![
                Cell::text(path.display().to_string()),
                Cell::Count(rank as u64 + 1),
                Cell::Count(class as u64),
                Cell::text(names.get(class).map_or("", String::as_str)),
                Cell::Share(shares[class]),
            ]);
        }
    }
    Ok(table.render(args.format))
}

/// `[1, c, h, w]`, standardised.
fn read(path: &Path, input: &InputSpec, transform: &Transform) -> Result<Tensor> {
    let (c, h, w) = input.geometry.shape;
    ensure!([1, 3].contains(&c), "the network takes {c} channels; accepted: grey or RGB");
    let image = StoredImage::read(path)?;
    let (channels, height, width) = image.shape();
    if (height, width) != (h, w) {
        say!("note: {}: {height} x {width} pixels for a network of {h} x {w}: {}", path.display(), transform.judged());
    }
    if c < channels {
        say!("note: {}: in colour, made grey for a network of grey images", path.display());
    }
    let pixels = image.as_evaluated(transform, &input.normalization)?;
    Ok(Tensor::from_vec(pixels, (1, c, h, w), &Device::Cpu)?)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
