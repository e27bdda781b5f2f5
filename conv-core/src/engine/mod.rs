//! Runs a network on the CPU, 16 images a vector: forward, backward and all gradients, without an autograd graph.
//!
//! [`lowering`] writes a graph down as the layers of [`plan`], [`phases`] puts their steps in order, [`memory`] decides
//! which buffers share a slot, [`state`] holds what one block of images needs; [`forward`] and [`backward`] are the steps,
//! [`passes`] runs them all.
//! Every block of 16 images has its own memory, so blocks are worked on in parallel without any two sharing a byte; what
//! has to be summed over blocks is summed in the order of blocks. [`single`] runs few images, for which vectors of 16 would
//! be mostly empty, with a [`team`] of threads. The result has the same bits for any number of threads.

mod backward;
mod forward;
mod fuse;
mod lowering;
mod memory;
mod packed;
mod passes;
mod phases;
mod places;
mod plan;
mod single;
mod state;
mod team;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::lanes::LANES;
use crate::ops::with_values;

use memory::Slots;
use packed::{Direction, PackedConv};
pub(crate) use plan::Mode;
use plan::{Layer, Program};
pub(crate) use single::SingleEngine;
use state::{Block, Chain, NormState};

/// A network for images of one size, with the memory to run it.
pub(crate) struct Engine {
    program: Program,
    /// Whether the output is `[n, channels]` and no image.
    flat: bool,
    slots: Slots,
    path: Path,
    mode: Mode,
    /// By layer; none where the layer is no convolution.
    weights: Vec<Option<PackedConv>>,
    /// What they are packed for; nothing where the parameters are newer.
    packed: Option<Direction>,
    /// By layer; of use where the layer is a finish.
    norms: Vec<NormState>,
    /// See [`parameters`].
    parameters: Vec<Vec<f32>>,
    chains: Vec<Chain>,
    /// By parameter, while the backward pass runs: gradients that are made of all blocks at once.
    gradients: Vec<Vec<f32>>,
    blocks: Vec<Block>,
    /// Images of the last forward pass.
    images: usize,
}

impl Engine {
    /// For images of `[channels, h, w]`, with Winograd's convolutions where they gain or without; none where the graph has
    /// operations that only candle can run.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(crate) fn new(
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        mode: Mode,
        winograd: bool,
    ) -> Result<Option<Self>> {
        let Some(program) = Program::new(graph, output, image, mode)? else { return Ok(None) };
        let flat = graph.is_flat(output);
        let path = Path::best();
        let packed = |layer: &Layer| match layer {
            Layer::Conv(conv) => Some(PackedConv::new(path, conv, mode, winograd)),
            _ => None,
        };
        let weights = program.layers.iter().map(packed).collect();
        let norms = program.layers.iter().map(NormState::new).collect();
        // Any buffers may share a slot.
        let slots = Slots::new(&program, |buffer| (program.buffers[buffer].lines(), ()));
        let (packed, parameters, chains, gradients, blocks) = (None, Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut engine = Self {
            program,
            flat,
            slots,
            path,
            mode,
            weights,
            packed,
            norms,
            parameters,
            chains,
            gradients,
            blocks,
            images: 0,
        };
        engine.load()?;
        Ok(Some(engine))
    }

    /// Reads the parameters and running statistics again, after something changed them.
    ///
    /// # Errors
    /// Parameters that are not f32 on the CPU.
    pub(crate) fn load(&mut self) -> Result<()> {
        self.parameters = parameters(&self.program)?;
        let (parameters, mode) = (&self.parameters, self.mode);
        for (norm, layer) in self.norms.iter_mut().zip(&self.program.layers) {
            if let Layer::Finish(finish) = layer {
                norm.load(finish, parameters, mode)?;
            }
        }
        self.packed = None;
        Ok(())
    }

    /// Packs the weights for this direction.
    fn pack(&mut self, direction: Direction) -> Result<()> {
        if self.packed == Some(direction) {
            return Ok(());
        }
        let (norms, parameters, tensors) = (&self.norms, &self.parameters, &self.program.parameters);
        self.weights.par_iter_mut().zip(&self.program.layers).try_for_each(|(packed, layer)| {
            match (layer, packed) {
                (Layer::Conv(conv), Some(packed)) => with_values(&tensors[conv.weight], |weight| {
                    packed.pack(direction, conv, weight, norms, parameters);
                    Ok(())
                }),
                _ => Ok(()),
            }
        })?;
        self.packed = Some(direction);
        Ok(())
    }

    fn across(&self) -> impl Iterator<Item = &plan::Conv> {
        self.program.layers.iter().filter_map(|layer| match layer {
            Layer::Conv(conv) if conv.across => Some(conv),
            _ => None,
        })
    }

    /// Memory for so many images.
    fn prepare(&mut self, images: usize) {
        self.images = images;
        let blocks = images.div_ceil(LANES);
        self.blocks.truncate(blocks);
        while self.blocks.len() < blocks {
            self.blocks.push(Block::new(&self.slots, &self.program));
        }
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.images = (images - index * LANES).min(LANES);
        }
        // Blocks of a chain add to the same gradients, one after the other. A function of the shapes alone.
        let across: usize = self.across().map(|conv| conv.shape.w_len()).sum();
        let values = self.program.parameters.iter().map(Tensor::elem_count).sum::<usize>() - across;
        let most = if values > 4 << 20 { 4 } else { 16 };
        let length = blocks.div_ceil(most);
        self.chains.resize_with(blocks.div_ceil(length), Chain::default);
    }
}

/// What steps read and never change.
struct Context<'a> {
    program: &'a Program,
    slots: &'a Slots,
    path: Path,
    weights: &'a [Option<PackedConv>],
    norms: &'a [NormState],
}

fn add(total: &mut [f32], values: &[f32]) {
    total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
}

fn copy(tensor: &Tensor, to: &mut [f32]) -> Result<()> {
    with_values(tensor, |values| {
        to.copy_from_slice(values);
        Ok(())
    })
}

/// The values of all parameters but the convolutions' weights, which stay empty: they are most of the memory, and read where
/// they are packed.
fn parameters(program: &Program) -> Result<Vec<Vec<f32>>> {
    let mut weights = vec![false; program.parameters.len()];
    for layer in &program.layers {
        if let Layer::Conv(conv) = layer {
            weights[conv.weight] = true;
        }
    }
    let values = |(tensor, is_weight): (&Tensor, bool)| match is_weight {
        true => Ok(Vec::new()),
        false => with_values(tensor, |values| Ok(values.to_vec())),
    };
    program.parameters.iter().zip(weights).map(values).collect()
}
