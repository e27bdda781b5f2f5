//! CompConv (C. Zhang, Y. Xu, Y. Shen, CVPR Workshops 2021, arXiv 2106.10486): a compact convolution for
//! [candle](https://docs.rs/candle-core), with far fewer multiplications and parameters at the same output width.
//!
//! Where a `candle_nn::Conv2d` stood, put a [`CompConv2d`]:
//!
//! ```
//! use candle_core::{DType, Device, Module, Result, Tensor};
//! use candle_nn::{Conv2dConfig, VarBuilder, VarMap};
//! use compconv::{CompConvOptions, compconv2d};
//!
//! # fn main() -> Result<()> {
//! let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
//! let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
//! let conv = compconv2d(64, 64, 3, config, &CompConvOptions::fixed(3), vb)?;
//! let y = conv.forward(&Tensor::zeros((1, 64, 8, 8), DType::F32, &Device::Cpu)?)?;
//! assert_eq!(y.dims(), [1, 64, 8, 8]);
//! # Ok(())
//! # }
//! ```
//!
//! On the CPU, in f32 and for batches of 8 images or more, the layer is a single operation of candle's autograd, forward and
//! backward: no part is sliced, concatenated or shuffled in memory. Every such operation ends in a fresh tensor; with an
//! allocator that keeps its pages (mimalloc, jemalloc) a training step loses less time to them.
//!
//! - [`CompConvOptions`] has every switch; what the paper leaves open has a documented default.
//! - [`Plan`] is the layout in integers: every part's channels, sources and places, and the closed-form cost.
//! - [`CompConv2d`] and [`CompConv2dT`] are candle modules. For a network that is built by methods
//!   ([`conv_core::Method`]), the options themselves are one.
//!
#![doc = include_str!("ablation.md")]
#![forbid(unsafe_code)]

mod method;
mod module;
mod options;
pub mod plan;

pub use module::{CompConv2d, CompConv2dT, compconv2d, compconv2d_no_bias};
pub use options::{CompConvOptions, DepthRule, Downsample, InnerNorm, MAX_DEPTH, Tail};
pub use plan::{LAYOUT_VERSION, Plan};

/// The example in the README is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
