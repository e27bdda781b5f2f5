//! `harness bench --deployed`: inference beside that of other runtimes, on the same exported network.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use conv_core::{Network, ParamStore};

use super::table::{Cell, Table};
use crate::backbones;
use crate::config::TrialConfig;
use crate::data::{self, Normalization};
use crate::experiment::price::compressed;
use crate::export::{Exported, Format};
use crate::measure::bench::{Rounds, quantile};
use crate::methods::{self, Methods};
use crate::weights::InputSpec;

/// What talks to the other runtimes.
const SCRIPT: &str = include_str!("deployed.py");
/// The runtimes, as the script calls them; before them stands this harness.
const RUNTIMES: [&str; 2] = ["onnxruntime", "openvino"];
/// Names the Python that has them, unless told otherwise.
const PYTHON: &str = "HARNESS_PYTHON";
/// Between two measurements: threads of the one before may go on looking for work for a while.
const PAUSE: Duration = Duration::from_millis(20);

/// How it is measured.
pub struct Settings<'a> {
    pub batch: usize,
    pub threads: usize,
    pub rounds: Rounds,
    /// The Python that has the runtimes; otherwise that of the environment.
    pub python: Option<&'a Path>,
}

/// A row for each network and runtime, vanilla's first; the networks and runtimes take turns.
///
/// # Errors
/// No Python, or one that has none of the runtimes; networks that cannot be exported or run.
pub fn table(configs: &[TrialConfig], settings: &Settings<'_>) -> Result<Table> {
    let dir = tempfile::tempdir().context("a folder for exported networks")?;
    let mut networks = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        networks.push(Deployed::export(config, &dir.path().join(index.to_string()))?);
    }
    let shape = networks.first().context("no network")?.input.geometry.shape;
    let mut others = Runtimes::start(dir.path(), &networks, shape, settings)?;
    let versions = others.versions.clone();
    let names: Vec<&str> = std::iter::once("harness").chain(versions.keys().map(String::as_str)).collect();
    let (c, h, w) = shape;
    let values = (0..settings.batch * c * h * w).map(|at| (at % 251) as f32 / 125.0 - 1.0).collect();
    let images = Tensor::from_vec::<_, f32>(values, (settings.batch, c, h, w), &Device::Cpu)?;
    let mut times = vec![vec![Vec::new(); names.len()]; networks.len()];
    let inferences = networks.iter().map(|network| network.config.recipe.inference(&network.network));
    let mut inferences = inferences.collect::<candle_core::Result<Vec<_>>>()?;
    for round in 0..settings.rounds.warm_up + settings.rounds.measured {
        for (index, inference) in inferences.iter_mut().enumerate() {
            for (place, name) in names.iter().enumerate() {
                std::thread::sleep(PAUSE);
                let taken = if place == 0 {
                    let started = Instant::now();
                    inference.forward(&images)?;
                    1000.0 * started.elapsed().as_secs_f64()
                } else {
                    others.time(index, name)?
                };
                if round >= settings.rounds.warm_up {
                    times[index][place].push(taken);
                }
            }
        }
    }
    let mut table = Table::new(&["backbone", "method", "runtime", "version", "p50_ms", "p90_ms", "p99_ms", "speedup"]);
    for (config, network) in configs.iter().zip(&times) {
        for (place, (name, measured)) in names.iter().zip(network).enumerate() {
            let mut row = vec![
                Cell::text(&config.backbone.name),
                Cell::text(methods::label(&config.method)),
                Cell::text(*name),
                Cell::text(versions.get(*name).map_or(env!("CARGO_PKG_VERSION"), String::as_str)),
            ];
            row.extend([0.5, 0.9, 0.99].map(|q| Cell::Real(quantile(measured, q))));
            // In the same runtime: what the method is worth there.
            row.push(Cell::Real(quantile(&times[0][place], 0.5) / quantile(measured, 0.5)));
            table.push(row);
        }
    }
    Ok(table)
}

/// A network with fresh weights, which take as long as others, and the file that it was exported to.
struct Deployed<'c> {
    config: &'c TrialConfig,
    input: InputSpec,
    network: Network,
    file: PathBuf,
}

impl<'c> Deployed<'c> {
    fn export(config: &'c TrialConfig, dir: &Path) -> Result<Self> {
        let geometry = data::geometry(&config.dataset)?;
        let methods = Methods::new(config)?;
        let mut backbone = backbones::by_name(&config.backbone, &geometry, methods.width())?;
        if let Some(compression) = methods.compression() {
            backbone = compressed(&*backbone, compression, compression.steps())?;
        }
        let methods = methods.fused().unwrap_or(methods);
        let store = ParamStore::new(config.seed, &Device::Cpu);
        let network = backbone.build(&methods, store.builder())?;
        let channels = geometry.shape.0;
        let normalization = Normalization { mean: vec![0.5; channels], std: vec![0.25; channels], of: String::new() };
        let input = InputSpec { geometry, normalization };
        let tensors = store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();
        let written =
            Exported::new(&network, &*backbone, &input, tensors, BTreeMap::new())?.write(Format::Onnx, dir)?;
        let file = written.into_iter().next().context("nothing was exported")?;
        Ok(Self { config, input, network, file })
    }
}

/// A Python that has the exported networks loaded; it ends with this.
struct Runtimes {
    process: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Of those that it has.
    versions: BTreeMap<String, String>,
}

impl Runtimes {
    fn start(
        dir: &Path,
        networks: &[Deployed<'_>],
        (c, h, w): (usize, usize, usize),
        settings: &Settings<'_>,
    ) -> Result<Self> {
        let script = dir.join("deployed.py");
        std::fs::write(&script, SCRIPT).with_context(|| format!("{}: cannot be written", script.display()))?;
        let python = match (settings.python, std::env::var_os(PYTHON)) {
            (Some(python), _) => python.to_owned(),
            (None, Some(python)) => python.into(),
            (None, None) => "python3".into(),
        };
        let accepted = format!("a Python with {}: --python PROGRAM, or ${PYTHON}", RUNTIMES.join(" or "));
        let numbers = [settings.batch, settings.threads, c, h, w].map(|number| number.to_string());
        let mut process = Command::new(&python)
            .arg(&script)
            .args(numbers)
            .args(networks.iter().map(|network| &network.file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot be started\n  accepted: {accepted}", python.display()))?;
        let ask = process.stdin.take();
        let answers = process.stdout.take().context("a process without an output")?;
        let mut runtimes = Self { process, ask, answers: BufReader::new(answers), versions: BTreeMap::new() };
        let line = runtimes.answer().with_context(|| format!("{}\n  accepted: {accepted}", python.display()))?;
        runtimes.versions =
            serde_json::from_str(&line).with_context(|| format!("{}: said {line}", python.display()))?;
        let missing: Vec<&str> =
            RUNTIMES.into_iter().filter(|runtime| !runtimes.versions.contains_key(*runtime)).collect();
        ensure!(
            missing.len() < RUNTIMES.len(),
            "{}: has neither {}\n  accepted: {accepted}",
            python.display(),
            RUNTIMES.join(" nor ")
        );
        for runtime in missing {
            say!("note: {}: has no {runtime}, which is left out", python.display());
        }
        Ok(runtimes)
    }

    /// Milliseconds of one inference.
    fn time(&mut self, model: usize, runtime: &str) -> Result<f64> {
        let ask = self.ask.as_mut().context("a process without an input")?;
        writeln!(ask, "{model} {runtime}").with_context(|| format!("{runtime} has ended"))?;
        let line = self.answer().with_context(|| format!("{runtime} has failed"))?;
        line.trim().parse().with_context(|| format!("{runtime} said {line}"))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "has ended; why, it may have said above");
        Ok(line)
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        // Without anybody to ask it, it ends by itself; what it came to is nobody's question.
        self.ask = None;
        let _ = self.process.wait();
    }
}
