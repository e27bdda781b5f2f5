//! Convolution of a single image: output channels are the vector's lanes, so that small maps fill it as well as large ones.
//!
//! Planes are ordinary `[h, w]` images. Weights are read as vectors, one output channel a lane; pixels are broadcast from
//! wherever they lie. Which pixels meet which taps is the [`Geometry`] of the blocks of 16 images.

use super::lanes::geometry::{Class, Geometry, Tap};
use super::simd::{Simd, Task};

/// Output channels that are worked on together, two vectors of the narrow paths.
const LANES: usize = 16;

/// Weights as vectors: `[group][block of 16 output channels][channel][tap][lane]`, zero where there is no channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights {
    values: Vec<f32>,
    groups: usize,
    outputs: usize,
    channels: usize,
    taps: usize,
}

impl Weights {
    /// From `w[o][c / groups][tap]`, each output's times its `scale`.
    pub(crate) fn new(w: &[f32], scale: &[f32], groups: usize, channels: usize, taps: usize) -> Self {
        let outputs = scale.len() / groups;
        let blocks = outputs.div_ceil(LANES);
        let mut values = vec![0.0; groups * blocks * channels * taps * LANES];
        for (at, vector) in values.chunks_exact_mut(LANES).enumerate() {
            let (rest, position) = (at / (channels * taps), at % (channels * taps));
            let (group, block) = (rest / blocks, rest % blocks);
            let first = block * LANES;
            for (lane, value) in vector.iter_mut().enumerate().take(outputs - first) {
                let o = group * outputs + first + lane;
                *value = w[o * channels * taps + position] * scale[o];
            }
        }
        Self { values, groups, outputs, channels, taps }
    }

    /// `(group, first output in the group, outputs)` of each block.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.groups).flat_map(move |group| {
            (0..self.outputs).step_by(LANES).map(move |first| (group, first, LANES.min(self.outputs - first)))
        })
    }
}

/// Where an output channel goes: `plane = relu?(sum + bias + residual?)`.
pub(crate) struct Output<'a> {
    pub(crate) plane: &'a mut [f32],
    pub(crate) bias: f32,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

impl<'a> Output<'a> {
    /// The first `len` pixels; what is left is the rest.
    pub(crate) fn split_off(&mut self, len: usize) -> Self {
        let (plane, rest) = std::mem::take(&mut self.plane).split_at_mut(len);
        self.plane = rest;
        let residual = self.residual.map(|residual| {
            let (first, rest) = residual.split_at(len);
            self.residual = Some(rest);
            first
        });
        Self { plane, bias: self.bias, residual, relu: self.relu }
    }
}

/// The task: one block of output channels.
pub(crate) struct Convolve<'a, 'b> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) weights: &'a Weights,
    /// Of [`Weights::blocks`].
    pub(crate) block: (usize, usize, usize),
    /// Planes of the block's group.
    pub(crate) from: &'a [&'a [f32]],
    pub(crate) to: &'a mut [Output<'b>],
}

impl Task for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { geometry, weights: w, block: (group, first, count), from, to } = self;
        assert!(from.len() == w.channels && to.len() == count && count <= LANES, "single image: channels");
        assert!(geometry.taps == w.taps && group < w.groups && first < w.outputs, "single image: weights");
        assert!(from.iter().all(|plane| plane.len() == geometry.from), "single image: source planes");
        assert!(
            to.iter()
                .all(|to| to.plane.len() == geometry.to
                    && to.residual.is_none_or(|residual| residual.len() == geometry.to)),
            "single image: destination planes"
        );
        let len = w.channels * w.taps * LANES;
        let at = (group * w.outputs.div_ceil(LANES) + first / LANES) * len;
        let values = &w.values[at..at + len];
        for class in &geometry.classes {
            let pixels = class.pixels.as_slice();
            let tiles = Tiles { class, taps: w.taps, from, weights: values };
            // SAFETY: `Geometry::check` has every source and destination of the class inside planes of the lengths asserted
            // above; `values` holds channels x taps vectors and tap indices are below `taps`. Inside `Task::run`.
            unsafe {
                match count.div_ceil(S::LANES) {
                    1 => tiles.vectors::<S, 1, 12>(pixels, to),
                    _ => tiles.vectors::<S, 2, 6>(pixels, to),
                }
            }
        }
    }
}

struct Tiles<'a> {
    class: &'a Class,
    taps: usize,
    from: &'a [&'a [f32]],
    weights: &'a [f32],
}

impl Tiles<'_> {
    /// All `pixels`, with `H` vectors of channels, at most `P` at a time.
    ///
    /// # Safety
    /// As stated where it is called.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const H: usize, const P: usize>(
        &self,
        mut pixels: &[(u32, u32)],
        to: &mut [Output<'_>],
    ) {
        // SAFETY: handed on.
        unsafe {
            while pixels.len() >= P {
                self.tile::<S, H, P>(&pixels[..P], to);
                pixels = &pixels[P..];
            }
            while pixels.len() >= 3 {
                self.tile::<S, H, 3>(&pixels[..3], to);
                pixels = &pixels[3..];
            }
            for pixel in pixels {
                self.tile::<S, H, 1>(std::slice::from_ref(pixel), to);
            }
        }
    }

    /// `P` pixels of the block's channels.
    ///
    /// # Safety
    /// As stated where [`Self::vectors`] is called.
    #[inline(always)]
    unsafe fn tile<S: Simd, const H: usize, const P: usize>(&self, pixels: &[(u32, u32)], to: &mut [Output<'_>]) {
        let mut sources = [0usize; P];
        for (source, pixel) in sources.iter_mut().zip(pixels) {
            *source = pixel.0 as usize;
        }
        let mut values = [[0f32; LANES]; P];
        // SAFETY: handed on; `H` vectors are at most [`LANES`] values.
        unsafe {
            let mut sums = [[S::splat(0.0); H]; P];
            let mut weights = self.weights.as_ptr();
            for plane in self.from {
                for &Tap { index, offset } in &self.class.taps {
                    let plane = plane.as_ptr().offset(offset as isize);
                    let mut vectors = [S::splat(0.0); H];
                    for (h, vector) in vectors.iter_mut().enumerate() {
                        *vector = S::load(weights.add(index as usize * LANES + h * S::LANES));
                    }
                    for (sums, &source) in sums.iter_mut().zip(&sources) {
                        let x = S::splat(*plane.add(source));
                        for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                            *sum = S::mul_add(x, vector, *sum);
                        }
                    }
                }
                weights = weights.add(self.taps * LANES);
            }
            for (values, sums) in values.iter_mut().zip(sums) {
                for (h, sum) in sums.into_iter().enumerate() {
                    S::store(values.as_mut_ptr().add(h * S::LANES), sum);
                }
            }
        }
        for (lane, to) in to.iter_mut().enumerate() {
            for (value, &(_, at)) in values.iter().zip(pixels) {
                let at = at as usize;
                let value = value[lane] + to.bias + to.residual.map_or(0.0, |residual| residual[at]);
                to.plane[at] = if to.relu { value.max(0.0) } else { value };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::Shape;
    use super::super::lanes::geometry::bands_of;
    use super::super::simd::Path;
    use super::super::{flat, reference};
    use super::*;
    use proptest::prelude::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        crate::normal_stream(seed, "values", len).into_iter().map(|v| v as f32).collect()
    }

    fn check(s: &Shape, bands: usize) {
        let (x, w, residual) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3));
        let (taps, inputs, outputs) = (s.kernel * s.kernel, s.in_channels / s.groups, s.out_channels / s.groups);
        let (x_pixels, y_pixels) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
        let scale: Vec<f32> = (0..s.out_channels).map(|o| 1.0 + o as f32).collect();
        let mut want = reference::forward(s, &x, &w);
        for (at, want) in want.iter_mut().enumerate() {
            *want = (*want * scale[at / y_pixels] + 0.5 + residual[at]).max(0.0);
        }
        let planes: Vec<&[f32]> = x.chunks_exact(x_pixels).collect();
        let weights = Weights::new(&w, &scale, s.groups, inputs, taps);
        for path in Path::ALL.into_iter().filter(|path| path.supported()) {
            let mut y = vec![f32::NAN; s.y_len()];
            let forward = Geometry::forward(s);
            for rows in bands_of(s.output.0, bands) {
                let geometry = forward.band(rows.clone());
                let (from, to) = (rows.start * s.output.1, rows.end * s.output.1);
                let mut all: Vec<Output<'_>> = (y.chunks_exact_mut(y_pixels).zip(residual.chunks_exact(y_pixels)))
                    .map(|(plane, r)| Output {
                        plane: &mut plane[from..to],
                        bias: 0.5,
                        residual: Some(&r[from..to]),
                        relu: true,
                    })
                    .collect();
                for block in weights.blocks() {
                    let (group, first, count) = block;
                    let to = &mut all[group * outputs + first..][..count];
                    let from = &planes[group * inputs..][..inputs];
                    path.run(Convolve { geometry: &geometry, weights: &weights, block, from, to });
                }
            }
            let close = |got: &[f32]| {
                let scale = want.iter().fold(1f32, |scale, value| scale.max(value.abs()));
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert!((got - want).abs() <= 2e-5 * scale, "{path:?} {s:?} at {i}: {got} for {want}");
                }
            };
            close(&y);
            if s.stride == 1 {
                let mut y = vec![f32::NAN; s.y_len()];
                for rows in bands_of(s.output.0, bands) {
                    let (from, to) = (rows.start * s.output.1, rows.end * s.output.1);
                    let mut all: Vec<Output<'_>> = (y.chunks_exact_mut(y_pixels).zip(residual.chunks_exact(y_pixels)))
                        .map(|(plane, r)| {
                            let (plane, residual) = (&mut plane[from..to], Some(&r[from..to]));
                            Output { plane, bias: 0.5, residual, relu: true }
                        })
                        .collect();
                    let weights = flat::pack(&w, &scale, s.groups, inputs, taps);
                    for (group, to) in all.chunks_exact_mut(outputs).enumerate() {
                        let weights = &weights[group * outputs * inputs * taps..][..outputs * inputs * taps];
                        let (from, rows) = (&planes[group * inputs..][..inputs], rows.clone());
                        flat::convolve(path, s, weights, from, rows, to);
                    }
                }
                close(&y);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_shape(
            groups in 1usize..4, inputs in 1usize..8, outputs in 1usize..36, bands in 1usize..4,
            h in 1usize..12, w in 1usize..12, k in 1usize..6, stride in 1usize..4, padding in 0usize..4,
        ) {
            prop_assume!(h + 2 * padding >= k && w + 2 * padding >= k);
            let (c, o) = (groups * inputs, groups * outputs);
            check(&Shape::new(&[1, c, h, w], &[o, inputs, k, k], stride, padding, groups).unwrap(), bands);
        }
    }
}
