//! Runs a network on the CPU, 16 images a vector: forward, backward and all gradients, without an autograd graph.
//!
//! [`lowering`] writes a graph down as the layers of [`plan`], [`phases`] puts their steps in order, [`memory`] decides
//! which buffers share a slot, [`state`] holds what one block of images needs; [`forward`] and [`backward`] are the steps.
//! Every block of 16 images has its own memory, so blocks are worked on in parallel without any two sharing a byte; what
//! has to be summed over blocks is summed in the order of blocks. [`single`] runs few images, for which vectors of 16 would
//! be mostly empty, with a [`team`] of threads. The result has the same bits for any number of threads.

mod backward;
mod forward;
mod fuse;
mod lowering;
mod memory;
mod packed;
mod phases;
mod places;
mod plan;
mod single;
mod state;
mod team;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::lanes::{LANES, Line, to_lines, to_rows};
use crate::meter;
use crate::ops::with_values;

use memory::{Memory, Slots};
use packed::{Direction, PackedConv};
pub(crate) use plan::Mode;
use plan::{Channel, Layer, Phase, Program, Sync};
pub(crate) use single::SingleEngine;
use state::{Block, Chain, NormState};

/// A network for images of one size, with the memory to run it.
pub(crate) struct Engine {
    program: Program,
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

    /// `[n, c, h, w]` to `[n, classes]`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let images = x.dim(0)?;
        let input = self.program.input;
        let values = input.planes * input.pixels;
        if images == 0 || x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        self.prepare(images);
        self.pack(Direction::Forward)?;
        let Self { blocks, slots, .. } = self;
        with_values(x, |all| {
            blocks.par_iter_mut().zip(all.par_chunks(LANES * values)).for_each(|(block, rows)| {
                let Some(slot) = slots.of[0] else { return };
                let planes = block.slab.slots[slot].chunks_exact_mut(input.stride);
                for (plane, lines) in planes.take(input.planes).enumerate() {
                    to_lines(&rows[plane * input.pixels..], values, &mut lines[..input.pixels]);
                }
            });
            Ok(())
        })?;
        meter::record(self.program.macs * images as u64, self.program.activations * images as u64);
        for phase in 0..self.program.forward.len() {
            self.run(phase, true)?;
        }
        let classes = self.program.output.len();
        let mut logits = vec![0f32; images * classes];
        let mut lines = vec![Line::ZERO; classes];
        for (block, rows) in self.blocks.iter().zip(logits.chunks_mut(LANES * classes)) {
            let planes = block.slab.planes(&self.program, &self.slots, &self.program.output, Memory::Value);
            lines.iter_mut().zip(planes).for_each(|(line, plane)| *line = plane[0]);
            to_rows(&lines, classes, rows);
        }
        Tensor::from_vec(logits, (images, classes), x.device())
    }

    /// From the gradient of the last forward pass's logits, `[n, classes]`, those of all parameters.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub(crate) fn backward(&mut self, gradient: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
        let classes = self.program.output.len();
        let rows = gradient.to_vec2::<f32>()?;
        if rows.len() != self.images || rows.iter().any(|row| row.len() != classes) {
            bail!("engine: a gradient {:?} of {} x {classes} logits", gradient.dims(), self.images);
        }
        self.pack(Direction::Backward)?;
        let lens: Vec<usize> = self.program.parameters.iter().map(Tensor::elem_count).collect();
        let mut own = lens.clone();
        self.across().for_each(|conv| own[conv.weight] = 0);
        self.chains.iter_mut().for_each(|chain| chain.clear(&own));
        let mut gradients: Vec<Vec<f32>> = lens.iter().map(|_| Vec::new()).collect();
        self.across().for_each(|conv| gradients[conv.weight] = vec![0.0; lens[conv.weight]]);
        self.gradients = gradients;
        for (block, rows) in self.blocks.iter_mut().zip(rows.chunks(LANES)) {
            for (class, channel) in self.program.output.iter().enumerate() {
                let Channel::Plane { buffer, plane } = *channel else { continue };
                let mut line = Line::ZERO;
                line.0.iter_mut().zip(rows).for_each(|(value, row)| *value = row[class]);
                let slot = self.slots.of[Memory::Gradient(buffer).index(self.program.buffers.len())];
                if let Some(slot) = slot {
                    block.slab.slots[slot][plane * self.program.buffers[buffer].stride] = line;
                }
            }
        }
        for phase in 0..self.program.backward.len() {
            self.run(phase, false)?;
        }
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.par_iter_mut().enumerate().for_each(|(index, total)| {
            for chain in &self.chains {
                let partial = &chain.gradients[index];
                match total.is_empty() {
                    true => total.clone_from(partial),
                    // None, where it was made of all blocks at once.
                    false => add(total, partial),
                }
            }
        });
        for (layer, norm) in self.program.layers.iter().zip(&self.norms) {
            if let (Layer::Finish(plan::Finish { norm: Some(indices), .. }), Some((weight, bias))) =
                (layer, norm.gradients.as_ref())
            {
                add(&mut gradients[indices.weight], weight);
                add(&mut gradients[indices.bias], bias);
            }
        }
        let tensors = self.program.parameters.iter().zip(gradients);
        tensors.map(|(of, values)| Ok((of.clone(), Tensor::from_vec(values, of.shape(), of.device())?))).collect()
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
        let len = |tensor: &Tensor| tensor.elem_count();
        let across: usize = self.across().map(|conv| len(&self.program.parameters[conv.weight])).sum();
        let values = self.program.parameters.iter().map(len).sum::<usize>() - across;
        let most = if values > 4 << 20 { 4 } else { 16 };
        let length = blocks.div_ceil(most);
        self.chains.resize_with(blocks.div_ceil(length), Chain::default);
    }

    /// One phase: every block for itself, then what is summed over blocks.
    fn run(&mut self, phase: usize, forward: bool) -> Result<()> {
        let Self { program, slots, path, weights, norms, parameters, chains, gradients, blocks, .. } = self;
        let phases = if forward { &program.forward } else { &program.backward };
        let Phase { steps, sync } = &phases[phase];
        let context = Context { program, slots, path: *path, weights, norms };
        let length = blocks.len().div_ceil(chains.len().max(1));
        blocks.par_chunks_mut(length).zip(chains.par_iter_mut()).for_each(|(blocks, chain)| {
            for block in blocks {
                for step in steps {
                    context.step(*step, block, chain);
                }
            }
        });
        match *sync {
            Sync::Moments(index) => norms[index].finish_moments(&program.layers[index], index, blocks, parameters)?,
            Sync::Sums(index) => norms[index].finish_sums(&program.layers[index], index, blocks),
            Sync::Weights(index) => {
                if let Layer::Conv(conv) = &program.layers[index] {
                    let mut bias = conv.bias.map(|bias| std::mem::take(&mut chains[0].gradients[bias]));
                    context.weight_gradient_across(conv, blocks, &mut gradients[conv.weight], bias.as_mut());
                    if let (Some(index), Some(bias)) = (conv.bias, bias) {
                        chains[0].gradients[index] = bias;
                    }
                }
            }
            Sync::Nothing => {}
        }
        Ok(())
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
