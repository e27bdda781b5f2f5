//! Convolution with output channels as lanes: a pixel, broadcast, meets the weights of 16 outputs. For small maps with many
//! channels, and for any stride.

use std::ops::Range;

use super::{Convolution, LANES, PlaneLayout, Shared, Spans, Target, part, tasks};
use crate::kernels::batch16::geometry::{Class, Geometry, Tap};
use crate::kernels::epilogue::{self, Scalar};
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::tiles::tiles;

/// A packed convolution.
pub(crate) struct Channels {
    /// `[group][block of 16 outputs][channel][tap][lane]`, zero where there is no output.
    weights: Vec<f32>,
    geometry: Geometry,
    sources: Vec<usize>,
    targets: Vec<Target>,
    /// Of a group.
    inputs: usize,
    outputs: usize,
    /// Tasks that share out the blocks of all groups.
    shares: usize,
    /// Pixels of one task each.
    cuts: Vec<Vec<Piece>>,
    /// Input channels whose weights all pixels of a task are multiplied with before the next channels' turn comes.
    together: usize,
}

/// A register tile's pixels.
struct Piece {
    class: usize,
    pixels: Range<usize>,
}

/// Weights that stay in the first-level cache, beside those being fetched, while one pixel after the other is multiplied with
/// them.
const NEAR: usize = 3072;

/// Pixels whose sums are kept between the channels of a task.
const KEPT: usize = 64;

/// Pixels of a register tile, at most.
const PIXELS: usize = 6;

/// All pixels in `count` parts of nearly equal work.
fn cut(geometry: &Geometry, count: usize) -> Vec<Vec<Piece>> {
    let mut cuts: Vec<(usize, Vec<Piece>)> = (0..count).map(|_| (0, Vec::new())).collect();
    for (class, Class { taps, pixels }) in geometry.classes.iter().enumerate() {
        let tiles = pixels.len().div_ceil(PIXELS);
        for tile in 0..tiles {
            let pixels = part(pixels.len(), tiles, tile);
            if let Some((work, pieces)) = cuts.iter_mut().min_by_key(|(work, _)| *work) {
                *work += taps.len() * pixels.len().max(2);
                pieces.push(Piece { class, pixels });
            }
        }
    }
    cuts.into_iter().map(|(_, pieces)| pieces).filter(|pieces| !pieces.is_empty()).collect()
}

impl Channels {
    /// `from` is how the inputs lie, of which sources are the first pixels.
    pub(crate) fn new(c: &Convolution<'_>, from: &PlaneLayout) -> Self {
        c.check();
        assert!(from.size == c.shape.input, "single image: the inputs' layout");
        let (inputs, outputs, taps) = c.group();
        let blocks = outputs.div_ceil(LANES);
        let mut weights = vec![0.0; c.shape.groups * blocks * inputs * taps * LANES];
        for (at, vector) in weights.chunks_exact_mut(LANES).enumerate() {
            let (rest, position) = (at / (inputs * taps), at % (inputs * taps));
            let (group, first) = (rest / blocks, rest % blocks * LANES);
            for (lane, value) in vector.iter_mut().enumerate().take(outputs - first) {
                let o = group * outputs + first + lane;
                *value = c.weights[o * inputs * taps + position] * c.scale[o];
            }
        }
        let geometry = Geometry::padded(c.shape, from.pitch, c.to.pitch);
        let wanted = tasks(c.weights.len() * c.shape.output.0 * c.shape.output.1);
        let cuts = cut(&geometry, wanted.div_ceil(c.shape.groups * blocks));
        let blocks = c.shape.groups * blocks;
        // Few blocks are seldom all full: with twice as many tasks the threads finish at about the same time.
        let shares = if blocks < 4 * wanted { blocks.min(2 * wanted) } else { wanted };
        let most = cuts.iter().map(|cut| cut.iter().map(|piece| piece.pixels.len()).sum()).max().unwrap_or(0);
        // The weights of one tap are read in one stream, which processors foresee; those of several are not, where edges of a
        // map leave taps out.
        let whole = taps == 1 || most > KEPT;
        let together = if whole { inputs } else { (NEAR / (taps * LANES) / 8 * 8).clamp(8, inputs.max(8)) };
        let (sources, targets) = (c.sources.to_vec(), c.targets.to_vec());
        let all = Self { weights, geometry, sources, targets, inputs, outputs, shares, cuts, together };
        let (reads, writes) = all.spans();
        assert!(reads.end().max(writes.end()) <= c.arena, "single image: a place outside of the arena");
        all
    }

    pub(crate) fn spans(&self) -> (Spans, Spans) {
        let (mut reads, mut writes) = (Spans::default(), Spans::default());
        self.sources.iter().for_each(|&source| reads.push(source..source + self.geometry.from));
        for target in &self.targets {
            writes.push(target.place..target.place + self.geometry.to);
            target.residual.into_iter().for_each(|residual| reads.push(residual..residual + self.geometry.to));
        }
        (reads, writes)
    }

    /// Of a group.
    fn blocks(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    pub(crate) fn tasks(&self) -> usize {
        self.shares * self.cuts.len()
    }

    /// One of the tasks.
    ///
    /// # Safety
    /// As of [`super::Pixels::convolve`].
    pub(crate) unsafe fn convolve(&self, isa: Isa, memory: Shared, task: usize) {
        let (share, cut) = (task / self.cuts.len(), task % self.cuts.len());
        let groups = self.targets.len() / self.outputs;
        for block in part(groups * self.blocks(), self.shares, share) {
            isa.execute(ConvolveBlock { of: self, memory, block, pieces: &self.cuts[cut] });
        }
    }
}

/// One block of outputs over some pixels.
struct ConvolveBlock<'a> {
    of: &'a Channels,
    memory: Shared,
    block: usize,
    pieces: &'a [Piece],
}

impl Task for ConvolveBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Channels { weights, geometry, sources, targets, inputs, outputs, together, .. } = self.of;
        let block = self.block;
        let (group, first) = (block / self.of.blocks(), block % self.of.blocks() * LANES);
        let count = LANES.min(outputs - first);
        let step = geometry.taps * LANES;
        let mut kept;
        let kept: &mut [[f32; LANES]] = if *together < *inputs {
            kept = [[0f32; LANES]; KEPT];
            &mut kept
        } else {
            &mut []
        };
        for channel in (0..*inputs).step_by(*together) {
            let channels = channel..(channel + together).min(*inputs);
            let (now, later) = weights[(block * inputs + channel) * step..].split_at(channels.len() * step);
            // The weights that come next, in this block or the one behind it. A network's weights fit no cache and take long
            // to arrive, so each piece prefetches its share of them.
            let ahead = if *together < *inputs { &later[..later.len().min(together * step)] } else { &[] };
            let mut shares = ahead.chunks(ahead.len().div_ceil(self.pieces.len()).max(1));
            let mut sums = &mut *kept;
            for Piece { class, pixels } in self.pieces {
                let class = &geometry.classes[*class];
                let pixels = &class.pixels[pixels.clone()];
                let (of_piece, rest) = sums.split_at_mut(pixels.len().min(sums.len()));
                sums = rest;
                let tiles = Tiles {
                    class,
                    memory: self.memory,
                    taps: geometry.taps,
                    from: &sources[group * inputs..][channels.clone()],
                    weights: now,
                    ahead: shares.next().unwrap_or_default(),
                    before: channels.start > 0,
                    after: channels.end < *inputs,
                    to: &targets[group * outputs + first..][..count],
                };
                // Tiles have enough sums to keep the processor busy: few pixels have several each.
                // SAFETY: `Geometry::check` has every source and destination of the class inside planes of the lengths
                // that `Channels::new` asserted to lie in the arena; `weights` holds channels x taps vectors and tap
                // indices are below `taps`. We are inside `Task::execute`.
                unsafe {
                    tiles!(count.div_ceil(S::LANES), pixels.len(); tiles.tile(simd, pixels, of_piece);
                        [1 x 1 => 8, 1 x 2 => 4, 1 x 3 => 3, 1 x 4 => 2, 1 x 5 => 2, 1 x 6 => 2,
                         2 x 1 => 4, 2 x 2 => 2, 2 x 3 => 2, 2 x 4 => 1, 2 x 5 => 1, 2 x 6 => 1]
                    );
                }
            }
        }
    }
}

/// A block of outputs over pixels of a class.
struct Tiles<'a> {
    class: &'a Class,
    memory: Shared,
    taps: usize,
    from: &'a [usize],
    weights: &'a [f32],
    ahead: &'a [f32],
    /// Whether other channels came before, and will come after: then the sums are kept.
    before: bool,
    after: bool,
    to: &'a [Target],
}

impl Tiles<'_> {
    /// `P` pixels of `H` vectors of outputs, the sum over channels in `U` parts. `kept` has a line for each pixel, if there are
    /// channels before or after.
    ///
    /// # Safety
    /// There are `P` pixels, whose sources at each tap and destinations lie in the arena from every place of `from` and `to`;
    /// `weights` holds a line for each channel and tap, of which `H` vectors are no more. Nobody writes what is read or
    /// touches what is written.
    #[inline(always)]
    unsafe fn tile<S: Simd, const H: usize, const P: usize, const U: usize>(
        &self,
        simd: S,
        pixels: &[(u32, u32)],
        kept: &mut [[f32; LANES]],
    ) {
        let mut sources = [0usize; P];
        for (source, pixel) in sources.iter_mut().zip(pixels) {
            *source = pixel.0 as usize;
        }
        let step = self.taps * LANES;
        let mut ahead = self.ahead.chunks(self.ahead.len().div_ceil(self.from.len()).max(1));
        let mut values = [[0f32; LANES]; P];
        let mut sums = [[[simd.splat(0.0); H]; P]; U];
        let mut weights = self.weights.as_ptr();
        let mut planes = self.from.chunks_exact(U);
        for planes in &mut planes {
            for _ in 0..U {
                ahead.next().unwrap_or_default().iter().step_by(LANES).for_each(|at| simd.prefetch(at));
            }
            for &Tap { index, offset } in &self.class.taps {
                let weights = weights.add(index as usize * LANES);
                for (u, sums) in sums.iter_mut().enumerate() {
                    let plane = self.memory.at(planes[u]).offset(offset as isize);
                    accumulate::<S, H, P>(simd, plane, &sources, weights.add(u * step), sums);
                }
            }
            weights = weights.add(U * step);
        }
        for &plane in planes.remainder() {
            for &Tap { index, offset } in &self.class.taps {
                let plane = self.memory.at(plane).offset(offset as isize);
                accumulate::<S, H, P>(simd, plane, &sources, weights.add(index as usize * LANES), &mut sums[0]);
            }
            weights = weights.add(step);
        }
        for (p, values) in values.iter_mut().enumerate() {
            for h in 0..H {
                let sum = sums.iter().skip(1).fold(sums[0][p][h], |sum, more| simd.add(sum, more[p][h]));
                simd.store(values.as_mut_ptr().add(h * S::LANES), sum);
            }
        }
        if self.before {
            for (values, kept) in values.iter_mut().zip(&*kept) {
                values.iter_mut().zip(kept).for_each(|(value, kept)| *value += kept);
            }
        }
        if self.after {
            kept.copy_from_slice(&values);
            return;
        }
        for (lane, to) in self.to.iter().enumerate() {
            for (value, &(_, at)) in values.iter().zip(pixels) {
                let at = at as usize;
                let residual = to.residual.map(|residual| self.memory.at(residual + at).cast_const());
                let value = epilogue::apply(Scalar, value[lane] + to.bias, None, residual, to.relu);
                *self.memory.at(to.place + at) = value;
            }
        }
    }
}

/// Adds one tap of one plane.
///
/// # Safety
/// As of [`Tiles::tile`].
#[inline(always)]
unsafe fn accumulate<S: Simd, const H: usize, const P: usize>(
    simd: S,
    plane: *const f32,
    sources: &[usize; P],
    weights: *const f32,
    sums: &mut [[S::V; H]; P],
) {
    let mut vectors = [simd.splat(0.0); H];
    for (h, vector) in vectors.iter_mut().enumerate() {
        *vector = simd.load(weights.add(h * S::LANES));
    }
    for (sums, &source) in sums.iter_mut().zip(sources) {
        let x = simd.splat(*plane.add(source));
        for (sum, &vector) in sums.iter_mut().zip(&vectors) {
            *sum = simd.mul_add(x, vector, *sum);
        }
    }
}
