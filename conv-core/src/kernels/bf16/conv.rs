//! Convolution of a block in bf16, forward and to the inputs' gradient: any kernel, stride, padding and groups.
//!
//! What a band of destinations reads is packed as `[row][column][pair][image][2]`, so that the pairs of a kernel row, which are
//! taps times pairs of channels, are consecutive lines of 64 bytes. They are read in chunks of up to 16, the most a tile holds.
//! All chunks of a part of a convolution are equally long: a tile's shape is then set once, and no chunk reads on into what
//! follows. So that this comes out even, pairs of zeros may follow a pixel's channels.
//!
//! As zeros of the padding are multiplied, a weight that is not finite also spoils outputs whose tap meets padding.

use std::cell::RefCell;

use super::conv_weights::Part;
pub(crate) use super::conv_weights::Weights;
use super::product::{Pairs, Product, ROWS, TILES};
use super::{HalfLine, HalfPath, LANES, Line};
use crate::kernels::simd::{Simd, Task};
use crate::kernels::stored::Stored;

/// Where a destination channel goes and what is done to it on the way, in f32:
/// `plane = relu?(scale sum + bias + plane? + residual?)`.
pub(crate) struct Output<'a> {
    pub(crate) plane: &'a mut [HalfLine],
    /// Whether what is there already is added to. The sum is rounded once more then.
    pub(crate) add: bool,
    pub(crate) scale: f32,
    pub(crate) bias: f32,
    pub(crate) residual: Option<&'a [HalfLine]>,
    pub(crate) relu: bool,
}

impl<'a> Output<'a> {
    /// The sum as it is, stored or added.
    pub(crate) fn plain(plane: &'a mut [HalfLine], add: bool) -> Self {
        Self { plane, add, scale: 1.0, bias: 0.0, residual: None, relu: false }
    }

    /// Whether planes have so many pixels.
    pub(super) fn fits(&self, pixels: usize) -> bool {
        self.plane.len() == pixels && self.residual.is_none_or(|added| added.len() == pixels)
    }

    /// What follows a pixel's `scale sum + bias`.
    ///
    /// # Safety
    /// Inside `Task::execute`.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&mut self, simd: S, at: usize, mut value: S::W) {
        if self.add {
            value = simd.line_add(value, HalfLine::load(simd, &self.plane[at]));
        }
        if let Some(residual) = self.residual {
            value = simd.line_add(value, HalfLine::load(simd, &residual[at]));
        }
        HalfLine::store(simd, &mut self.plane[at], if self.relu { simd.line_relu(value) } else { value });
    }
}

/// Lines of a panel that the second-level cache is to hold beside everything else it has to hold.
const CACHE: usize = 1 << 13;

thread_local! {
    /// What is packed, kept between calls.
    static PANEL: RefCell<Vec<Pairs>> = const { RefCell::new(Vec::new()) };
}

/// Convolves the planes `from`, the source channels of all groups in order, into `to`, the destination channels of all groups.
pub(crate) fn convolve(path: HalfPath, weights: &Weights, from: &[&[HalfLine]], to: &mut [Output<'_>]) {
    let w = weights;
    let (sources, destinations) = (w.from.0 * w.from.1, w.to.0 * w.to.1);
    assert_eq!(from.len(), w.groups() * w.sources, "bf16 convolution: source channels");
    assert_eq!(to.len(), w.groups() * w.destinations, "bf16 convolution: destination channels");
    assert!(from.iter().all(|plane| plane.len() == sources), "bf16 convolution: source planes");
    assert!(to.iter().all(|to| to.fits(destinations)), "bf16 convolution: destination planes");
    if destinations == 0 || to.is_empty() {
        return;
    }
    let mut panel = PANEL.with(|panel| panel.take());
    for part in &w.parts {
        let (weights, to) = (w, &mut *to);
        path.isa().execute(Convolve { path, weights, part, from, to, panel: &mut panel });
    }
    PANEL.with(|kept| kept.replace(panel));
}

struct Convolve<'a, 'b> {
    path: HalfPath,
    weights: &'a Weights,
    part: &'a Part,
    from: &'a [&'a [HalfLine]],
    to: &'a mut [Output<'b>],
    panel: &'a mut Vec<Pairs>,
}

impl Task for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { path, weights: w, part, from, to, panel } = self;
        let Part { rows, columns, cut, values: tiles } = part;
        assert_eq!(
            tiles.len(),
            w.groups() * w.blocks() * part.tiles() * ROWS,
            "bf16 convolution: weights are not packed"
        );
        let product = Product::new(path, cut.chunk);
        let across = columns.sources(columns.count);
        let row = across * cut.pairs;
        let mut band = rows.count;
        while band > 1 && rows.sources(band) * row > CACHE {
            band = band.div_ceil(2);
        }
        panel.resize(panel.len().max(rows.sources(band) * row), Pairs::ZERO);
        let chunks: Vec<usize> = (0..rows.taps.len())
            .flat_map(|ky| (0..cut.chunks).map(move |chunk| (ky * row + chunk * cut.chunk) * size_of::<Pairs>()))
            .collect();
        let blocks = w.blocks();
        let mut sums = [[Line::ZERO; ROWS]; TILES];
        let mut pixels: Vec<(usize, usize)> = Vec::new();
        let groups = from.chunks_exact(w.sources).zip(to.chunks_exact_mut(w.destinations));
        for (group, (from, to)) in groups.enumerate() {
            for first in (0..rows.count).step_by(band) {
                let height = band.min(rows.count - first);
                let panel = &mut panel[..rows.sources(height) * row];
                pack(w.from, part, first * rows.step, from, panel);
                pixels.clear();
                pixels.extend((0..height).flat_map(|y| {
                    let source = move |x: usize| (y * rows.step * across + x * columns.step) * cut.pairs;
                    let line = rows.destination(first + y) * w.to.1;
                    (0..columns.count).map(move |x| (source(x), line + columns.destination(x)))
                }));
                let mut block = 0;
                while block < blocks {
                    let together = product.together(blocks - block);
                    let of_block =
                        |block: usize| &tiles[(group * blocks + block) * chunks.len() * ROWS..][..chunks.len() * ROWS];
                    let weights = [of_block(block), of_block(block + together - 1)];
                    let to = &mut to[block * ROWS..w.destinations.min((block + together) * ROWS)];
                    for pixels in pixels.chunks(TILES / together) {
                        // The last pixel fills the places of those that are not there.
                        let place = |at: usize| pixels[at.min(pixels.len() - 1)].0;
                        let values: [*const u8; TILES] =
                            std::array::from_fn(|at| panel[place(at).min(panel.len())..].as_ptr().cast::<u8>());
                        // SAFETY: a block's weights are a tile a chunk, as sliced above. A pixel's source is the first tap of
                        // its first pair in a panel of all sources of `height` x `columns.count` pixels, and the furthest
                        // chunk ends with the last tap of the last kernel row, which is inside by the definition of both;
                        // without taps there are no chunks. `sums` are 4 tiles. Inside `Task::execute`.
                        unsafe { product.sums(simd, together, weights, values, &chunks, cut.chunk, &mut sums) };
                        finish(simd, &sums, together, pixels, to);
                    }
                    block += together;
                }
            }
        }
    }
}

/// Writes the sources of these channels from row `top` of the part's on.
#[inline(always)]
fn pack(size: (usize, usize), part: &Part, top: usize, from: &[&[HalfLine]], panel: &mut [Pairs]) {
    let (pairs, columns) = (part.cut.pairs, part.columns.sources(part.columns.count));
    let inside = part.columns.existing(columns, size.1);
    let left = (part.columns.origin + inside.start as isize).max(0) as usize;
    for (row, panel) in panel.chunks_exact_mut((columns * pairs).max(1)).enumerate() {
        let y = usize::try_from(part.rows.origin + (top + row) as isize).ok().filter(|&y| y < size.0);
        // A row, or the columns of all rows, may be padding alone.
        let Some(y) = y.filter(|_| !inside.is_empty()) else {
            panel.fill(Pairs::ZERO);
            continue;
        };
        panel[..inside.start * pairs].fill(Pairs::ZERO);
        panel[inside.end * pairs..].fill(Pairs::ZERO);
        let panel = &mut panel[inside.start * pairs..inside.end * pairs];
        for pair in 0..pairs {
            let of = |channel: usize| from.get(channel).map(|plane| &plane[y * size.1 + left..][..inside.len()]);
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
            // SAFETY: inside `Task::execute`; a line is 16 values.
            unsafe {
                let value = simd.line_mul_add(simd.line_load(sum.0.as_ptr()), scale, bias);
                to.finish(simd, destination, value);
            }
        }
    }
}
