//! Inference of few images, one after the other: each layer is shared out over the threads instead of the images.

use std::collections::HashMap;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::memory::{Memory, Slots};
use super::packed::scale_and_bias;
use super::plan::{Channel, Conv, Destination, Finish, Layer, Mode, Program, Step};
use super::state::NormState;
use super::{parameters, team};
use crate::graph::{Graph, Value};
use crate::kernels::Path;
use crate::kernels::conv::Shape;
use crate::kernels::single::{
    Apply, Arena, Channels, Convolution, LANES, Layout, Pixels, Pool, Shared, Spans, Spread, Target,
};
use crate::meter;
use crate::ops::with_values;

/// A network for single images, its weights packed and its norms folded into them.
pub(crate) struct SingleEngine {
    path: Path,
    arena: Arena,
    work: Vec<Work>,
    /// Tasks of each work.
    tasks: Vec<usize>,
    input: Layout,
    /// The first pixel of each of the image's channels.
    images: Vec<usize>,
    /// Where each logit is.
    logits: Vec<usize>,
    macs: u64,
    activations: u64,
}

/// A step.
enum Work {
    Spread(Spread),
    Pixels(Pixels),
    Channels(Channels),
    Apply(Apply),
    Pool(Pool),
}

impl Work {
    fn spans(&self) -> (Spans, Spans) {
        match self {
            Self::Spread(work) => work.spans(),
            Self::Pixels(work) => work.spans(),
            Self::Channels(work) => work.spans(),
            Self::Apply(work) => work.spans(),
            Self::Pool(work) => work.spans(),
        }
    }

    fn tasks(&self) -> usize {
        match self {
            Self::Spread(work) => work.tasks(),
            Self::Pixels(work) => work.tasks(),
            Self::Channels(work) => work.tasks(),
            Self::Apply(work) => work.tasks(),
            Self::Pool(work) => work.tasks(),
        }
    }

    /// # Safety
    /// `memory` is the arena that the places were given out in; nobody touches it but other tasks of this work.
    unsafe fn run(&self, path: Path, memory: Shared, task: usize) {
        // SAFETY: handed on.
        unsafe {
            match self {
                Self::Spread(work) => work.run(memory, task),
                Self::Pixels(work) => work.run(path, memory, task),
                Self::Channels(work) => work.run(path, memory, task),
                Self::Apply(work) => work.run(path, memory, task),
                Self::Pool(work) => work.run(path, memory, task),
            }
        }
    }
}

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
        let mut places = Places::new(&program);
        let steps: Vec<Step> = program.forward.iter().flat_map(|phase| phase.steps.iter().copied()).collect();
        // First the memory of everything, one after the other; then the packing, at the same time.
        let ways: Vec<Option<Way>> = steps
            .iter()
            .map(|step| match step.layer(&program) {
                Layer::Conv(conv) => Some(places.way(conv)),
                _ => None,
            })
            .collect();
        let path = Path::best();
        let pack = |(step, way): (&Step, Option<Way>)| -> Vec<Work> {
            match (*step, step.layer(&program), way) {
                (Step::Conv(_), Layer::Conv(conv), Some(way)) => {
                    let (scale, biases) = scale_and_bias(conv, &norms, &values);
                    places.pack(path, conv, way, &values[conv.weight], &scale, &biases)
                }
                (Step::Apply(index), Layer::Finish(finish), _) => vec![places.apply(finish, &norms[index])],
                (Step::Pool(_), Layer::Pool(pool), _) => vec![Work::Pool(Pool {
                    windows: pool.windows,
                    max: pool.max,
                    channels: (pool.x.iter().map(|x| places.of(x, pool.windows.input)))
                        .zip(places.all(pool.y))
                        .collect(),
                    from: places.layouts[&pool.windows.input],
                    to: places.layouts[&pool.windows.output],
                })],
                // Steps of training.
                _ => Vec::new(),
            }
        };
        let work: Vec<Work> =
            (steps.par_iter().zip(ways).map(pack).collect::<Vec<_>>()).into_iter().flatten().collect();
        for work in &work {
            let (reads, writes) = work.spans();
            Spans::check_apart(&writes, &reads);
            assert!(reads.end().max(writes.end()) <= places.end, "single image: a place outside of the arena");
        }
        Ok(Some(Self {
            path,
            arena: Arena::new(places.end),
            tasks: work.iter().map(Work::tasks).collect(),
            work,
            input: places.layouts[&program.buffers[0].size],
            images: places.all(0),
            logits: program.output.iter().map(|channel| places.of(channel, (1, 1))).collect(),
            macs: program.macs,
            activations: program.activations,
        }))
    }

    /// `[n, c, h, w]` to `[n, classes]`.
    ///
    /// # Errors
    /// Images of another size.
    pub(crate) fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let (images, (height, width)) = (x.dim(0)?, self.input.size);
        let values = self.images.len() * height * width;
        if x.elem_count() != images * values {
            bail!("engine: images {:?} do not have the {values} values it was made for", x.dims());
        }
        meter::record(self.macs * images as u64, self.activations * images as u64);
        let mut logits = Vec::with_capacity(images * self.logits.len());
        let memory = self.arena.shared();
        with_values(x, |all| {
            for image in all.chunks_exact(values) {
                for (&place, plane) in self.images.iter().zip(image.chunks_exact(height * width)) {
                    for (row, values) in plane.chunks_exact(width).enumerate() {
                        // SAFETY: nothing else runs now.
                        unsafe { memory.write(place + self.input.at(row, 0), width) }.copy_from_slice(values);
                    }
                }
                // SAFETY: steps run one after the other, and no step's tasks write where another of its tasks reads or
                // writes: `check_apart` looked at whole steps, and their tasks share out what they write.
                team::run(&self.tasks, |step, task| unsafe { self.work[step].run(self.path, memory, task) });
                // SAFETY: nothing else runs any more.
                logits.extend(self.logits.iter().map(|&place| unsafe { memory.read(place, 1) }[0]));
            }
            Ok(())
        })?;
        Tensor::from_vec(logits, (images, self.logits.len()), x.device())
    }
}

/// How a convolution is done.
enum Way {
    Pixels,
    /// Pixels of the planes that the step before makes, which begin there.
    Spread(Spread, usize),
    Channels,
}

/// Where everything lies.
struct Places<'a> {
    program: &'a Program,
    layouts: HashMap<(usize, usize), Layout>,
    /// By slot.
    slots: Vec<usize>,
    of: Vec<Option<usize>>,
    /// A plane of zeros for each layout.
    zeros: HashMap<(usize, usize), usize>,
    end: usize,
}

impl<'a> Places<'a> {
    fn new(program: &'a Program) -> Self {
        let mut pads: HashMap<(usize, usize), usize> = program.buffers.iter().map(|buffer| (buffer.size, 0)).collect();
        for layer in &program.layers {
            let Layer::Conv(Conv { shape: s, .. }) = layer else { continue };
            let (size, pad) = if keeps_size(s) { (s.input, s.padding) } else { (s.output, Spread::room(s)) };
            if let Some(known) = pads.get_mut(&size).filter(|_| pad <= MOST_PADDING) {
                *known = pad.max(*known);
            }
        }
        let layouts: HashMap<_, _> = pads.into_iter().map(|(size, pad)| (size, Layout::new(size, pad))).collect();
        // Only planes that lie alike share memory: so their padding stays zero.
        let slots = Slots::new(program, |buffer| {
            let size = program.buffers[buffer].size;
            (program.buffers[buffer].planes * layouts[&size].len, size)
        });
        let mut end = 0;
        let mut take = |len: usize| {
            end += len;
            end - len
        };
        let starts = slots.lens.iter().map(|&len| take(len)).collect();
        let zeros = layouts.iter().map(|(size, layout)| (*size, take(layout.len))).collect();
        Self { program, zeros, slots: starts, of: slots.of, layouts, end }
    }

    /// The first pixel of a plane of a buffer, or of the zeros of its size.
    fn plane(&self, buffer: usize, plane: usize) -> usize {
        let layout = &self.layouts[&self.program.buffers[buffer].size];
        match self.of[Memory::Value(buffer).index(self.program.buffers.len())] {
            Some(slot) => self.slots[slot] + plane * layout.len + layout.front,
            None => self.zeros[&layout.size] + layout.front,
        }
    }

    /// The first pixels of all planes of a buffer.
    fn all(&self, buffer: usize) -> Vec<usize> {
        (0..self.program.buffers[buffer].planes).map(|plane| self.plane(buffer, plane)).collect()
    }

    /// The first pixel of a channel of a value of that size.
    fn of(&self, channel: &Channel, size: (usize, usize)) -> usize {
        match *channel {
            Channel::Plane { buffer, plane } => self.plane(buffer, plane),
            Channel::Zero => self.zeros[&size] + self.layouts[&size].front,
        }
    }

    fn target(
        &self,
        channel: &Channel,
        bias: f32,
        residual: Option<&Channel>,
        relu: bool,
        size: (usize, usize),
    ) -> Target {
        let residual = residual.filter(|channel| **channel != Channel::Zero).map(|channel| self.of(channel, size));
        Target { place: self.of(channel, size), bias, residual, relu }
    }

    /// How a convolution is done best; takes the memory for it.
    fn way(&mut self, conv: &Conv) -> Way {
        let s = &conv.shape;
        let (from, to) = (self.layouts[&s.input], self.layouts[&s.output]);
        // Sums of 8, which take half as long again with channels as lanes: their weights are read more often. On top comes
        // what it takes to copy a value or to take it out of a vector.
        let (inputs, outputs, taps) = (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel * s.kernel);
        let pixels = s.out_channels * inputs * taps * to.lines * LANES / 8;
        let channels = s.in_channels * outputs.div_ceil(8) * taps_met(s) * 3 / 2 + 2 * s.y_len();
        if keeps_size(s) {
            return if from.pad >= s.padding && pixels <= channels { Way::Pixels } else { Way::Channels };
        }
        let sources: Vec<Option<usize>> =
            conv.x.iter().map(|x| (*x != Channel::Zero).then(|| self.of(x, s.input))).collect();
        match Spread::new(s, &sources, &from, &to, self.end) {
            Some(spread) if pixels + s.x_len() / 2 <= channels => {
                let place = self.end;
                self.end += spread.memory(s.in_channels);
                Way::Spread(spread, place)
            }
            _ => Way::Channels,
        }
    }

    fn pack(&self, path: Path, conv: &Conv, way: Way, weights: &[f32], scale: &[f32], biases: &[f32]) -> Vec<Work> {
        let s = &conv.shape;
        let Destination { channels, residual, relu } = self.program.destination(conv);
        let sources: Vec<usize> = conv.x.iter().map(|x| self.of(x, s.input)).collect();
        let targets: Vec<Target> = (channels.iter().zip(biases).enumerate())
            .map(|(o, (channel, &bias))| self.target(channel, bias, residual.get(o), relu, s.output))
            .collect();
        let to = &self.layouts[&s.output];
        let of = |sources| Convolution { shape: s, weights, scale, sources, targets: &targets, to, arena: self.end };
        match way {
            Way::Channels => {
                vec![Work::Channels(Channels::new(&of(&sources), &self.layouts[&s.input]))]
            }
            Way::Pixels => {
                let at = |k: usize| k as isize - s.padding as isize;
                let taps =
                    (0..s.kernel * s.kernel).map(|tap| at(tap / s.kernel) * to.pitch as isize + at(tap % s.kernel));
                vec![Work::Pixels(Pixels::new(path, &of(&sources), taps.collect()))]
            }
            Way::Spread(spread, place) => {
                let (sources, taps) = spread.sources(s.kernel, place, s.in_channels);
                let pixels = Pixels::new(path, &of(&sources), taps);
                vec![Work::Spread(spread), Work::Pixels(pixels)]
            }
        }
    }

    fn apply(&self, finish: &Finish, norm: &NormState) -> Work {
        let size = self.program.buffers[finish.y].size;
        let channels = (0..finish.x.len()).filter(|&c| !finish.done[c]).map(|c| {
            let residual = finish.residual.as_ref().map(|residual| &residual[c]);
            let to = Channel::Plane { buffer: finish.y, plane: c };
            (self.of(&finish.x[c], size), norm.scale[c], self.target(&to, norm.shift[c], residual, finish.relu, size))
        });
        let layout = self.layouts[&size];
        Work::Apply(Apply { channels: channels.collect(), layout, mask: layout.mask() })
    }
}

/// Padding beyond which a map would be mostly that.
const MOST_PADDING: usize = 4;

/// Whether outputs lie where the inputs do.
fn keeps_size(s: &Shape) -> bool {
    s.stride == 1 && s.input == s.output
}

/// Taps that outputs of one channel meet in one input channel, all together.
fn taps_met(s: &Shape) -> usize {
    let along = |input: usize, output: usize| -> usize {
        let met =
            |o: usize| (0..s.kernel).filter(|k| (s.padding..input + s.padding).contains(&(o * s.stride + k))).count();
        (0..output).map(met).sum()
    };
    along(s.input.0, s.output.0) * along(s.input.1, s.output.1)
}
