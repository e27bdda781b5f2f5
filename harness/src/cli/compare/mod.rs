//! `harness compare`: two methods, of a run folder or of two, seed by seed.

mod choice;
mod told;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use super::Reply;
use super::table::Format;
use crate::config::Complaint;
use crate::report::aggregate::{SettingRow, Split, groups};
use crate::results::{Collected, RunFolder};
use crate::statistics::{Comparison, Verdict};
use choice::{across, chosen};

/// Whether method A is better than method B, by top-1 at the same seeds: the difference with its interval, and a verdict that is false
/// in 5 % of comparisons of equal methods. Trains nothing.
///
/// FOLDER A B compares two methods of a run folder; FOLDER FOLDER --label L one method in two, and FOLDER:A FOLDER:B any two: of
/// folders that were made alike, with the same data, backbone and recipe, but for what --despite names. A method is its label, a part
/// of it, or KEY=VALUE,... such as method=ghost,ratio=2.
///
/// The verdict is over seeds, which train other networks; what each seed's two networks make of the test images is told beside
/// it. Of several comparisons some are false by chance: a report has all pairs with a correction for their number.
///
/// Exit codes: 0 the verdict is what --require asks for; 1 A is worse; 4 the two are not distinguishable, or A may be worse by more
/// than --margin, and that is not enough; 2 nothing could be compared as asked.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// A run folder, e.g. reports/cifar; FOLDER:A without B.
    folder: String,
    /// The method that the verdict is on; with --label a second folder, FOLDER:B without B.
    a: String,
    /// The method that it is compared with.
    b: Option<String>,
    /// A method that is compared between two folders.
    #[arg(long, value_name = "METHOD", conflicts_with = "b")]
    label: Option<String>,
    /// A key of the recipe in which the two may differ, such as recipe.precision; may be given several times.
    #[arg(long, value_name = "KEY")]
    despite: Vec<String>,
    /// What has to be the case for exit code 0.
    #[arg(long, value_enum, default_value_t)]
    require: Requirement,
    /// Percentage points: A is not worse if it is not worse by more than these. Of methods that are worse by just so much, 2.5 % pass.
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    margin: Option<f64>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is asked of A.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Requirement {
    /// A is better.
    #[default]
    Better,
    /// With --margin: A is not worse by more; without: A is better, or tested and not distinguishable from B.
    NotWorse,
}

impl Requirement {
    fn exit_code(self, comparison: &Comparison, margin: Option<f64>) -> u8 {
        let verdict = comparison.verdict();
        // What could not be tested has not passed.
        let passed = match (self, margin) {
            (Self::Better, _) => verdict == Verdict::Better,
            (Self::NotWorse, Some(margin)) => comparison.not_worse_by(margin) == Ok(true),
            (Self::NotWorse, None) => comparison.p.is_ok() && verdict != Verdict::Worse,
        };
        match verdict {
            _ if passed => 0,
            Verdict::Worse => 1,
            Verdict::Better | Verdict::NotDistinguishable => 4,
        }
    }
}

/// Two rows and where each is from.
struct Pair<'a> {
    /// Data, backbone and schedule of both.
    title: String,
    rows: [SettingRow<'a>; 2],
    folders: [&'a RunFolder; 2],
}

/// What is compared, as it was asked for: two folders, and a method of each.
struct Asked {
    folders: [PathBuf; 2],
    methods: [String; 2],
}

impl Asked {
    fn of(args: &CompareArgs) -> Result<Self> {
        let CompareArgs { folder, a, b, label, .. } = args;
        let alone = |folder: &str| [folder, folder].map(PathBuf::from);
        if let Some(b) = b {
            return Ok(Self { folders: alone(folder), methods: [a.clone(), b.clone()] });
        }
        if let Some(label) = label {
            return Ok(Self { folders: [folder, a].map(PathBuf::from), methods: [label.clone(), label.clone()] });
        }
        let parts =
            |text: &str| text.rsplit_once(':').map(|(folder, method)| (PathBuf::from(folder), method.to_owned()));
        let (Some((first, one)), Some((second, other))) = (parts(folder), parts(a)) else {
            let accepted = "FOLDER A B, FOLDER:A FOLDER:B, or FOLDER FOLDER --label A";
            return Err(Complaint::new("one method is missing", format!("{folder} {a}"), accepted).into());
        };
        Ok(Self { folders: [first, second], methods: [one, other] })
    }
}

/// Runs the command.
///
/// # Errors
/// A folder that cannot be read; a filter that fits no row, or several that could be meant; results of two folders that were not made
/// alike.
pub fn compare_methods(args: &CompareArgs) -> Result<Reply> {
    let margin = args.margin;
    ensure!(
        margin.is_none_or(|margin| margin.is_finite() && margin >= 0.0),
        "--margin {}: a margin is a number of percentage points from 0",
        margin.unwrap_or_default()
    );
    let Asked { folders: [first, second], methods: [a, b] } = Asked::of(args)?;
    let open = |path: &Path| -> Result<(RunFolder, Collected)> {
        let folder = RunFolder::open(path)?;
        let trials = folder.collected()?;
        Ok((folder, trials))
    };
    let (folder, trials) = open(&first)?;
    let mut all = groups(&trials.done);
    all.retain(|group| !group.cost_only());
    if first == second && args.despite.is_empty() {
        let (title, rows) = chosen(&all, &a, &b)?;
        return reply(args, &Pair { title, rows, folders: [&folder; 2] });
    }
    let (other_folder, other_trials) = open(&second)?;
    let mut others = groups(&other_trials.done);
    others.retain(|group| !group.cost_only());
    let (title, rows) = across([(&first, &all, &a), (&second, &others, &b)], &args.despite)?;
    reply(args, &Pair { title, rows, folders: [&folder, &other_folder] })
}

fn reply(args: &CompareArgs, pair: &Pair<'_>) -> Result<Reply> {
    let [a, b] = &pair.rows;
    let read = |row: &SettingRow<'_>| row.top1(Split::Test).is_some();
    let split = if read(a) && read(b) { Split::Test } else { Split::Validation };
    let comparison = a.compare(b, split);
    let text = match args.format {
        Format::Table => told::people(pair, split, &comparison, args.margin) + &told::over_images(pair, split)?,
        format => told::programs(pair, split, &comparison, args.margin, format),
    };
    Ok(Reply { text, code: args.require.exit_code(&comparison, args.margin) })
}
