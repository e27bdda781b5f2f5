//! Inference of few images, one after the other: each layer is shared out over the threads instead of the images.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::memory::{Memory, Slots};
use super::packed::scale_and_bias;
use super::plan::{Channel, Conv, Destination, Finish, Layer, Pool, Program, Step};
use super::state::{NormState, Slab};
use super::{parameters, with_values};
use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::flat;
use crate::kernels::lanes::geometry::{Geometry, bands_of};
use crate::kernels::single::{Convolve, Output, Weights};
use crate::meter;

use super::plan::Mode;

/// A network for single images, its weights packed and its norms folded into them.
pub(crate) struct SingleEngine {
    program: Program,
    slots: Slots,
    path: Path,
    convs: Vec<Packed>,
    norms: Vec<NormState>,
    slab: Slab<f32>,
}

#[derive(Default)]
struct Packed {
    weights: Kernel,
    /// Rows of the output that tasks share out.
    bands: Vec<Range<usize>>,
    biases: Vec<f32>,
}

/// What the lanes of a vector are.
enum Kernel {
    /// Output channels; a geometry a band.
    Channels(Weights, Vec<Geometry>),
    /// Pixels: for few outputs on a large map.
    Pixels(Vec<f32>),
}

impl Default for Kernel {
    fn default() -> Self {
        Self::Pixels(Vec::new())
    }
}

/// Multiply-accumulates below which a layer is not worth a second thread.
const SHARED: usize = 1 << 17;

impl SingleEngine {
    /// For images of `[channels, h, w]`; none where the graph has operations that only candle can run.
    ///
    /// # Errors
    /// Shapes that do not fit; parameters that are not f32 on the CPU.
    pub(crate) fn new(graph: &Graph, output: Value, image: (usize, usize, usize)) -> Result<Option<Self>> {
        let Some(program) = Program::new(graph, output, image, Mode::Infer)? else { return Ok(None) };
        let values = parameters(&program)?;
        let mut norms: Vec<NormState> = program.layers.iter().map(NormState::new).collect();
        for (norm, layer) in norms.iter_mut().zip(&program.layers) {
            if let Layer::Finish(finish) = layer {
                norm.load(finish, &values, Mode::Infer)?;
            }
        }
        let pack = |layer: &Layer| {
            let Layer::Conv(conv) = layer else { return Packed::default() };
            let (s, w) = (&conv.shape, &values[conv.weight]);
            let (scale, biases) = scale_and_bias(conv, &norms, &values);
            let (inputs, taps) = (s.in_channels / s.groups, s.kernel * s.kernel);
            let macs = s.w_len() * s.output.0 * s.output.1;
            let outputs = s.out_channels / s.groups;
            let channels = s.groups * outputs.div_ceil(16);
            // Many channels are shared out as they are; a few are cut into bands.
            let split = |tasks: usize| if macs < SHARED { 1 } else { 4usize.div_ceil(tasks) };
            if s.stride == 1 && outputs <= 8 && s.output.1 >= 6 {
                let bands = bands_of(s.output.0, split(s.groups)).collect();
                return Packed {
                    weights: Kernel::Pixels(flat::pack(w, &scale, s.groups, inputs, taps)),
                    bands,
                    biases,
                };
            }
            let bands: Vec<Range<usize>> = bands_of(s.output.0, split(channels)).collect();
            let geometries = bands.iter().map(|rows| conv.forward.band(rows.clone())).collect();
            let weights = Kernel::Channels(Weights::new(w, &scale, s.groups, inputs, taps), geometries);
            Packed { weights, bands, biases }
        };
        let convs = program.layers.par_iter().map(pack).collect();
        let slots = Slots::new(&program);
        let slab = Slab::new(&slots, &program);
        Ok(Some(Self { program, slots, path: Path::best(), convs, norms, slab }))
    }

    /// `[n, c, h, w]` to `[n, classes]`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let (images, input) = (x.dim(0)?, self.program.input);
        let values = input.planes * input.pixels;
        if x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        meter::record(self.program.macs * images as u64, self.program.activations * images as u64);
        let classes = self.program.output.len();
        let mut logits = Vec::with_capacity(images * classes);
        with_values(x, |all| {
            for image in all.chunks_exact(values) {
                self.image(image);
                let planes = self.slab.planes(&self.program, &self.slots, &self.program.output, Memory::Value);
                logits.extend(planes.into_iter().map(|plane| plane[0]));
            }
        })?;
        Tensor::from_vec(logits, (images, classes), x.device())
    }

    fn image(&mut self, image: &[f32]) {
        let Self { program, slots, path, convs, norms, slab } = self;
        slab.write(program, slots, &program.all(0), Memory::Value, |_, planes| {
            for (plane, from) in planes.into_iter().flatten().zip(image.chunks_exact(program.input.pixels)) {
                plane.copy_from_slice(from);
            }
        });
        for step in program.forward.iter().flat_map(|phase| &phase.steps) {
            match (*step, step.layer(program)) {
                (Step::Conv(index), Layer::Conv(layer)) => conv(program, slots, *path, layer, &convs[index], slab),
                (Step::Apply(index), Layer::Finish(layer)) => apply(program, slots, layer, &norms[index], slab),
                (_, Layer::Pool(layer)) => pool(program, slots, layer, slab),
                // Steps of training.
                _ => {}
            }
        }
    }
}

fn conv(program: &Program, slots: &Slots, path: Path, conv: &Conv, packed: &Packed, slab: &mut Slab<f32>) {
    let s = &conv.shape;
    let Destination { channels, residual, relu } = program.destination(conv);
    slab.write(program, slots, &channels, Memory::Value, |slab, planes| {
        let from = slab.planes(program, slots, &conv.x, Memory::Value);
        let added = slab.planes(program, slots, &residual, Memory::Value);
        let there = |o: usize| residual.get(o).is_some_and(|channel| *channel != Channel::Zero);
        let planes = planes.into_iter().flatten().enumerate();
        let mut outputs: Vec<Output<'_>> = planes
            .map(|(o, plane)| Output { plane, bias: packed.biases[o], residual: there(o).then(|| added[o]), relu })
            .collect();
        // Each task some channels in a band of rows.
        let (inputs, per_group) = (s.in_channels / s.groups, s.out_channels / s.groups);
        let shared = s.w_len() * s.output.0 * s.output.1 >= SHARED;
        let bands = packed.bands.iter().enumerate().map(|(band, rows)| {
            let band_outputs: Vec<Output<'_>> =
                outputs.iter_mut().map(|output| output.split_off(rows.len() * s.output.1)).collect();
            (band, rows.clone(), band_outputs.into_iter())
        });
        match &packed.weights {
            Kernel::Channels(weights, geometries) => {
                let mut tasks = Vec::new();
                for (band, _, mut outputs) in bands {
                    for block in weights.blocks() {
                        tasks.push((&geometries[band], block, outputs.by_ref().take(block.2).collect::<Vec<_>>()));
                    }
                }
                share(tasks, shared, |(geometry, block, mut to)| {
                    let from = &from[block.0 * inputs..][..inputs];
                    path.run(Convolve { geometry, weights, block, from, to: &mut to });
                });
            }
            Kernel::Pixels(weights) => {
                let mut tasks = Vec::new();
                for (_, rows, mut outputs) in bands {
                    for group in 0..s.groups {
                        tasks.push((group, rows.clone(), outputs.by_ref().take(per_group).collect::<Vec<_>>()));
                    }
                }
                let len = per_group * inputs * s.kernel * s.kernel;
                share(tasks, shared, |(group, rows, mut to)| {
                    let from = &from[group * inputs..][..inputs];
                    flat::convolve(path, s, &weights[group * len..][..len], from, rows, &mut to);
                });
            }
        }
    });
}

/// Runs `work` on all tasks, over the threads if that is worth it.
fn share<T: Send>(tasks: Vec<T>, shared: bool, work: impl Fn(T) + Sync + Send) {
    match shared {
        true => tasks.into_par_iter().for_each(work),
        false => tasks.into_iter().for_each(work),
    }
}

fn apply(program: &Program, slots: &Slots, finish: &Finish, norm: &NormState, slab: &mut Slab<f32>) {
    slab.write(program, slots, &program.all(finish.y), Memory::Value, |slab, planes| {
        let x = slab.planes(program, slots, &finish.x, Memory::Value);
        let none = Vec::new();
        let added = slab.planes(program, slots, finish.residual.as_ref().unwrap_or(&none), Memory::Value);
        for (c, y) in planes.into_iter().flatten().enumerate().filter(|(c, _)| !finish.done[*c]) {
            let (scale, shift) = (norm.scale[c], norm.shift[c]);
            y.iter_mut().zip(x[c]).for_each(|(y, x)| *y = scale * x + shift);
            if let Some(added) = added.get(c) {
                y.iter_mut().zip(*added).for_each(|(y, r)| *y += r);
            }
            if finish.relu {
                y.iter_mut().for_each(|y| *y = y.max(0.0));
            }
        }
    });
}

fn pool(program: &Program, slots: &Slots, layer: &Pool, slab: &mut Slab<f32>) {
    slab.write(program, slots, &program.all(layer.y), Memory::Value, |slab, planes| {
        let x = slab.planes(program, slots, &layer.x, Memory::Value);
        for (x, y) in x.into_iter().zip(planes.into_iter().flatten()) {
            layer.windows.each(|at, rows, columns| {
                let count = (rows.len() * columns.len()) as f32;
                let pixels = rows.flat_map(|row| &x[row * layer.windows.input.1..][columns.clone()]);
                y[at] = match layer.max {
                    true => pixels.fold(f32::NEG_INFINITY, |best, &x| if x > best || x.is_nan() { x } else { best }),
                    false => pixels.sum::<f32>() / count,
                };
            });
        }
    });
}
