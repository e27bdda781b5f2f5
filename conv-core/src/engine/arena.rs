//! Where a single image's planes lie in an arena, and the kernels over them.

use std::collections::BTreeMap;

use super::choice::{self, ImageKernel, WIDEST_PADDING};
use super::group_norm;
use super::layers::{Channel, Conv, Layers, Plain, PlainOp};
use super::memory::{Content, Slots};
use super::norm::FinishLayer;
use super::plain::{pairs_across, strided};
use super::program::Program;
use crate::kernels::Isa;
use crate::kernels::image::{
    self, Apply, Channels, Convolution, Gate, GateOp, ImageStep, Job, LANES, Pixels, PlaneLayout, Spread, Target,
};
use crate::kernels::windows::Windows;

/// Where everything lies.
pub(super) struct ArenaLayout<'a> {
    program: &'a Program,
    /// By size of a map.
    pub(super) layouts: BTreeMap<(usize, usize), PlaneLayout>,
    slots: Slots,
    /// By slot, where it begins.
    starts: Vec<usize>,
    /// A plane of zeros for each layout.
    zeros: BTreeMap<(usize, usize), usize>,
    /// Values that all of it takes.
    pub(super) end: usize,
}

/// How a convolution is done, with what that takes of the arena.
pub(super) enum Placed {
    Pixels,
    /// Pixels of the planes that the step before fills, which begin there.
    SpreadPixels(Spread, usize),
    Channels,
}

impl<'a> ArenaLayout<'a> {
    pub(super) fn new(layers: &Layers, program: &'a Program) -> Self {
        let mut pads: BTreeMap<(usize, usize), usize> = program.buffers.iter().map(|buffer| (buffer.size, 0)).collect();
        for conv in &layers.convs {
            let (size, pad) = choice::padding(&conv.shape);
            if pad <= WIDEST_PADDING {
                pads.entry(size).and_modify(|known| *known = pad.max(*known));
            }
        }
        let layouts: BTreeMap<_, _> = pads.into_iter().map(|(size, pad)| (size, PlaneLayout::new(size, pad))).collect();
        // Only planes that lie alike share memory: so their padding stays zero.
        let slots = Slots::new(layers, program, |buffer| {
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
        Self { program, layouts, slots, starts, zeros, end }
    }

    /// The first pixel of a channel of a value of that size.
    pub(super) fn first_pixel(&self, channel: &Channel, size: (usize, usize)) -> usize {
        let layout = &self.layouts[&size];
        let plane = match *channel {
            Channel::Zero => self.zeros[&size],
            Channel::Plane { buffer, plane } => {
                self.starts[self.slots.slot(Content::Value(buffer))] + plane * layout.len
            }
        };
        plane + layout.front
    }

    /// The first pixels of all planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<usize> {
        let size = self.program.buffers[buffer].size;
        self.program.all(buffer).iter().map(|channel| self.first_pixel(channel, size)).collect()
    }

    fn target(
        &self,
        channel: &Channel,
        bias: f32,
        residual: Option<&Channel>,
        relu: bool,
        size: (usize, usize),
    ) -> Target {
        let residual = residual.filter(|channel| **channel != Channel::Zero);
        let residual = residual.map(|channel| self.first_pixel(channel, size));
        Target { place: self.first_pixel(channel, size), bias, residual, relu }
    }

    /// The kernel that a convolution gets.
    pub(super) fn kernel(&self, conv: &Conv) -> ImageKernel {
        choice::image(&conv.shape, &self.layouts[&conv.shape.input], &self.layouts[&conv.shape.output])
    }

    /// Takes the memory that a convolution's kernel needs beside its inputs and outputs.
    pub(super) fn place(&mut self, conv: &Conv) -> Placed {
        match self.kernel(conv) {
            ImageKernel::Pixels => Placed::Pixels,
            ImageKernel::Channels => Placed::Channels,
            ImageKernel::SpreadPixels => {
                let (s, place) = (&conv.shape, self.end);
                let is_there = |x: &Channel| (*x != Channel::Zero).then(|| self.first_pixel(x, s.input));
                let sources: Vec<Option<usize>> = conv.x.iter().map(is_there).collect();
                let spread = Spread::new(s, &sources, &self.layouts[&s.input], &self.layouts[&s.output], place);
                let spread = spread.expect("the choice saw that the outputs' padding has room");
                self.end += spread.memory(s.in_channels);
                Placed::SpreadPixels(spread, place)
            }
        }
    }

    /// The steps of a convolution.
    pub(super) fn conv(
        &self,
        isa: Isa,
        conv: &Conv,
        placed: Placed,
        weights: &[f32],
        scale: &[f32],
        biases: &[f32],
    ) -> Vec<ImageStep> {
        let (s, to) = (&conv.shape, &conv.to);
        let sources: Vec<usize> = conv.x.iter().map(|x| self.first_pixel(x, s.input)).collect();
        let targets: Vec<Target> = (to.channels.iter().zip(biases).enumerate())
            .map(|(o, (channel, &bias))| self.target(channel, bias, to.residual.get(o), to.relu, s.output))
            .collect();
        let layout = &self.layouts[&s.output];
        let of =
            |sources| Convolution { shape: s, weights, scale, sources, targets: &targets, to: layout, arena: self.end };
        match placed {
            Placed::Channels => {
                vec![ImageStep::Channels(Channels::new(&of(&sources), &self.layouts[&s.input]))]
            }
            Placed::Pixels => {
                vec![ImageStep::Pixels(Pixels::new(isa, &of(&sources), layout.taps(s.kernel, s.padding)))]
            }
            Placed::SpreadPixels(spread, place) => {
                let (sources, taps) = spread.sources(s.kernel, place, s.in_channels);
                let pixels = Pixels::new(isa, &of(&sources), taps);
                vec![ImageStep::Spread(spread), ImageStep::Pixels(pixels)]
            }
        }
    }

    /// The step of what no convolution finishes on its way.
    pub(super) fn finish(&self, finish: &FinishLayer) -> ImageStep {
        let plan = &finish.plan;
        let size = self.program.buffers[plan.y].size;
        let channels = plan.left.iter().map(|&c| {
            let residual = plan.residual.as_ref().map(|residual| &residual[c]);
            let to = Channel::Plane { buffer: plan.y, plane: c };
            let target = self.target(&to, finish.shift[c], residual, plan.relu, size);
            (self.first_pixel(&plan.x[c], size), finish.scale[c], target)
        });
        let layout = self.layouts[&size];
        ImageStep::Apply(Apply { channels: channels.collect(), layout, mask: layout.mask() })
    }

    /// The step of a plain layer; `parameters`: see [`super::parameters`].
    pub(super) fn plain(&self, plain: &Plain, parameters: &[Vec<f32>]) -> ImageStep {
        let size = self.program.buffers[plain.y].size;
        let to = self.layouts[&size];
        // Planes of another size than the outputs', each with its output.
        let resized = |from: (usize, usize)| {
            let x = plain.x.iter().map(|x| self.first_pixel(x, from));
            (x.zip(self.all(plain.y)).collect(), self.layouts[&from])
        };
        let pool = |windows: &Windows, max: bool| {
            let (channels, from) = resized(windows.input);
            ImageStep::Pool(image::Pool { windows: *windows, max, channels, from, to })
        };
        let whole = |place: usize| place..place + to.lines * LANES;
        let read = |c: usize| whole(self.first_pixel(&plain.x[c], size));
        let written = |c: usize| whole(self.first_pixel(&Channel::Plane { buffer: plain.y, plane: c }, size));
        let job = |of: &[usize]| {
            let (reads, writes) = of.iter().map(|&c| (read(c), written(c))).unzip();
            Job { reads, writes, affine: Vec::new() }
        };
        let all: Vec<usize> = (0..plain.x.len()).collect();
        let (op, jobs) = match &plain.op {
            PlainOp::MaxPool(windows) => return pool(windows, true),
            PlainOp::MeanPool(windows) => return pool(windows, false),
            PlainOp::Repeat(windows) => {
                let (channels, from) = resized(windows.output);
                return ImageStep::Repeat(image::Repeat { factor: windows.kernel, channels, from, to });
            }
            PlainOp::Map(map) => (GateOp::Map(*map), all.chunks(1).map(job).collect()),
            PlainOp::Product { by, pixel, .. } => {
                let factor = |by: &Channel| match pixel {
                    true => {
                        let place = self.first_pixel(by, (1, 1));
                        place..place + 1
                    }
                    false => whole(self.first_pixel(by, size)),
                };
                let channels = self.program.buffers[plain.y].planes;
                let sum = |c: usize| {
                    let reads = (c..all.len()).step_by(channels).flat_map(|at| [read(at), factor(&by[at])]).collect();
                    Job { reads, writes: vec![written(c)], affine: Vec::new() }
                };
                (GateOp::Product, (0..channels).map(sum).collect())
            }
            PlainOp::CrossedGate(crossing) => {
                let channels = all.len() / 2;
                let pair = |of: [usize; 2]| {
                    let reads = of.into_iter().chain(of.map(|c| channels + c)).map(read).collect();
                    Job { reads, writes: of.map(written).into(), affine: Vec::new() }
                };
                (GateOp::Crossed(*crossing), pairs_across(channels).map(pair).collect())
            }
            PlainOp::Softmax { parts } => (GateOp::Softmax, strided(all.len(), *parts).map(|of| job(&of)).collect()),
            PlainOp::GroupNorm(norm) => {
                let (scale, shift) = group_norm::affine(norm, parameters);
                let of_group =
                    |of: &[usize]| Job { affine: of.iter().map(|&c| (scale[c], shift[c])).collect(), ..job(of) };
                let jobs = all.chunks(all.len() / norm.groups).map(of_group).collect();
                (GateOp::GroupNorm { eps: norm.eps }, jobs)
            }
        };
        ImageStep::Gate(Gate::new(op, jobs, &to))
    }
}
