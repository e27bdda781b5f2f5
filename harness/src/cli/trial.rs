//! `harness trial FOLDER KEY`: the process of one trial. What starts it is the harness itself, or a job script it wrote.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Reply;
use crate::run::{ChildOptions, run_child};

#[derive(Args, Debug)]
pub struct TrialArgs {
    /// The run folder.
    folder: PathBuf,
    /// The trial.
    key: String,
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long)]
    jobs: Option<usize>,
    #[arg(long, value_delimiter = ',')]
    processors: Vec<usize>,
    #[arg(long)]
    memory_bytes: Option<u64>,
    #[arg(long)]
    time_limit_ms: Option<u64>,
    #[arg(long, default_value_t = 60_000)]
    checkpoint_every_ms: u64,
    #[arg(long)]
    allow_path_change: bool,
    #[arg(long)]
    drop_weights: bool,
    #[arg(long, default_value_t = 1)]
    attempt: u32,
    #[arg(long)]
    attached: bool,
}

/// Runs the command.
pub fn train(args: TrialArgs) -> Reply {
    let options = ChildOptions {
        threads: args.threads,
        jobs: args.jobs,
        processors: args.processors,
        memory: args.memory_bytes,
        time_limit: args.time_limit_ms.map(Duration::from_millis),
        checkpoint_every: Duration::from_millis(args.checkpoint_every_ms),
        allow_path_change: args.allow_path_change,
        drop_weights: args.drop_weights,
        attempt: args.attempt,
        attached: args.attached,
    };
    Reply { text: String::new(), code: run_child(&args.folder, &args.key, &options) }
}
