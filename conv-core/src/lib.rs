//! What every convolution of this workspace shares.
//!
//! - [`ConvSpec`] and [`UnitSpec`] say what a network asks for, [`Cost`] what it pays.
//! - A [`Graph`] is what a network computes, written down before it is computed; a [`Network`] runs it.
//! - A [`Method`] is a way to make a convolution (vanilla, CompConv, Ghost, ...). It writes a unit, which is a convolution with
//!   the normalisation, activation and residual addition that follow it, into a [`Scope`]; all else follows from that:
//!   [`describe`] gives cost, signature and remarks, [`Layer`] the unit as a candle module. [`options!`] writes its options.
//! - [`layers`] are the pieces that networks are made of; [`ops`] the differentiable functions below them, on CPU
//!   kernels of their own where candle's are wrong or slow.
//! - [`ParamStore`] holds a network's parameters, seeded by (seed, parameter name).
//! - [`meter`] counts the multiplications of the operations that are run, so that what a method wrote down can be held against them.

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
pub mod options;
mod scope;
mod spec;
mod store;
mod written;

// For what `options!` and `choice!` write.
#[doc(hidden)]
pub use {candle_core, serde};

pub use cost::{Cost, Depth};
pub use engine::{Backend, EngineLayer, Footprint, OffEngine, Pass, PassWork, SMALLEST_BATCH};
pub use graph::{Graph, Value};
pub use kernels::Isa;
pub use measure::{copy_gbytes, peak_gflops, peak_gflops_of_bf16};
pub use method::{Approximates, Checked, Description, FuseFn, Fused, Layer, Method, cost, describe, forward_unit};
pub use network::{Gradients, Inference, Network, Precision, Step, Training};
pub use scope::{Custom, CustomFn, Scope};
pub use spec::{Activation, ConvSpec, MOST_WEIGHTS, Role, UnitSpec};
pub use store::{ParamStore, is_running_statistic, normal_stream};
pub use written::Written;

/// Name of the kernel path that this processor runs, for stamps: equal bits are promised per path only.
pub fn kernel_path() -> &'static str {
    Isa::best().name()
}

/// The same of what is computed in this precision.
///
/// # Errors
/// bf16 by instructions that the environment variable `CONV_PATH` names and this processor does not have.
pub fn kernel_path_in(precision: Precision) -> candle_core::Result<&'static str> {
    match precision {
        Precision::F32 => Ok(kernel_path()),
        Precision::Bf16 => Ok(kernels::bf16::HalfPath::best()?.name()),
    }
}
