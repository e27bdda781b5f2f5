//! One TOML file in, an honest comparison of compact convolutions out.
//!
//! A value's way: TOML -> [`experiment`] (checked) -> trials (frozen, hashed) -> [`run`] -> trial folder -> [`results`]
//! (polars frame) -> [`report`] (tables, plots). One direction, each step runnable alone.

#![forbid(unsafe_code)]

pub mod backbones;
pub mod cli;
pub mod data;
pub mod experiment;
pub mod measure;
pub mod methods;
pub mod report;
pub mod results;
pub mod run;
pub mod train;
