//! What makes two trials the same trial.
//!
//! Counted: every layer's layout with its method's version, backbone, data set (name, augmentation and content), recipe,
//! validation, whether test is read, pruning options, seed. Not counted: names, titles, paths, threads, and parts of a recipe
//! that it does not use (milestones without the step schedule, fine-tuning without pruning).

use super::{Recipe, Schedule, TrialConfig};
use crate::methods::Methods;

/// Everything that counts but the data's content, hashed (blake3, hex).
///
/// # Errors
/// Those of [`Methods::new`].
pub fn signature(config: &TrialConfig, architecture: &str) -> anyhow::Result<String> {
    let pruning = Methods::new(config)?.pruning().cloned();
    let default = Recipe::default();
    let mut recipe = config.recipe.clone();
    if recipe.schedule != Schedule::Step {
        recipe = Recipe { milestones: default.milestones, gamma: default.gamma, ..recipe };
    }
    if pruning.is_none() {
        recipe.finetune_epochs = default.finetune_epochs;
        recipe.finetune_lr = default.finetune_lr;
    }
    let parts = (
        (&config.backbone.name, architecture),
        (&config.dataset.name, config.dataset.augment),
        (recipe, pruning),
        (config.validation, config.test, config.seed),
    );
    Ok(blake3::hash(&serde_json::to_vec(&parts)?).to_hex().to_string())
}

/// Names a trial's folder: 16 hex digits over its signature and the data's fingerprint.
pub fn key(signature: &str, fingerprint: &str) -> String {
    let hash = blake3::hash(format!("{signature}\n{fingerprint}").as_bytes());
    hash.to_hex().chars().take(16).collect()
}
