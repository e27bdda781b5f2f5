//! `harness export`: a trained network as a file that other programs run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::choice::TrialChoice;
use crate::data::Transform;
use crate::export::{Exported, Format, class_names};
use crate::methods::network_label;
use crate::run::FinishedNetwork;

/// Write a trained network for other programs: ONNX, PyTorch or safetensors
///
/// onnx: model.onnx, operator set 17, images [n, c, h, w] of f32 in [0, 1] to logits, normalisation inside. pytorch: model.py, plain
/// PyTorch, with weights.pth. safetensors: weights.safetensors, with torchvision's names where all layers are vanilla.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    trial: TrialChoice,
    /// What to write.
    #[arg(long, value_enum)]
    format: Format,
    /// Folder of the files; files of these names in it are replaced [default: exports/KEY].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Runs the command; the paths of what was written.
pub fn export(args: &ExportArgs) -> Result<String> {
    let finished = args.trial.open()?;
    let tensors = finished.tensors();
    let exported = Exported::new(finished.network(), finished.backbone(), &finished.input, tensors, facts(&finished))?;
    let default = || Path::new("exports").join(&finished.record.trial.key);
    let written = exported.write(args.format, &args.output.clone().unwrap_or_else(default))?;
    Ok(written.iter().map(|path| format!("{}\n", path.display())).collect())
}

/// What files say of the network, beside what images it takes.
fn facts(finished: &FinishedNetwork) -> BTreeMap<String, String> {
    let record = &finished.record;
    let config = &record.trial.config;
    let mut facts = BTreeMap::from([
        ("trial", record.trial.key.clone()),
        ("label", record.trial.label.clone()),
        ("method", network_label(config)),
        ("backbone", config.backbone.name.clone()),
        ("data", record.trial.data.label.clone()),
        ("transform", Transform::of(&config.dataset, finished.input.geometry.shape).told()),
        ("seed", config.seed.to_string()),
        ("build", record.environment.build()),
        ("parameters", record.network.cost.params.to_string()),
    ]);
    if let Some(names) = class_names(&config.dataset, finished.input.geometry.classes) {
        facts.insert("class_names", serde_json::json!(names).to_string());
    }
    if let Some(test) = record.measures().and_then(|measures| measures.test) {
        facts.insert("test_top1", test.top1.to_string());
    }
    facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
