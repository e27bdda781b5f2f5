//! One TOML file in, an honest comparison of compact convolutions out.
//!
//! A value's way: TOML -> [`experiment`] (checked) -> trials (frozen, hashed) -> [`run`] -> trial folder -> [`results`]
//! (polars frame) -> [`report`] (tables, plots). One direction, each step runnable alone.
//!
//! A file, checked and priced, without training anything:
//!
//! ```
//! use harness::experiment::{Experiment, parse};
//!
//! let text = r#"
//!     name = "small"
//!     [dataset]
//!     name = "cifar10"
//!     [backbone]
//!     name = "resnet20"
//!     [[grid]]
//!     method.name = ["vanilla", "ghost"]
//! "#;
//! let experiment = Experiment::from_document(&parse("small.toml", text)?)?;
//! let labels: Vec<&str> = experiment.trials.iter().map(|trial| &*trial.label).collect();
//! assert_eq!(labels, ["vanilla", "ghost"]);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! The results of a run folder, and whether one row of a table is better than another:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use harness::report::aggregate::groups;
//! use harness::results::RunFolder;
//!
//! let trials = RunFolder::open(Path::new("reports/cifar"))?.collected()?;
//! for group in &groups(&trials.done) {
//!     for pair in group.pairs() {
//!         let [first, second] = [pair.first, pair.second].map(|row| &group.rows[row].label);
//!         println!("{first} beside {second}: {}", pair.verdict().name());
//!     }
//! }
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! The statistics are pure functions, and of use without all that:
//!
//! ```
//! use harness::statistics::{Verdict, compare};
//!
//! // Seeds with what two methods came to, in percent.
//! let ghost = [(0, 91.2), (1, 91.5), (2, 91.1)];
//! let thin = [(0, 89.9), (1, 90.3), (2, 89.9)];
//! let comparison = compare(&ghost, &thin);
//! assert_eq!(comparison.verdict(), Verdict::Better);
//! assert!(comparison.interval().is_some_and(|interval| interval.low > 0.0));
//! ```
//!
//! A binary of one's own, whose `harness` command knows one method more, is [`main_with`] and a list.

#![forbid(unsafe_code)]

/// Prints a line to stderr. Where nobody reads it, or a log has no room, `eprintln` would panic; here nothing depends on it.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod backbones;
pub mod cli;
pub mod config;
pub mod data;
pub mod experiment;
pub mod export;
pub mod files;
pub mod measure;
pub mod methods;
pub mod pickle;
mod protobuf;
pub mod report;
pub mod results;
pub mod run;
pub mod stamp;
pub mod statistics;
pub mod train;
pub mod weights;

pub use methods::{MethodInfo, entry};

/// The `harness` command with more methods than it comes with: the `main` of a binary that brings its own.
///
/// Trials run in processes of that binary, which knows the methods too; `examples/own_rival.rs` is a whole one.
pub fn main_with(methods: &[MethodInfo]) -> std::process::ExitCode {
    match methods::register(methods) {
        Ok(()) => cli::main(),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::from(2)
        }
    }
}
