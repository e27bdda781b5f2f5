//! What every convolution of this workspace shares.
//!
//! - [`ConvSpec`] and [`UnitSpec`] say what a network asks for, [`Cost`] what it pays.
//! - A [`Graph`] is what a network computes, written down before it is computed; a [`Network`] runs it.
//! - [`ConvMethod`] is a way to make a convolution (vanilla, CompConv, Ghost, ...), [`ConvUnit`] the thing it builds:
//!   a convolution with the normalisation, activation and residual addition that follow it, which it writes into a graph.
//! - [`layers`] are the pieces that networks are made of; [`ops`] the differentiable functions below them, on CPU
//!   kernels of their own where candle's are wrong or slow.
//! - [`ParamStore`] holds a network's parameters, seeded by (seed, parameter name).
//! - [`meter`] counts the multiplications of the operations that are run, so that closed forms can be held against them.

mod cost;
mod engine;
pub mod graph;
mod kernels;
pub mod layers;
mod measure;
pub mod meter;
mod method;
mod network;
pub mod ops;
mod spec;
mod store;

pub use cost::Cost;
pub use engine::{Backend, EngineLayer, OffEngine, Pass, PassWork, SMALLEST_BATCH};
pub use graph::{Graph, Value};
pub use kernels::Isa;
pub use measure::{copy_gbytes, peak_gflops};
pub use method::{ConvMethod, ConvUnit, Depth, Layout};
pub use network::{Gradients, Inference, Network, Step, Training};
pub use spec::{Activation, ConvSpec, Role, UnitSpec};
pub use store::{ParamStore, is_running_statistic, normal_stream};

/// Name of the kernel path that this processor runs, for stamps: equal bits are promised per path only.
pub fn kernel_path() -> &'static str {
    Isa::best().name()
}
