//! A trial with what its network costs: all there is to know of it before it is trained.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::data::Provenance;
use crate::experiment::identity;
use crate::experiment::phases::Phases;
use crate::experiment::price::{Price, price};
use crate::methods::Methods;
use crate::results::{Failure, FrozenTrial, NetworkSummary, Outcome, RunFolder, TrialRecord};
use crate::stamp::Environment;

/// A trial as it was frozen, with the price of its network.
#[derive(Clone, Debug)]
pub struct PricedTrial {
    pub(super) frozen: FrozenTrial,
    pub(super) price: Price,
}

impl PricedTrial {
    /// Prices a frozen trial.
    ///
    /// # Errors
    /// A configuration that no network can be made of; a program that would train something else than was frozen.
    pub fn new(frozen: FrozenTrial) -> Result<Self> {
        let price = price(&frozen.config)?;
        let signature = identity::signature(&frozen.config, &price.identity())?;
        frozen.check_key(&identity::key(&signature, &frozen.data.fingerprint))?;
        Ok(Self { frozen, price })
    }

    /// The trial.
    pub fn frozen(&self) -> &FrozenTrial {
        &self.frozen
    }

    /// Which of its epochs train which network.
    ///
    /// # Errors
    /// A method that does not exist.
    pub fn phases(&self) -> Result<Phases> {
        let (config, price) = (&self.frozen.config, &self.price);
        let methods = Methods::new(config)?;
        Ok(Phases::new(&config.recipe, methods.compression(), price.trained.macs, &price.compressed))
    }

    /// The record of a trial that has no trained network.
    fn record(&self, environment: &Environment, outcome: Outcome) -> TrialRecord {
        TrialRecord {
            trial: self.frozen.clone(),
            network: self.network(vec![]),
            // A trial may have failed because there are no such kernels.
            environment: match self.frozen.config.recipe.kernel_path() {
                Ok(kernels) => environment.computed_by(kernels),
                Err(_) => environment.clone(),
            },
            outcome,
        }
    }

    /// What is left of a trial that failed.
    pub(super) fn failed(&self, environment: &Environment, failure: Failure) -> TrialRecord {
        self.record(environment, Outcome::Failed(failure))
    }

    /// Its network as planned.
    fn network(&self, remarks: Vec<String>) -> NetworkSummary {
        summary(&self.price, remarks)
    }
}

/// A network, with what else there is to remark.
pub(super) fn summary(price: &Price, remarks: Vec<String>) -> NetworkSummary {
    NetworkSummary {
        cost: price.total,
        params_nonzero: price.nonzero.map(|nonzero| nonzero.params),
        macs_nonzero: price.nonzero.and_then(|nonzero| nonzero.macs),
        depth: price.depth(),
        replaced: price.replaced.clone(),
        widths: BTreeMap::new(),
        remarks: [price.remarks(), remarks].concat(),
    }
}

/// Leaves the record of a trial that trains nothing: its exact cost. No data is read.
///
/// # Errors
/// A configuration that no network can be made of; a folder that cannot be written.
pub(super) fn save_price(frozen: &FrozenTrial, folder: &RunFolder, environment: &Environment) -> Result<()> {
    let trial = PricedTrial::new(frozen.clone())?;
    folder.start(&frozen.key, &frozen.config, &[])?;
    folder.save_costs(&frozen.key, &trial.price.csv())?;
    folder.save(&trial.record(environment, Outcome::Priced))
}

/// What stands for the data where only its geometry was used.
pub(super) fn no_data(name: &str) -> Provenance {
    Provenance {
        label: format!("no data read, geometry of {name}"),
        source: "none".into(),
        synthetic: false,
        fingerprint: "none".into(),
        remarks: vec![],
    }
}
