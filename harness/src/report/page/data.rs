//! What the page's scripts read: every number as it is, nothing written out. Their names are those of the scripts.

use serde::Serialize;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Data<'r> {
    pub title: &'r str,
    pub name: &'r str,
    pub files: Files,
    pub groups: Vec<GroupData<'r>>,
    /// Trials without a result.
    pub failed: usize,
}

/// Files beside the page.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub csv: &'static str,
    pub parquet: &'static str,
    pub readme: &'static str,
}

/// Rows that may be compared.
#[derive(Debug, Serialize)]
pub(super) struct GroupData<'r> {
    /// Start of its file names.
    pub id: &'r str,
    pub title: String,
    pub backbone: String,
    pub data: String,
    /// Which split differences and plots are about.
    pub split: &'static str,
    pub cost_only: bool,
    /// Sentences in HTML.
    pub finding: Vec<String>,
    /// What stands under the table, in HTML.
    pub captions: Vec<String>,
    /// Index of the reference.
    pub vanilla: Option<usize>,
    pub speed: Option<Speed<'r>>,
    /// Options that some method varies.
    pub options: Vec<String>,
    pub rows: Vec<RowData<'r>>,
    /// Every layer of any network, in order.
    pub layer_names: Vec<String>,
}

/// What measured times are of.
#[derive(Debug, Serialize)]
pub(super) struct Speed<'r> {
    /// Images of a batch.
    pub images: usize,
    pub reference: &'r str,
    /// In HTML.
    pub note: String,
}

/// A setting over its seeds.
#[derive(Debug, Serialize)]
pub(super) struct RowData<'r> {
    pub label: &'r str,
    pub method: &'r str,
    pub rank: &'static str,
    /// Number of the shape; none of a method that this program does not know.
    pub mark: Option<usize>,
    pub color: String,
    pub options: serde_json::Map<String, serde_json::Value>,
    pub replaced: &'r str,
    pub params: u64,
    pub macs: u64,
    pub params_nonzero: Option<u64>,
    pub macs_nonzero: Option<u64>,
    pub activations: u64,
    pub depth: Option<usize>,
    pub budget: Option<String>,
    pub budget_off: Option<f64>,
    pub control_of: &'r [String],
    pub epochs: usize,
    pub validation: Option<Stat>,
    pub test: Option<Stat>,
    pub delta: Option<Delta>,
    pub one: Option<Time>,
    pub many: Option<Time>,
    pub memory: Option<Memory>,
    pub energy: Option<f64>,
    pub front: Front,
    pub trials: Vec<TrialData<'r>>,
    pub curve: Option<Curve>,
    pub layers: Option<Layers>,
}

/// Percent, over seeds.
#[derive(Debug, Serialize)]
pub(super) struct Stat {
    pub n: usize,
    pub mean: f64,
    pub sd: Option<f64>,
    /// 95 % interval of the mean.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// Points of difference to vanilla, paired by seed.
#[derive(Debug, Serialize)]
pub(super) struct Delta {
    pub mean: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p: Option<f64>,
    pub p_holm: Option<f64>,
    pub seeds: usize,
    /// By the corrected p.
    pub verdict: &'static str,
    /// Why nothing was tested.
    pub why: Option<&'static str>,
}

/// Measured inference.
#[derive(Debug, Serialize)]
pub(super) struct Time {
    /// The 0.5, 0.9 and 0.99 quantiles.
    pub ms: [f64; 3],
    /// How many times as fast as vanilla, by the medians.
    pub speedup: Option<f64>,
    /// The least and the most of any round.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// How many times fewer MACs than vanilla.
    pub theory: Option<f64>,
    pub noisy: bool,
}

/// MiB.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub infer: Option<f64>,
    pub train: Option<f64>,
}

/// How a row stands among those that are no dearer: `front`, `undecided` or `beaten`; none where its cost is not known.
#[derive(Debug, Serialize)]
pub(super) struct Front {
    pub macs: Option<&'static str>,
    pub params: Option<&'static str>,
    pub one: Option<&'static str>,
    pub many: Option<&'static str>,
}

/// A trial.
#[derive(Debug, Serialize)]
pub(super) struct TrialData<'r> {
    pub key: &'r str,
    pub seed: u64,
    pub validation: Option<f64>,
    pub test: Option<f64>,
    pub seconds: Option<f64>,
    pub commit: &'r str,
    pub cpu: &'r str,
    pub path: String,
}

/// Validation top-1 in percent after epochs, over seeds.
#[derive(Debug, Serialize)]
pub(super) struct Curve {
    pub epoch: Vec<usize>,
    pub mean: Vec<f64>,
    pub low: Vec<f64>,
    pub high: Vec<f64>,
    /// First epochs of other phases than the first one, with their names.
    pub phase: Vec<(usize, String)>,
}

/// Columns over the group's layers; none where the network has no such layer.
#[derive(Debug, Serialize)]
pub(super) struct Layers {
    pub macs: Vec<Run<u64>>,
    pub params: Vec<Run<u64>>,
    /// Of a batch, in milliseconds.
    pub ms: Option<Vec<Option<f64>>>,
    pub depth: Option<Vec<Run<u64>>>,
    /// Names of methods.
    pub made_by: Option<Vec<Run<String>>>,
}

/// A value that follows itself so many times, as networks repeat their layers.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Run<T> {
    Once(Option<T>),
    Times(Option<T>, usize),
}

/// These values as runs.
pub(super) fn runs<T: PartialEq>(values: impl Iterator<Item = Option<T>>) -> Vec<Run<T>> {
    let mut counted: Vec<(Option<T>, usize)> = Vec::new();
    for value in values {
        match counted.last_mut() {
            Some((last, times)) if *last == value => *times += 1,
            _ => counted.push((value, 1)),
        }
    }
    let run = |(value, times)| if times == 1 { Run::Once(value) } else { Run::Times(value, times) };
    counted.into_iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_written_once() {
        let found = runs([Some(5u64), Some(5), None, Some(5)].into_iter());
        assert_eq!(serde_json::to_string(&found).unwrap(), "[[5,2],null,5]");
        assert!(runs::<u64>(std::iter::empty()).is_empty());
    }
}
