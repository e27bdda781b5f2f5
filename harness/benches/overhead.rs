//! What the harness costs beside the training: `cargo bench --profile dev -p harness --bench overhead -- [ROUNDS] [FILE.toml]`.
//!
//! In turns, the whole sweep (`harness FILE.toml`: plan, data, a process a trial, checkpoints, logs, checksums, report) and
//! the bare loop of the same trials on the same threads (batches, steps and evaluations, its data already loaded), each
//! in a process of its own. Printed: the share that the sweep takes longer. It needs minutes: trials of seconds would
//! show the cost of starting a process, which no real trial is short enough to feel.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use conv_core::ParamStore;
use harness::backbones;
use harness::data::{self, Geometry};
use harness::experiment::{Experiment, Trial};
use harness::methods::Methods;
use harness::run::compute_threads;
use harness::train::{Feed, LearningRate, Sgd, SharedData, evaluate, step};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for the process that trains without the harness: the experiment's path.
const BARE: &str = "OVERHEAD_BARE";

const EXPERIMENT: &str = "name = 'overhead'\ndataset.name = 'cifar10'\nbackbone.name = 'resnet20'\n\
    [recipe]\nepochs = 3\nsubset = 10_000\n[protocol]\nvalidation = 2_500\nseeds = [0, 1]\n";

fn main() -> Result<()> {
    if let Some(file) = env::var_os(BARE) {
        println!("{}", bare(Path::new(&file))?);
        return Ok(());
    }
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse()).context("ROUNDS is a number")?;
    // Not the temporary folder, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = match arguments.next() {
        Some(file) => PathBuf::from(file),
        None => {
            let file = dir.path().join("overhead.toml");
            fs::write(&file, EXPERIMENT)?;
            file
        }
    };
    let trials = Experiment::load(&file, &[])?.trials.len();
    let (mut shares, mut means) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let output = dir.path().join(format!("sweep{round}"));
        let (mut alone, mut whole) = (0.0, 0.0);
        // What comes second finds a warmer machine: each does every other time.
        for side in [round % 2, 1 - round % 2] {
            match side {
                0 => alone = bare_process(&file)?,
                _ => whole = sweep(&file, &output)?,
            }
        }
        let share = whole / alone - 1.0;
        println!("round {}: bare {alone:.2} s, sweep {whole:.2} s, {:+.2} %", round + 1, 100.0 * share);
        shares.push(share);
        means.push((whole - alone) / trials as f64);
    }
    let (share, mean) = (100.0 * median(&mut shares), median(&mut means));
    println!("median of {rounds} rounds of {trials} trials: {share:+.2} %, {mean:+.2} s a trial");
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Wall time of the whole sweep, seconds.
fn sweep(file: &Path, output: &Path) -> Result<f64> {
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    let ended = command.arg(file).arg("--output").arg(output).args(["--progress", "none"]).output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(started.elapsed().as_secs_f64())
}

fn bare_process(file: &Path) -> Result<f64> {
    let ended = Command::new(env::current_exe()?).env(BARE, file).output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(String::from_utf8_lossy(&ended.stdout).trim().parse()?)
}

/// Seconds that the bare loops of all trials take, one after the other.
fn bare(file: &Path) -> Result<f64> {
    let experiment = Experiment::load(file, &[])?;
    let first = experiment.trials.first().context("no trials")?;
    let data = SharedData::from(data::load(&first.config.dataset)?);
    let pool = compute_threads(experiment.run.threads.unwrap_or(0))?;
    let started = Instant::now();
    for trial in &experiment.trials {
        pool.install(|| train(trial, &data, pool.current_num_threads()))?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn train(trial: &Trial, data: &SharedData, threads: usize) -> Result<()> {
    let (config, recipe) = (&trial.config, &trial.config.recipe);
    let methods = Methods::new(config)?;
    let geometry = Geometry { shape: data.train.shape, classes: data.classes };
    let store = ParamStore::new(config.seed, &Device::Cpu);
    let backbone = backbones::by_name(&config.backbone, &geometry, methods.width())?;
    let network = backbone.build(&methods, store.builder())?;
    let feed = Feed::new(data, config, threads.div_ceil(2).clamp(1, 4))?;
    let steps = feed.steps_per_epoch();
    let rate = LearningRate::of_recipe(recipe, recipe.epochs, steps);
    let mut optimizer = Sgd::new(store.trainable(), recipe);
    let mut training = network.training(recipe.kernels);
    for epoch in 0..recipe.epochs {
        for (index, batch) in feed.train(epoch + 1, 0).enumerate() {
            let lr = rate.at(epoch * steps + index);
            step(&mut training, &mut optimizer, &batch?, lr, recipe.label_smoothing)?;
        }
        evaluate(&network, recipe.kernels, feed.validation())?;
    }
    if config.test {
        evaluate(&network, recipe.kernels, feed.test())?;
    }
    Ok(())
}
