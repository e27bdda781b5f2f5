//! Steps of plain layers over a block of images. Poolings and upsampling read and write lines as they are stored, and so do their
//! gradients where each value is written once; what goes over several values, and all other gradients, is made in f32.

use super::block::{Block, Chain, Slab};
use super::context::Context;
use super::format::Format;
use super::group_norm::{affine, gradients};
use super::layers::{Channel, Plain, PlainOp};
use super::memory::Content;
use crate::kernels::batch16::Line;
use crate::kernels::batch16::crossed_gate::{CrossedGate, CrossedGateGradient};
use crate::kernels::batch16::gate::{MapGradient, Mapped, Product, ProductSum, Softmax, SoftmaxGradient};
use crate::kernels::batch16::group_norm::{GroupNorm, GroupNormGradient};
use crate::kernels::batch16::pool::{Pool, PoolGradient, Pooling, PoolingBack};
use crate::kernels::stored::Stored;
use crate::kernels::windows::Windows;

/// Planes that may be written, one after the other.
type Written<'a, 'b, L = Line> = &'a mut [Option<&'b mut [L]>];

impl<F: Format> Context<'_, F> {
    pub(super) fn plain(&self, layer: &Plain, block: &mut Block<F::Line>) {
        block.slab.write(self.layout, &self.program.all(layer.y), Content::Value, |slab, mut planes| {
            let x = self.values(slab, &layer.x);
            match pooling(&layer.op) {
                Some((pooling, windows)) => {
                    let pairs = x.iter().zip(planes.iter_mut().flatten());
                    pairs.for_each(|(x, y)| self.format.isa().execute(Pool { pooling, windows, x, y }));
                }
                None => {
                    let by = self.factors(slab, layer);
                    let (mut x_memory, mut by_memory) = (Vec::new(), Vec::new());
                    let (x, by) = (F::widened(x, &mut x_memory), F::widened(by, &mut by_memory));
                    F::writing(planes, |planes| self.plain_of_f32(&layer.op, &x, &by, planes));
                }
            }
        });
    }

    /// What is no pooling and no upsampling.
    fn plain_of_f32(&self, op: &PlainOp, x: &[&[Line]], by: &[&[Line]], mut planes: Vec<Option<&mut [Line]>>) {
        let isa = self.format.isa();
        let pairs = |planes: Written<'_, '_>, work: &mut dyn FnMut(usize, &mut [Line])| {
            planes.iter_mut().enumerate().for_each(|(c, y)| y.iter_mut().for_each(|y| work(c, y)));
        };
        let planes = planes.as_mut_slice();
        match op {
            PlainOp::MaxPool(_) | PlainOp::MeanPool(_) | PlainOp::Repeat(_) => {}
            PlainOp::Map(map) => pairs(planes, &mut |c, y| isa.execute(Mapped { map: *map, x: x[c], y })),
            PlainOp::Product { .. } => {
                let channels = planes.len();
                pairs(planes, &mut |c, y| {
                    for at in (c..x.len()).step_by(channels) {
                        isa.execute(Product { x: x[at], by: by[at], y, adds: at != c });
                    }
                });
            }
            PlainOp::CrossedGate(crossing) => {
                let (x, gate) = x.split_at(planes.len());
                for of in pairs_across(planes.len()) {
                    if let [Some(one), Some(other)] = of.map(|c| planes[c].take()) {
                        let (x, gate) = (of.map(|c| x[c]), of.map(|c| gate[c]));
                        isa.execute(CrossedGate { crossing: *crossing, x, gate, y: [one, other] });
                    }
                }
            }
            PlainOp::Softmax { parts } => {
                for of in strided(x.len(), *parts) {
                    let y = of.iter().filter_map(|&c| planes[c].take()).collect();
                    isa.execute(Softmax { x: &picked(x, &of), y });
                }
            }
            PlainOp::GroupNorm(norm) => {
                let (scale, shift) = affine(norm, self.parameters);
                let size = x.len() / norm.groups;
                for (group, planes) in planes.chunks_mut(size).enumerate() {
                    let of = group * size..(group + 1) * size;
                    let (x, scale, shift) = (&x[of.clone()], &scale[of.clone()], &shift[of]);
                    let y = planes.iter_mut().filter_map(Option::take).collect();
                    isa.execute(GroupNorm { x, scale, shift, eps: norm.eps, y });
                }
            }
        }
    }

    /// The planes that a product multiplies with: a line each, where one pixel meets all.
    fn factors<'b>(&self, slab: &'b Slab<F::Line>, layer: &Plain) -> Vec<&'b [F::Line]> {
        let PlainOp::Product { by, pixel, .. } = &layer.op else { return Vec::new() };
        let planes = self.values(slab, by);
        // A channel of zeros may be longer.
        if *pixel { planes.into_iter().map(|plane| &plane[..1]).collect() } else { planes }
    }

    /// The gradient of what the layer reads; those of its parameters are added to the chain's.
    pub(super) fn plain_gradient(&self, layer: &Plain, block: &mut Block<F::Line>, chain: &mut Chain) {
        let (all, (keeps_x, keeps_y), (by, by_adds)) = (self.program.all(layer.y), layer.keeps(), layer.by());
        block.slab.write(self.layout, &layer.x, Content::Gradient, |slab, mut planes| {
            if let Some((pooling, windows)) =
                pooling(&layer.op).filter(|(pooling, windows)| pooling.writes_once(windows))
            {
                let read = Read {
                    dy: self.gradients(slab, &all),
                    x: self.values(slab, kept(keeps_x, &layer.x)),
                    y: self.values(slab, kept(keeps_y, &all)),
                    by: Vec::new(),
                };
                return self.pool_gradient(layer, (pooling, windows), &read, &mut planes);
            }
            let (mut dy_memory, mut x_memory, mut y_memory, mut by_memory) = Default::default();
            let read = Read {
                dy: F::widened(self.gradients(slab, &all), &mut dy_memory),
                x: F::widened(self.values(slab, kept(keeps_x, &layer.x)), &mut x_memory),
                y: F::widened(self.values(slab, kept(keeps_y, &all)), &mut y_memory),
                by: F::widened(self.factors(slab, layer), &mut by_memory),
            };
            F::writing(planes, |mut planes| self.gradient_of_f32(layer, &read, &mut planes, chain));
        });
        // After that of `x`, which may be the same channels.
        block.slab.write(self.layout, by, Content::Gradient, |slab, planes| {
            let (mut x_memory, mut dy_memory) = (Vec::new(), Vec::new());
            let x = F::widened(self.values(slab, kept(!by.is_empty(), &layer.x)), &mut x_memory);
            let dy = F::widened(self.gradients(slab, kept(!by.is_empty(), &all)), &mut dy_memory);
            F::writing(planes, |planes| {
                for (c, (to, &adds)) in planes.into_iter().zip(by_adds).enumerate() {
                    let dy = dy[c % dy.len()];
                    match to {
                        None => {}
                        Some([to]) => self.format.isa().execute(ProductSum { a: x[c], b: dy, to, adds }),
                        Some(y) => self.format.isa().execute(Product { x: x[c], by: dy, y, adds }),
                    }
                }
            });
        });
    }

    fn pool_gradient<L: Stored>(
        &self,
        layer: &Plain,
        (pooling, windows): (Pooling, &Windows),
        Read { dy, x, y, .. }: &Read<'_, L>,
        planes: Written<'_, '_, L>,
    ) {
        for (c, (dx, &adds)) in planes.iter_mut().zip(&layer.adds).enumerate() {
            let Some(dx) = dx else { continue };
            let back = match pooling {
                Pooling::Max => PoolingBack::Max { x: x[c], y: y[c] },
                Pooling::Mean => PoolingBack::Mean,
                Pooling::Repeat => PoolingBack::Repeat,
            };
            self.format.isa().execute(PoolGradient { back, windows, dy: dy[c], dx, adds });
        }
    }

    fn gradient_of_f32(&self, layer: &Plain, read: &Read<'_, Line>, planes: Written<'_, '_>, chain: &mut Chain) {
        if let Some(pool) = pooling(&layer.op) {
            return self.pool_gradient(layer, pool, read, planes);
        }
        let (isa, Read { dy, x, y, by }) = (self.format.isa(), read);
        match &layer.op {
            PlainOp::MaxPool(_) | PlainOp::MeanPool(_) | PlainOp::Repeat(_) => {}
            PlainOp::Map(map) => {
                for (c, (dx, &adds)) in planes.iter_mut().zip(&layer.adds).enumerate() {
                    let Some(dx) = dx else { continue };
                    isa.execute(MapGradient { map: *map, y: y[c], dy: dy[c], dx, adds });
                }
            }
            PlainOp::Product { .. } => {
                for (c, (dx, &adds)) in planes.iter_mut().zip(&layer.adds).enumerate() {
                    let Some(dx) = dx else { continue };
                    isa.execute(Product { x: dy[c % dy.len()], by: by[c], y: dx, adds });
                }
            }
            PlainOp::CrossedGate(crossing) => {
                let ((x, gate), channels) = (x.split_at(dy.len()), dy.len());
                let mut to = |c: usize| (planes[c].take(), layer.adds[c]);
                // Both of a pair together, while the gradient that they have in common is near.
                for [c, other] in pairs_across(channels).flat_map(|[one, other]| [[one, other], [other, one]]) {
                    let (dx, dgate) = (to(c), to(channels + c));
                    let (x, gate, dy, crossing) = (x[c], gate[c], [dy[c], dy[other]], *crossing);
                    isa.execute(CrossedGateGradient { crossing, x, gate, dy, dx, dgate });
                }
            }
            PlainOp::Softmax { parts } => {
                for of in strided(dy.len(), *parts) {
                    let dx = of.iter().map(|&c| (planes[c].take(), layer.adds[c])).collect();
                    isa.execute(SoftmaxGradient { y: &picked(y, &of), dy: &picked(dy, &of), dx });
                }
            }
            PlainOp::GroupNorm(norm) => {
                let (scale, _) = affine(norm, self.parameters);
                let size = x.len() / norm.groups;
                let mut sums = Vec::with_capacity(x.len());
                for (group, planes) in planes.chunks_mut(size).enumerate() {
                    let of = group * size..(group + 1) * size;
                    let (x, dy, scale) = (&x[of.clone()], &dy[of.clone()], &scale[of.clone()]);
                    let dx = planes.iter_mut().map(Option::take).zip(layer.adds[of].iter().copied()).collect();
                    sums.extend(isa.execute(GroupNormGradient { x, dy, scale, eps: norm.eps, dx }));
                }
                for (index, of_parameter) in gradients(norm, self.parameters, &sums) {
                    let total = &mut chain.gradients[index];
                    total.iter_mut().zip(of_parameter).for_each(|(total, value)| *total += value);
                }
            }
        }
    }
}

/// What a plain layer's gradient reads, each where it is kept.
struct Read<'a, L> {
    dy: Vec<&'a [L]>,
    x: Vec<&'a [L]>,
    y: Vec<&'a [L]>,
    by: Vec<&'a [L]>,
}

/// What a pooling or upsampling makes of which windows.
fn pooling(op: &PlainOp) -> Option<(Pooling, &Windows)> {
    match op {
        PlainOp::MaxPool(windows) => Some((Pooling::Max, windows)),
        PlainOp::MeanPool(windows) => Some((Pooling::Mean, windows)),
        PlainOp::Repeat(windows) => Some((Pooling::Repeat, windows)),
        _ => None,
    }
}

/// By place within a part: the channels there, one of each part.
pub(super) fn strided(channels: usize, parts: usize) -> impl Iterator<Item = Vec<usize>> {
    let size = channels / parts;
    (0..size).map(move |at| (0..parts).map(|part| part * size + at).collect())
}

/// Channels that lie half of them apart.
pub(super) fn pairs_across(channels: usize) -> impl Iterator<Item = [usize; 2]> {
    let half = channels / 2;
    (0..half).map(move |c| [c, half + c])
}

/// These channels, where they are kept.
fn kept(keeps: bool, channels: &[Channel]) -> &[Channel] {
    if keeps { channels } else { &[] }
}

fn picked<'a>(planes: &[&'a [Line]], of: &[usize]) -> Vec<&'a [Line]> {
    of.iter().map(|&c| planes[c]).collect()
}
