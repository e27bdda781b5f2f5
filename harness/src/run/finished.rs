//! The network of a trial that is over, made again from its folder.

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use conv_core::Network;

use super::PricedTrial;
use super::model::{Model, compressed_as};
use crate::backbones::{self, Backbone};
use crate::config::Recipe;
use crate::data;
use crate::methods::Methods;
use crate::results::{Outcome, RunFolder, TrialRecord};
use crate::train::{Feed, SharedData, workers};
use crate::weights::InputSpec;

/// A trained network as its trial left it: compressed where it was, fused where its method fuses.
pub struct FinishedNetwork {
    /// What came of the trial.
    pub record: TrialRecord,
    /// What it is to be given.
    pub input: InputSpec,
    model: Model,
}

impl FinishedNetwork {
    /// That of the trial `key`.
    ///
    /// # Errors
    /// A trial that is not finished, or trained nothing; files that are not what was written; weights that were not kept; a program
    /// whose methods are not those that trained it. Of a trial that is older than metadata in weights also data that is not there:
    /// how its images were normalised only they tell.
    pub fn open(folder: &RunFolder, key: &str) -> Result<Self> {
        let Some(record) = folder.record(key)? else { bail!("trial {key}: is not finished; run its experiment first") };
        let config = &record.trial.config;
        if record.outcome == Outcome::Priced {
            bail!("trial {key}: has no trained network (recipe.epochs = 0)");
        }
        let file = folder.weights(key)?;
        PricedTrial::new(record.trial.clone())?;
        let input = match InputSpec::of_metadata(&file.metadata) {
            Some(input) => input,
            None => Self::input_of_data(&record).with_context(|| {
                format!("trial {key}: its weights are from before normalisation was written into them, and so its data is read")
            })?,
        };
        let methods = Methods::new(config)?;
        let whole = backbones::by_name(&config.backbone, &input.geometry, methods.width())?;
        let backbone = match methods.compression() {
            Some(compression) => compressed_as(&*whole, compression, &file.tensors)?,
            None => whole,
        };
        let methods = methods.fused().unwrap_or(methods);
        let model = Model::new(backbone, &methods, config.seed)?;
        model
            .store
            .assign(&file.tensors)
            .with_context(|| format!("trial {key}: its weights are of another network"))?;
        Ok(Self { record, input, model })
    }

    /// As its data says, for weights that say nothing.
    fn input_of_data(record: &TrialRecord) -> Result<InputSpec> {
        let dataset = data::load(&record.trial.config.dataset)?;
        ensure!(
            dataset.provenance.fingerprint == record.trial.data.fingerprint,
            "the data has changed since: {} now, {} then",
            dataset.provenance.fingerprint,
            record.trial.data.fingerprint
        );
        Ok(Feed::new(&SharedData::from(dataset), &record.trial.config, workers(1))?.input())
    }

    /// What computes it.
    pub fn network(&self) -> &Network {
        &self.model.network
    }

    /// Its architecture.
    pub fn backbone(&self) -> &dyn Backbone {
        &*self.model.backbone
    }

    /// What its trial computed it by.
    pub fn recipe(&self) -> &Recipe {
        &self.record.trial.config.recipe
    }

    /// Every parameter and running statistic, the very tensors that the network reads.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.model.store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect()
    }
}
