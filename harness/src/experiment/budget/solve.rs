//! The choice of options whose network comes nearest to a budget.
//!
//! Costs are counted, so that a search may be thorough: every value of an option that is listed, and of numbers a grid, parted further
//! wherever the budget lies between two neighbours. Inference times are measured, so that as few as possible are asked for: the
//! networks are put in the order of their multiply-accumulates, and halved.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use conv_core::Cost;
use conv_core::options::Bounds;
use toml::Value;

use super::knobs::{Choice, Knob, Range, choices, contains, most_channels, of_backbone, of_method, with};
use super::{Asked, Budget, Solved};
use crate::backbones;
use crate::config::error::{Complaint, explain};
use crate::config::{BudgetConfig, TrialConfig};
use crate::data;
use crate::experiment::network::Networks;
use crate::experiment::price::price;
use crate::experiment::sweep::document::{Block, Document, Entry};
use crate::methods;

/// Where the knob alone comes as near as this, the width is left alone.
const NEAR: f64 = 0.01;
/// At most so many other choices of the knob are tried with other widths.
const MOST_OTHERS: usize = 32;
/// Numbers that are nearer to each other are not parted further.
const FINEST: f64 = 1e-6;
/// Decimals of a number that is solved for, at most.
const DECIMALS: i32 = 6;
/// How a description begins to remark that a layer was declined.
const DECLINED: &str = "stays vanilla: ";
/// At most this many settings' solutions are remembered.
const MOST_REMEMBERED: usize = 1 << 14;

/// What measures inference, and knows what it measured before.
pub trait Stopwatch: Debug + Sync {
    /// The time of inference of so many images at once, as a share of another network's that is measured in turns with it.
    ///
    /// # Errors
    /// A network that cannot be built, or may not be measured here.
    fn share(&self, network: &TrialConfig, of: &TrialConfig, images: usize) -> anyhow::Result<f64>;

    /// All that it was asked for so far, by names of the networks.
    fn shares(&self) -> BTreeMap<String, f64>;
}

/// Options that were solved for, by their dotted keys, and how near they come.
#[derive(Clone, Debug)]
pub struct Solution {
    /// Nothing, where nothing was free.
    pub choice: Choice,
    /// The budget, and by how much it is missed.
    pub solved: Solved,
}

/// Solves settings' budgets, each once.
#[derive(Debug)]
pub struct Solver<'d> {
    stopwatch: Option<&'d dyn Stopwatch>,
    /// Whether it measures anything.
    pub(in crate::experiment) measures: bool,
    known: Mutex<HashMap<[u8; 32], Arc<[Solution]>>>,
}

impl<'d> Solver<'d> {
    /// `stopwatch` measures what is not counted; without one, budgets of it are refused.
    pub fn new(document: &Document, stopwatch: Option<&'d dyn Stopwatch>) -> Self {
        let entries = document.blocks.iter().flat_map(Block::lists).chain([&document.base]).flatten();
        let measures = entries.into_iter().any(|entry| entry.key == "budget.latency");
        Self { stopwatch, measures, known: Mutex::default() }
    }

    /// A solution for each budget, in their order; none where the setting asks for the reference itself, which has its own cost.
    ///
    /// # Errors
    /// Values that make no network, whatever is chosen; what cannot be measured.
    pub(in crate::experiment) fn solve(
        &self,
        networks: &Networks<'_>,
        entries: &[Cow<'_, Entry>],
        asked: &Asked,
    ) -> anyhow::Result<Arc<[Solution]>> {
        let shares = format!("{:?}{:?}", asked.budgets, asked.how.fit);
        let key = Networks::key(entries, Some("budget.")).into_iter().chain(shares.into_bytes()).collect::<Vec<u8>>();
        let key = *blake3::hash(&key).as_bytes();
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Ok(known.clone());
        }
        let config = networks.config(entries)?;
        // The default of what is free has to make sense as well: its error names the key to blame.
        let vanilla = networks.get(entries)?.vanilla;
        let search = Search { config: &config, how: &asked.how, vanilla, stopwatch: self.stopwatch };
        let solutions = search.solve_all(&asked.budgets).map_err(|error| {
            let complaint = Complaint::new(format!("the budget cannot be solved for: {}", explain(&error)), "", "");
            networks.document.error(&asked.at, complaint)
        })?;
        let solutions: Arc<[Solution]> = solutions.into();
        let mut known = lock();
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(key, solutions.clone());
        Ok(solutions)
    }
}

/// A network that was tried.
#[derive(Clone, Debug)]
struct Rung {
    choice: Choice,
    cost: Cost,
    /// Layers that the method left vanilla.
    declined: usize,
}

/// One setting, before anything is chosen.
struct Search<'a> {
    config: &'a TrialConfig,
    how: &'a BudgetConfig,
    vanilla: Cost,
    stopwatch: Option<&'a dyn Stopwatch>,
}

impl Search<'_> {
    fn solve_all(&self, budgets: &[Budget]) -> anyhow::Result<Vec<Solution>> {
        let geometry = data::geometry(&self.config.dataset)?;
        let backbone = backbones::by_name(&self.config.backbone, &geometry, 1.0)?;
        let knobs = of_method(self.config, most_channels(&*backbone));
        let ladder = self.ladder(self.config, &knobs);
        budgets.iter().map(|budget| self.solve(*budget, &knobs, &ladder)).collect()
    }

    fn solve(&self, budget: Budget, knobs: &[Knob], ladder: &[Rung]) -> anyhow::Result<Solution> {
        let (mut choice, mut share) = self.nearest(self.config, budget, knobs, ladder)?;
        let off = |share: f64| (share - budget.share) / budget.share;
        if let Some(width) = of_backbone(self.config, self.how.fit).filter(|_| off(share).abs() > NEAR) {
            let width = [width];
            let first = choice.clone();
            let others = self.others(budget, ladder).into_iter().filter(|other| *other != first);
            for base in std::iter::once(first.clone()).chain(others) {
                let config = with(self.config, &base);
                let ladder = self.ladder(&config, &width);
                let (wider, nearer) = self.nearest(&config, budget, &width, &ladder)?;
                if off(nearer).abs() < off(share).abs() {
                    choice = [base, wider].concat();
                    share = nearer;
                }
                if off(share).abs() <= self.how.tolerance {
                    break;
                }
            }
        }
        let mismatch = off(share);
        let missed = mismatch.abs() > self.how.tolerance;
        Ok(Solution { choice, solved: Solved { budget, mismatch, missed } })
    }

    /// What else may be chosen of the knobs before the width is, the nearest first: at the width that a budget wants with one value, a
    /// method may decline layers that it takes with another. None of what is measured, which takes too long.
    fn others(&self, budget: Budget, ladder: &[Rung]) -> Vec<Choice> {
        let Some(vanilla) = budget.quantity.of(&self.vanilla) else { return Vec::new() };
        let far = |rung: &Rung| {
            let share = budget.quantity.of(&rung.cost).unwrap_or(0).max(1) as f64 / vanilla.max(1) as f64;
            (share / budget.share).ln().abs()
        };
        let mut rungs: Vec<&Rung> = ladder.iter().collect();
        rungs.sort_by(|a, b| far(a).total_cmp(&far(b)));
        rungs.dedup_by_key(|rung| rung.cost);
        rungs.into_iter().take(MOST_OTHERS).map(|rung| rung.choice.clone()).collect()
    }

    /// Every network that is tried first. A choice that makes none is left out, and so is one by which the method leaves more layers
    /// vanilla than by another: what costs much because little is replaced would stand under the method's name without being it.
    fn ladder(&self, config: &TrialConfig, knobs: &[Knob]) -> Vec<Rung> {
        let mut ladder: Vec<Rung> = choices(knobs).into_iter().filter_map(|choice| self.rung(config, choice)).collect();
        let fewest = ladder.iter().map(|rung| rung.declined).min();
        ladder.retain(|rung| Some(rung.declined) == fewest);
        ladder
    }

    fn rung(&self, config: &TrialConfig, choice: Choice) -> Option<Rung> {
        let price = price(&with(config, &choice)).ok()?;
        let declined =
            price.layers.iter().filter(|layer| layer.remarks.iter().any(|remark| remark.starts_with(DECLINED)));
        Some(Rung { choice, cost: price.total, declined: declined.count() })
    }

    /// The choice whose network comes nearest, and the share of vanilla that this has. Nothing is chosen where nothing is free.
    fn nearest(
        &self,
        config: &TrialConfig,
        budget: Budget,
        knobs: &[Knob],
        ladder: &[Rung],
    ) -> anyhow::Result<(Choice, f64)> {
        let Some(vanilla) = budget.quantity.of(&self.vanilla) else {
            return self.nearest_measured(config, budget, ladder);
        };
        let share = |rung: &Rung| budget.quantity.of(&rung.cost).unwrap_or(0) as f64 / vanilla.max(1) as f64;
        if ladder.is_empty() {
            let rung = self.rung(config, vec![]);
            return Ok((vec![], rung.map_or(f64::NAN, |rung| share(&rung))));
        }
        let off = |rung: &Rung| (share(rung) - budget.share).abs();
        let mut best = &ladder[0];
        for rung in ladder {
            if off(rung) < off(best) {
                best = rung;
            }
        }
        let mut best = best.clone();
        if let [Knob { key, range: Range::Numbers(bounds) }] = knobs {
            let try_value = |value: f64| self.rung(config, vec![(key.clone(), Value::Float(value))]);
            for pair in ladder.windows(2) {
                let (mut low, mut high) = (pair[0].clone(), pair[1].clone());
                let above = |rung: &Rung| share(rung) > budget.share;
                while above(&low) != above(&high) && number(&high) - number(&low) > FINEST {
                    let Some(middle) = try_value((number(&low) + number(&high)) / 2.0) else { break };
                    if off(&middle) < off(&best) && middle.declined <= best.declined {
                        best = middle.clone();
                    }
                    if above(&middle) == above(&low) { low = middle } else { high = middle }
                }
            }
            best = shortest(best, bounds, try_value);
        }
        let nearest = share(&best);
        Ok((best.choice, nearest))
    }

    /// The same by measured times: of the networks in the order of their cost, between two neighbours.
    fn nearest_measured(&self, config: &TrialConfig, budget: Budget, ladder: &[Rung]) -> anyhow::Result<(Choice, f64)> {
        let Some(stopwatch) = self.stopwatch else {
            anyhow::bail!("times of inference are measured by `harness plan` and by runs only");
        };
        let mut vanilla = self.config.clone();
        vanilla.method = crate::config::MethodConfig { name: methods::reference().into(), options: toml::Table::new() };
        vanilla.backbone.width = None;
        vanilla.layers.clear();
        let share = |choice: &[(String, Value)]| stopwatch.share(&with(config, choice), &vanilla, self.how.batch);
        let mut ladder: Vec<&Rung> = ladder.iter().collect();
        ladder.sort_by_key(|rung| (rung.cost.macs, rung.cost.params));
        ladder.dedup_by_key(|rung| rung.cost);
        let [first, .., last] = ladder[..] else {
            let choice = ladder.first().map_or_else(Vec::new, |rung| rung.choice.clone());
            let share = share(&choice)?;
            return Ok((choice, share));
        };
        let (mut low, mut high) = (0, ladder.len() - 1);
        let mut ends = [(first, share(&first.choice)?), (last, share(&last.choice)?)];
        while high - low > 1 {
            let middle = (low + high) / 2;
            let measured = share(&ladder[middle].choice)?;
            let below = measured < budget.share;
            *(if below { &mut low } else { &mut high }) = middle;
            ends[usize::from(!below)] = (ladder[middle], measured);
        }
        let off = |share: f64| (share - budget.share).abs();
        let [below, above] = ends;
        let (rung, share) = if off(above.1) < off(below.1) { above } else { below };
        Ok((rung.choice.clone(), share))
    }
}

/// The number that a rung of a single number is made with.
fn number(rung: &Rung) -> f64 {
    rung.choice.first().and_then(|(_, value)| value.as_float()).unwrap_or(f64::NAN)
}

/// The same network by the number with the fewest decimals.
fn shortest(rung: Rung, bounds: &Bounds, try_value: impl Fn(f64) -> Option<Rung>) -> Rung {
    let value = number(&rung);
    for decimals in 1..=DECIMALS {
        let unit = 10f64.powi(decimals);
        for round in [f64::round, f64::floor, f64::ceil] {
            let rounded = round(value * unit) / unit;
            let same = contains(bounds, rounded).then(|| try_value(rounded)).flatten();
            if let Some(same) = same.filter(|same| same.cost == rung.cost) {
                return same;
            }
        }
    }
    rung
}
