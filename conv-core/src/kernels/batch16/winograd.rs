//! 3 x 3 convolution of stride 1 and padding 1 by Winograd's F(2 x 2, 3 x 3): 16 multiplications where the direct sum takes 36
//! (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1).
//!
//! A tile of 2 x 2 outputs comes from 4 x 4 inputs `d` and the kernel `g`: `Y = A^T [(G g G^T) . (B^T d B)] A`. The transforms
//! are additions of lines; between them stand 16 small matrix products over the channels, one a frequency. All numbers of the
//! transforms are 1 and 1/2: the result is as exact as the direct sum to within a few roundings.

use super::conv::{Output, multiply_add};
use super::{LANES, Line};
use crate::kernels::epilogue::{self, Whole};
use crate::kernels::scratch;
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::tiles::{TALLEST, even_blocks, tiles};

/// Products per tile.
const FREQUENCIES: usize = 16;

/// Transformed weights, `[row block][frequency][channel][row]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    values: Vec<f32>,
    blocks: Vec<(usize, usize)>,
    rows: usize,
    channels: usize,
}

impl Weights {
    /// For `rows` destination and `channels` source channels. None are there before [`Weights::pack`].
    pub(crate) fn new(isa: Isa, rows: usize, channels: usize) -> Self {
        Self { values: Vec::new(), blocks: even_blocks(isa, rows), rows, channels }
    }

    /// The memory that holds them, which the caller may take away and give back.
    pub(crate) fn memory(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Fills it: `at(row, channel)` gives the 9 weights, which count `scale(row)` times; `turned` by half a turn, as the
    /// inputs' gradient needs them.
    pub(crate) fn pack<'a>(
        &mut self,
        at: impl Fn(usize, usize) -> &'a [f32],
        scale: impl Fn(usize) -> f32,
        turned: bool,
    ) {
        let channels = self.channels;
        self.values.resize(packed(self.rows, channels), 0.0);
        let mut rest = self.values.as_mut_slice();
        for &(first, rows) in &self.blocks {
            let (block, tail) = rest.split_at_mut(rows * channels * FREQUENCIES);
            rest = tail;
            // All rows of a channel at once, so that they are written side by side.
            for channel in 0..channels {
                let mut g = [[0f32; TALLEST]; 9];
                for (tap, g) in g.iter_mut().enumerate() {
                    let tap = if turned { 8 - tap } else { tap };
                    g[..rows].iter_mut().enumerate().for_each(|(row, g)| *g = at(first + row, channel)[tap]);
                }
                for (f, values) in transform_kernel(&g).into_iter().enumerate() {
                    let to = &mut block[(f * channels + channel) * rows..][..rows];
                    to.iter_mut()
                        .zip(values)
                        .enumerate()
                        .for_each(|(row, (to, value))| *to = scale(first + row) * value);
                }
            }
        }
    }
}

/// Values of the transformed weights of so many destination and source channels.
pub(crate) fn packed(rows: usize, channels: usize) -> usize {
    rows * channels * FREQUENCIES
}

/// Multiplications for one of the direct sum on maps of this size.
pub(crate) fn multiplications((height, width): (usize, usize)) -> f64 {
    let tiles = height.div_ceil(2) * width.div_ceil(2);
    (tiles * FREQUENCIES) as f64 / (height * width * 9) as f64
}

/// `G g G^T` of the kernels of several rows.
fn transform_kernel(g: &[[f32; TALLEST]; 9]) -> [[f32; TALLEST]; FREQUENCIES] {
    let mut u = [[0.0; TALLEST]; FREQUENCIES];
    for row in 0..TALLEST {
        let combine = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
        let columns: [[f32; 4]; 3] = std::array::from_fn(|x| combine(g[x][row], g[3 + x][row], g[6 + x][row]));
        for y in 0..4 {
            let values = combine(columns[0][y], columns[1][y], columns[2][y]);
            (0..4).for_each(|x| u[4 * y + x][row] = values[x]);
        }
    }
    u
}

/// Convolves the planes `from` into `to`, all of `size`, which is `(height, width)`.
pub(crate) fn convolve(isa: Isa, size: (usize, usize), weights: &Weights, from: &[&[Line]], to: &mut [Output<'_>]) {
    let together = (INPUTS / (FREQUENCIES * weights.channels.max(1))).next_multiple_of(4).clamp(4, 32);
    let tallest = weights.blocks.iter().map(|&(_, rows)| rows).max().unwrap_or(0);
    let (inputs, sums) = (FREQUENCIES * weights.channels * together, FREQUENCIES * tallest * together);
    scratch::with_lines(inputs, sums, |inputs, sums| {
        isa.execute(Winograd { size, weights, from, to, together, inputs, sums });
    });
}

/// Lines of transformed inputs that are worked on at a time: they stay in the second-level cache while all outputs read them.
const INPUTS: usize = 4096;

struct Winograd<'a, 'b> {
    size: (usize, usize),
    weights: &'a Weights,
    from: &'a [&'a [Line]],
    to: &'a mut [Output<'b>],
    /// Tiles at a time, and room for their transforms: `[frequency][channel][tile]`, `[frequency][row][tile]`.
    together: usize,
    inputs: &'a mut [Line],
    sums: &'a mut [Line],
}

impl Task for Winograd<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { size: (height, width), weights: w, from, to, together, inputs, sums } = self;
        let pixels = height * width;
        assert!(from.len() == w.channels && to.len() == w.rows, "winograd: channels");
        assert!(from.iter().all(|plane| plane.len() == pixels), "winograd: source planes");
        assert!(
            to.iter().all(|to| to.plane.len() == pixels && to.residual.is_none_or(|residual| residual.len() == pixels)),
            "winograd: destination planes"
        );
        assert!(
            inputs.len() >= FREQUENCIES * w.channels * together
                && w.blocks.iter().all(|&(_, rows)| sums.len() >= FREQUENCIES * rows * together),
            "winograd: scratch"
        );
        let columns = width.div_ceil(2);
        let tiles = height.div_ceil(2) * columns;
        for start in (0..tiles).step_by(together) {
            let count = together.min(tiles - start);
            for (channel, plane) in from.iter().enumerate() {
                for tile in 0..count {
                    let (y, x) = (2 * ((start + tile) / columns), 2 * ((start + tile) % columns));
                    let (at, pitch) = (channel * together + tile, w.channels * together);
                    // SAFETY: `at` is below channels x together, frequencies are as far apart; the plane is as long as the
                    // size says. Inside `Task::execute`.
                    unsafe { transform_input::<S>(simd, plane, (height, width), (y, x), inputs, at, pitch) };
                }
            }
            let mut values = w.values.as_slice();
            for &(first, rows) in &w.blocks {
                let (block, rest) = values.split_at(rows * w.channels * FREQUENCIES);
                values = rest;
                for (f, weights) in block.chunks_exact(rows * w.channels).enumerate() {
                    let mut product = Product {
                        weights,
                        inputs: &inputs[f * w.channels * together..][..w.channels * together],
                        sums: &mut sums[f * rows * together..][..rows * together],
                        channels: w.channels,
                        together,
                        count,
                    };
                    // SAFETY: the slices hold rows x channels weights, channels x together inputs and rows x together sums.
                    // Inside `Task::execute`.
                    unsafe { product.rows::<S>(simd, rows) };
                }
                for (row, to) in to[first..first + rows].iter_mut().enumerate() {
                    for tile in 0..count {
                        let (y, x) = (2 * ((start + tile) / columns), 2 * ((start + tile) % columns));
                        let (at, pitch) = (row * together + tile, rows * together);
                        // SAFETY: `row` and `tile` lie inside the sums, frequencies are rows x together apart; the planes
                        // are as long as the size says. Inside `Task::execute`.
                        unsafe { transform_output::<S>(simd, sums, at, pitch, to, (height, width), (y, x)) };
                    }
                }
            }
        }
    }
}

/// `B^T d B` of the 4 x 4 inputs around the outputs at `(y, x)`, to `inputs[at + f pitch]`.
///
/// # Safety
/// A plane of `height width` lines; 16 places in `inputs`; inside [`Task::execute`].
#[inline(always)]
unsafe fn transform_input<S: Simd>(
    simd: S,
    plane: &[Line],
    (height, width): (usize, usize),
    (y, x): (usize, usize),
    inputs: &mut [Line],
    at: usize,
    pitch: usize,
) {
    // Lines as a whole, though on the narrow sets not all fit into the registers: half a line at a time touches the 16 places,
    // which lie a power of two apart, twice, and was a tenth slower for the network.
    let zero = simd.line_splat(0.0);
    let mut d = [[zero; 4]; 4];
    let inside = y > 0 && x > 0 && y + 2 < height && x + 2 < width;
    for (i, row) in d.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let (py, px) = ((y + i).wrapping_sub(1), (x + j).wrapping_sub(1));
            if inside || py < height && px < width {
                *value = simd.line_load(plane.as_ptr().add(py * width + px).cast());
            }
        }
    }
    let mut t = [[zero; 4]; 4];
    let [above, first, second, below] = d;
    for (j, (((above, first), second), below)) in above.into_iter().zip(first).zip(second).zip(below).enumerate() {
        t[0][j] = simd.line_sub(above, second);
        t[1][j] = simd.line_add(first, second);
        t[2][j] = simd.line_sub(second, first);
        t[3][j] = simd.line_sub(first, below);
    }
    let place = inputs.as_mut_ptr().add(at);
    for (i, t) in t.iter().enumerate() {
        let place = place.add(4 * i * pitch);
        simd.line_store(place.cast(), simd.line_sub(t[0], t[2]));
        simd.line_store(place.add(pitch).cast(), simd.line_add(t[1], t[2]));
        simd.line_store(place.add(2 * pitch).cast(), simd.line_sub(t[2], t[1]));
        simd.line_store(place.add(3 * pitch).cast(), simd.line_sub(t[1], t[3]));
    }
}

/// `A^T m A` of `sums[at + f pitch]`, to the 2 x 2 outputs at `(y, x)`, as far as they lie inside.
///
/// # Safety
/// As [`transform_input`].
#[inline(always)]
unsafe fn transform_output<S: Simd>(
    simd: S,
    sums: &[Line],
    at: usize,
    pitch: usize,
    to: &mut Output<'_>,
    (height, width): (usize, usize),
    (y, x): (usize, usize),
) {
    let m = |f: usize| simd.line_load(sums.as_ptr().add(at + f * pitch).cast());
    let mut t = [[simd.line_splat(0.0); 4]; 2];
    let [upper, lower] = &mut t;
    for (j, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
        let (one, two) = (m(4 + j), m(8 + j));
        *upper = simd.line_add(m(j), simd.line_add(one, two));
        *lower = simd.line_sub(simd.line_sub(one, two), m(12 + j));
    }
    let bias = simd.line_splat(to.bias);
    for (i, t) in t.iter().enumerate() {
        let both = [simd.line_add(t[0], simd.line_add(t[1], t[2])), simd.line_sub(simd.line_sub(t[1], t[2]), t[3])];
        for (j, sum) in both.into_iter().enumerate() {
            let (py, px) = (y + i, x + j);
            if py >= height || px >= width {
                continue;
            }
            let pixel = py * width + px;
            let place = to.plane.as_mut_ptr().add(pixel).cast::<f32>();
            let there = if to.add { Some(place.cast_const()) } else { None };
            let residual = to.residual.map(|plane| plane.as_ptr().add(pixel).cast::<f32>());
            simd.line_store(place, epilogue::apply(Whole(simd), simd.line_add(sum, bias), there, residual, to.relu));
        }
    }
}

/// `sums[row][tile] = sum over channels of weights[channel][row] inputs[channel][tile]` of one frequency.
struct Product<'a> {
    weights: &'a [f32],
    inputs: &'a [Line],
    sums: &'a mut [Line],
    channels: usize,
    together: usize,
    count: usize,
}

impl Product<'_> {
    /// # Safety
    /// There are `rows` weights a channel, `channels` rows of `together` inputs, and `rows` rows of as many sums; `count` is no
    /// more than `together`.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&mut self, simd: S, rows: usize) {
        tiles!(rows; S; self.columns(simd);
            wide [1 => 8, 2 => 8, 3 => 6, 4 => 6, 5 => 4, 6 => 4, 7 => 3, 8 => 3],
            narrow [1 => 8, 2 => 4, 3 => 4, 4 => 2, 5 => 2, 6 => 2]
        );
    }

    /// Register tiles of at most `V` vectors, of whole lines.
    ///
    /// # Safety
    /// As [`Self::rows`], for `R` rows.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize, const V: usize>(&mut self, simd: S) {
        let mut tile = 0;
        while self.count - tile >= V / S::WIDTH {
            self.tile::<S, R, V>(simd, tile);
            tile += V / S::WIDTH;
        }
        while V > 2 && self.count - tile >= 2 / S::WIDTH {
            self.tile::<S, R, 2>(simd, tile);
            tile += 2 / S::WIDTH;
        }
        if S::WIDTH == 1 && tile < self.count {
            self.tile::<S, R, 1>(simd, tile);
        }
    }

    /// # Safety
    /// As [`Self::rows`], for `R` rows; the `V` vectors from tile `first` on lie within `count`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize) {
        let mut sums = [[simd.splat(0.0); V]; R];
        let mut inputs = self.inputs.as_ptr().add(first).cast::<f32>();
        let mut weights = self.weights.as_ptr();
        for _ in 0..self.channels {
            multiply_add::<S, R, V>(simd, |v| inputs.add(v * S::LANES), weights, &mut sums);
            inputs = inputs.add(self.together * LANES);
            weights = weights.add(R);
        }
        for (r, row) in sums.iter().enumerate() {
            let place = self.sums.as_mut_ptr().add(r * self.together + first).cast::<f32>();
            for (v, &sum) in row.iter().enumerate() {
                simd.store(place.add(v * S::LANES), sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv;
    use super::super::geometry::Geometry;
    use super::super::tests::{lines, rows, shape, values};
    use super::*;
    use crate::kernels::reference;

    /// What the documentation says of its accuracy: root mean square errors, in units of the results' own.
    #[test]
    fn winograd_is_about_as_exact_as_the_direct_sum() {
        let s = shape([16, 256, 32], (8, 8), 3, 1, 1, 1);
        let (x, w) = (values(s.x_len(), 1), values(s.w_len(), 2));
        let (x_lines, want) = (lines(&x, s.x_len() / s.batch), reference::forward(&s, &x, &w));
        let x_planes: Vec<&[Line]> = x_lines.chunks_exact(64).collect();
        let isa = Isa::best();
        let error = |of: &dyn Fn(&mut [Output<'_>])| {
            let mut y = vec![Line::ZERO; s.out_channels * 64];
            of(&mut y.chunks_exact_mut(64).map(|plane| Output::plain(plane, false)).collect::<Vec<_>>());
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let errors = square(&mut rows(&y, s.batch).iter().zip(&want).map(|(got, want)| got - want));
            (errors / square(&mut want.iter().copied())).sqrt()
        };
        let direct = error(&|to| {
            let mut weights = conv::Weights::new(isa, 1, 32, 256, 9);
            weights.pack(|_, row, channel| &w[(row * 256 + channel) * 9..], |_, _| 1.0);
            conv::convolve(isa, &Geometry::forward(&s), &weights, false, &x_planes, to);
        });
        let winograd = error(&|to| {
            let mut weights = Weights::new(isa, 32, 256);
            weights.pack(|row, channel| &w[(row * 256 + channel) * 9..], |_| 1.0, false);
            convolve(isa, s.input, &weights, &x_planes, to);
        });
        println!("relative errors: direct {direct:.2e}, Winograd {winograd:.2e}");
        assert!(winograd < 1e-6 && winograd < 2.0 * direct, "direct {direct:.2e}, Winograd {winograd:.2e}");
    }
}
