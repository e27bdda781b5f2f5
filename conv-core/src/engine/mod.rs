//! Runs a network on the CPU: forward, backward and all gradients, without an autograd graph.
//!
//! [`lowering`] turns a graph into [`layers`] and a [`program`]: steps over these layers, in phases that [`schedule`] makes. [`sums`]
//! lets products be added on the way, and in inference [`fuse`] lets convolutions do what follows them. Which kernel a
//! convolution gets, [`choice`] decides: its page is the table. [`memory`] says which buffers share a piece of memory. Then there
//! are two engines:
//!
//! - [`BatchEngine`] computes 16 images a vector. Every block of 16 has its own memory ([`block`]), so blocks are worked on
//!   in parallel without any two sharing a byte; what has to be summed over blocks is summed in the order of blocks. [`batch`]
//!   says what it holds: a layer as a [`packed::ConvLayer`], a [`norm::FinishLayer`] or a [`layers::Plain`]. [`passes`] goes
//!   through the phases of a forward or backward pass, [`context`] knows the function of every step, and [`forward`],
//!   [`backward`] and [`plain`] have them.
//!   In which [`format`] values are stored, and what convolves them, is a type of its own: [`single`] or [`half`] precision.
//! - [`ImageEngine`] infers few images, for which vectors of 16 would be mostly empty, one after the other, each shared out
//!   over a [`team`] of threads. [`arena`] lays its memory out.
//!
//! The result has the same bits for any number of threads. [`survey`] tells what each layer does, [`times`] how
//! long it took, [`footprint`] how much memory an engine takes.

mod arena;
mod backward;
mod batch;
mod block;
pub(crate) mod choice;
mod context;
mod footprint;
mod format;
mod forward;
mod fuse;
mod group_norm;
mod half;
mod image;
mod layers;
mod lowering;
mod memory;
mod norm;
mod packed;
mod passes;
mod plain;
mod program;
mod schedule;
mod single;
mod sums;
mod survey;
mod team;
#[cfg(test)]
mod tests;
mod times;

use candle_core::{Result, Tensor};

use crate::graph::{Graph, Value};
use crate::ops::with_values;

pub(crate) use batch::BatchEngine;
pub use choice::{Backend, OffEngine, SMALLEST_BATCH};
pub use footprint::Footprint;
pub(crate) use format::Format;
pub(crate) use half::Half;
pub(crate) use image::ImageEngine;
pub(crate) use lowering::{LoweringResult, or_off_engine};
pub(crate) use program::Mode;
pub use program::Pass;
pub use survey::{EngineLayer, PassWork};

use arena::ArenaLayout;
use choice::Regime;

use layers::Conv;
use single::Single;

/// What each layer of a network does in a regime, for images of `[channels, h, w]`, without making the engine.
///
/// # Errors
/// A graph that only operations can run; shapes that do not fit.
pub(crate) fn survey(
    graph: &Graph,
    output: Value,
    image: (usize, usize, usize),
    mode: Mode,
    regime: Regime,
) -> LoweringResult<Vec<EngineLayer>> {
    match regime {
        Regime::Batch { winograd } => survey_of::<Single>(graph, output, image, mode, winograd),
        Regime::Image => {
            let (layers, program) = image::lower_flat(graph, output, image)?;
            Ok(survey::of_image(&layers, &program, &ArenaLayout::new(&layers, &program)))
        }
    }
}

/// The same of a format, whose engine is always that of batches.
///
/// # Errors
/// As of [`survey`].
pub(crate) fn survey_of<F: Format>(
    graph: &Graph,
    output: Value,
    image: (usize, usize, usize),
    mode: Mode,
    winograd: bool,
) -> LoweringResult<Vec<EngineLayer>> {
    let (layers, program) = lowering::lower(graph, output, image, mode, winograd)?;
    Ok(survey::of_batch(&layers, &program, F::kernel))
}

/// How much memory the engine of batches in this format takes for so many images of `[channels, h, w]`, without making it.
///
/// # Errors
/// A graph that only operations can run; shapes that do not fit.
pub(crate) fn footprint_of<F: Format>(
    graph: &Graph,
    output: Value,
    (images, image): (usize, (usize, usize, usize)),
    mode: Mode,
    winograd: bool,
) -> LoweringResult<Footprint> {
    let (layers, program) = lowering::lower(graph, output, image, mode, winograd)?;
    Ok(footprint::of_batch::<F>(&layers, &program, images))
}

/// The same of the engine of a regime, in f32.
///
/// # Errors
/// As of [`footprint_of`].
pub(crate) fn footprint(
    graph: &Graph,
    output: Value,
    (images, image): (usize, (usize, usize, usize)),
    mode: Mode,
    regime: Regime,
) -> LoweringResult<Footprint> {
    match regime {
        Regime::Batch { winograd } => footprint_of::<Single>(graph, output, (images, image), mode, winograd),
        Regime::Image => {
            let (layers, program) = image::lower_flat(graph, output, image)?;
            Ok(footprint::of_image(&layers, &program))
        }
    }
}

/// The values of all parameters but the convolutions' weights, which stay empty: they are most of the memory, and read where
/// they are packed.
fn parameters<'a>(tensors: &[Tensor], convs: impl Iterator<Item = &'a Conv>) -> Result<Vec<Vec<f32>>> {
    let mut is_weight = vec![false; tensors.len()];
    convs.for_each(|conv| is_weight[conv.weight] = true);
    let values = |(tensor, is_weight): (&Tensor, bool)| {
        if is_weight { Ok(Vec::new()) } else { with_values(tensor, |values| Ok(values.to_vec())) }
    };
    tensors.iter().zip(is_weight).map(values).collect()
}
