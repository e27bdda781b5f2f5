//! A trial as it was launched: what its process reads, and nothing else of the experiment.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::config::TrialConfig;
use crate::data::Provenance;
use crate::experiment::Trial;
use crate::experiment::budget::Budgets;
use crate::experiment::choice::Choice;

/// `trials/KEY/trial.json`: written once before the trial's process starts, so that later edits of the experiment never
/// reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenTrial {
    /// Its identity.
    pub key: String,
    /// How the report names it.
    pub label: String,
    /// Other settings that make the same network.
    pub aliases: Vec<String>,
    /// The budgets that its network was solved for: names, too, and no part of what it is.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// Labels of the pruned networks that it is a control of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_of: Vec<String>,
    /// Everything that was asked for.
    pub config: TrialConfig,
    /// The data it was planned with.
    pub data: Provenance,
    /// How its setting was tuned, where it was: as its names, no part of a trial, and read with them.
    #[serde(skip)]
    pub tuned: Option<Choice>,
}

impl FrozenTrial {
    /// A trial of an experiment, on data that was read.
    pub fn new(trial: &Trial, data: Provenance) -> Self {
        Self {
            key: trial.key(&data.fingerprint),
            label: trial.label.clone(),
            aliases: trial.aliases.clone(),
            budgets: trial.budgets.clone(),
            control_of: trial.control_of.clone(),
            config: trial.config.clone(),
            data,
            tuned: None,
        }
    }

    /// Refuses a program that would not train what was frozen: its methods have changed since.
    ///
    /// # Errors
    /// Another key than the one frozen.
    pub fn check_key(&self, key: &str) -> Result<()> {
        if key != self.key {
            bail!(
                "trial {} was frozen by a harness whose methods or trials differ from this one's (here it would be {key}); \
                 run the experiment again to freeze it anew",
                self.key
            );
        }
        Ok(())
    }
}
