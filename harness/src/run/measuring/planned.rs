//! Which networks of a folder there are to be measured.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;

use crate::config::{MethodConfig, TrialConfig};
use crate::experiment::price::{Price, outcome, price};
use crate::measure::subject::Subject;
use crate::methods;
use crate::results::{MeasuredNetwork, MeasuredTraining, RunFolder, TrialRecord};

/// What is to be measured, each network once.
#[derive(Default)]
pub(super) struct Planned {
    /// By signature. The first one is vanilla.
    pub networks: Vec<(Subject, MeasuredNetwork)>,
    pub trainings: Vec<(Subject, MeasuredTraining)>,
    pub notes: Vec<String>,
}

impl Planned {
    pub fn of(records: &[TrialRecord], images: Option<usize>) -> Self {
        let (mut planned, mut prices) = (Self::default(), Prices::default());
        for record in records {
            let TrialConfig { recipe, .. } = &record.trial.config;
            let images = images.unwrap_or(recipe.batch);
            let vanilla = vanilla(&record.trial.config);
            let (vanilla, own) = match (prices.of(&vanilla), prices.of(&record.trial.config)) {
                (Ok(price), Ok(own)) => ((vanilla, price), own),
                (Err(why), _) | (_, Err(why)) => {
                    planned.notes.push(format!("{} is not measured: {why}", record.trial.label));
                    continue;
                }
            };
            let widths = &record.network.widths;
            let own = match own.open {
                true if widths.is_empty() => Err("its result is older than the line that tells its widths".to_owned()),
                true => came_of(&own, &record.trial.config, widths).map_err(|error| error.to_string()),
                false => Ok(own),
            };
            let own = match own {
                Ok(own) => own,
                Err(why) => {
                    planned.notes.push(format!("{} is not measured: {why}", record.trial.label));
                    continue;
                }
            };
            let none = BTreeMap::new();
            let reference = planned.network(methods::reference(), (&vanilla.0, &none), &vanilla.1, images, None);
            let config = (&record.trial.config, widths);
            let network = planned.network(&record.trial.label, config, &own, images, Some(&reference));
            planned.add_trial(&network, &record.trial.key);
            if record.measures().is_some() {
                planned.train(record, &own);
            }
        }
        planned
    }

    /// The signature of a network, which is there from now on.
    fn network(
        &mut self,
        label: &str,
        (config, widths): (&TrialConfig, &BTreeMap<String, usize>),
        price: &Price,
        images: usize,
        vanilla: Option<&str>,
    ) -> String {
        let subject = Subject::inferring(config, price, images, widths);
        let signature = subject.signature.clone();
        if !self.networks.iter().any(|(known, _)| known.signature == signature) {
            let network = MeasuredNetwork {
                signature: signature.clone(),
                label: label.to_owned(),
                trials: Vec::new(),
                vanilla: vanilla.unwrap_or(&signature).to_owned(),
                images,
                macs: price.total.macs,
                one: None,
                many: None,
                problem: None,
            };
            self.networks.push((subject, network));
        }
        signature
    }

    fn add_trial(&mut self, signature: &str, key: &str) {
        let of = self.networks.iter_mut().filter(|(subject, _)| subject.signature == signature);
        of.for_each(|(_, network)| network.trials.push(key.to_owned()));
    }

    fn train(&mut self, record: &TrialRecord, price: &Price) {
        let TrialConfig { recipe, .. } = &record.trial.config;
        let subject = Subject::trained(&record.trial.config, price, recipe.batch);
        let key = record.trial.key.clone();
        if let Some((_, known)) = self.trainings.iter_mut().find(|(known, _)| known.signature == subject.signature) {
            known.trials.push(key);
            return;
        }
        let training = MeasuredTraining {
            signature: subject.signature.clone(),
            trials: vec![key],
            images: recipe.batch,
            memory_analytic_mib: None,
            memory_measured_mib: None,
        };
        self.trainings.push((subject, training));
    }

    /// Whether the folder has measures of all of it; then they are those of all its trials from now on. What is damaged counts as
    /// none.
    pub fn known(&self, folder: &RunFolder) -> Result<bool> {
        let Ok(Some(mut measured)) = folder.measured() else { return Ok(false) };
        let before = measured.clone();
        for (subject, network) in &self.networks {
            let mut known = measured.networks.iter_mut();
            let Some(known) = known.find(|known| known.signature == subject.signature) else { return Ok(false) };
            known.trials.clone_from(&network.trials);
        }
        for (subject, training) in &self.trainings {
            let mut known = measured.trainings.iter_mut();
            let Some(known) = known.find(|known| known.signature == subject.signature) else { return Ok(false) };
            known.trials.clone_from(&training.trials);
        }
        if measured != before {
            folder.save_measured(&measured)?;
        }
        Ok(true)
    }
}

/// The price of what a training came to which alone told its widths.
fn came_of(planned: &Price, config: &TrialConfig, widths: &BTreeMap<String, usize>) -> Result<Price> {
    planned.of_outcome(config, &*outcome(config, widths)?)
}

/// The vanilla network of a trial's backbone.
fn vanilla(config: &TrialConfig) -> TrialConfig {
    let method = MethodConfig { name: methods::reference().to_owned(), options: toml::Table::new() };
    TrialConfig { method, layers: Vec::new(), ..config.clone() }
}

/// Prices of networks, each asked for once.
#[derive(Default)]
struct Prices(HashMap<String, Result<Price, String>>);

impl Prices {
    fn of(&mut self, config: &TrialConfig) -> Result<Price, String> {
        let TrialConfig { dataset, backbone, method, layers, .. } = config;
        let key = format!("{dataset:?} {backbone:?} {method:?} {layers:?}");
        self.0.entry(key).or_insert_with(|| price(config).map_err(|error| error.to_string())).clone()
    }
}
