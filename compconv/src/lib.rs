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
//! # What the switches are worth
//!
//! Measured, and committed with all that made it (`reports/study/ablation` in the repository): ResNet-20 on CIFAR-10 (a JPEG
//! copy), every convolution but the stem, three seeds, 6 epochs of 20,000 images. That is a short schedule, which favours what
//! trains fast. Test top-1 at depth 2 with the defaults is 67.89 %, vanilla's 71.58 % at 2.9 times the multiply-accumulates. One
//! switch at a time away from these defaults, in points, paired by seed, with the 95 % interval (Student t) of each by itself:
//!
//! | switch | points | 95 % | MACs |
//! | --- | ---: | ---: | ---: |
//! | `inner_norm = "bn"` | +1.75 | +1.00 to +2.50 | 13.82M, as the defaults |
//! | `integration = false` | +1.08 | +0.20 to +1.95 | 21.86M |
//! | `downsample = "slice"` | -0.38 | -0.98 to +0.21 | 13.82M |
//! | `identity = false` | -0.49 | -1.70 to +0.72 | 14.10M |
//! | `shuffle = 1` (off) | -0.50 | -2.43 to +1.42 | 13.82M |
//! | `tail_kernel = 5` | -0.52 | -2.47 to +1.43 | 14.53M |
//! | `tail = "full"` | -0.74 | -1.46 to -0.02 | 17.59M |
//! | `tail = "pointwise"` | -1.13 | -2.61 to +0.35 | 13.88M |
//! | `tail_kernel = 1` | -1.25 | -1.44 to -1.07 | 13.46M |
//! | `inner_norm = "bn_relu"` | -1.59 | -3.48 to +0.30 | 13.82M |
//! | depth 1 | +4.51 | +3.68 to +5.33 | 21.27M |
//! | depth 3 | -3.88 | -5.66 to -2.11 | 11.83M |
//! | `c0 = 32` | +1.93 | +0.16 to +3.69 | 18.76M |
//! | `c0 = 16` | -0.97 | -1.12 to -0.82 | 15.45M |
//! | `c0 = 8` | -3.96 | -5.59 to -2.33 | 11.87M |
//!
//! With Holm's correction for the ten switches one verdict stands: `tail_kernel = 1` is worse (p = 0.0012 by itself, 0.012
//! corrected). None is shown to be better, and so the defaults are what they were. Nearest to it is `inner_norm = "bn"` (0.0098,
//! corrected 0.088), which adds 720 parameters and no multiply-accumulate; whether it holds on a longer schedule is for
//! `experiments/study_depth.toml` to say. What decides most is how much is saved at all: at depth 1 nothing is told apart from
//! vanilla (+0.81, -1.33 to +2.95, at 52 % of its MACs), and depth 3 costs another 3.9 points for 14 % less than depth 2.

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
