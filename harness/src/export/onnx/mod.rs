//! ONNX: `model.onnx`, operator set 17, with any number of images.
//!
//! `images: [batch, c, h, w]` of f32 in [0, 1] to `logits: [batch, classes]`. The first two operations standardise each channel, so
//! that nobody needs the constants; they stand in the metadata nevertheless. Batch norms are kept as they are, with their
//! parameters under their own names: runtimes fold them into convolutions themselves, and a reader finds what was trained.

mod graph;
mod ops;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::graph::{FLOAT, OnnxGraph};
use super::Exported;
use crate::files::write_atomic;
use crate::protobuf::Message;

/// The oldest that has all that is used here.
const OPERATOR_SET: i64 = 17;
/// Of the format of files, the one of that operator set.
const IR_VERSION: i64 = 8;

const IMAGES: &str = "images";
const LOGITS: &str = "logits";

/// Writes the file.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(exported: &Exported<'_>, folder: &Path) -> Result<Vec<PathBuf>> {
    let path = folder.join("model.onnx");
    write_atomic(&path, &model(exported)?.into_bytes())?;
    Ok(vec![path])
}

/// A `ModelProto`.
fn model(exported: &Exported<'_>) -> Result<Message> {
    let operator_set = Message::new().text(1, "").int(2, OPERATOR_SET);
    let mut model = Message::new()
        .int(1, IR_VERSION)
        .text(2, "harness")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &network(exported)?)
        .message(8, &operator_set);
    for (key, value) in exported.metadata() {
        model = model.message(14, &Message::new().text(1, &key).text(2, &value));
    }
    Ok(model)
}

/// The `GraphProto`.
fn network(exported: &Exported<'_>) -> Result<Message> {
    let (c, h, w) = exported.input.geometry.shape;
    let mut onnx = OnnxGraph::default();
    let standardised = standardise(exported, &mut onnx);
    let logits = ops::write(exported, &mut onnx, standardised)?;
    onnx.last("Identity", &[&logits], LOGITS);
    let size = |size: usize| i64::try_from(size).context("an image as large as no number");
    let images = value(IMAGES, &[size(c)?, size(h)?, size(w)?]);
    let logits = value(LOGITS, &[size(exported.input.geometry.classes)?]);
    Ok(onnx.into_message(exported.backbone.name(), &images, &logits))
}

/// `(images - mean) / std`, channel by channel.
fn standardise(exported: &Exported<'_>, onnx: &mut OnnxGraph) -> String {
    let normalization = &exported.input.normalization;
    let dims = [normalization.mean.len(), 1, 1];
    let mean = onnx.floats("mean", &dims, &normalization.mean);
    let std = onnx.floats("std", &dims, &normalization.std);
    onnx.enter("standardise");
    let centred = onnx.node("Sub", &[IMAGES, &mean], &[]);
    onnx.node("Div", &[&centred, &std], &[])
}

/// A `ValueInfoProto` of floats: so many images of these dimensions.
fn value(name: &str, dims: &[i64]) -> Message {
    let batch = Message::new().message(1, &Message::new().text(2, "batch"));
    let shape = dims.iter().fold(batch, |shape, &dim| shape.message(1, &Message::new().int(1, dim)));
    let tensor = Message::new().int(1, FLOAT).message(2, &shape);
    Message::new().text(1, name).message(2, &Message::new().message(1, &tensor))
}
