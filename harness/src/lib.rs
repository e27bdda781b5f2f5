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
pub mod train;
