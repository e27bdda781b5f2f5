//! A whole sweep on small images: what it leaves behind, what a second run does, and that failing trials stop nobody.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use conv_core::Cost;
use harness::experiment::{Experiment, RunSettings};
use harness::results::{RunFolder, TrialRecord};
use harness::run::screen::ScreenKind;
use harness::run::{RunOptions, RunSummary, run_experiment};
use harness::train::Evaluation;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

const EPOCHS: usize = 2;

/// A folder of 16 x 16 images (three classes that differ in colour, 12 training and 4 test images each) with an
/// experiment on them: three trials that succeed and two that diverge.
fn workshop() -> Result<(TempDir, Experiment)> {
    let dir = TempDir::new()?;
    for (split, count) in [("train", 12), ("test", 4)] {
        for class in 0..3u32 {
            let folder = dir.path().join("images").join(split).join(format!("class{class}"));
            fs::create_dir_all(&folder)?;
            for number in 0..count {
                let pixel = |x: u32, y: u32| {
                    let noise = (x * 31 + y * 17 + number * 53) % 97;
                    let mut rgb = [noise as u8; 3];
                    rgb[class as usize] += 120;
                    Rgb(rgb)
                };
                RgbImage::from_fn(16, 16, pixel).save(folder.join(format!("{number}.png")))?;
            }
        }
    }
    let text = format!(
        r#"
        name = "small"
        [dataset]
        name = "images"
        sources = ['{}']
        [backbone]
        name = "resnet20"
        [recipe]
        epochs = {EPOCHS}
        batch = 8
        lr = 0.05
        finetune_epochs = 1
        [protocol]
        validation = 6
        controls = []
        [[grid]]
        method.name = ["vanilla", "pruned"]
        [[grid]]
        method.name = "compconv"
        method.depth = 2
        [[grid]]
        method.name = "vanilla"
        recipe.lr = [1e30, 1e29]
        "#,
        dir.path().join("images").display()
    );
    fs::write(dir.path().join("small.toml"), text)?;
    let experiment = Experiment::load(&dir.path().join("small.toml"), &[])?;
    Ok((dir, experiment))
}

fn sweep(experiment: &Experiment, output: &Path, threads: usize) -> Result<RunSummary> {
    let settings = RunSettings { threads: Some(threads), ..experiment.run.clone() };
    let options = RunOptions {
        output: output.to_owned(),
        program: env!("CARGO_BIN_EXE_harness").into(),
        settings,
        deadline: None,
        reuse: vec![],
        allow_path_change: false,
        progress: ScreenKind::None,
    };
    run_experiment(experiment, &options)
}

#[test]
fn a_sweep_leaves_honest_results_and_is_not_stopped_by_failing_trials() -> Result<()> {
    let (dir, experiment) = workshop()?;
    let output = dir.path().join("out");
    let summary = sweep(&experiment, &output, 2)?;
    assert_eq!((summary.trained, summary.skipped, summary.failed.len()), (3, 0, 2), "{summary:?}");
    let errors: Vec<&str> = summary.failed.iter().map(|failure| failure.error.as_str()).collect();
    for error in errors {
        assert!(error.contains("epoch 1, step ") && error.contains("diverged"), "{error}");
    }

    let folder = RunFolder::open(&output)?;
    let records = folder.collected()?.done;
    assert_eq!(records.len(), 3);
    for record in &records {
        let measures = record.measures().context("it was trained")?;
        let Cost { params, macs, activations } = record.network.cost;
        assert_eq!((measures.epochs, measures.train_images), (EPOCHS, 30), "everyone has the same budget");
        let weights = candle_core::safetensors::load(
            folder.trial_dir(&record.trial.key).join("weights.safetensors"),
            &Device::Cpu,
        )?;
        let trained = weights.iter().filter(|(name, _)| !conv_core::is_running_statistic(name));
        let counted: usize = trained.map(|(_, tensor)| tensor.elem_count()).sum();
        assert_eq!(counted as u64, params, "{}", record.trial.label);
        let costs = folder.costs(&record.trial.key)?.context("cost by layer is written")?;
        let total = format!("total,{params},{macs},{activations},,");
        assert_eq!(costs.lines().last(), Some(total.as_str()));
        let test = measures.test.context("test was asked for")?;
        assert!((0.0..=1.0).contains(&test.top1) && test.top5 == 1.0, "three classes: {test:?}");
        let predictions = folder.predictions(&record.trial.key)?.context("test predictions are kept")?;
        assert_eq!(Evaluation::of(&predictions)?, test, "the accuracy is that of the predictions");
        let epochs = folder.epochs(&record.trial.key)?;
        let phases: Vec<&str> = epochs.iter().map(|epoch| epoch.phase.as_str()).collect();
        let expected = if record.trial.label.starts_with("pruned") { "finetune" } else { "train" };
        assert_eq!(phases, ["train", expected], "{}", record.trial.label);
        let last = &epochs[EPOCHS - 1];
        assert_eq!(last.epoch, EPOCHS);
        assert_eq!(
            (last.validation_accuracy, last.train_loss),
            (measures.validation.map(|found| found.top1), measures.train_loss)
        );
    }
    let trial = |label: &str| records.iter().find(|record| record.trial.label.starts_with(label)).context("trial");
    let planned = experiment.trials.iter().find(|trial| trial.label.starts_with("pruned")).context("trial")?;
    assert_eq!(trial("pruned")?.network.cost, planned.network.cost, "the plan's price is the network's");
    assert!(trial("pruned")?.network.cost.params < trial("vanilla")?.network.cost.params);
    Ok(())
}

#[test]
fn a_second_run_trains_only_what_is_missing_and_gets_the_same_bits() -> Result<()> {
    let (dir, experiment) = workshop()?;
    let experiment = experiment.only("vanilla")?;
    let output = dir.path().join("out");
    assert_eq!(sweep(&experiment, &output, 1)?.trained, 1);
    let folder = RunFolder::open(&output)?;
    let record = folder.collected()?.done.remove(0);
    let file = |name: &str| folder.trial_dir(&record.trial.key).join(name);
    let (weights, result) = (fs::read(file("weights.safetensors"))?, fs::read(file("result.json"))?);

    let summary = sweep(&experiment, &output, 1)?;
    assert_eq!((summary.trained, summary.skipped, summary.failed.len()), (0, 1, 2), "failed trials are tried again");
    assert_eq!(fs::read(file("result.json"))?, result, "finished trials are left alone");

    // As if the first run had been interrupted in its second epoch, and on another number of threads.
    fs::remove_file(file("result.json"))?;
    fs::remove_file(file("weights.safetensors"))?;
    assert_eq!(sweep(&experiment, &output, 3)?.trained, 1);
    assert_eq!(folder.epochs(&record.trial.key)?.len(), EPOCHS, "the log starts afresh");
    assert!(fs::read(file("weights.safetensors"))? == weights, "same seed, same bits, whatever the threads");
    let again = folder.record(&record.trial.key)?.context("trained again")?;
    let measured = |record: &TrialRecord| record.measures().map(|m| (m.validation, m.test, m.train_loss));
    assert_eq!(measured(&again), measured(&record));
    Ok(())
}

#[test]
fn candle_trains_what_the_own_kernels_train_and_says_so() -> Result<()> {
    let (dir, _) = workshop()?;
    let output = dir.path().join("out");
    for kernels in ["own", "candle"] {
        // A low rate: differences in rounding grow with every step, and faster at a high one.
        let set = [format!("recipe.kernels={kernels}"), "recipe.lr=0.001".to_owned()];
        let experiment = Experiment::load(&dir.path().join("small.toml"), &set)?;
        assert_eq!(sweep(&experiment.only("compconv")?, &output, 2)?.trained, 1, "the kernels are part of a trial");
    }
    let records = RunFolder::open(&output)?.collected()?.done;
    let stamped = |candle: bool| {
        let found = records.iter().find(|record| (record.environment.kernels == "candle") == candle);
        found.context("one record of each kind")
    };
    let (own, candle) = (stamped(false)?, stamped(true)?);
    assert_eq!(own.environment.kernels, conv_core::kernel_path());
    let made = |record: &TrialRecord| (record.network.cost, record.network.depth, record.network.replaced.clone());
    assert_eq!(made(own), made(candle));
    let [own, candle] = [own, candle].map(|record| record.measures().context("both were trained"));
    let (own, candle) = (own?, candle?);
    assert_eq!(own.epochs, candle.epochs);
    for (what, own, candle) in [
        ("training loss", own.train_loss, candle.train_loss),
        ("validation loss", own.validation.unwrap().loss, candle.validation.unwrap().loss),
    ] {
        assert!((own - candle).abs() < 1e-5 * candle.abs(), "{what}: {own} on own kernels, {candle} by candle");
    }
    Ok(())
}

#[test]
fn what_trains_operation_by_operation_says_so_and_what_trains_on_the_engine_says_nothing() -> Result<()> {
    let (dir, _) = workshop()?;
    let output = dir.path().join("out");
    for set in ["recipe.batch=8", "recipe.batch=4", "recipe.kernels=candle"] {
        let set = [set.to_owned(), "recipe.lr=0.001".to_owned()];
        let experiment = Experiment::load(&dir.path().join("small.toml"), &set)?;
        sweep(&experiment.only("compconv")?, &output, 2)?;
    }
    let folder = RunFolder::open(&output)?;
    let records = folder.collected()?.done;
    let find = |batch: usize, kernels: &str| {
        let fits = |record: &&TrialRecord| {
            record.trial.config.recipe.batch == batch
                && (record.environment.kernels == "candle") == (kernels == "candle")
        };
        records.iter().find(fits).context("a record of each kind")
    };
    let (engine, few, candle) = (find(8, "own")?, find(4, "own")?, find(8, "candle")?);
    let remarked =
        |record: &TrialRecord| record.network.remarks.iter().any(|remark| remark.contains("operation by operation"));
    assert!(!remarked(engine) && engine.environment.off_engine.is_empty() && engine.off_engine().is_none());
    let json = fs::read_to_string(folder.trial_dir(&engine.trial.key).join("result.json"))?;
    assert!(!json.contains("off_engine"), "a stamp of the engine is as it always was");
    for (record, why) in [(few, "4 images at a time"), (candle, "candle's own operations were asked for")] {
        assert!(remarked(record) && record.environment.off_engine.contains(why), "{:?}", record.environment);
    }
    // What was made before stamps said so is told by its recipe.
    let mut before = few.clone();
    before.environment.off_engine.clear();
    assert!(before.off_engine().is_some_and(|why| why.contains("4 images at a time")));
    // Another stamp is no other kernel path: a checkpoint of the same kernels goes on.
    assert_eq!(few.environment.kernels, engine.environment.kernels);
    Ok(())
}
