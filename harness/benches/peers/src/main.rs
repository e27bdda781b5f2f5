//! Runs exported networks in tract, one request a line on standard input, one answer a line on standard output.
//!
//! `race-peers THREADS` first answers tract's version. Then `load IMAGES PATH` reads `PATH.onnx` and `PATH.images` (f32, [IMAGES, 3, 32, 32])
//! as the next network, and answers nothing; `logits INDEX` runs it and answers its logits; `time INDEX TIMES` answers the milliseconds of so
//! many runs.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tract_onnx::prelude::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

/// Of the crate, as Cargo.lock has it.
const LOCK: &str = include_str!("../Cargo.lock");

/// A network and the images that it is run on.
struct Loaded {
    network: Arc<TypedRunnableModel>,
    images: TValue,
}

impl Loaded {
    fn read(path: &str, count: usize) -> Result<Self> {
        let shape = [count, 3, 32, 32];
        let bytes = std::fs::read(format!("{path}.images")).with_context(|| format!("{path}.images"))?;
        let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let images: Tensor = tract_ndarray::Array4::from_shape_vec((count, 3, 32, 32), values)?.into();
        let network = onnx()
            .model_for_path(format!("{path}.onnx"))?
            .with_input_fact(0, f32::fact(shape).into())?
            .into_optimized()?
            .into_runnable()?;
        Ok(Self { network, images: images.into() })
    }

    fn run(&self) -> Result<TVec<TValue>> {
        self.network.run(tvec!(self.images.clone()))
    }
}

fn main() -> Result<()> {
    let threads: usize = std::env::args().nth(1).context("accepted: race-peers THREADS")?.parse()?;
    set_default_executor(Executor::multithread(threads));
    let mut answers = stdout().lock();
    writeln!(answers, "{}", version().unwrap_or("unknown"))?;
    let mut networks = Vec::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let answer = match words[..] {
            ["load", count, path] => {
                networks.push(Loaded::read(path, count.parse()?)?);
                Vec::new()
            }
            ["logits", index] => {
                let logits = network(&networks, index)?.run()?;
                logits[0].to_plain_array_view::<f32>()?.iter().map(|&logit| f64::from(logit)).collect()
            }
            ["time", index, times] => {
                let network = network(&networks, index)?;
                let mut taken = Vec::new();
                for _ in 0..times.parse::<usize>()? {
                    let started = Instant::now();
                    network.run()?;
                    taken.push(1000.0 * started.elapsed().as_secs_f64());
                }
                taken
            }
            _ => bail!("found `{line}`, accepted: load IMAGES PATH, logits INDEX, time INDEX TIMES"),
        };
        let answer: Vec<String> = answer.iter().map(f64::to_string).collect();
        writeln!(answers, "{}", answer.join(" "))?;
        answers.flush()?;
    }
    Ok(())
}

fn network<'n>(networks: &'n [Loaded], index: &str) -> Result<&'n Loaded> {
    networks.get(index.parse::<usize>()?).with_context(|| format!("no network {index} was loaded"))
}

fn version() -> Option<&'static str> {
    LOCK.split_once("name = \"tract-onnx\"\nversion = \"")?.1.split('"').next()
}
