//! Which networks of a plan cannot start from the weights that are given.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::error::explain;
use crate::experiment::network::Network;
use crate::experiment::plan::Row;
use crate::run::check_parameters;
use crate::weights::start::Start;

/// The networks that were held against their weights, each once.
#[derive(Default)]
pub struct Starts {
    held: HashSet<(*const Network, String)>,
    /// The first setting that cannot start, and why.
    refused: Option<(Arc<str>, String)>,
    /// How many others cannot.
    others: usize,
}

impl Starts {
    /// Holds a trial's network against the weights that it is given, if any are.
    pub fn add(&mut self, row: &Row<'_>) {
        let setting = &row.setting;
        if setting.init.is_fresh() || !self.held.insert((Arc::as_ptr(&setting.network), format!("{:?}", setting.init)))
        {
            return;
        }
        // Where memory cannot hold the parameters, none are made.
        let start = check_parameters(setting.network.trained.params, 0, None)
            .map_err(anyhow::Error::new)
            .and_then(|()| Start::of_trial(&row.config()));
        let Err(error) = start else { return };
        match &self.refused {
            Some(_) => self.others += 1,
            None => self.refused = Some((setting.label.clone(), explain(&error))),
        }
    }

    /// What a run would refuse, in words.
    pub fn refused(&self) -> Option<String> {
        let (label, why) = self.refused.as_ref()?;
        let others = match self.others {
            0 => String::new(),
            1 => "\n  nor can another network start from what it is given".to_owned(),
            others => format!("\n  nor can {others} other networks start from what they are given"),
        };
        Some(format!("{label}: {why}{others}"))
    }
}
