//! The ground floor: what can be asked of a trial, as data ([`schema`]), which values each key takes ([`field`]), and what is
//! said of values that cannot be used ([`error`]). Knows no file format, no method and no data set.

pub mod error;
pub mod field;
pub mod schema;

pub use error::{Complaint, ExperimentError};
pub use field::{Field, Kind};
pub use schema::{
    BackboneConfig, DatasetConfig, Head, LayerOverride, MethodConfig, Protocol, Recipe, Replace, Schedule, TrialConfig,
};
