//! How much memory an engine takes, from its plan: nothing is made.

use super::arena::{ArenaLayout, Placed};
use super::batch::{chain_lens, chains};
use super::format::Format;
use super::layers::Layers;
use super::memory::Slots;
use super::program::Program;
use crate::kernels::batch16::LANES;
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

    fn of_bytes(bytes: [usize; 3]) -> Self {
        let [values, weights, gradients] = bytes.map(|bytes| bytes as u64);
        Self { values, weights, gradients }
    }
}

/// Of a batch engine of this format with so many images.
pub(super) fn of_batch<F: Format>(layers: &Layers, program: &Program, images: usize) -> Footprint {
    let slots = Slots::new(layers, program, |buffer| (program.buffers[buffer].lines(), ()));
    let zeros = program.buffers.iter().map(|buffer| buffer.pixels).max().unwrap_or(0);
    let blocks = images.div_ceil(LANES);
    let lines = blocks * (slots.lens.iter().sum::<usize>() + zeros);
    let gradients = if program.backward.phases.is_empty() {
        0
    } else {
        let of_chain: usize = chain_lens(program, layers.convs.iter()).iter().sum();
        let all: usize = program.parameters.iter().map(|parameter| parameter.elem_count()).sum();
        chains(blocks, of_chain) * of_chain + all
    };
    let weights = layers.convs.iter().map(F::packed_bytes).sum();
    Footprint::of_bytes([lines * size_of::<F::Line>(), weights, gradients * size_of::<f32>()])
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
    Footprint::of_bytes([layout.end, weights, 0].map(|values| values * size_of::<f32>()))
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
    use crate::engine::half::{Half, HalfConv};
    use crate::engine::single::Single;
    use crate::engine::{BatchEngine, Mode, lowering};
    use crate::kernels::bf16::HalfPath;
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
        let image = (3, 12, 12);
        for (images, mode) in [(16, Mode::Infer), (37, Mode::Infer), (37, Mode::Train { images: false })] {
            let (layers, program) = lowering::lower(&graph, output, image, mode, true).unwrap();
            let single = BatchEngine::new(&graph, output, image, mode, true).unwrap();
            let taken = taken_by(single, images, |conv| conv.packed() * size_of::<f32>());
            assert_eq!(of_batch::<Single>(&layers, &program, images), taken, "f32, {images} images, {mode:?}");
            let (layers, program) = lowering::lower(&graph, output, image, mode, false).unwrap();
            for path in HalfPath::available() {
                let half = BatchEngine::half(path, &graph, output, image, mode).unwrap();
                let taken = taken_by(half, images, HalfConv::packed);
                assert_eq!(of_batch::<Half>(&layers, &program, images), taken, "bf16, {images} images, {mode:?}");
            }
        }
    }

    /// What an engine has after it computed so many images.
    fn taken_by<F: Format>(mut engine: BatchEngine<F>, images: usize, packed: fn(&mut F::Conv) -> usize) -> Footprint {
        let x = Tensor::ones((images, 3, 12, 12), DType::F32, &Device::Cpu).unwrap();
        let y = engine.forward(&x, false).unwrap();
        let mut gradients = 0;
        if engine.mode.trains() {
            let returned = engine.backward(&y).unwrap();
            gradients += returned.iter().map(|(_, gradient)| gradient.elem_count()).sum::<usize>();
            gradients += engine.chains.iter().flat_map(|chain| &chain.gradients).map(Vec::len).sum::<usize>();
        }
        let lines: usize = engine.blocks.iter().map(|block| block.slab.lines()).sum();
        let weights = engine.layers.convs.iter_mut().map(packed).sum();
        Footprint::of_bytes([lines * size_of::<F::Line>(), weights, gradients * size_of::<f32>()])
    }
}
