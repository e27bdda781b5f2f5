//! `[budget]`: what each network is to cost. For every setting and every budget the method's knob is solved so that its network
//! comes as near as it can ([`solve`]); what is solved stands in the setting as if it had been written by hand.

mod knobs;
pub(super) mod solve;

use std::borrow::Cow;
use std::fmt;

use conv_core::Cost;
use serde::{Deserialize, Serialize};

pub use solve::Stopwatch;

use super::resolve::section;
use super::sweep::Document;
use super::sweep::document::{Entry, find};
use crate::config::error::{At, Complaint};
use crate::config::{BudgetConfig, Fit};
use crate::methods;

/// Fewer operating points than these make no curve.
pub const CURVE: usize = 5;

/// What a budget is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// Multiply-accumulates of an image.
    Macs,
    /// Parameters.
    Params,
    /// Measured time of inference.
    Latency,
}

impl Quantity {
    /// The key that asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Macs => "macs",
            Self::Params => "params",
            Self::Latency => "latency",
        }
    }

    /// As remarks call it.
    fn words(self) -> &'static str {
        match self {
            Self::Macs => "MACs",
            Self::Params => "parameters",
            Self::Latency => "time of inference",
        }
    }

    /// How much of it a network has; none of what is measured and not counted.
    fn of(self, cost: &Cost) -> Option<u64> {
        match self {
            Self::Macs => Some(cost.macs),
            Self::Params => Some(cost.params),
            Self::Latency => None,
        }
    }
}

/// What a network is to cost, as a share of the vanilla network of the same backbone and data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Of what.
    pub quantity: Quantity,
    /// In (0, 1].
    pub share: f64,
}

/// `macs 0.25`.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.quantity.name(), self.share)
    }
}

/// A budget beside a network that was solved for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Solved {
    /// What was asked for.
    #[serde(flatten)]
    pub budget: Budget,
    /// By how much the network costs more, relatively; less below 0.
    pub mismatch: f64,
    /// Whether that is beyond `budget.tolerance`.
    pub missed: bool,
}

/// The budgets that a network was solved for: those that it meets first, the nearest of them at the front.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budgets(Vec<Solved>);

impl Budgets {
    /// One more, unless it is there.
    pub fn add(&mut self, solved: Solved) {
        if self.0.iter().all(|there| there.budget != solved.budget) {
            self.0.push(solved);
            self.0.sort_by(|a, b| a.missed.cmp(&b.missed).then(a.mismatch.abs().total_cmp(&b.mismatch.abs())));
        }
    }

    /// Those of another network that turned out to be the same.
    pub fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|solved| self.add(*solved));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The budgets that the network belongs to, as tables show them: those that it meets, or else the nearest.
    pub fn shown(&self) -> Option<String> {
        let met: Vec<String> = self.0.iter().filter(|s| !s.missed).map(|s| s.budget.to_string()).collect();
        if met.is_empty() { self.0.first().map(|nearest| nearest.budget.to_string()) } else { Some(met.join("; ")) }
    }

    /// By how much the network costs more than the first of [`Budgets::shown`], relatively; less below 0.
    pub fn mismatch(&self) -> Option<f64> {
        self.0.first().map(|first| first.mismatch)
    }

    /// What is to be said of budgets that the method cannot meet. Without a colon: before one, reports look for the layers that a
    /// remark is about.
    pub fn remarks(&self) -> Vec<String> {
        let percent = |share: f64| {
            let text = format!("{:.1}", 100.0 * share);
            text.strip_suffix(".0").map(String::from).unwrap_or(text)
        };
        let missed = self.0.iter().filter(|solved| solved.missed);
        let remark = |Solved { budget: Budget { quantity, share }, mismatch, .. }: &Solved| {
            let nearest = percent(share * (1.0 + mismatch));
            format!("cannot reach {} % of vanilla's {}, nearest is {nearest} %", percent(*share), quantity.words())
        };
        missed.map(remark).collect()
    }
}

/// What a setting asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// In the order of the file.
    pub budgets: Vec<Budget>,
    /// How they are to be met.
    pub how: BudgetConfig,
    /// Where they stand.
    pub at: At,
}

/// The budgets of a setting; none where it asks for none.
///
/// # Errors
/// A `[budget]` that asks for several quantities, or for none.
pub(super) fn asked(document: &Document, entries: &[Cow<'_, Entry>]) -> anyhow::Result<Option<Asked>> {
    let entries: Vec<&Entry> =
        entries.iter().map(|entry| &**entry).filter(|entry| entry.key.starts_with("budget.")).collect();
    let Some(first) = entries.first() else { return Ok(None) };
    let how: BudgetConfig = section(&entries, "budget.")?;
    let shares = [(Quantity::Macs, &how.macs), (Quantity::Params, &how.params), (Quantity::Latency, &how.latency)];
    let given: Vec<_> = shares.into_iter().filter_map(|(quantity, shares)| Some((quantity, shares.clone()?))).collect();
    let place = |quantity: Quantity| {
        let key = format!("budget.{}", quantity.name());
        entries.iter().find(|entry| entry.key == key).map_or(&first.at, |entry| &entry.at)
    };
    let accepted = "one of macs = [0.5, 0.25], params = [..], latency = [..]";
    match &given[..] {
        [(quantity, shares)] => {
            let budgets = shares.iter().map(|&share| Budget { quantity: *quantity, share }).collect();
            let at = place(*quantity).clone();
            Ok(Some(Asked { budgets, how, at }))
        }
        [(one, _), (other, _), ..] => {
            let what = format!("[budget] has both `{}` and `{}`", one.name(), other.name());
            let found = format!("{} ({})", one.name(), document.place(place(*one)));
            Err(document.error(place(*other), Complaint::new(what, found, accepted)).into())
        }
        [] => Err(document
            .error(&first.at, Complaint::new("[budget] asks for no share of anything", "", accepted))
            .into()),
    }
}

impl Asked {
    /// The dotted keys that are open for it: knobs of the method and of the backbone that the setting does not set.
    pub fn free(&self, method: &str, entries: &[Cow<'_, Entry>]) -> Vec<String> {
        let knobs = methods::find(method).map_or(&[][..], |info| info.knobs);
        let width = (self.how.fit == Fit::Width).then(|| "backbone.width".to_owned());
        let keys = knobs.iter().map(|knob| format!("method.{knob}")).chain(width);
        keys.filter(|key| find(entries, key).is_none()).collect()
    }
}

#[cfg(test)]
mod tests;
