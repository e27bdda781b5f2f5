//! Trials -> groups that may be compared -> rows over seeds.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use conv_core::options::Described;

use crate::backbones;
use crate::config::{Recipe, TrialConfig};
use crate::data::transform::Deviations;
use crate::experiment::budget::Budgets;
use crate::experiment::choice::Choice;
use crate::experiment::tuning::without;
use crate::methods::{self, Compression, Methods, Rank};
use crate::results::{FrozenTrial, Measured, MeasuredNetwork, TrialRecord};
use crate::statistics::{Comparison, Pair, SeedValue, Summary, compare, compare_all, pair_of, pooled_deviation};

/// Schedules below this many epochs are called short: those of the literature on compact convolutions run 160 to 400.
pub const SHORT_SCHEDULE: usize = 100;

/// Which split an accuracy was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Carved from the training set.
    Validation,
    /// Read once, at the end.
    Test,
}

impl Split {
    /// As captions and axes say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Top-1 of a trial in percent; none where nothing was trained or the split was not read.
    fn top1(self, record: &TrialRecord) -> Option<f64> {
        let measures = record.measures()?;
        let evaluation = match self {
            Self::Validation => measures.validation,
            Self::Test => measures.test,
        };
        evaluation.map(|evaluation| 100.0 * evaluation.top1)
    }
}

/// One setting, over its seeds.
#[derive(Clone, Debug)]
pub struct SettingRow<'a> {
    /// Method and options, unique within the group.
    pub label: String,
    /// Its trials by ascending seed; never empty.
    pub trials: Vec<&'a TrialRecord>,
}

impl<'a> SettingRow<'a> {
    /// A trial that stands for the row in everything seeds do not change.
    pub fn first(&self) -> &'a TrialRecord {
        self.trials[0]
    }

    /// The method's name.
    pub fn method(&self) -> &'a str {
        &self.first().trial.config.method.name
    }

    /// Whether this network is the uncompressed one, under whatever name it was trained.
    pub fn is_vanilla(&self) -> bool {
        let record = self.first();
        let TrialConfig { layers, backbone, .. } = &record.trial.config;
        let whole = layers.is_empty() && backbone.width.is_none_or(|width| width == 1.0);
        (self.method() == methods::reference() && whole)
            || record.trial.aliases.iter().any(|alias| alias == methods::reference())
    }

    /// What makes another network of the trained one.
    pub fn compression(&self) -> Option<Compression> {
        Methods::new(&self.first().trial.config).ok()?.compression().cloned()
    }

    /// What its trials began with, seed by seed; none where they compressed nothing, or do not say what.
    pub fn bases(&self) -> Option<Vec<&'a str>> {
        self.trials.iter().map(|record| record.measures()?.base.as_deref()).collect()
    }

    /// The budgets that its network was solved for.
    pub fn budgets(&self) -> &'a Budgets {
        &self.first().trial.budgets
    }

    /// Labels of the pruned networks that it is a control of.
    pub fn control_of(&self) -> &'a [String] {
        &self.first().trial.control_of
    }

    /// What the report has it for. A method that this binary does not know is a rival.
    pub fn rank(&self) -> Rank {
        match methods::find(self.method()).map(|info| info.rank) {
            _ if self.is_vanilla() => Rank::Reference,
            _ if !self.control_of().is_empty() => Rank::Control,
            None | Some(Rank::Reference) => Rank::Rival,
            Some(rank) => rank,
        }
    }

    /// Parameters; the rounded mean where a method lets seeds decide the widths.
    pub fn params(&self) -> u64 {
        self.mean(|record| record.network.cost.params)
    }

    /// Multiply-accumulates per image; the rounded mean where a method lets seeds decide the widths.
    pub fn macs(&self) -> u64 {
        self.mean(|record| record.network.cost.macs)
    }

    /// Parameters that are not masked; none where nothing is.
    pub fn params_nonzero(&self) -> Option<u64> {
        self.first().network.params_nonzero?;
        Some(self.mean(|record| record.network.params_nonzero.unwrap_or(record.network.cost.params)))
    }

    /// MACs with weights that are not masked, the rounded mean over seeds; none where nothing is, or it is not known.
    pub fn macs_nonzero(&self) -> Option<u64> {
        self.first().network.macs_nonzero?;
        Some(self.mean(|record| record.network.macs_nonzero.unwrap_or(record.network.cost.macs)))
    }

    /// Top-1 in percent over seeds; none unless every trial has it.
    pub fn top1(&self, split: Split) -> Option<Summary> {
        let values: Option<Vec<f64>> = self.trials.iter().map(|record| split.top1(record)).collect();
        Summary::of(&values?)
    }

    /// Mean training speed in images per second; none where nothing was trained.
    pub fn images_per_second(&self) -> Option<f64> {
        let speeds: Vec<f64> = self.trials.iter().filter_map(|r| Some(r.measures()?.images_per_second)).collect();
        Some(Summary::of(&speeds)?.mean)
    }

    /// Epochs that trained the final network's weights, fine-tuning included.
    pub fn epochs(&self) -> usize {
        self.first().measures().map_or(0, |measures| measures.epochs)
    }

    /// Why its trials, or some of them, trained operation by operation; none where all trained on the engine, or none at all.
    pub fn off_engine(&self) -> Option<String> {
        self.trials.iter().find_map(|record| record.off_engine())
    }

    /// Its seeds with their top-1 in percent, where the split was read.
    pub fn top1_by_seed(&self, split: Split) -> Vec<SeedValue> {
        let value = |record: &&TrialRecord| Some((record.trial.config.seed, split.top1(record)?));
        self.trials.iter().filter_map(value).collect()
    }

    /// Beside `other`, by top-1 in percentage points, trial by trial over the seeds that both have: seeds share the order of
    /// the data, so that pairs vary less than their members.
    pub fn compare(&self, other: &SettingRow<'_>, split: Split) -> Comparison {
        compare(&self.top1_by_seed(split), &other.top1_by_seed(split))
    }

    /// How it was tuned, where it was.
    pub fn tuned(&self) -> Option<&'a Choice> {
        self.first().trial.tuned.as_ref()
    }

    /// Its seeds, ascending.
    pub fn seeds(&self) -> Vec<u64> {
        self.trials.iter().map(|record| record.trial.config.seed).collect()
    }

    fn mean(&self, value: impl Fn(&TrialRecord) -> u64) -> u64 {
        let total: u128 = self.trials.iter().map(|record| u128::from(value(record))).sum();
        let n = self.trials.len() as u128;
        ((total + n / 2) / n) as u64
    }
}

/// Rows that may stand in one table: same data, same backbone, same recipe.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Vanilla first, then by method, each from the largest to the smallest network.
    pub rows: Vec<SettingRow<'a>>,
    /// What the folder's networks cost to run, if it was measured.
    pub measured: Option<&'a Measured>,
    /// See [`Group::pairs`].
    pairs: OnceCell<Vec<Pair>>,
}

impl<'a> Group<'a> {
    /// The same with what its networks cost to run.
    pub fn with(self, measured: Option<&'a Measured>) -> Self {
        Self { measured, ..self }
    }

    /// A trial that stands for the group in what all its trials share: data, backbone, recipe.
    pub fn first(&self) -> &'a TrialRecord {
        self.rows[0].first()
    }

    /// Every trial.
    pub fn trials(&self) -> impl Iterator<Item = &'a TrialRecord> + '_ {
        self.rows.iter().flat_map(|row| row.trials.iter().copied())
    }

    /// The uncompressed network, if it is there.
    pub fn vanilla(&self) -> Option<&SettingRow<'a>> {
        self.rows.iter().find(|row| row.is_vanilla())
    }

    /// What was measured of the network that a row's trials end in.
    pub fn network(&self, row: &SettingRow<'_>) -> Option<&'a MeasuredNetwork> {
        row.trials.iter().find_map(|record| self.measured?.network(&record.trial.key))
    }

    /// Whether nothing was trained.
    pub fn cost_only(&self) -> bool {
        self.first().measures().is_none()
    }

    /// The split that differences and plots are about: test, if every trial has read it.
    pub fn split(&self) -> Split {
        if self.rows.iter().all(|row| row.top1(Split::Test).is_some()) { Split::Test } else { Split::Validation }
    }

    /// Every pair of its rows, by top-1 in percentage points; nothing where nothing was trained.
    pub fn pairs(&self) -> &[Pair] {
        let split = self.split();
        self.pairs.get_or_init(|| match self.cost_only() {
            true => Vec::new(),
            false => compare_all(&self.rows.iter().map(|row| row.top1_by_seed(split)).collect::<Vec<_>>()),
        })
    }

    /// How the difference of two rows varies between seeds, in points: the pooled sample standard deviation over all pairs. None where
    /// no two rows share two seeds.
    pub fn spread(&self) -> Option<f64> {
        pooled_deviation(self.pairs().iter().filter_map(|pair| pair.comparison.difference))
    }

    /// The pair of a row and vanilla, with the place of the row; none for vanilla itself, or without it.
    pub fn beside_vanilla(&self, row: &SettingRow<'_>) -> Option<(usize, &Pair)> {
        let vanilla = self.rows.iter().position(SettingRow::is_vanilla)?;
        let at = self.rows.iter().position(|other| other.label == row.label)?;
        Some((at, pair_of(self.pairs(), at, vanilla)?))
    }

    /// `resnet20` as `ResNet-20`, with its head where that is not the usual one.
    pub fn backbone(&self) -> String {
        let config = &self.first().trial.config.backbone;
        // A folder may name a backbone that this program does not have.
        let Some(info) = backbones::find(&config.name) else { return config.name.clone() };
        let usual = info.heads.first() == Some(&config.head);
        if usual { info.title.to_owned() } else { format!("{} ({} head)", info.title, config.head.name()) }
    }

    /// The data's label; procedural data says so, whatever its label.
    pub fn data(&self) -> String {
        let data = &self.first().trial.data;
        if data.synthetic && !data.label.contains("SYNTHETIC") {
            format!("SYNTHETIC ({})", data.label)
        } else {
            data.label.clone()
        }
    }

    /// Backbone, data, and the schedule where it is short: the title of table and plots.
    pub fn title(&self) -> String {
        let (backbone, data, record) = (self.backbone(), self.data(), self.first());
        match record.trial.config.recipe.epochs {
            0 => format!("{backbone} for {}: cost only", record.trial.config.dataset.name),
            1 => format!("{backbone} on {data}: short schedule (1 epoch)"),
            epochs if epochs < SHORT_SCHEDULE => format!("{backbone} on {data}: short schedule ({epochs} epochs)"),
            epochs => format!("{backbone} on {data} ({epochs} epochs)"),
        }
    }
}

/// How differences to vanilla vary between seeds, in points of top-1: the pooled sample standard deviation over all rows that share
/// seeds with it, and how many differences it is of. None where nothing was trained with two seeds.
pub fn spread_of_differences(groups: &[Group<'_>]) -> Option<(f64, usize)> {
    let mut differences = Vec::new();
    for group in groups.iter().filter(|group| !group.cost_only()) {
        let (Some(vanilla), split) = (group.vanilla(), group.split()) else { continue };
        let others = group.rows.iter().filter(|row| !row.is_vanilla());
        differences.extend(others.filter_map(|row| row.compare(vanilla, split).difference));
    }
    differences.retain(|difference| difference.deviation.is_some_and(f64::is_finite));
    let count = differences.iter().map(|difference| difference.n).sum();
    Some((pooled_deviation(differences)?, count))
}

/// Sorts trials into groups that may be compared, and each into rows over seeds. Nothing mixes data or recipes; only the
/// fine-tuning of methods that prune may differ within a group (tables show the epochs then).
pub fn groups(records: &[TrialRecord]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<&TrialRecord>>> = BTreeMap::new();
    for record in records {
        groups.entry(comparable(record)).or_default().entry(setting(record)).or_default().push(record);
    }
    groups
        .into_values()
        .map(|settings| Group { rows: rows(settings), measured: None, pairs: OnceCell::new() })
        .collect()
}

fn rows(settings: BTreeMap<String, Vec<&TrialRecord>>) -> Vec<SettingRow<'_>> {
    let mut rows: Vec<SettingRow<'_>> = settings
        .into_values()
        .map(|mut trials| {
            trials.sort_by_key(|record| record.trial.config.seed);
            SettingRow { label: label_within(trials[0]), trials }
        })
        .collect();
    let labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    for row in &mut rows {
        if labels.iter().filter(|label| **label == row.label).count() > 1 {
            row.label = format!("{} ({})", row.label, row.first().network.replaced);
        }
    }
    let mut placed: Vec<_> = rows.iter().map(|row| (place_under(row, &rows), row.clone())).collect();
    placed.sort_by(|(a, _), (b, _)| a.cmp(b));
    placed.into_iter().map(|(_, row)| row).collect()
}

/// A trial's label without what its group says already. So a method has one label in the groups of all data sets and backbones.
fn label_within(record: &TrialRecord) -> String {
    let FrozenTrial { label, config, .. } = &record.trial;
    let said = [format!("backbone={}", config.backbone.name), format!("dataset={}", config.dataset.name)];
    let words: Vec<&str> = label.split(' ').filter(|word| said.iter().all(|said| said != word)).collect();
    words.join(" ")
}

/// What rows are sorted by.
type Place = (Rank, String, (u64, u64), String);

/// Paper style: the reference first, the controls, the rivals, the method under study last.
fn place(row: &SettingRow<'_>) -> Place {
    let size = (u64::MAX - row.macs(), u64::MAX - row.params());
    (row.rank(), row.method().to_owned(), size, row.label.clone())
}

/// The same, with controls right under the first of the networks that they are controls of.
fn place_under(row: &SettingRow<'_>, rows: &[SettingRow<'_>]) -> (Place, bool, Place) {
    let pruned = rows.iter().filter(|other| row.control_of().contains(&other.first().trial.label));
    match pruned.map(place).min() {
        Some(first) if !row.is_vanilla() => (first, true, place(row)),
        _ => (place(row), false, place(row)),
    }
}

/// What trials must share to be compared at all, as text.
fn comparable(record: &TrialRecord) -> String {
    let values: Vec<String> = shared(record).into_iter().map(|(_, value)| value).collect();
    values.join("|")
}

/// The same, each value with its name.
fn shared(record: &TrialRecord) -> Vec<(&'static str, String)> {
    let config = &record.trial.config;
    let mut shared = vec![
        ("data", record.trial.data.label.clone()),
        ("backbone.name", config.backbone.name.clone()),
        ("backbone.head", format!("{:?}", config.backbone.head)),
    ];
    let Some(measures) = record.measures() else {
        shared.extend([("dataset.name", config.dataset.name.clone()), ("trained", "cost".to_owned())]);
        return shared;
    };
    shared.extend([
        ("data fingerprint", record.trial.data.fingerprint.clone()),
        ("dataset.augment", config.dataset.augment.to_string()),
        (
            "[dataset]",
            Deviations::of(&config.dataset).map_or_else(|| "at its defaults".to_owned(), |own| format!("{own:?}")),
        ),
        ("protocol.validation", config.validation.to_string()),
        ("training images", measures.train_images.to_string()),
        (RECIPE, format!("{:?}", recipe(record))),
        ("tuned over", space(record)),
    ]);
    shared
}

const RECIPE: &str = "recipe";

/// The recipe without what methods that prune have for themselves, and what was chosen for the row by itself: rows that were tuned
/// over one space differ in that, and in nothing that anybody set.
fn recipe(record: &TrialRecord) -> Recipe {
    let recipe = Recipe { finetune_epochs: 0, finetune_lr: 0.0, ..record.trial.config.recipe.clone() };
    match &record.trial.tuned {
        Some(Choice { terms, .. }) => without(&recipe, terms.space.keys()),
        None => recipe,
    }
}

fn space(record: &TrialRecord) -> String {
    let space = record.trial.tuned.as_ref().map(|Choice { terms, .. }| format!("{:?}", terms.space));
    space.unwrap_or_else(|| "nothing".to_owned())
}

/// Something that a comparison holds equal, and that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlike {
    /// What it is: a key, or in words.
    pub key: String,
    /// Of the one and of the other.
    pub values: [String; 2],
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.values;
        write!(f, "{} is {one} and {other}", self.key)
    }
}

/// What two trained trials do not share of all that a comparison holds equal; nothing where they may be compared.
pub fn unlike(a: &TrialRecord, b: &TrialRecord) -> Vec<Unlike> {
    let differs =
        |key: &str, one: &str, other: &str| Unlike { key: key.to_owned(), values: [one, other].map(str::to_owned) };
    let mut found = Vec::new();
    for ((name, one), (_, other)) in shared(a).into_iter().zip(shared(b)).filter(|((_, one), (_, other))| one != other)
    {
        if name != RECIPE {
            found.push(differs(name, &one, &other));
            continue;
        }
        let (one, other) = (recipe(a), recipe(b));
        let values = one.values().into_iter().zip(other.values());
        let keys = Recipe::OPTIONS.iter().zip(values).filter(|(_, (one, other))| one != other);
        found.extend(keys.map(|(field, (one, other))| {
            differs(&format!("recipe.{}", field.key), &one.to_string(), &other.to_string())
        }));
    }
    found
}

/// What distinguishes rows: everything that decides a network and its training, but the seed.
fn setting(record: &TrialRecord) -> String {
    let config = &record.trial.config;
    format!(
        "{}|{}|{:?}|{:?}|{:?}",
        record.trial.label, record.network.replaced, config.method, config.layers, config.recipe
    )
}
