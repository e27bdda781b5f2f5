//! `harness predict`: what a trained network takes single images for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::Args;
use image::ImageReader;
use image::imageops::FilterType;

use super::choice::TrialChoice;
use super::table::{Cell, Format, Table};
use crate::export::class_names;
use crate::run::compute_threads;
use crate::weights::InputSpec;

/// What a trained network takes image files for, with probabilities
///
/// An image of another size is scaled until it covers the network's, and its middle is taken; that is said.
#[derive(Args, Debug)]
pub struct PredictArgs {
    #[command(flatten)]
    trial: TrialChoice,
    /// Image files (PNG, JPEG).
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
    let mut table = Table::new(&["image", "rank", "class", "name", "probability"]);
    let pool = compute_threads(0)?;
    // One at a time: any number of files, in the memory of one.
    for path in &args.images {
        let image = read(path, input).with_context(|| format!("{}: cannot be used as an image", path.display()))?;
        let logits = pool.install(|| finished.network().inference(finished.backend()).forward(&image))?;
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
fn read(path: &Path, input: &InputSpec) -> Result<Tensor> {
    let (c, h, w) = input.geometry.shape;
    ensure!([1, 3].contains(&c), "the network takes {c} channels; accepted: grey or RGB");
    let mut image = ImageReader::open(path)?.with_guessed_format()?.decode()?;
    let found = (image.height() as usize, image.width() as usize);
    if found != (h, w) {
        say!("note: {}: {} x {} pixels, scaled to cover {h} x {w}, the middle taken", path.display(), found.0, found.1);
        image = image.resize_to_fill(u32::try_from(w)?, u32::try_from(h)?, FilterType::Triangle);
    }
    if c == 1 && image.color().has_color() {
        say!("note: {}: in colour, made grey for a network of grey images", path.display());
    }
    let bytes = if c == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    let table = input.normalization.table();
    let pixels = (0..c).flat_map(|channel| {
        let (bytes, table) = (&bytes, &table[channel]);
        (0..h * w).map(move |pixel| table[usize::from(bytes[pixel * c + channel])])
    });
    Ok(Tensor::from_vec(pixels.collect::<Vec<f32>>(), (1, c, h, w), &Device::Cpu)?)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
