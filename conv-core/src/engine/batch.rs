//! The engine of batches: all passes over all blocks of images, from and to candle's tensors.

use std::time::Instant;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::block::{Block, Chain, Map};
use super::choice::WeightKernel;
use super::layers::{Channel, Conv, Layers};
use super::lowering::{Refusal, lower};
use super::memory::{Content, Slots};
use super::norm::FinishLayer;
use super::packed::{ConvLayer, Direction};
use super::parameters;
use super::program::{Mode, Phase, Program, Reduction};
use super::step::Context;
use super::survey::{self, EngineLayer, Times};
use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::lanes::{LANES, to_lines, to_rows};
use crate::meter;
use crate::ops::with_values;

/// Gradients that blocks are summed into: each chain of blocks has its own. A function of the shapes alone, so that bits do
/// not depend on threads.
const MOST_CHAINS: usize = 16;

/// The same for networks of more than [`MANY_VALUES`] parameters, whose gradients take much memory.
const MOST_LARGE_CHAINS: usize = 4;

/// See [`MOST_LARGE_CHAINS`].
const MANY_VALUES: usize = 4 << 20;

/// A network for images of one size, with the memory to run it.
pub(crate) struct BatchEngine {
    layers: Layers<ConvLayer, FinishLayer>,
    program: Program,
    slots: Slots,
    /// Whether the output is `[n, channels]` and no image.
    flat: bool,
    path: Path,
    mode: Mode,
    /// What the weights are packed for; nothing where the parameters are newer.
    packed: Option<Direction>,
    /// See [`parameters`].
    parameters: Vec<Vec<f32>>,
    blocks: Vec<Block>,
    chains: Vec<Chain>,
    /// By parameter, while the backward pass runs: gradients that are made of all blocks at once.
    gradients: Vec<Vec<f32>>,
    /// Images of the last forward pass.
    images: usize,
    /// How long layers took, where that is asked for.
    times: Option<Times>,
}

/// What each layer of such an engine does.
///
/// # Errors
/// Those of [`BatchEngine::new`].
pub(super) fn survey_batches(
    graph: &Graph,
    output: Value,
    image: (usize, usize, usize),
    mode: Mode,
    winograd: bool,
) -> std::result::Result<Vec<EngineLayer>, Refusal> {
    let (layers, program) = lower(graph, output, image, mode, winograd)?;
    Ok(survey::of_batch(&layers, &program))
}

impl BatchEngine {
    /// For images of `[channels, h, w]`, with Winograd's convolutions where they gain or without.
    ///
    /// # Errors
    /// A graph that only operations can run; shapes that do not fit.
    pub(crate) fn new(
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        mode: Mode,
        winograd: bool,
    ) -> std::result::Result<Self, Refusal> {
        let (layers, program) = lower(graph, output, image, mode, winograd)?;
        // Any buffers may share a slot.
        let slots = Slots::new(&layers, &program, |buffer| (program.buffers[buffer].lines(), ()));
        let path = Path::best();
        let layers = Layers {
            convs: layers.convs.into_iter().map(|plan| ConvLayer::new(path, plan)).collect(),
            finishes: layers.finishes.into_iter().map(FinishLayer::new).collect(),
            pools: layers.pools,
        };
        let mut engine = Self {
            layers,
            program,
            slots,
            flat: graph.is_flat(output),
            path,
            mode,
            packed: None,
            parameters: Vec::new(),
            blocks: Vec::new(),
            chains: Vec::new(),
            gradients: Vec::new(),
            images: 0,
            times: None,
        };
        engine.load()?;
        Ok(engine)
    }

    /// Reads the parameters and running statistics again, after something changed them.
    ///
    /// # Errors
    /// Parameters that are not f32 on the CPU.
    pub(crate) fn load(&mut self) -> Result<()> {
        self.parameters = parameters(&self.program.parameters, self.layers.convs.iter().map(|conv| &conv.plan))?;
        self.layers.finishes.iter_mut().try_for_each(|finish| finish.load(&self.parameters, self.mode))?;
        self.packed = None;
        Ok(())
    }

    /// Measures from now on how long each layer takes, or no longer.
    pub(crate) fn time_layers(&mut self, wanted: bool) {
        self.times = wanted.then(Times::default);
    }

    /// What each layer does, with the times since [`BatchEngine::time_layers`].
    pub(crate) fn survey(&self) -> Vec<EngineLayer> {
        let mut survey = survey::of_batch(&self.layers, &self.program);
        self.times.iter().for_each(|times| times.fill(&mut survey, &self.program.order));
        survey
    }

    /// Packs the weights for this direction.
    fn pack(&mut self, direction: Direction) -> Result<()> {
        if self.packed == Some(direction) {
            return Ok(());
        }
        let (parameters, tensors) = (&self.parameters, &self.program.parameters);
        let Layers { convs, finishes, .. } = &mut self.layers;
        convs.par_iter_mut().try_for_each(|conv| {
            with_values(&tensors[conv.plan.weight], |weight| {
                conv.pack(direction, weight, finishes, parameters);
                Ok(())
            })
        })?;
        self.packed = Some(direction);
        Ok(())
    }

    /// The convolutions whose weights' gradient is made of all blocks at once.
    fn convs_of_all_blocks(&self) -> impl Iterator<Item = &Conv> {
        let plans = self.layers.convs.iter().map(|conv| &conv.plan);
        plans.filter(|plan| plan.weight_gradient == WeightKernel::AllBlocks)
    }

    /// Memory for so many images.
    fn prepare(&mut self, images: usize) {
        self.images = images;
        let blocks = images.div_ceil(LANES);
        self.blocks.truncate(blocks);
        let map = Map { buffers: &self.program.buffers, slots: &self.slots };
        while self.blocks.len() < blocks {
            self.blocks.push(Block::new(map, self.layers.finishes.len()));
        }
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.images = (images - index * LANES).min(LANES);
        }
        let of_all: usize = self.convs_of_all_blocks().map(|conv| conv.shape.w_len()).sum();
        let values = self.program.parameters.iter().map(Tensor::elem_count).sum::<usize>() - of_all;
        let most = if values > MANY_VALUES { MOST_LARGE_CHAINS } else { MOST_CHAINS };
        self.chains.resize_with(blocks.div_ceil(blocks.div_ceil(most)), Chain::default);
    }

    /// `[n, c, h, w]` to `[n, classes]`, or to `[n, channels, h', w']` where the output is an image. In training, norms'
    /// running statistics move if they are to `follow`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor, follow: bool) -> Result<Tensor> {
        let y = self.forward_values(x, follow)?;
        Tensor::from_vec(y, self.output_shape(), x.device())
    }

    /// Of the last forward pass.
    pub(crate) fn output_shape(&self) -> Shape {
        let (images, channels, (height, width)) = (self.images, self.program.output.len(), self.program.size);
        if self.flat { (images, channels).into() } else { (images, channels, height, width).into() }
    }

    /// The values of [`BatchEngine::forward`], of [`BatchEngine::output_shape`].
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward_values(&mut self, x: &Tensor, follow: bool) -> Result<Vec<f32>> {
        let images = x.dim(0)?;
        let input = self.program.input();
        let values = input.planes * input.pixels;
        if images == 0 || x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        self.prepare(images);
        self.pack(Direction::Forward)?;
        let all = self.program.all(0);
        self.fill(x, &all, input.pixels, Content::Value)?;
        meter::record(self.program.macs * images as u64, self.program.activations * images as u64);
        for phase in 0..self.program.forward.len() {
            self.phase(phase, Direction::Forward, follow)?;
        }
        let Program { output, size, .. } = &self.program;
        Ok(self.rows(output, size.0 * size.1, Content::Value))
    }

    /// Writes `rows: [n, channels, pixels]` into the planes of these channels.
    fn fill(
        &mut self,
        rows: &Tensor,
        channels: &[Channel],
        pixels: usize,
        content: fn(usize) -> Content,
    ) -> Result<()> {
        let values = channels.len() * pixels;
        let Self { blocks, program, slots, .. } = self;
        let map = Map { buffers: &program.buffers, slots };
        with_values(rows, |all| {
            blocks.par_iter_mut().zip(all.par_chunks((LANES * values).max(1))).for_each(|(block, rows)| {
                block.slab.write(map, channels, content, |_, planes| {
                    for (channel, plane) in planes.into_iter().enumerate() {
                        plane.into_iter().for_each(|lines| to_lines(&rows[channel * pixels..], values, lines));
                    }
                });
            });
            Ok(())
        })
    }

    /// The values of these channels, `[n, channels, pixels]`.
    fn rows(&self, channels: &[Channel], pixels: usize, content: fn(usize) -> Content) -> Vec<f32> {
        let values = channels.len() * pixels;
        let mut all = vec![0f32; self.images * values];
        let map = Map { buffers: &self.program.buffers, slots: &self.slots };
        self.blocks.par_iter().zip(all.par_chunks_mut((LANES * values).max(1))).for_each(|(block, rows)| {
            for (channel, lines) in block.slab.planes(map, channels, content).into_iter().enumerate() {
                to_rows(lines, values, &mut rows[channel * pixels..]);
            }
        });
        all
    }

    /// From the gradient of the last forward pass's output, those of all parameters. What the forward pass left is used up.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub(crate) fn backward(&mut self, gradient: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
        let (size, output) = (self.program.size, self.program.output.clone());
        let (pixels, channels) = (size.0 * size.1, output.len());
        if gradient.elem_count() != self.images * channels * pixels {
            bail!("engine: a gradient {:?} of {} x {channels} x {pixels} outputs", gradient.dims(), self.images);
        }
        self.pack(Direction::Backward)?;
        let lens: Vec<usize> = self.program.parameters.iter().map(Tensor::elem_count).collect();
        let (mut of_chains, mut of_all) = (lens.clone(), vec![Vec::new(); lens.len()]);
        for &Conv { weight, .. } in self.convs_of_all_blocks() {
            of_chains[weight] = 0;
            of_all[weight] = vec![0.0; lens[weight]];
        }
        self.chains.iter_mut().for_each(|chain| chain.clear(&of_chains));
        self.gradients = of_all;
        self.fill(gradient, &output, pixels, Content::Gradient)?;
        for phase in 0..self.program.backward.len() {
            self.phase(phase, Direction::Backward, false)?;
        }
        let gradients = self.total_gradients()?;
        let tensors = self.program.parameters.iter().zip(gradients);
        tensors.map(|(of, values)| Ok((of.clone(), Tensor::from_vec(values, of.shape(), of.device())?))).collect()
    }

    /// By parameter: the gradients of all chains in their order, those made of all blocks at once, and those of norms.
    fn total_gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.par_iter_mut().enumerate().for_each(|(index, total)| {
            for chain in &self.chains {
                let partial = &chain.gradients[index];
                if total.is_empty() {
                    total.clone_from(partial);
                } else {
                    // A chain has none, where the gradient was made of all blocks at once.
                    add(total, partial);
                }
            }
        });
        for finish in &self.layers.finishes {
            let Some(norm) = &finish.plan.norm else { continue };
            let Some((weight, bias)) = &finish.gradients else { bail!("engine: a norm was passed over") };
            add(&mut gradients[norm.weight], weight);
            add(&mut gradients[norm.bias], bias);
        }
        Ok(gradients)
    }

    /// The gradient of the images of the last backward pass, `[n, c, h, w]`; of use in [`Mode::Train`] with `images`.
    pub(crate) fn image_gradient(&self) -> Vec<f32> {
        let wanted = |(plane, &wanted): (usize, &bool)| {
            if wanted { Channel::Plane { buffer: 0, plane } } else { Channel::Zero }
        };
        let channels: Vec<Channel> = self.program.image_gradients.iter().enumerate().map(wanted).collect();
        self.rows(&channels, self.program.input().pixels, Content::Gradient)
    }

    /// One phase: every block for itself, then what is made of all blocks.
    fn phase(&mut self, phase: usize, direction: Direction, follow: bool) -> Result<()> {
        let Self { layers, program, slots, path, parameters, blocks, chains, gradients, times, .. } = self;
        let phases = match direction {
            Direction::Forward => &program.forward,
            Direction::Backward => &program.backward,
        };
        let Phase { steps, reduction } = &phases[phase];
        let map = Map { buffers: &program.buffers, slots };
        let context = Context { layers, program, map, path: *path };
        let (length, timed) = (blocks.len().div_ceil(chains.len().max(1)), times.is_some());
        blocks.par_chunks_mut(length).zip(chains.par_iter_mut()).try_for_each(|(blocks, chain)| {
            chain.times.clear();
            for block in blocks {
                for (at, step) in steps.iter().enumerate() {
                    let started = timed.then(Instant::now);
                    context.execute(*step, block, chain)?;
                    if let Some(started) = started {
                        chain.times.resize(steps.len(), Default::default());
                        chain.times[at] += started.elapsed();
                    }
                }
            }
            Ok::<_, candle_core::Error>(())
        })?;
        let started = Instant::now();
        match *reduction {
            Reduction::Moments(id) => layers[id].reduce_moments(id, blocks, parameters, follow)?,
            Reduction::Sums(id) => layers[id].reduce_sums(id, blocks)?,
            Reduction::Weights(id) => {
                let conv = &layers[id].plan;
                let bias = conv.bias.map(|bias| chains[0].gradients[bias].as_mut_slice());
                context.weight_gradient_of_all(conv, blocks, &mut gradients[conv.weight], bias);
            }
            Reduction::Nothing => {}
        }
        if let Some(times) = times {
            times.add_phase(&phases[phase], chains.iter().map(|chain| &*chain.times), started.elapsed());
        }
        Ok(())
    }
}

fn add(total: &mut [f32], values: &[f32]) {
    total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
}
