//! The engine of batches: what it holds for a network. [`super::passes`] has what it does.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::block::{Block, BlockLayout, Chain};
use super::choice::WeightKernel;
use super::format::Format;
use super::half::Half;
use super::layers::{Conv, Layers};
use super::lowering::{LoweringResult, lower};
use super::memory::Slots;
use super::norm::FinishLayer;
use super::packed::Direction;
use super::parameters;
use super::program::{Mode, Program};
use super::single::Single;
use super::survey::{self, EngineLayer};
use super::times::Times;
use crate::graph::{Graph, Value};
use crate::kernels::Isa;
use crate::kernels::batch16::LANES;
use crate::kernels::bf16::HalfPath;
use crate::ops::with_values;

/// Gradients that blocks are summed into: each chain of blocks has its own. A function of the shapes alone, so that bits do
/// not depend on threads.
const MOST_CHAINS: usize = 16;

/// The same for networks of more than [`MANY_VALUES`] parameters, whose gradients take much memory.
const MOST_LARGE_CHAINS: usize = 4;

/// See [`MOST_LARGE_CHAINS`].
const MANY_VALUES: usize = 4 << 20;

/// A network for images of one size, with the memory to run it.
pub(crate) struct BatchEngine<F: Format = Single> {
    pub(super) layers: Layers<F::Conv, FinishLayer>,
    pub(super) program: Program,
    pub(super) slots: Slots,
    /// Whether the output is `[n, channels]` and no image.
    pub(super) flat: bool,
    pub(super) format: F,
    pub(super) mode: Mode,
    /// What the weights are packed for; nothing where the parameters are newer.
    pub(super) packed: Option<Direction>,
    /// See [`parameters`].
    pub(super) parameters: Vec<Vec<f32>>,
    pub(super) blocks: Vec<Block<F::Line>>,
    pub(super) chains: Vec<Chain>,
    /// By parameter, while the backward pass runs: gradients that are made of all blocks at once.
    pub(super) gradients: Vec<Vec<f32>>,
    /// Images of the last forward pass.
    pub(super) images: usize,
    /// How long layers took, where that is asked for.
    pub(super) times: Option<Times>,
}

impl BatchEngine {
    /// In f32, for images of `[channels, h, w]`, with Winograd's convolutions where they gain or without.
    ///
    /// # Errors
    /// A graph that only operations can run; shapes that do not fit.
    pub(crate) fn new(
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        mode: Mode,
        winograd: bool,
    ) -> LoweringResult<Self> {
        Self::in_format(Single(Isa::best()), graph, output, image, mode, winograd)
    }
}

impl BatchEngine<Half> {
    /// In bf16, for images of `[channels, h, w]`.
    ///
    /// # Errors
    /// A graph that only operations can run; shapes that do not fit.
    pub(crate) fn half(
        path: HalfPath,
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        mode: Mode,
    ) -> LoweringResult<Self> {
        Self::in_format(Half(path), graph, output, image, mode, false)
    }
}

impl<F: Format> BatchEngine<F> {
    fn in_format(
        format: F,
        graph: &Graph,
        output: Value,
        image: (usize, usize, usize),
        mode: Mode,
        winograd: bool,
    ) -> LoweringResult<Self> {
        let (layers, program) = lower(graph, output, image, mode, winograd)?;
        // Any buffers may share a slot.
        let slots = Slots::new(&layers, &program, |buffer| (program.buffers[buffer].lines(), ()));
        let layers = Layers {
            convs: layers.convs.into_iter().map(|plan| format.conv(plan)).collect(),
            finishes: layers.finishes.into_iter().map(FinishLayer::new).collect(),
            plains: layers.plains,
        };
        let mut engine = Self {
            layers,
            program,
            slots,
            flat: graph.is_flat(output),
            format,
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
        self.parameters = parameters(&self.program.parameters, self.layers.convs.iter().map(AsRef::as_ref))?;
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
        let mut survey = survey::of_batch(&self.layers, &self.program, F::kernel);
        self.times.iter().for_each(|times| times.fill(&mut survey, &self.program.order));
        survey
    }

    /// Packs the weights for this direction.
    pub(super) fn pack(&mut self, direction: Direction) -> Result<()> {
        if self.packed == Some(direction) {
            return Ok(());
        }
        let (parameters, tensors) = (&self.parameters, &self.program.parameters);
        let Layers { convs, finishes, .. } = &mut self.layers;
        convs.par_iter_mut().try_for_each(|conv| {
            with_values(&tensors[conv.as_ref().weight], |weight| {
                F::pack(conv, direction, weight, finishes, parameters);
                Ok(())
            })
        })?;
        self.packed = Some(direction);
        Ok(())
    }

    /// The convolutions whose weights' gradient is made of all blocks at once.
    pub(super) fn convs_of_all_blocks(&self) -> impl Iterator<Item = &Conv> {
        let plans = self.layers.convs.iter().map(AsRef::as_ref);
        plans.filter(|plan: &&Conv| plan.weight_gradient == WeightKernel::AllBlocks)
    }

    /// Values of the gradients that every chain of blocks has of its own, by parameter.
    pub(super) fn chain_lens(&self) -> Vec<usize> {
        chain_lens(&self.program, self.layers.convs.iter().map(AsRef::as_ref))
    }

    /// Memory for so many images.
    pub(super) fn prepare(&mut self, images: usize) {
        self.images = images;
        let blocks = images.div_ceil(LANES);
        self.blocks.truncate(blocks);
        let layout = BlockLayout { buffers: &self.program.buffers, slots: &self.slots };
        while self.blocks.len() < blocks {
            self.blocks.push(Block::new(layout, self.layers.finishes.len()));
        }
        for (index, block) in self.blocks.iter_mut().enumerate() {
            block.images = (images - index * LANES).min(LANES);
        }
        let chains = chains(blocks, self.chain_lens().iter().sum());
        self.chains.resize_with(chains, Chain::default);
    }
}

/// How many chains so many blocks make, whose gradients have so many values.
pub(super) fn chains(blocks: usize, values: usize) -> usize {
    let most = if values > MANY_VALUES { MOST_LARGE_CHAINS } else { MOST_CHAINS };
    blocks.div_ceil(blocks.div_ceil(most))
}

/// By parameter, how many values of its gradient each chain has of its own: none of weights whose gradient is made of all blocks
/// at once by every convolution that has them.
pub(super) fn chain_lens<'a>(program: &Program, plans: impl Iterator<Item = &'a Conv>) -> Vec<usize> {
    let mut alone: BTreeMap<usize, bool> = BTreeMap::new();
    for plan in plans {
        *alone.entry(plan.weight).or_insert(true) &= plan.weight_gradient == WeightKernel::AllBlocks;
    }
    let len =
        |(index, tensor): (usize, &Tensor)| if alone.get(&index) == Some(&true) { 0 } else { tensor.elem_count() };
    program.parameters.iter().enumerate().map(len).collect()
}
