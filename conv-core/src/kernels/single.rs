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
            let mut pixels = class.pixels.as_slice();
            let tiles = Tiles { class, taps: w.taps, from, weights: values };
            // SAFETY: `Geometry::check` has every source and destination of the class inside planes of the lengths asserted
            // above; `values` holds channels x taps vectors and tap indices are below `taps`. Inside `Task::run`.
            unsafe {
                while pixels.len() >= 6 {
                    tiles.tile::<S, 6>(&pixels[..6], to);
                    pixels = &pixels[6..];
                }
                while pixels.len() >= 2 {
                    tiles.tile::<S, 2>(&pixels[..2], to);
                    pixels = &pixels[2..];
                }
                if !pixels.is_empty() {
                    tiles.tile::<S, 1>(pixels, to);
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
    /// `P` pixels of the block's channels.
    ///
    /// # Safety
    /// As stated where it is called.
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize>(&self, pixels: &[(u32, u32)], to: &mut [Output<'_>]) {
        let mut sources = [0usize; P];
        for (source, pixel) in sources.iter_mut().zip(pixels) {
            *source = pixel.0 as usize;
        }
        let mut values = [[0f32; LANES]; P];
        // SAFETY: handed on.
        unsafe {
            let mut sums = [S::line_splat(0.0); P];
            let mut weights = self.weights.as_ptr();
            for plane in self.from {
                for &Tap { index, offset } in &self.class.taps {
                    let plane = plane.as_ptr().offset(offset as isize);
                    let weight = S::line_load(weights.add(index as usize * LANES));
                    for (sum, &source) in sums.iter_mut().zip(&sources) {
                        *sum = S::line_mul_add(S::line_splat(*plane.add(source)), weight, *sum);
                    }
                }
                weights = weights.add(self.taps * LANES);
            }
            for (value, sum) in values.iter_mut().zip(sums) {
                S::line_store(value.as_mut_ptr(), sum);
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

/// One channel by itself: the lanes are pixels of a row.
pub(crate) struct Depthwise<'a, 'b> {
    pub(crate) shape: &'a super::conv::Shape,
    /// Its taps, scaled.
    pub(crate) weights: &'a [f32],
    pub(crate) from: &'a [f32],
    pub(crate) to: Output<'b>,
}

impl Task for Depthwise<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { shape: s, weights, from, to } = self;
        let (height, width) = s.input;
        for (oy, row) in to.plane.chunks_exact_mut(s.output.1).enumerate() {
            row.fill(to.bias);
            for (tap, &weight) in weights.iter().enumerate() {
                let (ky, kx) = (tap / s.kernel, tap % s.kernel);
                let Some(iy) = (oy * s.stride + ky).checked_sub(s.padding).filter(|&iy| iy < height) else { continue };
                // Outputs whose input lies inside: ix = ox stride + kx - padding.
                let first = s.padding.saturating_sub(kx).div_ceil(s.stride);
                let end = (width + s.padding).saturating_sub(kx).div_ceil(s.stride).min(s.output.1);
                if first >= end {
                    continue;
                }
                let input = &from[iy * width..(iy + 1) * width][first * s.stride + kx - s.padding..];
                match s.stride {
                    1 => row[first..end].iter_mut().zip(input).for_each(|(y, x)| *y += weight * x),
                    stride => {
                        row[first..end]
                            .iter_mut()
                            .zip(input.iter().step_by(stride))
                            .for_each(|(y, x)| *y += weight * x);
                    }
                }
            }
            if let Some(residual) = to.residual {
                row.iter_mut().zip(&residual[oy * s.output.1..]).for_each(|(y, r)| *y += r);
            }
            if to.relu {
                row.iter_mut().for_each(|y| *y = y.max(0.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::Shape;
    use super::super::reference;
    use super::super::simd::Path;
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
            for (geometry, rows) in Geometry::forward(s).bands(bands) {
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
            if inputs == 1 {
                let mut y = vec![f32::NAN; s.y_len()];
                for (o, plane) in y.chunks_exact_mut(y_pixels).enumerate() {
                    let weights: Vec<f32> = w[o * taps..(o + 1) * taps].iter().map(|w| w * scale[o]).collect();
                    let residual = Some(&residual[o * y_pixels..(o + 1) * y_pixels]);
                    let to = Output { plane, bias: 0.5, residual, relu: true };
                    path.run(Depthwise { shape: s, weights: &weights, from: planes[o / outputs], to });
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
