//! TOML -> experiment -> trials.

pub mod schema;

pub use schema::{
    BackboneConfig, DatasetConfig, Head, LayerOverride, MethodConfig, Protocol, Recipe, Replace, Schedule, TrialConfig,
};
