//! The ground floor: the configuration of a trial as data ([`schema`]), the values that each key takes ([`field`]), and errors
//! about values that cannot be used ([`error`]), with what was probably meant ([`hints`]). It knows no file format, no method and no data set.

pub mod dataset;
pub mod error;
pub mod field;
pub mod hints;
pub mod quantity;
pub mod schema;

pub use dataset::{Crop, DatasetConfig, FlipOrder, ImageSize, OnBadImage};
pub use error::{Complaint, ExperimentError};
pub use field::{Field, Kind};
pub use schema::{
    BackboneConfig, BudgetConfig, Control, Fit, GivenClassifier, Head, InitConfig, Kernels, LayerOverride,
    MethodConfig, Precision, Protocol, Recipe, Replace, Schedule, TrialConfig, UpdateRule,
};
