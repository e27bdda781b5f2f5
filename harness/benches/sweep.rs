//! What a large sweep costs before and after the training: `cargo bench -p harness --bench sweep`. Ten times the trials
//! should take ten times as long.

#[path = "../../conv-core/benches/common/mod.rs"]
mod common;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::{Group, Side};
use criterion::{Criterion, criterion_group, criterion_main};
use harness::data::Provenance;
use harness::experiment::{Experiment, Trial};
use harness::results::{
    FrozenTrial, Measures, NetworkSummary, Outcome, Reporting, RunFolder, TrialRecord, collect, frame,
};
use harness::stamp::Environment;
use harness::train::Evaluation;

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 2] = [10_000, 1_000];

/// Writes an experiment of that many trials, no two of the same setting: nothing can be shared between them.
fn experiment(dir: &Path, trials: usize) -> Result<PathBuf> {
    let rates: Vec<f64> = (1..=trials / 100).map(|i| i as f64 / 1000.0).collect();
    let decays: Vec<f64> = (1..=50).map(|i| f64::from(i) / 1e5).collect();
    let text = format!(
        "name = \"sweep\"\ndataset.name = \"cifar10\"\nbackbone.name = \"resnet20\"\n[[grid]]\nmethod.name = \"compconv\"\n\
         method.depth = [1, 2]\nrecipe.lr = {rates:?}\nrecipe.weight_decay = {decays:?}\n"
    );
    let path = dir.join(format!("{trials}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

fn record(trial: Trial, environment: &Environment) -> TrialRecord {
    let evaluation = Evaluation { top1: 0.75, top5: 0.95, loss: 1.1 };
    let data = Provenance {
        label: "CIFAR-10".into(),
        source: "data/cifar10".into(),
        synthetic: false,
        fingerprint: "5eed".into(),
        remarks: vec![],
    };
    TrialRecord {
        network: NetworkSummary {
            widths: Default::default(),
            cost: trial.network.cost,
            params_nonzero: None,
            macs_nonzero: None,
            depth: trial.network.depth,
            replaced: trial.network.replaced.to_string(),
            remarks: trial.network.remarks.to_vec(),
        },
        environment: environment.clone(),
        outcome: Outcome::Trained(Measures {
            train_images: 45_000,
            validation: Some(evaluation),
            test: Some(evaluation),
            train_loss: 0.8,
            epochs: trial.config.recipe.epochs,
            seconds: 100.0,
            images_per_second: 1000.0,
            base: None,
            test_images: None,
            normalization: None,
            reporting: Reporting::LastEpoch,
        }),
        trial: FrozenTrial::new(&trial, data),
    }
}

/// `plan`, `collect` and `frame`, each with as many trials as [`SIZES`] says.
fn groups(dir: &Path) -> Result<Vec<Group>> {
    let environment = Environment::capture(1);
    let [mut plans, mut collects, mut frames] = [Vec::new(), Vec::new(), Vec::new()];
    for size in SIZES {
        let path = experiment(dir, size)?;
        let experiment = Experiment::load(&path, &[])?;
        let folder = RunFolder::create(&dir.join(size.to_string()), &experiment.name, &experiment.frozen)?;
        let records: Vec<_> = experiment.trials.into_iter().map(|trial| record(trial, &environment)).collect();
        for record in &records {
            // Not `RunFolder::save`: it waits for the disk every time.
            fs::create_dir_all(folder.trial_dir(&record.trial.key))?;
            fs::write(folder.trial_dir(&record.trial.key).join("result.json"), serde_json::to_vec_pretty(record)?)?;
        }
        assert_eq!((records.len(), collect(&folder)?.height()), (size, size));
        let side =
            |run: Box<dyn Fn() -> Result<()>>| Side::new(size.to_string(), size, move || run().expect("a sweep"));
        plans.push(side(Box::new(move || Experiment::load(&path, &[]).map(|plan| drop(black_box(plan))))));
        collects.push(side(Box::new(move || collect(&folder).map(|frame| drop(black_box(frame))))));
        frames.push(side(Box::new(move || frame(&records).map(|frame| drop(black_box(frame))))));
    }
    Ok(vec![("plan".into(), plans), ("collect".into(), collects), ("frame".into(), frames)])
}

fn sweep(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    common::compare(criterion, &groups(dir.path()).expect("trials written and read"));
}

criterion_group! { name = benches; config = common::short(); targets = sweep }
criterion_main!(benches);
