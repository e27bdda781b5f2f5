//! What a run holds: the memory of each block of images, the gradients of each chain of blocks, the statistics of each norm.

use candle_core::{Device, Result, Tensor};

use super::copy;
use super::memory::{Memory, Slots};
use super::plan::{Buffer, Channel, Finish, Layer, Mode, Program};
use crate::kernels::lanes::Line;
use crate::kernels::lanes::norm::Moments;

/// The slots of one block of images.
pub(super) struct Slab {
    /// By slot. A step takes what it writes out, and puts it back.
    pub(super) slots: Vec<Vec<Line>>,
    /// As long as the longest plane.
    zeros: Vec<Line>,
}

impl Slab {
    pub(super) fn new(slots: &Slots, program: &Program) -> Self {
        let longest = program.buffers.iter().map(|buffer| buffer.pixels).max().unwrap_or(0);
        let slots = slots.lens.iter().map(|&len| vec![Line::ZERO; len]).collect();
        Self { slots, zeros: vec![Line::ZERO; longest] }
    }

    /// The planes of these channels, of values or of gradients as `memory` says.
    pub(super) fn planes<'a>(
        &'a self,
        program: &Program,
        slots: &Slots,
        channels: &[Channel],
        memory: impl Fn(usize) -> Memory,
    ) -> Vec<&'a [Line]> {
        let pixels = channels.iter().find_map(|channel| match channel {
            Channel::Plane { buffer, .. } => Some(program.buffers[*buffer].pixels),
            Channel::Zero => None,
        });
        let pixels = pixels.unwrap_or(self.zeros.len());
        let plane = |channel: &Channel| match *channel {
            Channel::Zero => &self.zeros[..pixels],
            Channel::Plane { buffer, plane } => match slots.of[memory(buffer).index(program.buffers.len())] {
                Some(slot) => &self.slots[slot][plane * program.buffers[buffer].stride..][..pixels],
                None => &self.zeros[..pixels],
            },
        };
        channels.iter().map(plane).collect()
    }

    /// Calls `work` with the planes of these channels to be written (none for zeros) and with everything else to be read.
    pub(super) fn write<R>(
        &mut self,
        program: &Program,
        slots: &Slots,
        channels: &[Channel],
        memory: impl Fn(usize) -> Memory,
        work: impl FnOnce(&Self, Vec<Option<&mut [Line]>>) -> R,
    ) -> R {
        // Each buffer's slot is taken out once; then planes are dealt out of it.
        let mut taken: Vec<(usize, usize, Vec<Line>)> = Vec::new();
        for channel in channels {
            let Channel::Plane { buffer, .. } = *channel else { continue };
            let slot = slots.of[memory(buffer).index(program.buffers.len())];
            if let Some(slot) = slot.filter(|_| !taken.iter().any(|&(known, ..)| known == buffer)) {
                taken.push((buffer, slot, std::mem::take(&mut self.slots[slot])));
            }
        }
        let result = {
            let mut dealt: Vec<(usize, Vec<Option<&mut [Line]>>)> = (taken.iter_mut())
                .map(|(buffer, _, lines)| {
                    let Buffer { pixels, stride, .. } = program.buffers[*buffer];
                    (*buffer, lines.chunks_exact_mut(stride.max(1)).map(|plane| Some(&mut plane[..pixels])).collect())
                })
                .collect();
            let planes = channels.iter().map(|channel| match *channel {
                Channel::Zero => None,
                Channel::Plane { buffer, plane } => {
                    dealt.iter_mut().find(|(known, _)| *known == buffer).and_then(|(_, planes)| planes[plane].take())
                }
            });
            let planes = planes.collect();
            work(self, planes)
        };
        for (_, slot, lines) in taken {
            self.slots[slot] = lines;
        }
        result
    }
}

/// The memory of 16 images.
pub(super) struct Block {
    pub(super) slab: Slab,
    /// By layer, by channel: for finishes with a norm.
    pub(super) moments: Vec<Vec<Moments>>,
    /// By layer, by channel: sums of the gradient, and of the gradient times the distance from the mean.
    pub(super) sums: Vec<Vec<(f64, f64)>>,
    /// Images that are there; the other lanes hold zeros at first and are never counted.
    pub(super) images: usize,
}

impl Block {
    pub(super) fn new(slots: &Slots, program: &Program) -> Self {
        let by_channel = |layer: &Layer| match layer {
            Layer::Finish(finish) if finish.norm.is_some() => finish.x.len(),
            _ => 0,
        };
        let channels: Vec<usize> = program.layers.iter().map(by_channel).collect();
        Self {
            slab: Slab::new(slots, program),
            moments: channels.iter().map(|&count| vec![Moments::default(); count]).collect(),
            sums: channels.iter().map(|&count| vec![(0.0, 0.0); count]).collect(),
            images: 0,
        }
    }
}

/// Gradients that consecutive blocks add to in order.
#[derive(Default)]
pub(super) struct Chain {
    /// By parameter.
    pub(super) gradients: Vec<Vec<f32>>,
}

impl Chain {
    /// Zeros, as many as each parameter has.
    pub(super) fn clear(&mut self, lens: &[usize]) {
        self.gradients.resize_with(lens.len(), Vec::new);
        for (gradient, &len) in self.gradients.iter_mut().zip(lens) {
            gradient.clear();
            gradient.resize(len, 0.0);
        }
    }
}

/// What a finish multiplies with and adds, by channel, and what its gradient does.
#[derive(Default)]
pub(super) struct NormState {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) mean: Vec<f32>,
    inv_std: Vec<f64>,
    count: f64,
    /// Gradient of the input: `scale g + slope (x - mean) + offset`.
    pub(super) slope: Vec<f32>,
    pub(super) offset: Vec<f32>,
    /// Of weight and bias.
    pub(super) gradients: Option<(Vec<f32>, Vec<f32>)>,
}

impl NormState {
    pub(super) fn new(layer: &Layer) -> Self {
        let Layer::Finish(finish) = layer else { return Self::default() };
        let channels = finish.x.len();
        let zeros = || vec![0.0; channels];
        Self {
            scale: vec![1.0; channels],
            shift: zeros(),
            mean: zeros(),
            slope: zeros(),
            offset: zeros(),
            ..Self::default()
        }
    }

    /// The running statistics, where they are what normalises.
    pub(super) fn load(&mut self, finish: &Finish, parameters: &[Vec<f32>], mode: Mode) -> Result<()> {
        if let Some(bias) = finish.bias {
            self.shift.clone_from(&parameters[bias]);
        }
        let (Some(norm), Mode::Infer) = (&finish.norm, mode) else { return Ok(()) };
        let channels = finish.x.len();
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        copy(norm.layer.running_mean.as_tensor(), &mut mean)?;
        copy(norm.layer.running_var.as_tensor(), &mut variance)?;
        for c in 0..channels {
            let inv_std = 1.0 / (f64::from(variance[c]) + norm.layer.eps).sqrt();
            let scale = f64::from(parameters[norm.weight][c]) * inv_std;
            self.scale[c] = scale as f32;
            self.shift[c] = (f64::from(parameters[norm.bias][c]) - scale * f64::from(mean[c])) as f32;
        }
        Ok(())
    }

    /// Batch statistics from all blocks, in their order; `follow`: the running ones move.
    pub(super) fn finish_moments(
        &mut self,
        layer: &Layer,
        index: usize,
        blocks: &[Block],
        parameters: &[Vec<f32>],
        follow: bool,
    ) -> Result<()> {
        let Layer::Finish(Finish { norm: Some(norm), x, .. }) = layer else { return Ok(()) };
        let layer = &norm.layer;
        let (mut means, mut variances) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        self.inv_std.resize(x.len(), 0.0);
        let affine = parameters[norm.weight].iter().zip(&parameters[norm.bias]);
        for (c, (&weight, &bias)) in affine.enumerate() {
            let all = blocks.iter().fold(Moments::default(), |all, block| all.merge(block.moments[index][c]));
            let variance = all.squares / all.count;
            self.inv_std[c] = 1.0 / (variance + layer.eps).sqrt();
            self.mean[c] = all.mean as f32;
            self.count = all.count;
            let scale = f64::from(weight) * self.inv_std[c];
            self.scale[c] = scale as f32;
            self.shift[c] = (f64::from(bias) - scale * all.mean) as f32;
            means.push(all.mean as f32);
            // PyTorch keeps the unbiased variance.
            variances.push((all.squares / (all.count - 1.0).max(1.0)) as f32);
        }
        if !follow {
            return Ok(());
        }
        layer.follow(&Tensor::new(means, &Device::Cpu)?, &Tensor::new(variances, &Device::Cpu)?)
    }

    /// The norm's gradients from all blocks, in their order.
    pub(super) fn finish_sums(&mut self, layer: &Layer, index: usize, blocks: &[Block]) {
        let Layer::Finish(Finish { norm: Some(_), x, .. }) = layer else { return };
        let (mut weight, mut bias) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        for c in 0..x.len() {
            let (sum, product) = blocks.iter().fold((0.0, 0.0), |(sum, product), block| {
                let (first, second) = block.sums[index][c];
                (sum + first, product + second)
            });
            weight.push((product * self.inv_std[c]) as f32);
            bias.push(sum as f32);
            let scale = f64::from(self.scale[c]);
            let slope = -scale * self.inv_std[c] * self.inv_std[c] * product / self.count;
            self.slope[c] = slope as f32;
            self.offset[c] = (-scale * sum / self.count) as f32;
        }
        self.gradients = Some((weight, bias));
    }
}
