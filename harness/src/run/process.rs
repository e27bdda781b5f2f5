//! Starting, following and stopping the process of a trial.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};

use super::RunOptions;
use super::child::TrialEnd;
use super::screen::Event;
use crate::experiment::RunSettings;
use crate::results::RunFolder;

/// What is heard of the process of the trial with this number.
pub(super) enum Message {
    /// It said something.
    Event(usize, Event),
    /// It closed its output: it has ended, or is about to.
    Silent(usize),
}

/// How a process ended.
pub(super) enum ProcessEnd {
    /// As it says.
    Reported(TrialEnd),
    /// Without a word: the signal or exit code, in words.
    Died(String),
}

/// A running process.
pub(super) struct Process {
    child: Child,
    /// Closed to ask it to stop.
    input: Option<ChildStdin>,
}

/// What a process is started with beside its trial.
pub(super) struct Launch<'a> {
    pub threads: usize,
    /// Trials that may run at once.
    pub jobs: usize,
    pub processors: &'a [usize],
    pub attempt: u32,
}

impl Process {
    /// Starts the process of the trial `key`, which `messages` will call `number`.
    ///
    /// # Errors
    /// A process or log that cannot be started.
    pub fn start(
        folder: &RunFolder,
        (number, key): (usize, &str),
        launch: &Launch<'_>,
        options: &RunOptions,
        messages: Sender<Message>,
    ) -> Result<Self> {
        let log = folder.log(key);
        let log_file = OpenOptions::new().create(true).append(true).open(&log);
        let log_file = log_file.with_context(|| format!("{}: cannot be written", log.display()))?;
        let mut command = Command::new(&options.program);
        command.args(arguments(folder.root(), key, launch, options)).arg("--attached");
        // candle and whatever else counts processors for itself.
        for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
            command.env(name, launch.threads.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        // A Ctrl-C is for this process, which passes it on in its own way.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .with_context(|| format!("{}: the process of trial {key} cannot be started", options.program.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = messages.send(Message::Event(number, event));
                }
            }
            let _ = messages.send(Message::Silent(number));
        });
        Ok(Self { child, input })
    }

    /// Asks it to stop after a checkpoint.
    pub fn stop(&mut self) {
        self.input = None;
    }

    /// Whether it was asked to stop.
    pub fn stopping(&self) -> bool {
        self.input.is_none()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended; waits for it.
    pub fn end(mut self) -> ProcessEnd {
        match self.child.wait() {
            Err(error) => ProcessEnd::Died(format!("its process is lost: {error}")),
            Ok(status) => {
                let said = TrialEnd::ALL.into_iter().find(|ended| status.code() == Some(*ended as i32));
                said.map_or_else(|| ProcessEnd::Died(in_words(status)), ProcessEnd::Reported)
            }
        }
    }
}

/// What a trial's process is told wherever it runs.
pub(super) fn common_arguments(settings: &RunSettings, allow_path_change: bool) -> Vec<String> {
    let mut arguments = vec!["--checkpoint-every-ms".into(), settings.checkpoint_every.0.as_millis().to_string()];
    if let Some(memory) = settings.memory {
        arguments.extend(["--memory-bytes".into(), memory.0.to_string()]);
    }
    if let Some(limit) = settings.time_limit {
        arguments.extend(["--time-limit-ms".into(), limit.0.as_millis().to_string()]);
    }
    if !settings.keep_weights {
        arguments.push("--drop-weights".into());
    }
    if allow_path_change {
        arguments.push("--allow-path-change".into());
    }
    arguments
}

/// The command line of a trial's process, after the program.
fn arguments(root: &Path, key: &str, launch: &Launch<'_>, options: &RunOptions) -> Vec<std::ffi::OsString> {
    let mut arguments = vec!["trial".into(), root.into(), key.into()];
    let mut add = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    add("--threads", launch.threads.to_string());
    add("--jobs", launch.jobs.to_string());
    add("--attempt", launch.attempt.to_string());
    if !launch.processors.is_empty() {
        let list: Vec<String> = launch.processors.iter().map(usize::to_string).collect();
        add("--processors", list.join(","));
    }
    arguments.extend(common_arguments(&options.settings, options.allow_path_change).into_iter().map(Into::into));
    arguments
}

/// How a process ended that did not say so itself.
pub(super) fn in_words(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let meaning = match signal {
            4 => " (illegal instruction)",
            6 => " (abort: out of memory, or a defect)",
            7 | 11 => " (bad memory access: a defect)",
            9 => " (killed: by the system when memory runs out, or by somebody)",
            _ => "",
        };
        return format!("its process was ended by signal {signal}{meaning}");
    }
    format!("its process ended without a word: {status}")
}
