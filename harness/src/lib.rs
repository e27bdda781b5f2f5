//! One TOML file in, an honest comparison of compact convolutions out.
//!
//! A value's way: TOML -> [`experiment`] (checked) -> trials (frozen, hashed) -> [`run`] -> trial folder -> [`results`]
//! (polars frame) -> [`report`] (tables, plots). One direction, each step runnable alone.

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
pub mod files;
pub mod measure;
pub mod methods;
pub mod report;
pub mod results;
pub mod run;
pub mod stamp;
pub mod statistics;
pub mod train;

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
