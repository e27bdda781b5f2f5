//! How much memory an engine takes, from its plan: nothing is made.

use super::arena::{ArenaLayout, Placed};
use super::batch::{chain_lens, chains};
use super::choice::BatchKernel;
use super::layers::{Conv, Layers};
use super::memory::Slots;
use super::program::Program;
use crate::kernels::batch16::{LANES, winograd};
use crate::kernels::image::LANES as PIXELS;
use crate::kernels::shape::ConvShape;

/// Bytes that an engine holds for a number of images, beside the network's parameters and the images themselves. What threads
/// keep to work in, and lists of pixels and taps, are left out: they are small beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Values of the layers and, in training, their gradients: those that are never alive together share memory.
    pub values: u64,
    /// Weights once more, in the order in which kernels read them.
    pub weights: u64,
    /// In training, the parameters' gradients: those of every chain of blocks, and their sum, which a step returns.
    pub gradients: u64,
}

impl Footprint {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.values + self.weights + self.gradients
    }

    fn of_values([values, weights, gradients]: [usize; 3]) -> Self {
        let bytes = |values: usize| (values * size_of::<f32>()) as u64;
        Self { values: bytes(values), weights: bytes(weights), gradients: bytes(gradients) }
    }
}

/// Of a batch engine with so many images.
pub(super) fn of_batch(layers: &Layers, program: &Program, images: usize) -> Footprint {
    let slots = Slots::new(layers, program, |buffer| (program.buffers[buffer].lines(), ()));
    let zeros = program.buffers.iter().map(|buffer| buffer.pixels).max().unwrap_or(0);
    let blocks = images.div_ceil(LANES);
    let values = blocks * (slots.lens.iter().sum::<usize>() + zeros) * LANES;
    let gradients = if program.backward.phases.is_empty() {
        0
    } else {
        let of_chain: usize = chain_lens(program, layers.convs.iter()).iter().sum();
        let all: usize = program.parameters.iter().map(|parameter| parameter.elem_count()).sum();
        chains(blocks, of_chain) * of_chain + all
    };
    Footprint::of_values([values, layers.convs.iter().map(of_directions).sum(), gradients])
}

/// Packed weights of a convolution in a batch engine, which has those of one direction at a time.
fn of_directions(conv: &Conv) -> usize {
    let of = |kernel| match kernel {
        BatchKernel::Winograd => winograd::packed(conv.shape.out_channels, conv.shape.in_channels),
        BatchKernel::Gathered | BatchKernel::Direct => conv.shape.w_len(),
    };
    of(conv.forward).max(conv.input_gradient.as_ref().map_or(0, |gradient| of(gradient.kernel)))
}

/// Of an engine of single images.
pub(super) fn of_image(layers: &Layers, program: &Program) -> Footprint {
    let mut layout = ArenaLayout::new(layers, program);
    let mut weights = 0;
    for conv in &layers.convs {
        weights += match layout.place(conv) {
            Placed::Pixels | Placed::SpreadPixels(..) => conv.shape.w_len(),
            Placed::Channels => of_whole_vectors(&conv.shape),
        };
    }
    Footprint::of_values([layout.end, weights, 0])
}

/// Weights whose outputs fill vectors: zeros stand where there is no output.
fn of_whole_vectors(s: &ConvShape) -> usize {
    let outputs = s.out_channels / s.groups;
    s.w_len() / outputs * outputs.next_multiple_of(PIXELS)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::*;
    use crate::engine::{BatchEngine, Mode, lowering};
    use crate::layers::{BatchNorm2d, Conv2d, Linear};
    use crate::{ConvSpec, Graph, ParamStore, Value};

    /// Two convolutions, the second one's map so small that its weights' gradient is made of all blocks at once.
    fn network(store: &ParamStore) -> Result<(Graph, Value)> {
        let mut graph = Graph::new();
        let mut x = graph.input(3);
        for (name, spec) in [("a", ConvSpec::same(3, 24, 3, 2)), ("b", ConvSpec::same(24, 1300, 3, 1))] {
            x = graph.conv(&Conv2d::new(spec, store.builder().pp(name))?, x)?;
            let norm = BatchNorm2d::new(spec.out_channels, store.builder().pp(name).pp("bn"))?;
            x = graph.finish(x, Some(&norm), None, true)?;
        }
        x = graph.global_avg_pool(x);
        let y = graph.linear(&Linear::new(1300, 10, store.builder().pp("fc"))?, x)?;
        Ok((graph, y))
    }

    #[test]
    fn a_batch_engine_takes_what_its_plan_says() {
        let store = ParamStore::new(0, &Device::Cpu);
        let (graph, output) = network(&store).unwrap();
        for (images, mode) in [(16, Mode::Infer), (37, Mode::Infer), (37, Mode::Train { images: false })] {
            let (layers, program) = lowering::lower(&graph, output, (3, 12, 12), mode, true).unwrap();
            let planned = of_batch(&layers, &program, images);
            let mut engine = BatchEngine::new(&graph, output, (3, 12, 12), mode, true).unwrap();
            let x = Tensor::ones((images, 3, 12, 12), DType::F32, &Device::Cpu).unwrap();
            let y = engine.forward(&x, false).unwrap();
            let mut gradients = 0;
            if mode.trains() {
                let returned = engine.backward(&y).unwrap();
                gradients += returned.iter().map(|(_, gradient)| gradient.elem_count()).sum::<usize>();
                gradients += engine.chains.iter().flat_map(|chain| &chain.gradients).map(Vec::len).sum::<usize>();
            }
            let values = engine.blocks.iter().map(|block| block.slab.lines() * LANES).sum();
            let weights = engine.layers.convs.iter_mut().map(|conv| conv.packed()).sum();
            assert_eq!(planned, Footprint::of_values([values, weights, gradients]), "{images} images, {mode:?}");
        }
    }
}
