//! The rivals of CompConv: one compact convolution or pruning method a file.
//!
//! A rival is a table of options ([`conv_core::options!`]) that implements [`conv_core::Method`]:
//!
//! - [`Vanilla`]: the dense convolution that everything is compared with;
//! - [`Thin`]: the same convolution in a narrower network, the control;
//! - [`Depthwise`]: depthwise separable convolution (MobileNet);
//! - [`Ghost`]: Ghost module (GhostNet);
//! - [`Grouped`]: a convolution in groups and a channel shuffle (ShuffleNet);
//! - [`HetConv`]: kernels of two sizes, summed;
//! - [`PConv`]: partial convolution (FasterNet);
//! - [`BsConv`]: blueprint separable convolution;
//! - [`LowRank`]: a convolution as a product of smaller ones (Tucker-2, SVD);
//! - [`RepVgg`]: branches that are trained, and become one kernel (RepVGG);
//! - [`SpConv`], [`ScConv`]: channels split, gated and fused again by softmax;
//! - [`OctConv`]: some channels at half the resolution;
//! - [`Tied`]: one thin convolution, shared by all blocks of the channels.
//!
//! Each of them is also a plain [`candle_nn::ModuleT`], for use without the rest. For instance, a Ghost module where a 3 x 3
//! convolution from 64 to 128 channels stood, with its batch norm and ReLU:
//!
//! ```
//! use baselines::Ghost;
//! use candle_core::{DType, Device, ModuleT, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use conv_core::{ConvSpec, Layer, Role, UnitSpec};
//!
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let unit = UnitSpec::conv_bn_relu(ConvSpec::same(64, 128, 3, 1), Role::Spatial);
//! let layer = Layer::new(&Ghost::default(), &unit, vb.pp("ghost"))?;
//! let y = layer.forward_t(&Tensor::zeros((1, 64, 8, 8), DType::F32, &Device::Cpu)?, false)?;
//! assert_eq!(y.dims(), [1, 128, 8, 8]);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! [`pruning`] works the other way round: it takes a trained vanilla network and makes a smaller one of it. [`masking`] sets some of its
//! weights to 0.
//!
//! To add a rival, write its file and its line in `rivals!` below: the harness knows it then, by its name and with its options, and
//! [`conformance::check`] tests it.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod masking;
pub mod pruning;

use conv_core::Method;
use conv_core::options::Described;
pub use lowrank::{Factors, Origin};

/// Takes rivals one after the other, each as a type.
pub trait Registry {
    /// The next one.
    fn add<M: Method + Described>(&mut self);
}

macro_rules! rivals {
    ($($module:ident::$rival:ident,)+) => {
        $(
            mod $module;
            pub use $module::$rival;
        )+

        /// Every rival, in the order in which they are listed.
        pub fn rivals(registry: &mut impl Registry) {
            $(registry.add::<$rival>();)+
        }
    };
}

// One line a rival: its file and its type. New ones go last, as colours and marks follow the order.
rivals! {
    vanilla::Vanilla,
    thin::Thin,
    depthwise::Depthwise,
    ghost::Ghost,
    grouped::Grouped,
    hetconv::HetConv,
    pconv::PConv,
    bsconv::BsConv,
    lowrank::LowRank,
    repvgg::RepVgg,
    spconv::SpConv,
    scconv::ScConv,
    octconv::OctConv,
    tied::Tied,
}
