//! What there is to know of a backbone before its images are known.

use super::{Backbone, Width};
use crate::config::{BackboneConfig, Head};
use crate::data::Geometry;

/// A backbone that experiments can name.
#[derive(Clone, Copy, Debug)]
pub struct BackboneInfo {
    /// `backbone.name`.
    pub name: &'static str,
    /// As reports call it.
    pub title: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The heads it has, the usual one first.
    pub heads: &'static [Head],
    /// The data set whose costs papers print for it.
    pub dataset: &'static str,
    /// Its architecture for images of a geometry, every channel count scaled.
    pub(super) make: Make,
}

/// Makes an architecture.
pub(super) type Make = fn(&BackboneConfig, &Geometry, Width) -> candle_core::Result<Box<dyn Backbone>>;
