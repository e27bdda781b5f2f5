//! Convolution of a block in bf16: any kernel, stride, padding and groups.
//!
//! What a band of output rows reads is packed as `[row][column][pair][image][2]`, so that the pairs of a kernel row, which are taps
//! times pairs of channels, are consecutive lines of 64 bytes. They are read in chunks of up to 16, the most a tile holds.
//! All chunks of a convolution are equally long: a tile's shape is then set once, and no chunk reads on into what follows. So
//! that this comes out even, pairs of zeros may follow a pixel's channels.
//!
//! As zeros of the padding are multiplied, a weight that is not finite also spoils outputs whose tap meets padding.

use std::cell::RefCell;

use super::amx::{TILE, Tiles};
use super::{HalfLine, HalfPath, LANES, Line, rounded, widened};
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Simd, Task};

/// Where a destination channel goes and what is done to it on the way, in f32:
/// `plane = relu?(scale sum + bias + residual?)`.
pub(crate) struct Output<'a> {
    pub(crate) plane: &'a mut [HalfLine],
    pub(crate) scale: f32,
    pub(crate) bias: f32,
    pub(crate) residual: Option<&'a [HalfLine]>,
    pub(crate) relu: bool,
}

/// Two values side by side, the first in the lower half: of 16 images, or 16 pairs of an output's weights.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Pairs([u32; LANES]);

impl Pairs {
    const ZERO: Pairs = Pairs([0; LANES]);
}

/// Outputs of a tile.
const ROWS: usize = 16;

/// Pixels, or blocks of outputs and pixels, whose sums are made at a time.
const TILES: usize = 4;

/// Lines of a panel that the second-level cache is to hold beside everything else it has to hold.
const CACHE: usize = 1 << 13;

/// How the pairs of a kernel row are cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Of a pixel, those of zeros included.
    pairs: usize,
    /// Pairs of a chunk.
    chunk: usize,
    /// Chunks of a kernel row.
    chunks: usize,
}

impl Cut {
    fn new(kernel: usize, channels: usize) -> Self {
        let mut pairs = channels.div_ceil(2);
        loop {
            let chunks = (kernel * pairs).div_ceil(16);
            if (kernel * pairs).is_multiple_of(chunks) {
                return Self { pairs, chunk: kernel * pairs / chunks, chunks };
            }
            // Ends at a multiple of 16 at the latest.
            pairs += 1;
        }
    }
}

/// A convolution's weights as its tiles read them: `[group][block of 16 outputs][kernel row][chunk][output][pair]`, zeros where
/// there is no output or pair.
#[derive(Clone)]
pub(crate) struct Weights {
    shape: ConvShape,
    cut: Cut,
    values: Vec<Pairs>,
}

impl Weights {
    /// From `w[o][c / groups][tap]`, which are rounded.
    pub(crate) fn new(shape: ConvShape, w: &[f32]) -> Self {
        assert_eq!(w.len(), shape.w_len(), "bf16 convolution: weights");
        let (inputs, outputs, k) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups, shape.kernel);
        let cut = Cut::new(k, inputs);
        let blocks = outputs.div_ceil(ROWS);
        let mut values = vec![Pairs::ZERO; shape.groups * blocks * k * cut.chunks * ROWS];
        for (o, w) in w.chunks_exact(inputs * k * k).enumerate() {
            let (group, o) = (o / outputs, o % outputs);
            let block = (group * blocks + o / ROWS) * k * cut.chunks;
            for (at, &w) in w.iter().enumerate() {
                let (channel, row, column) = (at / (k * k), at / k % k, at % k);
                let pair = column * cut.pairs + channel / 2;
                let tile = block + row * cut.chunks + pair / cut.chunk;
                let half = u32::from(rounded(w)) << (16 * (channel % 2));
                values[tile * ROWS + o % ROWS].0[pair % cut.chunk] |= half;
            }
        }
        Self { shape, cut, values }
    }
}

thread_local! {
    /// What is packed, kept between calls.
    static PANEL: RefCell<Vec<Pairs>> = const { RefCell::new(Vec::new()) };
}

/// Convolves the planes `from`, the source channels of all groups in order, into `to`, the destination channels of all groups.
pub(crate) fn convolve(path: HalfPath, weights: &Weights, from: &[&[HalfLine]], to: &mut [Output<'_>]) {
    let s = &weights.shape;
    let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
    assert_eq!(from.len(), s.in_channels, "bf16 convolution: source channels");
    assert_eq!(to.len(), s.out_channels, "bf16 convolution: destination channels");
    assert!(from.iter().all(|plane| plane.len() == x_pixels), "bf16 convolution: source planes");
    assert!(
        to.iter().all(|to| to.plane.len() == y_pixels && to.residual.is_none_or(|added| added.len() == y_pixels)),
        "bf16 convolution: destination planes"
    );
    if y_pixels == 0 || to.is_empty() {
        return;
    }
    let mut panel = PANEL.with(|panel| panel.take());
    path.isa().execute(Convolve { path, weights, from, to, panel: &mut panel });
    PANEL.with(|kept| kept.replace(panel));
}

struct Convolve<'a, 'b> {
    path: HalfPath,
    weights: &'a Weights,
    from: &'a [&'a [HalfLine]],
    to: &'a mut [Output<'b>],
    panel: &'a mut Vec<Pairs>,
}

impl Task for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { path, weights, from, to, panel } = self;
        let (s, cut) = (&weights.shape, weights.cut);
        let (inputs, outputs, k) = (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel);
        let product = match path {
            HalfPath::Amx(amx) => Product::Tiles(amx.configure(cut.chunk)),
            HalfPath::Avx512Bf16(vectors) => Product::Vectors(vectors),
            HalfPath::Portable(_) => Product::Plain,
        };
        let columns = (s.output.1 - 1) * s.stride + k;
        let rows_of = |outputs: usize| (outputs - 1) * s.stride + k;
        let row = columns * cut.pairs;
        let mut band = s.output.0;
        while band > 1 && rows_of(band) * row > CACHE {
            band = band.div_ceil(2);
        }
        panel.resize(panel.len().max(rows_of(band) * row), Pairs::ZERO);
        let chunks: Vec<usize> = (0..k)
            .flat_map(|ky| (0..cut.chunks).map(move |chunk| (ky * row + chunk * cut.chunk) * size_of::<Pairs>()))
            .collect();
        let blocks = outputs.div_ceil(ROWS);
        let tiles = &weights.values;
        let mut sums = [[Line::ZERO; ROWS]; TILES];
        let mut pixels: Vec<(usize, usize)> = Vec::new();
        for (group, (from, to)) in from.chunks_exact(inputs).zip(to.chunks_exact_mut(outputs)).enumerate() {
            for first in (0..s.output.0).step_by(band) {
                let rows = band.min(s.output.0 - first);
                let panel = &mut panel[..rows_of(rows) * row];
                pack(s, cut.pairs, first * s.stride, from, panel);
                pixels.clear();
                pixels.extend((0..rows).flat_map(|y| {
                    let source = move |x: usize| (y * s.stride * columns + x * s.stride) * cut.pairs;
                    (0..s.output.1).map(move |x| (source(x), (first + y) * s.output.1 + x))
                }));
                let mut block = 0;
                while block < blocks {
                    // Two blocks of outputs share the values that they load, where tiles are multiplied.
                    let together = if matches!(product, Product::Tiles(_)) && block + 1 < blocks { 2 } else { 1 };
                    let of_block =
                        |block: usize| &tiles[(group * blocks + block) * chunks.len() * ROWS..][..chunks.len() * ROWS];
                    let weights = [of_block(block), of_block(block + together - 1)];
                    let to = &mut to[block * ROWS..outputs.min((block + together) * ROWS)];
                    for pixels in pixels.chunks(TILES / together) {
                        // The last pixel fills the places of those that are not there.
                        let place = |at: usize| pixels[at.min(pixels.len() - 1)].0;
                        let values: [*const u8; TILES] =
                            std::array::from_fn(|at| panel[place(at)..].as_ptr().cast::<u8>());
                        // SAFETY: a block's weights are a tile a chunk, as sliced above. A pixel's source is the first tap of
                        // its first pair in a panel of `rows_of(rows)` x `columns` pixels, and the furthest chunk ends with
                        // the last tap of the last kernel row, which is inside by the definition of both. `sums` are 4
                        // tiles. Inside `Task::execute`.
                        unsafe { product.sums(simd, together, weights, values, &chunks, cut.chunk, &mut sums) };
                        finish(simd, &sums, together, pixels, to);
                    }
                    block += together;
                }
            }
        }
    }
}

/// Writes what the outputs from row `top / stride` on read of these channels.
#[inline(always)]
fn pack(s: &ConvShape, pairs: usize, top: usize, from: &[&[HalfLine]], panel: &mut [Pairs]) {
    let columns = (s.output.1 - 1) * s.stride + s.kernel;
    let inside = s.padding.min(columns)..(s.padding + s.input.1).min(columns);
    for (row, panel) in panel.chunks_exact_mut(columns * pairs).enumerate() {
        let y = (top + row).checked_sub(s.padding).filter(|&y| y < s.input.0);
        // A row, or the columns of all rows, may be padding alone.
        let Some(y) = y.filter(|_| !inside.is_empty()) else {
            panel.fill(Pairs::ZERO);
            continue;
        };
        panel[..inside.start * pairs].fill(Pairs::ZERO);
        panel[inside.end * pairs..].fill(Pairs::ZERO);
        let panel = &mut panel[inside.start * pairs..inside.end * pairs];
        for pair in 0..pairs {
            let of = |channel: usize| from.get(channel).map(|plane| &plane[y * s.input.1..][..inside.len()]);
            let to = panel[pair..].iter_mut().step_by(pairs);
            match (of(2 * pair), of(2 * pair + 1)) {
                (Some(first), Some(second)) => {
                    for (to, (first, second)) in to.zip(first.iter().zip(second)) {
                        for lane in 0..LANES {
                            to.0[lane] = u32::from(first.0[lane]) | u32::from(second.0[lane]) << 16;
                        }
                    }
                }
                (Some(first), None) => {
                    for (to, first) in to.zip(first) {
                        for lane in 0..LANES {
                            to.0[lane] = u32::from(first.0[lane]);
                        }
                    }
                }
                (None, _) => to.for_each(|to| *to = Pairs::ZERO),
            }
        }
    }
}

/// What follows the sums of these blocks and pixels, and where they go.
#[inline(always)]
fn finish<S: Simd>(
    simd: S,
    sums: &[[Line; ROWS]; TILES],
    blocks: usize,
    pixels: &[(usize, usize)],
    to: &mut [Output<'_>],
) {
    let across = TILES / blocks;
    for (o, to) in to.iter_mut().enumerate() {
        let (scale, bias) = (simd.line_splat(to.scale), simd.line_splat(to.bias));
        for (at, &(_, destination)) in pixels.iter().enumerate() {
            let sum = &sums[o / ROWS * across + at][o % ROWS];
            let residual = to.residual.map(|residual| residual[destination]);
            // SAFETY: inside `Task::execute`; a line is 16 values.
            to.plane[destination] = unsafe {
                let value = simd.line_mul_add(simd.line_load(sum.0.as_ptr()), scale, bias);
                finished(simd, value, residual, to.relu)
            };
        }
    }
}

/// `relu?(value + residual?)`, rounded.
///
/// # Safety
/// Inside `Task::execute`.
#[inline(always)]
pub(super) unsafe fn finished<S: Simd>(simd: S, value: S::W, residual: Option<HalfLine>, relu: bool) -> HalfLine {
    let mut line = Line::ZERO;
    let value = match residual {
        Some(residual) => simd.line_add(value, simd.line_load(residual.wide().0.as_ptr())),
        None => value,
    };
    // In this order NaN stays NaN.
    let value = if relu { simd.line(|at| simd.max(simd.splat(0.0), value[at])) } else { value };
    simd.line_store(line.0.as_mut_ptr(), value);
    HalfLine::of(line)
}

/// What multiplies.
enum Product {
    Tiles(Tiles),
    Vectors(super::avx512bf16::Avx512Bf16),
    Plain,
}

impl Product {
    /// The sums of one block of outputs and four pixels, or of two and two.
    ///
    /// # Safety
    /// `weights` are a tile a chunk; at each offset in bytes from `values` there are `pairs` lines.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a register tile is made of")]
    unsafe fn sums<S: Simd>(
        &self,
        simd: S,
        blocks: usize,
        weights: [&[Pairs]; 2],
        values: [*const u8; TILES],
        chunks: &[usize],
        pairs: usize,
        sums: &mut [[Line; ROWS]; TILES],
    ) {
        let tiles = weights.map(|weights| weights.as_ptr().cast::<u8>());
        let to = sums.as_mut_ptr().cast::<f32>();
        match self {
            Self::Tiles(amx) if blocks == 2 => amx.two_by_two(tiles, [values[0], values[1]], chunks, to),
            Self::Tiles(amx) => amx.one_by_four(tiles[0], values, chunks, to),
            Self::Vectors(vectors) => vectors.one_by_four(tiles[0], values, chunks, pairs, to),
            Self::Plain => {
                for (values, sums) in values.into_iter().zip(sums) {
                    if S::WIDTH == 1 {
                        plain::<S, 4>(simd, weights[0], values, chunks, pairs, sums);
                    } else {
                        plain::<S, 2>(simd, weights[0], values, chunks, pairs, sums);
                    }
                }
            }
        }
    }
}

/// The sums of 16 outputs at one pixel, in f32, `R` at a time, in the order of [`Tiles`].
///
/// # Safety
/// As [`Product::sums`].
#[inline(always)]
unsafe fn plain<S: Simd, const R: usize>(
    simd: S,
    weights: &[Pairs],
    values: *const u8,
    chunks: &[usize],
    pairs: usize,
    sums: &mut [Line; ROWS],
) {
    for first in (0..ROWS).step_by(R) {
        let mut totals = [simd.line_splat(0.0); R];
        for (weights, offset) in weights.chunks_exact(ROWS).zip(chunks) {
            let (mut even, mut odd) = ([simd.line_splat(0.0); R], [simd.line_splat(0.0); R]);
            for pair in 0..pairs {
                let values = &*values.add(offset + pair * size_of::<Pairs>()).cast::<Pairs>();
                let (mut low, mut high) = (Line::ZERO, Line::ZERO);
                for lane in 0..LANES {
                    low.0[lane] = f32::from_bits(values.0[lane] << 16);
                    high.0[lane] = f32::from_bits(values.0[lane] & 0xffff_0000);
                }
                let (low, high) = (simd.line_load(low.0.as_ptr()), simd.line_load(high.0.as_ptr()));
                for r in 0..R {
                    let weight = weights[first + r].0[pair];
                    even[r] = simd.line_mul_add(simd.line_splat(widened(weight as u16)), low, even[r]);
                    odd[r] = simd.line_mul_add(simd.line_splat(widened((weight >> 16) as u16)), high, odd[r]);
                }
            }
            for r in 0..R {
                totals[r] = simd.line_add(totals[r], simd.line_add(even[r], odd[r]));
            }
        }
        for (total, sum) in totals.into_iter().zip(&mut sums[first..]) {
            simd.line_store(sum.0.as_mut_ptr(), total);
        }
    }
}

const _: () = assert!(size_of::<[Pairs; ROWS]>() == TILE && size_of::<[Line; ROWS]>() == TILE, "tiles are 1 KiB");
