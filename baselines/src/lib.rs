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
//! For instance, a Ghost module where a 3 x 3 convolution from 64 to 128 channels stood:
//!
//! ```
//! use baselines::{Ghost, GhostConv2d};
//! use candle_core::{DType, Device, ModuleT, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use conv_core::ConvSpec;
//!
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let layer = GhostConv2d::new(ConvSpec::same(64, 128, 3, 1), &Ghost::default(), true, vb.pp("ghost"))?;
//! let y = layer.forward_t(&Tensor::zeros((1, 64, 8, 8), DType::F32, &Device::Cpu)?, false)?;
//! assert_eq!(y.dims(), [1, 128, 8, 8]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! [`pruning`] works the other way round: it takes a trained vanilla network and makes a smaller one of it.
//!
//! To add a rival, write its file here, then its line in the harness's registry; [`conformance::check`] tests it. Its unit
//! says once what it computes, with the operations of a [`conv_core::Graph`] ([`conv_core::ConvUnit::emit`]); training,
//! inference and gradients follow from that.

#![forbid(unsafe_code)]

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
