//! The weights' gradient in bf16: products whose pairs are images.
//!
//! `dw[o][c][tap]` sums over pixels and images, of which a chunk has two times 16. Gradients of outputs are read as they lie, 16
//! outputs a tile. Inputs are turned, so that 16 channels are columns: `[row][phase of the stride][column][pair of images]`, with
//! zeros for the padding, so that neighbouring outputs read neighbouring columns at every tap. Then a tap and 16 channels are what
//! a pixel is in [`super::conv`], at the same distances from output to output, and products are the same ones.
//!
//! Zeros are multiplied where a tap meets padding or a row has an odd number of outputs: what is not finite also spoils gradients
//! of taps that do not meet it, of the same channel.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::product::{Pairs, Product, ROWS, TILES};
use super::turn::{PAIRS, turn};
use super::{HalfLine, HalfPath, LANES, Line};
use crate::kernels::batch16::weight::Planes;
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Simd, Task};
use crate::kernels::taps::Progression;

/// Lines of turned inputs and of gradients of outputs that are worked on at a time, where each block is worked on by itself.
const CACHE: usize = 1 << 12;

/// Pairs of a chunk: those of two pixels.
const CHUNK: usize = 2 * PAIRS;

/// Where turned inputs lie, by line.
#[derive(Clone, Copy)]
struct Layout {
    shape: ConvShape,
    /// Columns of a phase.
    columns: usize,
    /// Of a row with all phases.
    row: usize,
    /// Chunks of a row of outputs.
    chunks: usize,
}

impl Layout {
    fn new(shape: &ConvShape) -> Self {
        let chunks = shape.output.1.div_ceil(2);
        let columns = 2 * chunks + (shape.kernel - 1) / shape.stride;
        Self { shape: *shape, columns, row: shape.stride.min(shape.kernel) * columns * PAIRS, chunks }
    }

    /// Rows of inputs that so many rows of outputs read, padding included.
    fn rows(&self, outputs: usize) -> usize {
        (outputs - 1) * self.shape.stride + self.shape.kernel
    }

    /// The first line that tap `(ky, kx)` reads.
    fn tap(&self, ky: usize, kx: usize) -> usize {
        let stride = self.shape.stride;
        ky * self.row + (kx % stride * self.columns + kx / stride) * PAIRS
    }

    /// Turns the inputs that the outputs of rows `first..first + outputs` read, 16 channels.
    fn turn(&self, path: HalfPath, (first, outputs): (usize, usize), x: &[&[HalfLine]], to: &mut [Pairs]) {
        let s = &self.shape;
        let none = [HalfLine::ZERO];
        for (row, to) in to.chunks_exact_mut(self.row).take(self.rows(outputs)).enumerate() {
            if row % s.stride >= s.kernel {
                continue;
            }
            let y = (first * s.stride + row).checked_sub(s.padding).filter(|&y| y < s.input.0);
            for (phase, to) in to.chunks_exact_mut(self.columns * PAIRS).enumerate() {
                let source = Progression { start: phase as isize - s.padding as isize, step: s.stride };
                let inside = match y {
                    Some(_) => source.existing(self.columns, s.input.1),
                    None => 0..0,
                };
                to[..inside.start * PAIRS].fill(Pairs::ZERO);
                to[inside.end * PAIRS..].fill(Pairs::ZERO);
                for column in inside {
                    let at = y.unwrap_or_default() * s.input.1 + source.index(column);
                    let from = std::array::from_fn(|c| x.get(c).map_or(&none[0], |plane| &plane[at]) as *const _);
                    if let Some(to) = to[column * PAIRS..].first_chunk_mut() {
                        // SAFETY: these are lines of planes, or one of zeros.
                        unsafe { turn(path, from, to) };
                    }
                }
            }
        }
    }

    /// Gradients of up to 16 outputs in rows `first..first + outputs`, a tile a chunk.
    fn tiles(&self, (first, outputs): (usize, usize), dy: &[&[HalfLine]], to: &mut [[Pairs; ROWS]]) {
        let width = self.shape.output.1;
        to.as_flattened_mut().chunks_mut(ROWS).for_each(|tile| {
            if dy.len() < ROWS {
                tile[dy.len()..].fill(Pairs::ZERO);
            }
        });
        for (r, plane) in dy.iter().enumerate() {
            let rows = plane[first * width..][..outputs * width].chunks_exact(width);
            for (row, to) in rows.zip(to.chunks_exact_mut(self.chunks)) {
                for (pixels, to) in row.chunks(2).zip(to) {
                    let second = pixels.get(1).unwrap_or(&HalfLine::ZERO);
                    for pair in 0..PAIRS {
                        let of = |half: &HalfLine| u32::from(half.0[2 * pair]) | u32::from(half.0[2 * pair + 1]) << 16;
                        (to[r].0[pair], to[r].0[PAIRS + pair]) = (of(&pixels[0]), of(second));
                    }
                }
            }
        }
    }

    /// The bytes from a tap's first line to what each chunk reads, in this many rows of outputs.
    fn offsets(&self, outputs: usize) -> impl Iterator<Item = usize> + use<> {
        let (down, chunks) = (self.shape.stride * self.row, self.chunks);
        (0..outputs).flat_map(move |y| (0..chunks).map(move |at| (y * down + 2 * at * PAIRS) * size_of::<Pairs>()))
    }
}

/// Working memory of a thread.
#[derive(Default)]
struct Panels {
    x: Vec<Pairs>,
    dy: Vec<[Pairs; ROWS]>,
}

thread_local! {
    static PANELS: RefCell<Panels> = RefCell::default();
}

fn with_panels<T>(work: impl FnOnce(&mut Panels) -> T) -> T {
    let mut panels = PANELS.with(|panels| panels.take());
    let result = work(&mut panels);
    PANELS.with(|kept| kept.replace(panels));
    result
}

fn check(s: &ConvShape, planes: &Planes<'_, HalfLine>) {
    let Planes { x, dy } = planes;
    assert_eq!((x.len(), dy.len()), (s.in_channels, s.out_channels), "bf16 weight gradient: channels");
    assert!(x.iter().all(|plane| plane.len() == s.input.0 * s.input.1), "bf16 weight gradient: input planes");
    assert!(dy.iter().all(|plane| plane.len() == s.output.0 * s.output.1), "bf16 weight gradient: output planes");
}

/// `dw[o][c][tap] += sum over images and pixels of dy[o] x[c]` of one block, weights in PyTorch's order. Bands of rows of outputs
/// are added one after the other.
pub(crate) fn of_block(path: HalfPath, s: &ConvShape, planes: &Planes<'_, HalfLine>, dw: &mut [f32]) {
    check(s, planes);
    assert_eq!(dw.len(), s.w_len(), "bf16 weight gradient: weights");
    let layout = Layout::new(s);
    let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let (channel_blocks, output_blocks) = (inputs.div_ceil(LANES), outputs.div_ceil(ROWS));
    let lines =
        |band: usize| channel_blocks * layout.rows(band) * layout.row + output_blocks * band * layout.chunks * ROWS;
    let mut band = s.output.0;
    while band > 1 && lines(band) > CACHE {
        band = band.div_ceil(2);
    }
    with_panels(|panels| {
        for (group, dw) in dw.chunks_exact_mut(outputs * inputs * s.taps()).enumerate() {
            let (x, dy) = (&planes.x[group * inputs..][..inputs], &planes.dy[group * outputs..][..outputs]);
            for first in (0..s.output.0).step_by(band) {
                let rows = (first, band.min(s.output.0 - first));
                let per_channels = layout.rows(rows.1) * layout.row;
                panels.x.resize(panels.x.len().max(channel_blocks * per_channels), Pairs::ZERO);
                for (x, to) in x.chunks(LANES).zip(panels.x.chunks_exact_mut(per_channels)) {
                    layout.turn(path, rows, x, to);
                }
                let x = &panels.x[..channel_blocks * per_channels];
                let offsets: Vec<usize> = layout.offsets(rows.1).collect();
                let tiles = output_blocks * offsets.len();
                panels.dy.resize(panels.dy.len().max(tiles), [Pairs::ZERO; ROWS]);
                for (dy, to) in dy.chunks(ROWS).zip(panels.dy.chunks_exact_mut(offsets.len())) {
                    layout.tiles(rows, dy, to);
                }
                let dy = &panels.dy[..tiles];
                path.isa().execute(Sums { path, layout, inputs, x, per_channels, dy, offsets: &offsets, dw });
            }
        }
    });
}

/// The same of all blocks at once, in one sum from block to block, for a convolution of one group: 32 outputs a task.
pub(crate) fn of_all(path: HalfPath, s: &ConvShape, blocks: &[Planes<'_, HalfLine>], dw: &mut [f32]) {
    blocks.iter().for_each(|planes| check(s, planes));
    assert!(s.groups == 1 && dw.len() == s.w_len(), "bf16 weight gradient: weights of one group");
    let (layout, rows) = (Layout::new(s), (0, s.output.0));
    let of_block = layout.rows(rows.1) * layout.row;
    let per_channels = blocks.len() * of_block;
    // [16 channels][block][..]
    let mut turned = vec![Pairs::ZERO; s.in_channels.div_ceil(LANES) * per_channels];
    turned.par_chunks_mut(of_block.max(1)).enumerate().for_each(|(at, to)| {
        let x = &blocks[at % blocks.len()].x;
        let first = at / blocks.len() * LANES;
        layout.turn(path, rows, &x[first..s.in_channels.min(first + LANES)], to);
    });
    let offsets: Vec<usize> = (0..blocks.len())
        .flat_map(|block| layout.offsets(rows.1).map(move |offset| block * of_block * size_of::<Pairs>() + offset))
        .collect();
    let of_output = s.in_channels * s.taps();
    dw.par_chunks_mut((2 * ROWS * of_output).max(1)).enumerate().for_each(|(at, dw)| {
        let outputs: Range<usize> = at * 2 * ROWS..at * 2 * ROWS + dw.len() / of_output;
        with_panels(|panels| {
            let tiles = outputs.len().div_ceil(ROWS) * offsets.len();
            panels.dy.resize(panels.dy.len().max(tiles), [Pairs::ZERO; ROWS]);
            let chunks = offsets.len() / blocks.len().max(1);
            for (of, to) in panels.dy[..tiles].chunks_exact_mut(chunks.max(1)).enumerate() {
                let (rows_of, block) = (of / blocks.len(), of % blocks.len());
                let first = outputs.start + rows_of * ROWS;
                layout.tiles(rows, &blocks[block].dy[first..outputs.end.min(first + ROWS)], to);
            }
            let (inputs, dy) = (s.in_channels, &panels.dy[..tiles]);
            path.isa().execute(Sums { path, layout, inputs, x: &turned, per_channels, dy, offsets: &offsets, dw });
        });
    });
}

/// Sums over chunks, of every tap, 16 channels and 16 outputs.
struct Sums<'a> {
    path: HalfPath,
    layout: Layout,
    inputs: usize,
    /// `[16 channels]`, so many lines each.
    x: &'a [Pairs],
    per_channels: usize,
    /// `[16 outputs][chunk]`
    dy: &'a [[Pairs; ROWS]],
    offsets: &'a [usize],
    /// `[output][channel][tap]`
    dw: &'a mut [f32],
}

impl Task for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { path, layout, inputs, x, per_channels, dy, offsets, dw } = self;
        let (k, taps) = (layout.shape.kernel, layout.shape.taps());
        let product = Product::new(path, CHUNK);
        // What is multiplied with every output: a tap of 16 channels.
        let columns: Vec<(usize, usize)> =
            (0..x.len() / per_channels.max(1)).flat_map(|block| (0..taps).map(move |tap| (block, tap))).collect();
        let mut sums = [[Line::ZERO; ROWS]; TILES];
        let (blocks, mut block) = (dy.len() / offsets.len().max(1), 0);
        while block < blocks {
            let together = product.together(blocks - block);
            let of_block = |block: usize| dy[block * offsets.len()..][..offsets.len()].as_flattened();
            let tiles = [of_block(block), of_block(block + together - 1)];
            for columns in columns.chunks(TILES / together) {
                // The last one fills the places of those that are not there.
                let values: [*const u8; TILES] = std::array::from_fn(|at| {
                    let (channels, tap) = columns[at.min(columns.len() - 1)];
                    x[channels * per_channels + layout.tap(tap / k, tap % k)..].as_ptr().cast()
                });
                // SAFETY: a block's tiles are one a chunk. A chunk reads two columns of turned inputs from that of an output
                // that there is, or is the second of the last pair, at a tap: of these a row has as many columns as `Layout`
                // says, and there are all rows of all outputs. `sums` are 4 tiles. Inside `Task::execute`.
                unsafe { product.sums(simd, together, tiles, values, offsets, CHUNK, &mut sums) };
                for (at, sums) in sums.iter().enumerate() {
                    let (of, at) = (at / (TILES / together), at % (TILES / together));
                    let Some(&(channels, tap)) = columns.get(at) else { continue };
                    if of >= together {
                        continue;
                    }
                    let first = (block + of) * ROWS * inputs * taps;
                    let rows = dw.get_mut(first..).unwrap_or_default().chunks_exact_mut(inputs * taps);
                    for (row, sums) in rows.zip(sums) {
                        let row = row[channels * LANES * taps..].iter_mut().skip(tap).step_by(taps);
                        row.zip(&sums.0).for_each(|(dw, sum)| *dw += sum);
                    }
                }
            }
            block += together;
        }
    }
}
