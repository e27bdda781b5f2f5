//! What came of a trial: `result.json`, or `failed.json` instead of it.

use std::collections::BTreeMap;

use conv_core::Cost;
use serde::{Deserialize, Serialize};

use super::{Failure, FrozenTrial};
use crate::config::TrialConfig;
use crate::data::{Normalization, Provenance};
use crate::experiment::budget::Budgets;
use crate::stamp::Environment;
use crate::train::Evaluation;

/// A trial that is over. One row of `results.csv` and `results.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "FlatRecord", into = "FlatRecord")]
pub struct TrialRecord {
    /// The trial as it was launched.
    pub trial: FrozenTrial,
    /// Its final network.
    pub network: NetworkSummary,
    /// Where and with what it was made.
    pub environment: Environment,
    /// How it ended.
    pub outcome: Outcome,
}

/// A network in figures and words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSummary {
    /// Price of the final network, counted from what is written down; the parameters were counted in it where it was trained.
    #[serde(flatten)]
    pub cost: Cost,
    /// Parameters that are not masked, where there are masks; the cost counts those that are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params_nonzero: Option<u64>,
    /// MACs with weights that are not masked, where that is known; masks save no executed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs_nonzero: Option<u64>,
    /// Deepest effective recursion of any layer, for methods that recurse.
    pub depth: Option<usize>,
    /// Which layers the method made, in words.
    pub replaced: String,
    /// Filters of every convolution, where only training told them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub widths: BTreeMap<String, usize>,
    /// What the method remarked about layers (fallbacks, costs above vanilla), each with the layer's name; after training also
    /// what there is to say of how it went.
    pub remarks: Vec<String>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing was to be trained: its cost is all there is.
    Priced,
    /// With a trained network.
    Trained(Measures),
    /// Without one.
    Failed(Failure),
}

/// What was measured of a training and its network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Training images used (after validation was carved and the subset drawn).
    #[serde(skip)]
    pub train_images: usize,
    /// Last epoch, validation images; none where no images validate.
    pub validation: Option<Evaluation>,
    /// The finished network on the test split, read once; none if the protocol left it closed.
    pub test: Option<Evaluation>,
    /// Training loss of the last epoch.
    #[serde(deserialize_with = "crate::files::nan_if_null")]
    pub train_loss: f64,
    /// Epochs that trained the final network's weights: fine-tuning included, those of weights that were thrown away not.
    pub epochs: usize,
    /// Wall time of the whole trial, seconds.
    pub seconds: f64,
    /// Training images per second over the whole training, beside whatever else ran.
    pub images_per_second: f64,
    /// What it began with: trials with the same base compressed the same trained network. None where nothing is compressed, and in
    /// results from before bases were shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Images of the test split; none where it was not read, and in results that were made before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<usize>,
    /// What its images were normalised by; none in results that were made before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
    /// Which epoch the accuracies are of. Results that do not say were made by the same rule.
    #[serde(default)]
    pub reporting: Reporting,
}

impl Measures {
    /// What is written of a trial without a trained network: zeros, as ever.
    fn none() -> Self {
        Self { validation: Some(Evaluation::default()), ..Self::default() }
    }
}

/// Which of its epochs a training is judged by. There is one rule: to report the best epoch would be to choose by the images
/// that judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reporting {
    /// The last one, whatever others came to.
    #[default]
    #[serde(rename = "last epoch")]
    LastEpoch,
}

impl Reporting {
    /// As files and tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastEpoch => "last epoch",
        }
    }
}

impl TrialRecord {
    /// What was measured, if the trial was trained to its end.
    pub fn measures(&self) -> Option<&Measures> {
        match &self.outcome {
            Outcome::Trained(measures) => Some(measures),
            Outcome::Priced | Outcome::Failed(_) => None,
        }
    }

    /// Why training ran operation by operation and not on the engine: as it was stamped, or as its recipe tells of a result
    /// that was made before stamps said so. None where it ran on the engine, and where nothing was measured.
    pub fn off_engine(&self) -> Option<String> {
        self.measures()?;
        let stamped = Some(self.environment.off_engine.clone()).filter(|why| !why.is_empty());
        stamped.or_else(|| self.trial.config.recipe.off_engine().map(|why| why.to_string()))
    }

    /// Why it has no result, if it failed.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Priced | Outcome::Trained(_) => None,
        }
    }
}

/// A record as its file holds it: every field on one level, in the order in which files have always had them, and zeros where
/// nothing was measured.
#[derive(Serialize, Deserialize)]
struct FlatRecord {
    key: String,
    aliases: Vec<String>,
    label: String,
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    budgets: Budgets,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    control_of: Vec<String>,
    config: TrialConfig,
    data: Provenance,
    train_images: usize,
    #[serde(flatten)]
    network: NetworkSummary,
    #[serde(flatten)]
    measures: Measures,
    environment: Environment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

impl From<FlatRecord> for TrialRecord {
    fn from(flat: FlatRecord) -> Self {
        let FlatRecord {
            key,
            aliases,
            label,
            budgets,
            control_of,
            config,
            data,
            train_images,
            network,
            measures,
            environment,
            failure,
        } = flat;
        let outcome = match failure {
            Some(failure) => Outcome::Failed(failure),
            None if config.recipe.epochs == 0 => Outcome::Priced,
            None => Outcome::Trained(Measures { train_images, ..measures }),
        };
        Self {
            trial: FrozenTrial { key, label, aliases, budgets, control_of, config, data, tuned: None },
            network,
            environment,
            outcome,
        }
    }
}

impl From<TrialRecord> for FlatRecord {
    fn from(record: TrialRecord) -> Self {
        let TrialRecord { trial, network, environment, outcome } = record;
        let FrozenTrial { key, label, aliases, budgets, control_of, config, data, tuned: _ } = trial;
        let (measures, failure) = match outcome {
            Outcome::Trained(measures) => (measures, None),
            Outcome::Priced => (Measures::none(), None),
            Outcome::Failed(failure) => (Measures::none(), Some(failure)),
        };
        let train_images = measures.train_images;
        Self {
            key,
            aliases,
            label,
            budgets,
            control_of,
            config,
            data,
            train_images,
            network,
            measures,
            environment,
            failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAINED: &str = r#"{
  "key": "e7cca75a13f7687f",
  "aliases": [
    "compconv c0=64"
  ],
  "label": "compconv depth=1",
  "config": {
    "dataset": {
      "name": "synthetic",
      "sources": [],
      "augment": true
    },
    "backbone": {
      "name": "resnet20",
      "head": "linear",
      "replace": {
        "stem": false,
        "spatial": true,
        "pointwise": true,
        "shortcut": true
      }
    },
    "method": {
      "name": "compconv",
      "depth": 1
    },
    "layer": [],
    "recipe": {
      "epochs": 3,
      "batch": 20,
      "lr": 0.1,
      "schedule": "cosine",
      "milestones": [
        0.5,
        0.75
      ],
      "gamma": 0.1,
      "warmup_epochs": 0.0,
      "momentum": 0.9,
      "nesterov": true,
      "weight_decay": 0.0005,
      "decay_norm_and_bias": true,
      "label_smoothing": 0.0,
      "subset": 100,
      "finetune_epochs": 0,
      "finetune_lr": 0.01,
      "kernels": "own"
    },
    "validation": 20,
    "test": true,
    "seed": 3
  },
  "data": {
    "label": "SYNTHETIC (procedural, 10 classes)",
    "source": "synthetic",
    "synthetic": true,
    "fingerprint": "5eed"
  },
  "train_images": 100,
  "params": 139114,
  "macs": 21271168,
  "activations": 188426,
  "depth": 1,
  "replaced": "every convolution but the stem",
  "remarks": [],
  "validation": {
    "top1": 0.25,
    "top5": 0.75,
    "loss": 2.5
  },
  "test": {
    "top1": 0.125,
    "top5": 0.5,
    "loss": 2.25
  },
  "train_loss": 2.75,
  "epochs": 3,
  "seconds": 1.5,
  "images_per_second": 200.0,
  "test_images": 40,
  "reporting": "last epoch",
  "environment": {
    "commit": "0123456789abcdef",
    "dirty": false,
    "diff": "",
    "lock": "10cc",
    "features": "",
    "cpu": "Some CPU @ 2.1 GHz",
    "threads": 2,
    "os": "linux x86_64",
    "rustc": "rustc 1.90.0",
    "harness": "0.1.0",
    "candle": "0.11.1",
    "kernels": "avx512"
  }
}"#;

    /// The text of a trial that ended without a trained network.
    fn without_measures(epochs: usize, failure: &str) -> String {
        let (head, rest) = TRAINED.split_once("  \"validation\": {\n").unwrap();
        let (_, environment) = rest.split_once("  \"environment\"").unwrap();
        let zeros = "  \"validation\": {\n    \"top1\": 0.0,\n    \"top5\": 0.0,\n    \"loss\": 0.0\n  },\n  \"test\": null,\n  \
            \"train_loss\": 0.0,\n  \"epochs\": 0,\n  \"seconds\": 0.0,\n  \"images_per_second\": 0.0,\n  \"reporting\": \"last epoch\",\n";
        let text = format!("{head}{zeros}  \"environment\"{environment}")
            .replace("\"epochs\": 3", &format!("\"epochs\": {epochs}"))
            .replace("\"train_images\": 100", "\"train_images\": 0");
        text.strip_suffix("\n}").unwrap().to_owned() + failure + "\n}"
    }

    #[test]
    fn files_are_read_and_written_as_they_always_were() {
        let failure = ",\n  \"failure\": {\n    \"kind\": \"diverged\",\n    \"reason\": \"the loss is NaN\",\n    \"attempts\": 2\n  }";
        let texts = [TRAINED.to_owned(), without_measures(0, ""), without_measures(3, failure)];
        let records = texts.each_ref().map(|text| serde_json::from_str::<TrialRecord>(text).unwrap());
        assert!(records[0].measures().is_some_and(|measures| measures.seconds == 1.5));
        assert_eq!(records[1].outcome, Outcome::Priced);
        assert_eq!(records[2].failure().map(|failure| failure.attempts), Some(2));
        for (text, record) in texts.iter().zip(records) {
            assert_eq!(serde_json::to_string_pretty(&record).unwrap(), *text);
        }
        // Results that were made before these were written down.
        let older = TRAINED.replace("  \"test_images\": 40,\n  \"reporting\": \"last epoch\",\n", "");
        let older: TrialRecord = serde_json::from_str(&older).unwrap();
        let measures = older.measures().unwrap();
        assert_eq!(
            (measures.test_images, measures.reporting, older.environment.jobs),
            (None, Reporting::LastEpoch, None)
        );
        // What JSON cannot hold.
        let diverged: TrialRecord = serde_json::from_str(&TRAINED.replace("2.75", "null")).unwrap();
        assert!(diverged.measures().unwrap().train_loss.is_nan());
    }
}
