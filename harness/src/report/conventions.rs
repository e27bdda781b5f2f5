//! What was counted, and how, and which result is shown: the conventions in which published tables differ without saying so.

use std::collections::BTreeSet;

use super::aggregate::{Group, SettingRow};
use super::comparison::{by, names};
use super::markup::escaped;
use super::numbers::thousands;
use crate::data::{self, Normalization, Transform};
use crate::experiment::price;
use crate::methods::Methods;
use crate::results::TrialRecord;

/// How costs are counted, on images of which size.
pub fn counted(group: &Group<'_>) -> String {
    let size = match data::geometry(&group.first().trial.config.dataset) {
        Ok(data::Geometry { shape: (c, h, w), classes }) => {
            format!("one input of {h} x {w} pixels in {c} channel{}, {classes} classes", if c == 1 { "" } else { "s" })
        }
        // A folder of images that is no longer there.
        Err(_) => "one input of the data's size".to_owned(),
    };
    let folded = if fused(group).is_empty() { "no convolution" } else { "a convolution only where that is said below" };
    format!(
        "**Counted** for {size}. MACs are multiply-accumulates of convolutions and linear layers, padded taps among them; batch norm counts \
         none, and is folded into {folded}. Parameters include its scale and shift."
    )
}

/// Rows that are counted and tested as something else than was trained, with what was fused.
pub fn fused<'g>(group: &'g Group<'_>) -> Vec<String> {
    // A method that fuses may have found nothing to fuse.
    let was_fused =
        |row: &SettingRow<'_>| row.first().network.remarks.iter().any(|remark| remark.contains(price::FUSED));
    let what = |row: &SettingRow<'_>| {
        let methods = Methods::new(&row.first().trial.config).ok().filter(|_| was_fused(row));
        methods.map(|methods| methods.fusions()).unwrap_or_default()
    };
    let fused = by(group, what).into_iter().filter(|(what, _)| !what.is_empty());
    let line = |(what, rows): (BTreeSet<&str>, Vec<&'g SettingRow<'_>>)| {
        let what: Vec<&str> = what.into_iter().collect();
        let methods = escaped(&names(group, &rows).join(", "));
        format!("**Fused** after training ({methods}), and counted and tested so: {}.", what.join("; "))
    };
    fused.map(line).collect()
}

/// `20,000 training images (a subset)`
pub fn training_images(record: &TrialRecord) -> String {
    let subset = if record.trial.config.recipe.subset > 0 { " (a subset)" } else { "" };
    let images = record.measures().map_or(0, |measures| measures.train_images);
    format!("{} training images{subset}", thousands(images as u64))
}

/// The sizes of all splits.
pub fn splits(record: &TrialRecord) -> String {
    let measures = record.measures();
    let read = measures.filter(|measures| measures.test.is_some());
    let test = match (read, read.and_then(|measures| measures.test_images)) {
        (None, _) => "test not read".to_owned(),
        (_, None) => "test read once, after the last epoch".to_owned(),
        (_, Some(images)) => format!("{} test images read once, after the last epoch", thousands(images as u64)),
    };
    let validation = match record.trial.config.validation {
        0 => "no validation carved".to_owned(),
        images => format!("{} validation images carved from the training set", thousands(images as u64)),
    };
    format!("{}, {validation}, {test}.", training_images(record))
}

/// What was done to images, and what there is to know of this copy of them. Results that were made before this was written down
/// say nothing of it.
pub fn images(record: &TrialRecord) -> Vec<String> {
    let config = &record.trial.config.dataset;
    let mut lines = Vec::new();
    let normalization = record.measures().and_then(|measures| measures.normalization.as_ref());
    if let Some(Normalization { mean, std, of }) = normalization {
        let numbers = |values: &[f32]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ");
        // A folder that is no longer there does not tell its images' size.
        let transform = data::geometry(config).map(|geometry| Transform::of(config, geometry.shape).told() + "; ");
        lines.push(format!(
            "**Images**: {}normalised by mean {} and standard deviation {} ({of}). Training leaves out an epoch's last, smaller batch.",
            transform.unwrap_or_default(),
            numbers(mean),
            numbers(std),
        ));
    }
    lines.extend(
        record.trial.data.remarks.iter().map(|remark| format!("**This copy of the data**: {}.", escaped(remark))),
    );
    lines
}

/// Which epoch the accuracies are of.
pub fn reported(group: &Group<'_>) -> String {
    let rule = group.first().measures().map(|measures| measures.reporting).unwrap_or_default();
    format!("**Reported**: the {} of every trial, whatever other epochs came to.", rule.name())
}
