//! `harness evaluate`: a trained network on images of a data set, class by class.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::choice::TrialChoice;
use super::table::{Cell, Format, Table};
use crate::config::DatasetConfig;
use crate::data::{self, Dataset, Loader, Transform};
use crate::experiment::keys::MOST_THREADS;
use crate::export::class_names;
use crate::run::{FinishedNetwork, compute_threads};
use crate::statistics::proportion;
use crate::train::{Prediction, predict, workers};

/// Images that are computed together.
const BATCH: usize = 128;
/// Most confusions that are shown below the classes.
const CONFUSIONS: usize = 10;

/// A trained network's accuracy with its interval, class by class, and what it takes for what
///
/// Intervals (Wilson, 95 %) are about other images of the same kind; how another training would do, seeds tell.
#[derive(Args, Debug)]
pub struct EvaluateArgs {
    #[command(flatten)]
    trial: TrialChoice,
    /// Which images.
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Another source of images than its own, as an entry of dataset.sources: same size, same classes.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Another data set, by name.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Rows of the confusion matrix instead: class, guess, images. What never happens has no row.
    #[arg(long)]
    confusion: bool,
    /// Threads that compute [default: all].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_THREADS))]
    threads: Option<u16>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Split {
    /// The test images.
    #[default]
    Test,
    /// Those of the training images that its trial held back.
    Validation,
}

/// Runs the command.
pub fn evaluate(args: &EvaluateArgs) -> Result<String> {
    let finished = args.trial.open()?;
    let mut config = finished.record.trial.config.dataset.clone();
    if let Some(name) = &args.dataset {
        config.name.clone_from(name);
        config.sources.clear();
    }
    if let Some(source) = &args.data {
        config.sources = vec![source.clone()];
    }
    let dataset = data::load(&config)?;
    let classes = dataset.geometry.classes;
    let asked = config.name == "synthetic" || args.data.as_ref().is_some_and(|source| source.starts_with("synthetic"));
    ensure!(
        !dataset.provenance.synthetic || asked || finished.record.trial.data.synthetic,
        "the images of its trial are not here ({}), and synthetic ones would say nothing of it\n  accepted: HARNESS_DATA, or \
         --data SOURCE with where they are; --data synthetic, to have just these",
        finished.record.trial.data.source
    );
    if args.data.is_some() || args.dataset.is_some() {
        check_names(&finished, &config, classes)?;
    }
    let pool = compute_threads(usize::from(args.threads.unwrap_or(0)))?;
    let predictions =
        pool.install(|| predictions(&finished, (dataset, &config), args.split, pool.current_num_threads()))?;
    ensure!(!predictions.is_empty(), "there are no {} images", args.split.name());
    let names = class_names(&config, classes).unwrap_or_default();
    let confusions = confusions(&predictions);
    if args.confusion {
        return Ok(confusion_table(&confusions, &names, usize::MAX).render(args.format));
    }
    let text = class_table(&predictions, &names).render(args.format);
    if args.format != Format::Table {
        return Ok(text);
    }
    let mistakes: Vec<Confusion> = confusions.into_iter().filter(|(class, guess, _)| Some(*class) != *guess).collect();
    if mistakes.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "{text}\nmost often taken for another\n\n{}",
        confusion_table(&mistakes, &names, CONFUSIONS).render(args.format)
    ))
}

/// Classes are matched by number: that they are called the same on both sides, where both are known.
fn check_names(finished: &FinishedNetwork, config: &DatasetConfig, classes: usize) -> Result<()> {
    let names = |config: &DatasetConfig| class_names(config, classes);
    match (names(&finished.record.trial.config.dataset), names(config)) {
        (Some(own), Some(these)) if own == these => {}
        (Some(own), Some(these)) => bail!(
            "the network tells {} apart, and these images are of {}\n  accepted: images of the same classes",
            own.join(", "),
            these.join(", ")
        ),
        _ => say!("note: what the classes are called is not known on both sides; they are matched by their numbers"),
    }
    Ok(())
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Validation => "validation",
        }
    }
}

fn predictions(
    finished: &FinishedNetwork,
    (dataset, stored): (Dataset, &DatasetConfig),
    split: Split,
    threads: usize,
) -> Result<Vec<Prediction>> {
    let (input, config) = (&finished.input, &finished.record.trial.config);
    let data::Geometry { shape, classes } = dataset.geometry;
    ensure!(
        (shape, classes) == (input.geometry.shape, input.geometry.classes),
        "the network takes images of {:?} in {} classes, and these are of {shape:?} in {classes}\n  accepted: a data set of the same \
         size and classes",
        input.geometry.shape,
        input.geometry.classes
    );
    let own = dataset.provenance.fingerprint == finished.record.trial.data.fingerprint;
    if !own {
        say!("note: these are not the images of its trial ({})", finished.record.trial.data.label);
    }
    let (images, indices): (_, Vec<usize>) = match split {
        Split::Test => {
            let all = (0..dataset.test.len()).collect();
            (dataset.test, all)
        }
        Split::Validation => {
            ensure!(
                own,
                "the validation images are those that its trial held back, and this is other data\n  accepted: --split test"
            );
            let split = data::split(dataset.train.labels(), classes, config.validation, config.recipe.subset)?;
            (dataset.train, split.validation)
        }
    };
    let looks = (Transform::of(stored, shape), &input.normalization);
    let batches = Loader::eval(images, indices, looks, BATCH, workers(threads));
    predict(finished.network(), finished.recipe(), batches)
}

/// A row a class, and one of all images at the end.
fn class_table(predictions: &[Prediction], names: &[String]) -> Table {
    let mut table = Table::new(&["class", "name", "images", "right", "top1", "low", "high", "top5", "loss"]);
    let mut row = |class: Cell, name: &str, images: &[&Prediction]| {
        let before = |most: u32| images.iter().filter(|image| image.rank.is_some_and(|rank| rank < most)).count();
        let (all, right) = (images.len(), before(1));
        let interval = proportion(right, all);
        let loss: f64 = images.iter().map(|image| image.loss).sum();
        table.push(vec![
            class,
            Cell::text(name),
            Cell::Count(all as u64),
            Cell::Count(right as u64),
            Cell::share(right as u64, all as u64),
            interval.map_or(Cell::Empty, |interval| Cell::Share(interval.low)),
            interval.map_or(Cell::Empty, |interval| Cell::Share(interval.high)),
            Cell::share(before(5) as u64, all as u64),
            Cell::Real(loss / all as f64),
        ]);
    };
    let mut classes: BTreeMap<u32, Vec<&Prediction>> = BTreeMap::new();
    for image in predictions {
        classes.entry(image.label).or_default().push(image);
    }
    for (class, images) in &classes {
        row(Cell::Count(u64::from(*class)), name(names, *class), images);
    }
    row(Cell::text("all"), "", &predictions.iter().collect::<Vec<_>>());
    table
}

/// A class, what was guessed (nothing where a logit was no number), and of how many images.
type Confusion = (u32, Option<u32>, u64);

fn confusions(predictions: &[Prediction]) -> Vec<Confusion> {
    let mut counts: BTreeMap<(u32, Option<u32>), u64> = BTreeMap::new();
    for image in predictions {
        *counts.entry((image.label, image.guess)).or_default() += 1;
    }
    counts.into_iter().map(|((class, guess), images)| (class, guess, images)).collect()
}

/// All of them in order of classes; where that is too many, the most frequent ones.
fn confusion_table(confusions: &[Confusion], names: &[String], most: usize) -> Table {
    let mut shown = confusions.to_vec();
    if shown.len() > most {
        shown.sort_by_key(|(.., images)| std::cmp::Reverse(*images));
        shown.truncate(most);
    }
    let mut table = Table::new(&["class", "name", "guess", "guess_name", "images"]);
    for (class, guess, images) in shown {
        table.push(vec![
            Cell::Count(u64::from(class)),
            Cell::text(name(names, class)),
            guess.map_or(Cell::Empty, |guess| Cell::Count(u64::from(guess))),
            Cell::text(guess.map_or("", |guess| name(names, guess))),
            Cell::Count(images),
        ]);
    }
    table
}

fn name(names: &[String], class: u32) -> &str {
    names.get(class as usize).map_or("", String::as_str)
}
