//! Where a single image's planes lie, and which kernel does a convolution over them.

use std::collections::BTreeMap;

use super::memory::{Memory, Slots};
use super::plan::{Channel, Conv, Destination, Finish, Layer, Program};
use super::single::Work;
use super::state::NormState;
use crate::kernels::Path;
use crate::kernels::conv::Shape;
use crate::kernels::single::{Apply, Channels, Convolution, LANES, Layout, Pixels, Spread, Target};

/// How a convolution is done.
pub(super) enum Way {
    Pixels,
    /// Pixels of the planes that the step before makes, which begin there.
    Spread(Spread, usize),
    Channels,
}

/// Where everything lies.
pub(super) struct Places<'a> {
    program: &'a Program,
    pub(super) layouts: BTreeMap<(usize, usize), Layout>,
    /// By slot.
    slots: Vec<usize>,
    of: Vec<Option<usize>>,
    /// A plane of zeros for each layout.
    zeros: BTreeMap<(usize, usize), usize>,
    /// Values that all of it takes.
    pub(super) end: usize,
}

impl<'a> Places<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let mut pads: BTreeMap<(usize, usize), usize> = program.buffers.iter().map(|buffer| (buffer.size, 0)).collect();
        for layer in &program.layers {
            let Layer::Conv(Conv { shape: s, .. }) = layer else { continue };
            let (size, pad) = if keeps_size(s) { (s.input, s.padding) } else { (s.output, Spread::room(s)) };
            if pad <= MOST_PADDING {
                pads.entry(size).and_modify(|known| *known = pad.max(*known));
            }
        }
        let layouts: BTreeMap<_, _> = pads.into_iter().map(|(size, pad)| (size, Layout::new(size, pad))).collect();
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

    /// The first pixel of a plane of a buffer.
    fn plane(&self, buffer: usize, plane: usize) -> usize {
        let layout = &self.layouts[&self.program.buffers[buffer].size];
        let slot = self.of[Memory::Value(buffer).index(self.program.buffers.len())];
        let slot = slot.expect("a buffer that a step touches has memory");
        self.slots[slot] + plane * layout.len + layout.front
    }

    /// The first pixels of all planes of a buffer.
    pub(super) fn all(&self, buffer: usize) -> Vec<usize> {
        (0..self.program.buffers[buffer].planes).map(|plane| self.plane(buffer, plane)).collect()
    }

    /// The first pixel of a channel of a value of that size.
    pub(super) fn of(&self, channel: &Channel, size: (usize, usize)) -> usize {
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
    pub(super) fn way(&mut self, conv: &Conv) -> Way {
        let s = &conv.shape;
        let (from, to) = (self.layouts[&s.input], self.layouts[&s.output]);
        // Costs in multiply-adds of 8 lanes. With channels as lanes these take half as long again, as weights are read more
        // often, and every output has to be taken out of a vector; spreading copies every input.
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

    pub(super) fn pack(
        &self,
        path: Path,
        conv: &Conv,
        way: Way,
        weights: &[f32],
        scale: &[f32],
        biases: &[f32],
    ) -> Vec<Work> {
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
                vec![Work::Pixels(Pixels::new(path, &of(&sources), to.taps(s.kernel, s.padding)))]
            }
            Way::Spread(spread, place) => {
                let (sources, taps) = spread.sources(s.kernel, place, s.in_channels);
                let pixels = Pixels::new(path, &of(&sources), taps);
                vec![Work::Spread(spread), Work::Pixels(pixels)]
            }
        }
    }

    pub(super) fn apply(&self, finish: &Finish, norm: &NormState) -> Work {
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
