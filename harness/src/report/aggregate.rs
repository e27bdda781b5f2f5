//! Trials -> groups that may be compared -> rows over seeds.

use std::collections::BTreeMap;

use crate::backbones;
use crate::methods::{self, Rank};
use crate::results::TrialRecord;

/// Schedules below this many epochs are called short: those of the literature on compact convolutions run 160 to 400.
pub const SHORT_SCHEDULE: usize = 100;

/// Mean and spread of a quantity over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1 in the denominator); none for a single value.
    pub deviation: Option<f64>,
}

impl Summary {
    /// None of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (n >= 2).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { n, mean, deviation })
    }

    /// 95 % confidence interval of the mean (Student t, two-sided); none for a single value.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let half = student_t(self.n - 1) * self.deviation? / (self.n as f64).sqrt();
        Some((self.mean - half, self.mean + half))
    }
}

/// 97.5 % quantile of Student's t with `freedom` degrees of freedom; beyond the table the next smaller entry, which
/// makes intervals too wide rather than too narrow.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [(usize, f64); 19] = [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (5, 2.571),
        (6, 2.447),
        (7, 2.365),
        (8, 2.306),
        (9, 2.262),
        (10, 2.228),
        (12, 2.179),
        (14, 2.145),
        (16, 2.120),
        (18, 2.101),
        (20, 2.086),
        (25, 2.060),
        (30, 2.042),
        (60, 2.000),
        (120, 1.980),
    ];
    TABLE.iter().rev().find(|(least, _)| *least <= freedom).map_or(f64::INFINITY, |(_, t)| *t)
}

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
            Self::Validation => Some(measures.validation),
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
        (self.method() == methods::reference() && record.trial.config.layers.is_empty())
            || record.trial.aliases.iter().any(|alias| alias == methods::reference())
    }

    /// Whether it is cut after a part of its training.
    pub fn prunes(&self) -> bool {
        methods::resolve(&self.first().trial.config.method).is_ok_and(|method| method.pruning.is_some())
    }

    /// What the report has it for. A method that this binary does not know is a rival.
    fn rank(&self) -> Rank {
        match methods::find(self.method()).map(|info| info.rank) {
            _ if self.is_vanilla() => Rank::Reference,
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

    /// Epochs trained, fine-tuning included.
    pub fn epochs(&self) -> usize {
        self.first().measures().map_or(0, |measures| measures.epochs)
    }

    /// Why its trials, or some of them, trained operation by operation; none where all trained on the engine, or none at all.
    pub fn off_engine(&self) -> Option<String> {
        self.trials.iter().find_map(|record| record.off_engine())
    }

    /// Difference in top-1 to `other` in percentage points, trial by trial over the seeds that both have: seeds share the
    /// order of the data, so that pairs vary less than their members. None without a common seed.
    pub fn difference(&self, other: &SettingRow<'_>, split: Split) -> Option<Summary> {
        let values: Vec<f64> = self
            .trials
            .iter()
            .filter_map(|mine| {
                let theirs = other.trials.iter().find(|record| record.trial.config.seed == mine.trial.config.seed)?;
                Some(split.top1(mine)? - split.top1(theirs)?)
            })
            .collect();
        Summary::of(&values)
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
}

impl<'a> Group<'a> {
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

    /// Whether nothing was trained.
    pub fn cost_only(&self) -> bool {
        self.first().measures().is_none()
    }

    /// The split that differences and plots are about: test, if every trial has read it.
    pub fn split(&self) -> Split {
        if self.rows.iter().all(|row| row.top1(Split::Test).is_some()) { Split::Test } else { Split::Validation }
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

/// Sorts trials into groups that may be compared, and each into rows over seeds. Nothing mixes data or recipes; only the
/// fine-tuning of methods that prune may differ within a group (tables show the epochs then).
pub fn groups(records: &[TrialRecord]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<&TrialRecord>>> = BTreeMap::new();
    for record in records {
        groups.entry(comparable(record)).or_default().entry(setting(record)).or_default().push(record);
    }
    groups.into_values().map(|settings| Group { rows: rows(settings) }).collect()
}

fn rows(settings: BTreeMap<String, Vec<&TrialRecord>>) -> Vec<SettingRow<'_>> {
    let mut rows: Vec<SettingRow<'_>> = settings
        .into_values()
        .map(|mut trials| {
            trials.sort_by_key(|record| record.trial.config.seed);
            SettingRow { label: trials[0].trial.label.clone(), trials }
        })
        .collect();
    let labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    for row in &mut rows {
        if labels.iter().filter(|label| **label == row.label).count() > 1 {
            row.label = format!("{} ({})", row.label, row.first().network.replaced);
        }
    }
    rows.sort_by_cached_key(|row| {
        let size = (u64::MAX - row.macs(), u64::MAX - row.params());
        // Paper style: the reference first, the controls, the rivals, the method under study last.
        (row.rank(), row.method().to_owned(), size, row.label.clone())
    });
    rows
}

/// What trials must share to be compared at all.
fn comparable(record: &TrialRecord) -> String {
    let config = &record.trial.config;
    let mut recipe = config.recipe.clone();
    (recipe.finetune_epochs, recipe.finetune_lr) = (0, 0.0);
    let network = format!("{}|{}|{:?}", record.trial.data.label, config.backbone.name, config.backbone.head);
    let Some(measures) = record.measures() else { return format!("{network}|{}|cost", config.dataset.name) };
    format!(
        "{network}|{}|{}|{}|{}|{recipe:?}",
        record.trial.data.fingerprint, config.dataset.augment, config.validation, measures.train_images
    )
}

/// What distinguishes rows: everything that decides a network and its training, but the seed.
fn setting(record: &TrialRecord) -> String {
    let config = &record.trial.config;
    format!(
        "{}|{}|{:?}|{:?}|{:?}",
        record.trial.label, record.network.replaced, config.method, config.layers, config.recipe
    )
}
