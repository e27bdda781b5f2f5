//! What the harness costs beside the training: `cargo bench --profile dev -p harness --bench overhead -- [ROUNDS] [FILE.toml]`.
//!
//! Two processes train the same trials on the same threads: the whole sweep (`harness FILE.toml`: plan, data, a process a
//! trial, checkpoints, logs, checksums, report), and the bare loop (batches, steps and evaluations, its data loaded before).
//! They take turns of half a second, one stopped while the other runs, so that a busy machine is as busy for both. One trial
//! shows what a sweep costs once, what several cost beyond that is what a trial costs. Linux only.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use conv_core::ParamStore;
use harness::backbones;
use harness::data;
use harness::experiment::{Experiment, Trial};
use harness::methods::Methods;
use harness::run::compute_threads;
use harness::stamp::Environment;
use harness::train::{Feed, LearningRate, Optimizer, SharedData, evaluate, step, workers};
use rustix::process::{Pid, Signal, kill_process};

/// As in the `harness` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for the process that trains without the harness: the experiment's path.
const BARE: &str = "OVERHEAD_BARE";

/// How long one side runs before the other does.
const TURN: Duration = Duration::from_millis(500);

const EXPERIMENT: &str = "name = 'overhead'\ndataset.name = 'cifar10'\nbackbone.name = 'resnet20'\n\
    [recipe]\nepochs = 2\nsubset = 10_000\n[protocol]\nvalidation = 2_500\n";

fn main() -> Result<()> {
    if let Some(file) = env::var_os(BARE) {
        return bare(Path::new(&file));
    }
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let rounds: usize = arguments.next().map_or(Ok(1), |text| text.parse()).context("ROUNDS is a number")?;
    let base = arguments.next().map_or_else(|| Ok(EXPERIMENT.to_owned()), fs::read_to_string)?;
    // Not the temporary folder, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("{}", Environment::capture(compute_threads(0)?.current_num_threads()).origin());
    for round in 1..=rounds {
        let (one, alone) = race(dir.path(), &base, 1)?;
        let (several, all) = race(dir.path(), &base, SEVERAL)?;
        let (each, of) = ((several - one) / (SEVERAL - 1) as f64, (all - alone) / (SEVERAL - 1) as f64);
        println!(
            "round {round}: a trial of {of:.1} s takes {each:+.2} s longer in the harness, {:+.2} %; a sweep {:.1} s once",
            100.0 * each / of,
            one - each
        );
    }
    Ok(())
}

/// Trials of the longer sweep.
const SEVERAL: usize = 3;

/// Trains so many seeds on both sides: seconds that the sweep took longer than the bare loop, and seconds of that.
fn race(dir: &Path, base: &str, seeds: usize) -> Result<(f64, f64)> {
    let file = dir.join("overhead.toml");
    fs::write(&file, base)?;
    // Both sides read them in the same file.
    let list: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
    let document = harness::experiment::read(&file, &[format!("protocol.seeds=[{}]", list.join(","))])?;
    fs::write(&file, document.to_toml())?;
    let output = tempfile::tempdir_in(dir)?;
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_harness"));
    sweep.arg(&file).arg("--output").arg(output.path()).args(["--progress", "none"]).stdout(Stdio::null());
    let mut bare = Command::new(env::current_exe()?);
    bare.env(BARE, &file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut bare = Side::start(bare)?;
    // Its data is loaded before its time begins.
    let ready = bare.child.stdout.take().context("its output")?;
    BufReader::new(ready).read_line(&mut String::new())?;
    bare.signal(Signal::STOP);
    drop(bare.child.stdin.take());
    let mut sides = [bare, Side::start(sweep)?];
    sides[1].signal(Signal::STOP);
    while sides.iter().any(|side| side.running) {
        sides.iter_mut().filter(|side| side.running).try_for_each(Side::turn)?;
    }
    let [bare, sweep] = [&sides[0], &sides[1]].map(|side| side.seconds);
    println!("{seeds} x: bare {bare:.2} s, sweep {sweep:.2} s");
    Ok((sweep - bare, bare))
}

/// A process with all that it starts, and the seconds that it ran.
struct Side {
    child: Child,
    seconds: f64,
    running: bool,
}

impl Side {
    fn start(mut command: Command) -> Result<Self> {
        Ok(Self { child: command.spawn()?, seconds: 0.0, running: true })
    }

    /// Lets it run for a turn, or to its end.
    fn turn(&mut self) -> Result<()> {
        let started = Instant::now();
        self.signal(Signal::CONT);
        while started.elapsed() < TURN {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "a side ended with {status}");
                self.running = false;
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.seconds += started.elapsed().as_secs_f64();
        if self.running {
            self.signal(Signal::STOP);
        }
        Ok(())
    }

    /// To the process and its children.
    fn signal(&self, signal: Signal) {
        let of = |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let me = self.child.id();
        let children = of(me).split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>();
        // Stopped from the top, so that nothing new is started meanwhile; set going from the bottom.
        let mut all = vec![me];
        all.extend(children);
        if signal == Signal::CONT {
            all.reverse();
        }
        for pid in all {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Drop for Side {
    /// Where the race ends early, nothing stays behind, stopped for ever.
    fn drop(&mut self) {
        if self.running {
            self.signal(Signal::KILL);
        }
    }
}

/// The bare loops of all trials, one after the other.
fn bare(file: &Path) -> Result<()> {
    let experiment = Experiment::load(file, &[])?;
    let first = experiment.trials.first().context("no trials")?;
    let data = SharedData::from(data::load(&first.config.dataset)?);
    let pool = compute_threads(experiment.run.threads.unwrap_or(0))?;
    println!("ready");
    // Until the others are, too.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for trial in &experiment.trials {
        pool.install(|| train(trial, &data, pool.current_num_threads()))?;
    }
    Ok(())
}

fn train(trial: &Trial, data: &SharedData, threads: usize) -> Result<()> {
    let (config, recipe) = (&trial.config, &trial.config.recipe);
    let methods = Methods::new(config)?;
    let geometry = data.geometry;
    let store = ParamStore::new(config.seed, &Device::Cpu);
    let backbone = backbones::by_name(&config.backbone, &geometry, methods.width())?;
    let network = backbone.build(&methods, store.builder())?;
    let mut feed = Feed::new(data, config, workers(threads))?;
    let steps = feed.steps_per_epoch();
    let rate = LearningRate::of_recipe(recipe, recipe.epochs, steps);
    let mut optimizer = Optimizer::new(store.trainable(), recipe);
    let mut training = recipe.training(&network)?;
    for epoch in 0..recipe.epochs {
        for (index, batch) in feed.train(epoch + 1, 0).enumerate() {
            let lr = rate.at(epoch * steps + index);
            step(&mut training, &mut optimizer, &batch?, lr, recipe.label_smoothing)?;
        }
        evaluate(&network, recipe, feed.validation().context("no validation images")?)?;
    }
    if config.test {
        evaluate(&network, recipe, feed.test()?)?;
    }
    Ok(())
}
