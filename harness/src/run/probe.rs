//! The process that measures one network: `harness probe`. It is asked on standard input, and answers on standard output.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::process::in_words;
use super::{compute_threads, interrupt, limits};
use crate::measure::probe::{Answer, Question, answer};

/// How often it is looked at whether the process has ended.
const TICK: Duration = Duration::from_millis(20);

/// What it answers, and whether it was kept to its processors.
#[derive(Serialize, Deserialize)]
pub(super) struct Reply {
    pub answer: Answer,
    pub pinned: bool,
}

/// What such a process may use.
#[derive(Clone, Debug, Default)]
pub struct ProbeOptions {
    /// Threads to compute on; 0: as many as it may use.
    pub threads: usize,
    /// Processors to stay on; empty: any.
    pub processors: Vec<usize>,
}

/// Answers the question that stands on standard input; what is to be printed.
///
/// # Errors
/// What is no question; threads that cannot be started.
pub fn run_probe(options: &ProbeOptions) -> Result<String> {
    let taken = limits::pin(&options.processors);
    limits::offer_to_the_oom_killer();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("reading what is to be measured")?;
    let question: Question = serde_json::from_str(&text).context("what is to be measured")?;
    let answer = compute_threads(options.threads)?.install(|| answer(&question));
    Ok(serde_json::to_string(&Reply { answer, pinned: !taken.is_empty() })?)
}

/// Asks a fresh process; none if this one was asked to stop meanwhile.
///
/// # Errors
/// A process that cannot be started.
pub(super) fn ask(program: &Path, question: &Question, options: &ProbeOptions) -> Result<Option<Reply>> {
    let mut command = Command::new(program);
    command.args(["probe", "--threads", &options.threads.to_string()]);
    if !options.processors.is_empty() {
        let list: Vec<String> = options.processors.iter().map(usize::to_string).collect();
        command.args(["--processors", &list.join(",")]);
    }
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        command.env(name, options.threads.to_string());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C is for this process, which ends that one.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = command.spawn();
    let mut child = started.with_context(|| format!("{}: a measuring process cannot be started", program.display()))?;
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    if let Some(mut input) = child.stdin.take() {
        // One that has ended already says why itself.
        let _ = input.write_all(&serde_json::to_vec(question)?);
    }
    let Some(status) = wait(&mut child)? else { return Ok(None) };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    Ok(Some(serde_json::from_str(&out).unwrap_or_else(|_| {
        let said = err.lines().next().unwrap_or_default();
        Reply { answer: Answer::Problem(format!("{status} {said}").trim().to_owned()), pinned: false }
    })))
}

/// How it ended, in words; none if this process was asked to stop, and ended it.
fn wait(child: &mut Child) -> Result<Option<String>> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for a measuring process")? {
            return Ok(Some(in_words(status)));
        }
        if interrupt::requests() > 0 {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        thread::sleep(TICK);
    }
}

/// All that a process writes there.
fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
