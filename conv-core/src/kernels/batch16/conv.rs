//! Convolution of a block: forward, and the inputs' gradient, which is a convolution of the outputs' with another geometry.

pub(crate) use super::conv_weights::Weights;
use super::geometry::{Class, Geometry, Tap};
use super::{LANES, Line};
use crate::kernels::epilogue;
use crate::kernels::scratch;
use crate::kernels::simd::{Isa, Simd, Task};
use crate::kernels::tiles::tiles;

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

/// Convolves the planes `from`, the source channels of all groups in order, into `to`, the destination channels of all groups.
/// With `gathered` the sources of some pixels are first copied next to each other, which a convolution of one tap may ask for.
pub(crate) fn convolve(
    isa: Isa,
    geometry: &Geometry,
    weights: &Weights,
    gathered: bool,
    from: &[&[Line]],
    to: &mut [Output<'_>],
) {
    let panel = if gathered { weights.together() * panel_stride(weights.channels) } else { 0 };
    scratch::with_lines(panel, 0, |panel, _| isa.execute(Convolve { geometry, weights, from, to, panel }));
}

/// Lines from one pixel to the next in a panel. It is odd because a cache can hold only a few lines whose addresses differ by
/// a multiple of a large power of two.
fn panel_stride(channels: usize) -> usize {
    channels | 1
}

struct Convolve<'a, 'b> {
    geometry: &'a Geometry,
    weights: &'a Weights,
    from: &'a [&'a [Line]],
    to: &'a mut [Output<'b>],
    /// Where sources are copied together, `[pixel][channel]`; empty if they are read where they lie.
    panel: &'a mut [Line],
}

impl Task for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn execute<S: Simd>(self, simd: S) {
        let Self { geometry, weights: w, from, to, panel } = self;
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
        assert!(panel.is_empty() || w.taps == 1, "convolution: only sources of one tap are copied together");
        if w.channels == 0 {
            return;
        }
        let groups = from.chunks_exact(w.channels).zip(to.chunks_exact_mut(w.rows)).enumerate();
        for (group, (from, to)) in groups {
            let group_weights = &w.values[group * w.rows * w.channels * w.taps..];
            for class in &geometry.classes {
                for pixels in class.pixels.chunks(w.together()) {
                    // A class without taps has no sources.
                    let gathers = !panel.is_empty() && !class.taps.is_empty();
                    let panel = if gathers { Some(gather(from, pixels, panel)) } else { None };
                    for &(first, rows) in &w.blocks {
                        let weights = &group_weights[first * w.channels * w.taps..][..rows * w.channels * w.taps];
                        let to = &mut to[first..first + rows];
                        let mut tile = Tiles { class, taps: w.taps, from, panel, weights, to };
                        // SAFETY: `Geometry::check` has every source and destination of the class inside its planes, whose
                        // lengths are asserted above; `panel` holds all channels of each of these pixels, a stride apart;
                        // `weights` holds rows x channels x taps values and tap indices are below `taps`.
                        unsafe { tile.rows::<S>(simd, pixels, rows) };
                    }
                }
            }
        }
    }
}

/// Copies the sources of these pixels together.
fn gather<'a>(from: &[&[Line]], pixels: &[(u32, u32)], panel: &'a mut [Line]) -> &'a [Line] {
    let stride = panel_stride(from.len());
    for (channel, plane) in from.iter().enumerate() {
        for (to, &(source, _)) in panel.chunks_exact_mut(stride).zip(pixels) {
            to[channel] = plane[source as usize];
        }
    }
    &panel[..pixels.len() * stride]
}

/// A row block over some pixels of a class.
struct Tiles<'a, 'b> {
    class: &'a Class,
    taps: usize,
    from: &'a [&'a [Line]],
    panel: Option<&'a [Line]>,
    weights: &'a [f32],
    to: &'a mut [Output<'b>],
}

impl Tiles<'_, '_> {
    /// # Safety
    /// `to` has `rows` planes, `weights` `rows` values for each channel and tap; every source of these pixels, at each tap, lies
    /// inside all planes of `from`, and every destination inside those of `to` and their residuals; a panel holds all
    /// channels of each of these pixels.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&mut self, simd: S, pixels: &[(u32, u32)], rows: usize) {
        tiles!(rows; S; self.columns(simd, pixels);
            wide [1 => 8, 2 => 8, 3 => 7, 4 => 6, 5 => 5, 6 => 4, 7 => 3, 8 => 3],
            narrow [1 => 8, 2 => 4, 3 => 4, 4 => 2, 5 => 2, 6 => 2]
        );
    }

    /// Tiles of `R` rows and at most `V` vectors, of whole lines: what of a line is not used at once would have to come from
    /// a slower cache again.
    ///
    /// # Safety
    /// As [`Self::rows`], for `R` rows.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, pixels: &[(u32, u32)]) {
        let mut at = 0;
        while pixels.len() - at >= V / S::WIDTH {
            self.tile::<S, R, V>(simd, pixels, at);
            at += V / S::WIDTH;
        }
        while pixels.len() - at >= 4 / S::WIDTH && V > 4 {
            self.tile::<S, R, 4>(simd, pixels, at);
            at += 4 / S::WIDTH;
        }
        while pixels.len() - at >= 2 / S::WIDTH && V > 2 {
            self.tile::<S, R, 2>(simd, pixels, at);
            at += 2 / S::WIDTH;
        }
        while pixels.len() - at >= 1 && S::WIDTH == 1 {
            self.tile::<S, R, 1>(simd, pixels, at);
            at += 1;
        }
    }

    /// One register tile, of `V` vectors from pixel `first` on.
    ///
    /// # Safety
    /// As [`Self::rows`], for `R` rows; that many pixels are there.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, pixels: &[(u32, u32)], first: usize) {
        let stride = panel_stride(self.from.len());
        let panel = self.panel.map(|panel| panel[first * stride..].as_ptr().cast::<f32>());
        let pixels = &pixels[first..];
        let place = |at: u32, v: usize| at as usize * LANES + v % S::WIDTH * S::LANES;
        let mut sources = [0usize; V];
        for (v, source) in sources.iter_mut().enumerate() {
            *source = place(pixels[v / S::WIDTH].0, v);
        }
        let sums = if let Some(panel) = panel {
            self.gathered::<S, R, V>(simd, |v| {
                panel.wrapping_add(v / S::WIDTH * stride * LANES + v % S::WIDTH * S::LANES)
            })
        } else if sources[V - 1] == sources[0] + (V - 1) * S::LANES {
            // Sources ascend, so these pixels are neighbours: one address serves all of them.
            self.sums::<S, R, V>(simd, |plane: *const f32, v| plane.wrapping_add(sources[0] + v * S::LANES))
        } else {
            self.sums::<S, R, V>(simd, |plane: *const f32, v| plane.wrapping_add(sources[v]))
        };
        for (to, sums) in self.to.iter_mut().zip(&sums) {
            let bias = simd.splat(to.bias);
            for (v, &sum) in sums.iter().enumerate() {
                let at = place(pixels[v / S::WIDTH].1, v);
                let y = to.plane.as_mut_ptr().cast::<f32>().add(at);
                let there = if to.add { Some(y.cast_const()) } else { None };
                let residual = to.residual.map(|residual| residual.as_ptr().cast::<f32>().add(at));
                simd.store(y, epilogue::apply(simd, simd.add(sum, bias), there, residual, to.relu));
            }
        }
    }

    /// The sums of a tile whose sources are copied together.
    ///
    /// # Safety
    /// As [`Self::tile`]; `at(v)` is the source of vector `v` in the first channel.
    #[inline(always)]
    unsafe fn gathered<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        at: impl Fn(usize) -> *const f32,
    ) -> [[S::V; V]; R] {
        let mut sums = [[simd.splat(0.0); V]; R];
        let weights = self.weights.as_ptr();
        for channel in 0..self.from.len() {
            multiply_add::<S, R, V>(simd, |v| at(v).wrapping_add(channel * LANES), weights.add(channel * R), &mut sums);
        }
        sums
    }

    /// The sums of a tile.
    ///
    /// # Safety
    /// As [`Self::tile`]; `at(plane, v)` is the source of vector `v` in `plane`.
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        at: impl Fn(*const f32, usize) -> *const f32,
    ) -> [[S::V; V]; R] {
        let mut sums = [[simd.splat(0.0); V]; R];
        let mut weights = self.weights.as_ptr();
        for plane in self.from {
            for &Tap { index, offset } in &self.class.taps {
                // The address alone may lie outside the plane; with the pixel's own place added it does not.
                let plane = plane.as_ptr().wrapping_offset(offset as isize).cast::<f32>();
                let weights = weights.add(index as usize * R);
                multiply_add::<S, R, V>(simd, |v| at(plane, v), weights, &mut sums);
            }
            weights = weights.add(self.taps * R);
        }
        sums
    }
}

/// `sums[r][v] += weights[r] x[v]`. The shorter of both lists is loaded first and stays in registers, the other is loaded one
/// by one.
///
/// # Safety
/// `R` readable weights, and a vector wherever `at` points; inside `Task::execute`.
#[inline(always)]
pub(crate) unsafe fn multiply_add<S: Simd, const R: usize, const V: usize>(
    simd: S,
    at: impl Fn(usize) -> *const f32,
    weights: *const f32,
    sums: &mut [[S::V; V]; R],
) {
    if R <= V {
        let mut held = [simd.splat(0.0); R];
        for (r, held) in held.iter_mut().enumerate() {
            *held = simd.splat(*weights.add(r));
        }
        for v in 0..V {
            let value = simd.load(at(v));
            for (sums, &weight) in sums.iter_mut().zip(&held) {
                sums[v] = simd.mul_add(weight, value, sums[v]);
            }
        }
    } else {
        let mut held = [simd.splat(0.0); V];
        for (v, held) in held.iter_mut().enumerate() {
            *held = simd.load(at(v));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let weight = simd.splat(*weights.add(r));
            for (sum, &value) in sums.iter_mut().zip(&held) {
                *sum = simd.mul_add(weight, value, *sum);
            }
        }
    }
}

const _: () = assert!(LANES == 16, "a line is one vector of the widest isa");
