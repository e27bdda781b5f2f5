//! Convolution of a block: forward, and the inputs' gradient, which is a convolution of the outputs' with another geometry.

use super::geometry::{Class, Geometry, Tap};
use super::{LANES, Line};
use crate::kernels::simd::{Path, Simd, Task};

/// Splits `count` rows into register tiles `(first, rows)` of nearly equal height.
pub(crate) fn row_blocks(path: Path, count: usize) -> Vec<(usize, usize)> {
    let tallest = match path {
        Path::Avx512 => 8,
        Path::Avx2 | Path::Portable => 6,
    };
    let tiles = count.div_ceil(tallest);
    (0..tiles)
        .map(|tile| (count * tile / tiles, count * (tile + 1) / tiles))
        .map(|(from, to)| (from, to - from))
        .collect()
}

/// Weights in the order in which tiles read them: `[group][row block][channel][tap][row]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    values: Vec<f32>,
    blocks: Vec<(usize, usize)>,
    groups: usize,
    rows: usize,
    channels: usize,
    taps: usize,
}

impl Weights {
    /// For `groups` groups of `rows` destination and `channels` source channels. None are there before [`Weights::pack`].
    pub(crate) fn new(path: Path, groups: usize, rows: usize, channels: usize, taps: usize) -> Self {
        Self { values: Vec::new(), blocks: row_blocks(path, rows), groups, rows, channels, taps }
    }

    /// The memory they are in, to be taken and given.
    pub(crate) fn memory(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Fills it: `at(group, row, channel)` gives the `taps` weights, all of a row's times `scale(group, row)`.
    pub(crate) fn pack<'a>(
        &mut self,
        at: impl Fn(usize, usize, usize) -> &'a [f32],
        scale: impl Fn(usize, usize) -> f32,
    ) {
        let (channels, taps) = (self.channels, self.taps);
        self.values.resize(self.groups * self.rows * channels * taps, 0.0);
        let mut rest = self.values.as_mut_slice();
        for group in 0..self.groups {
            for &(first, rows) in &self.blocks {
                let (block, tail) = rest.split_at_mut(rows * channels * taps);
                rest = tail;
                for row in 0..rows {
                    let scale = scale(group, first + row);
                    for channel in 0..channels {
                        let from = at(group, first + row, channel);
                        let to = block[channel * taps * rows + row..].iter_mut().step_by(rows);
                        to.zip(&from[..taps]).for_each(|(to, from)| *to = scale * *from);
                    }
                }
            }
        }
    }
}

/// Where a destination channel goes and what is done to it on the way: `plane = relu?(sum + plane? + bias + residual?)`.
pub(crate) struct Output<'a> {
    pub(crate) plane: &'a mut [Line],
    /// Whether what is there already is added to.
    pub(crate) add: bool,
    pub(crate) bias: f32,
    pub(crate) residual: Option<&'a [Line]>,
    pub(crate) relu: bool,
}

impl<'a> Output<'a> {
    /// The sum as it is, stored or added.
    pub(crate) fn plain(plane: &'a mut [Line], add: bool) -> Self {
        Self { plane, add, bias: 0.0, residual: None, relu: false }
    }
}

/// The task: planes of all groups' source channels in order, and of all destination channels.
pub(crate) struct Convolve<'a, 'b> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) weights: &'a Weights,
    pub(crate) from: &'a [&'a [Line]],
    pub(crate) to: &'a mut [Output<'b>],
}

impl Task for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { geometry, weights: w, from, to } = self;
        assert_eq!(from.len(), w.groups * w.channels, "convolution: source channels");
        assert_eq!(to.len(), w.groups * w.rows, "convolution: destination channels");
        assert_eq!(geometry.taps, w.taps, "convolution: taps");
        assert_eq!(w.values.len(), w.groups * w.rows * w.channels * w.taps, "convolution: weights are not packed");
        assert!(from.iter().all(|plane| plane.len() == geometry.from), "convolution: source planes");
        assert!(
            to.iter()
                .all(|to| to.plane.len() == geometry.to
                    && to.residual.is_none_or(|residual| residual.len() == geometry.to)),
            "convolution: destination planes"
        );
        if w.channels == 0 {
            return;
        }
        let groups = from.chunks_exact(w.channels).zip(to.chunks_exact_mut(w.rows)).enumerate();
        for (group, (from, to)) in groups {
            let group_weights = &w.values[group * w.rows * w.channels * w.taps..];
            for class in &geometry.classes {
                // So many pixels share one pass over a row block's weights, and one block of sources all row blocks: as
                // many as the second cache holds with all their channels.
                for pixels in class.pixels.chunks((CACHE / w.channels).clamp(8, PIXELS)) {
                    for &(first, rows) in &w.blocks {
                        let weights = &group_weights[first * w.channels * w.taps..][..rows * w.channels * w.taps];
                        let mut tile = Tiles { class, taps: w.taps, from, weights, to: &mut to[first..first + rows] };
                        // SAFETY: `Geometry::check` has every source and destination of the class inside its planes, whose
                        // lengths are asserted above; `weights` holds rows x channels x taps values and tap indices are
                        // below `taps`. The processor has the instructions: we are inside `Task::run`.
                        unsafe { tile.rows::<S>(pixels, rows) };
                    }
                }
            }
        }
    }
}

/// Destination pixels per pass.
const PIXELS: usize = 24;

/// Lines of sources in the second cache, which has to hold more than them.
const CACHE: usize = 4096;

/// A row block over some pixels of a class.
struct Tiles<'a, 'b> {
    class: &'a Class,
    taps: usize,
    from: &'a [&'a [Line]],
    weights: &'a [f32],
    to: &'a mut [Output<'b>],
}

impl Tiles<'_, '_> {
    /// # Safety
    /// As stated where it is called; `rows` rows in `to` and `weights`.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&mut self, pixels: &[(u32, u32)], rows: usize) {
        // Tiles fill the registers: 32 on the widest path, where a line is one vector, else 16 and two.
        // SAFETY: handed on.
        unsafe {
            match (rows, S::WIDTH) {
                (8, 1) => self.columns::<S, 8, 3>(pixels),
                (7, 1) => self.columns::<S, 7, 3>(pixels),
                (6, 1) => self.columns::<S, 6, 4>(pixels),
                (5, 1) => self.columns::<S, 5, 5>(pixels),
                (4, 1) => self.columns::<S, 4, 6>(pixels),
                (3, 1) => self.columns::<S, 3, 7>(pixels),
                (2, 1) => self.columns::<S, 2, 8>(pixels),
                (1, 1) => self.columns::<S, 1, 8>(pixels),
                (6, _) => self.columns::<S, 6, 2>(pixels),
                (5, _) => self.columns::<S, 5, 2>(pixels),
                (4, _) => self.columns::<S, 4, 2>(pixels),
                (3, _) => self.columns::<S, 3, 4>(pixels),
                (2, _) => self.columns::<S, 2, 4>(pixels),
                (1, _) => self.columns::<S, 1, 8>(pixels),
                _ => unreachable!("row blocks are not taller"),
            }
        }
    }

    /// Tiles of `R` rows and at most `V` vectors, of whole lines: what of a line is not used at once would have to come from
    /// a slower cache again.
    ///
    /// # Safety
    /// As [`Self::rows`], for `R` rows.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize, const V: usize>(&mut self, mut pixels: &[(u32, u32)]) {
        // SAFETY: handed on.
        unsafe {
            while pixels.len() >= V / S::WIDTH {
                self.tile::<S, R, V>(&pixels[..V / S::WIDTH]);
                pixels = &pixels[V / S::WIDTH..];
            }
            while pixels.len() >= 4 / S::WIDTH && V > 4 {
                self.tile::<S, R, 4>(&pixels[..4 / S::WIDTH]);
                pixels = &pixels[4 / S::WIDTH..];
            }
            while pixels.len() >= 2 / S::WIDTH && V > 2 {
                self.tile::<S, R, 2>(&pixels[..2 / S::WIDTH]);
                pixels = &pixels[2 / S::WIDTH..];
            }
            if S::WIDTH == 1 {
                for pixel in pixels {
                    self.tile::<S, R, 1>(std::slice::from_ref(pixel));
                }
            }
        }
    }

    /// One register tile.
    ///
    /// # Safety
    /// As [`Self::rows`], for `R` rows; the pixels of `V` vectors.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&mut self, pixels: &[(u32, u32)]) {
        let place = |at: u32, v: usize| at as usize * LANES + v % S::WIDTH * S::LANES;
        let mut sources = [0usize; V];
        for (v, source) in sources.iter_mut().enumerate() {
            *source = place(pixels[v / S::WIDTH].0, v);
        }
        // SAFETY: handed on.
        unsafe {
            let sums = if sources[V - 1] == sources[0] + (V - 1) * S::LANES {
                // Neighbours, as sources ascend: one address for all of them.
                self.sums::<S, R, V>(|plane: *const f32, v| plane.wrapping_add(sources[0] + v * S::LANES))
            } else {
                self.sums::<S, R, V>(|plane: *const f32, v| plane.wrapping_add(sources[v]))
            };
            for (to, sums) in self.to.iter_mut().zip(&sums) {
                let bias = S::splat(to.bias);
                for (v, &sum) in sums.iter().enumerate() {
                    let at = place(pixels[v / S::WIDTH].1, v);
                    let y = to.plane.as_mut_ptr().cast::<f32>().add(at);
                    let mut value = S::add(sum, bias);
                    if to.add {
                        value = S::add(value, S::load(y));
                    }
                    if let Some(residual) = to.residual {
                        value = S::add(value, S::load(residual.as_ptr().cast::<f32>().add(at)));
                    }
                    if to.relu {
                        value = S::max(S::splat(0.0), value);
                    }
                    S::store(y, value);
                }
            }
        }
    }

    /// The sums of a tile.
    ///
    /// # Safety
    /// As [`Self::tile`]; `at(plane, v)` is the source of vector `v` in `plane`.
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const V: usize>(
        &self,
        at: impl Fn(*const f32, usize) -> *const f32,
    ) -> [[S::V; V]; R] {
        // SAFETY: handed on.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; R];
            let mut weights = self.weights.as_ptr();
            for plane in self.from {
                for &Tap { index, offset } in &self.class.taps {
                    // Only with the pixel's own place it is inside the plane for sure.
                    let plane = plane.as_ptr().wrapping_offset(offset as isize).cast::<f32>();
                    let weights = weights.add(index as usize * R);
                    multiply_add::<S, R, V>(|v| at(plane, v), weights, &mut sums);
                }
                weights = weights.add(self.taps * R);
            }
            sums
        }
    }
}

/// `sums[r][v] += weights[r] x[v]`, with what there is less of held in registers.
///
/// # Safety
/// `R` readable weights, and a vector wherever `at` points; inside `Task::run`.
#[inline(always)]
pub(crate) unsafe fn multiply_add<S: Simd, const R: usize, const V: usize>(
    at: impl Fn(usize) -> *const f32,
    weights: *const f32,
    sums: &mut [[S::V; V]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if R <= V {
            let mut held = [S::splat(0.0); R];
            for (r, held) in held.iter_mut().enumerate() {
                *held = S::splat(*weights.add(r));
            }
            for v in 0..V {
                let value = S::load(at(v));
                for (sums, &weight) in sums.iter_mut().zip(&held) {
                    sums[v] = S::mul_add(weight, value, sums[v]);
                }
            }
        } else {
            let mut held = [S::splat(0.0); V];
            for (v, held) in held.iter_mut().enumerate() {
                *held = S::load(at(v));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = S::splat(*weights.add(r));
                for (sum, &value) in sums.iter_mut().zip(&held) {
                    *sum = S::mul_add(weight, value, *sum);
                }
            }
        }
    }
}

const _: () = assert!(LANES == 16, "a line is one vector of the widest path");
