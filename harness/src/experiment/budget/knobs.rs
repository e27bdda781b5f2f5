//! The options that are free to be solved for, and the values that are tried.

use std::collections::BTreeSet;

use conv_core::options::{Bounds, Kind, Literal};
use toml::Value;

use crate::backbones::{Backbone, LayerKind};
use crate::config::schema::WIDEST;
use crate::config::{Fit, TrialConfig};
use crate::methods;

/// Values of a number that are tried before those that a budget lies between are parted further.
const GRID: i32 = 128;

/// Options that are chosen, by their dotted keys.
pub type Choice = Vec<(String, Value)>;

/// An option that is free.
#[derive(Clone, Debug)]
pub(super) struct Knob {
    /// Its dotted key.
    pub key: String,
    pub range: Range,
}

/// The values that an option may have.
#[derive(Clone, Debug)]
pub(super) enum Range {
    /// Each of these.
    Listed(Vec<Value>),
    /// Any number between.
    Numbers(Bounds),
}

/// The method's knobs that the configuration leaves open.
pub(super) fn of_method(config: &TrialConfig, widest: usize) -> Vec<Knob> {
    let Some(info) = methods::find(&config.method.name) else { return vec![] };
    let free = info.knobs.iter().filter(|knob| !config.method.options.contains_key(**knob));
    let alone = info.knobs.len() == 1;
    free.filter_map(|knob| {
        let field = info.options.iter().find(|field| field.key == *knob)?;
        Some(Knob { key: format!("method.{knob}"), range: range(&field.kind, widest, alone)? })
    })
    .collect()
}

/// The backbone's width, if it is to be solved for and left open.
pub(super) fn of_backbone(config: &TrialConfig, fit: Fit) -> Option<Knob> {
    let bounds = Bounds { low: 0.0, low_included: false, high: WIDEST, high_included: true };
    let free = fit == Fit::Width && config.backbone.width.is_none();
    free.then(|| Knob { key: "backbone.width".into(), range: Range::Numbers(bounds) })
}

/// The values of a kind that make a difference to a network whose layers have `widest` channels at most. Several knobs multiply: of
/// integers without an end, powers of two and their neighbours are enough then, as channels are such.
fn range(kind: &Kind, widest: usize, alone: bool) -> Option<Range> {
    if let Kind::OneOrList(element) = kind {
        return range(element, widest, alone);
    }
    let widest = i64::try_from(widest).unwrap_or(i64::MAX);
    let list = |values: Vec<i64>| Range::Listed(values.into_iter().map(Value::Integer).collect());
    Some(match *kind {
        Kind::Integer(low, high) if alone || high <= widest => list((low..=high.min(widest)).collect()),
        Kind::Integer(low, high) => {
            let powers = (0..62).map(|power| 1i64 << power).take_while(|power| *power <= widest.max(2));
            let mut values: Vec<i64> = powers.flat_map(|power| [power, power - 1, power + 1]).collect();
            values.retain(|value| (low..=high).contains(value));
            // Powers come first: of several that make the same network, one is taken.
            let mut seen = BTreeSet::new();
            values.retain(|value| seen.insert(*value));
            values.sort_by_key(|value| !(*value as u64).is_power_of_two());
            list(values)
        }
        Kind::Odd => list((1..=widest).step_by(2).collect()),
        Kind::Number(bounds) => Range::Numbers(bounds),
        Kind::Flag => Range::Listed(vec![Value::Boolean(false), Value::Boolean(true)]),
        Kind::Choice(names) => Range::Listed(names().into_iter().map(Value::from).collect()),
        _ => return None,
    })
}

impl Range {
    /// The values that are tried first, numbers in their order.
    fn values(&self) -> Vec<Value> {
        match self {
            Self::Listed(values) => values.clone(),
            Self::Numbers(bounds) => {
                let high = if bounds.high.is_finite() { bounds.high } else { bounds.low + 1.0 };
                let at = |step: i32| bounds.low + (high - bounds.low) * f64::from(step) / f64::from(GRID);
                (0..=GRID).map(at).filter(|value| contains(bounds, *value)).map(Value::Float).collect()
            }
        }
    }
}

/// Whether a number lies in the bounds.
pub(super) fn contains(bounds: &Bounds, value: f64) -> bool {
    Kind::Number(*bounds).accepts(&Literal::Number(value))
}

/// Every combination that sets one of the knobs at least, those that set few first.
pub(super) fn choices(knobs: &[Knob]) -> Vec<Choice> {
    let mut all = vec![Choice::new()];
    for knob in knobs {
        let set = |choice: &Choice, value: Value| [choice.as_slice(), &[(knob.key.clone(), value)]].concat();
        let values = knob.range.values();
        let more: Vec<Choice> =
            all.iter().flat_map(|choice| values.iter().map(|value| set(choice, value.clone()))).collect();
        all.extend(more);
    }
    all.retain(|choice| !choice.is_empty());
    all.sort_by_key(Vec::len);
    all
}

/// A configuration with options chosen.
pub(super) fn with(config: &TrialConfig, choice: &[(String, Value)]) -> TrialConfig {
    let mut config = config.clone();
    for (key, value) in choice {
        match key.strip_prefix("method.") {
            Some(option) => drop(config.method.options.insert(option.into(), value.clone())),
            None => config.backbone.width = value.as_float(),
        }
    }
    config
}

/// The most channels that a layer reads or makes.
pub(super) fn most_channels(backbone: &dyn Backbone) -> usize {
    let channels = |kind: LayerKind| match kind {
        LayerKind::Unit(spec) => spec.conv.in_channels.max(spec.conv.out_channels),
        LayerKind::Linear { .. } => 1,
    };
    backbone.layers().into_iter().map(|layer| channels(layer.kind)).max().unwrap_or(1)
}
