//! The rivals of CompConv: one compact convolution or pruning method a file.
//!
//! A rival is a serde struct of options that implements [`conv_core::ConvMethod`]:
//!
//! - [`Vanilla`]: the dense convolution that everything is compared with;
//! - [`Thin`]: the same convolution in a narrower network, the control;
//! - [`Depthwise`]: depthwise separable convolution (MobileNet);
//! - [`Ghost`]: Ghost module (GhostNet).
//!
//! [`GhostConv2d`] and [`DepthwiseConv2d`] are the same layers as plain [`candle_nn::ModuleT`]s, for use without the rest.
//! [`pruning`] works the other way round: it takes a trained vanilla network and makes a smaller one of it.
//!
//! To add a rival, write its file here, then its line in the harness's registry; [`conformance::check`] tests it.

pub mod conformance;
mod depthwise;
mod ghost;
pub mod pruning;
mod thin;
mod vanilla;

pub use depthwise::{Depthwise, DepthwiseConv2d};
pub use ghost::{Ghost, GhostConv2d};
pub use thin::Thin;
pub use vanilla::Vanilla;
