//! Convolution: forward, input gradient and weight gradient; dense, grouped and depthwise; any stride and padding.
//!
//! All three walk over blocks of images. A block's channels are laid out as flat planes (`lower.rs`) in a thread's scratch,
//! register tiles (`tile.rs`) run over them, and the meaningful positions are copied out. Nothing is ever as large as the batch.

use rayon::prelude::*;

use super::lower::{Lowered, Output};
use super::tile::{Correlate, MultiplyAdd};
use crate::kernels::shape::ConvShape;
use crate::kernels::tiles::halving_blocks;
use crate::kernels::{Isa, scratch};

/// The convolution lowered for a block, and the images of the block: enough positions to fill vector tiles, little enough
/// scratch to stay in cache, and never so many that a batch gives too few blocks to share out. A function of the shape alone.
fn lower(s: &ConvShape, pass: fn(&ConvShape, usize) -> Lowered) -> (Lowered, usize) {
    const POSITIONS: usize = 1024;
    const SCRATCH: usize = 384 * 1024;
    let lowered = pass(s, 1);
    let pitch = lowered.image_pitch().max(1);
    let channels = (s.in_channels * lowered.sources.len() + s.out_channels) / s.groups;
    let images = (POSITIONS / pitch).min(SCRATCH / (pitch * channels).max(1));
    let images = images.min(s.batch.div_ceil(8)).max(1);
    (pass(s, images), images)
}

/// `y = x * w`: `x: [n, c, h, w]`, `w: [o, c / groups, k, k]`, `y: [n, o, h', w']`, all contiguous.
pub(crate) fn forward(isa: Isa, s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f32> {
    assert_eq!((x.len(), w.len()), (s.x_len(), s.w_len()), "convolution: wrong lengths");
    let (lowered, images) = lower(s, Lowered::forward);
    let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let strides = Strides { group: outputs * inputs * s.taps(), output: inputs * s.taps(), input: s.taps() };
    let flat = FlatConvolution { groups: s.groups, inputs, outputs, images, lowered: &lowered, strides };
    flat.compute(isa, x, w, s.y_len())
}

/// `dx` from `dy: [n, o, h', w']`: as `x`.
pub(crate) fn input_gradient(isa: Isa, s: &ConvShape, dy: &[f32], w: &[f32]) -> Vec<f32> {
    assert_eq!((dy.len(), w.len()), (s.y_len(), s.w_len()), "convolution: wrong lengths");
    let (lowered, images) = lower(s, Lowered::input_gradient);
    let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let strides = Strides { group: outputs * inputs * s.taps(), output: s.taps(), input: inputs * s.taps() };
    // Its inputs are the outputs of the forward pass.
    let (inputs, outputs) = (outputs, inputs);
    let flat = FlatConvolution { groups: s.groups, inputs, outputs, images, lowered: &lowered, strides };
    flat.compute(isa, dy, w, s.x_len())
}

/// Where the weight of (group, output, input, tap) lies; the input gradient swaps output and input.
#[derive(Clone, Copy)]
struct Strides {
    group: usize,
    output: usize,
    input: usize,
}

/// A convolution of flat planes: a forward pass, or a input gradient, which is one of the outputs' gradient.
struct FlatConvolution<'a> {
    groups: usize,
    /// Channels of a group that are read, and that are written.
    inputs: usize,
    outputs: usize,
    /// Images of a block.
    images: usize,
    lowered: &'a Lowered,
    strides: Strides,
}

impl FlatConvolution<'_> {
    /// The `len` values that `from` and the weights give.
    fn compute(&self, isa: Isa, from: &[f32], w: &[f32], len: usize) -> Vec<f32> {
        let Self { groups, inputs, outputs, images, lowered, strides } = *self;
        let mut to = vec![0f32; len];
        let (source, destination) =
            (lowered.source.0 * lowered.source.1, lowered.destination.0 * lowered.destination.1);
        let (from_image, to_image) = (groups * inputs * source, groups * outputs * destination);
        // No positions: every tap of every output meets padding, and the input has no gradient.
        if len == 0 || from.is_empty() || lowered.positions(1) == 0 {
            return to;
        }
        let blocks = halving_blocks(isa, outputs);
        let packed: Vec<Packed> =
            lowered.outputs.iter().map(|output| Packed::new(output, groups, inputs, &blocks, w, strides)).collect();
        let pitch = lowered.positions(images).next_multiple_of(super::tile::TILE);
        let channel_pitch = lowered.sources.len() * lowered.plane;
        let chunks = to.par_chunks_mut(images * to_image).zip(from.par_chunks(images * from_image));
        chunks.for_each(|(to, from)| {
            let images = from.len() / from_image;
            let positions = lowered.positions(images);
            scratch::with(|scratch| {
                let planes = scratch.a.take(inputs * channel_pitch);
                let sums = scratch.b.take(outputs * pitch);
                for group in 0..groups {
                    for (input, planes) in planes.chunks_exact_mut(channel_pitch).enumerate() {
                        lowered.pack(&from[(group * inputs + input) * source..], from_image, images, planes);
                    }
                    for (output, packed) in lowered.outputs.iter().zip(&packed) {
                        if output.taps.is_empty() {
                            continue;
                        }
                        for (first, weights) in packed.channel_blocks(group) {
                            isa.execute(MultiplyAdd {
                                x: &planes[first * channel_pitch..],
                                channel_pitch,
                                channels: (inputs - first).min(packed.channels),
                                offsets: &output.offsets,
                                weights,
                                blocks: &blocks,
                                out: sums,
                                out_pitch: pitch,
                                positions,
                                accumulate: first > 0,
                            });
                        }
                        for (channel, sums) in sums.chunks_exact(pitch).enumerate() {
                            let to = &mut to[(group * outputs + channel) * destination..];
                            lowered.unpack(output, sums, to, to_image, images);
                        }
                    }
                }
            });
        });
        to
    }
}

/// The weights of one destination phase in the order that register tiles read them:
/// `[group][channel block][row block][channel][tap][row]`.
struct Packed {
    weights: Vec<f32>,
    /// Channels per block: few enough for the block's weights and planes to stay in cache while they are reused.
    channels: usize,
    inputs: usize,
    per_channel: usize,
}

impl Packed {
    fn new(
        output: &Output,
        groups: usize,
        inputs: usize,
        blocks: &[(usize, usize)],
        w: &[f32],
        strides: Strides,
    ) -> Self {
        const WEIGHTS: usize = 96 * 1024;
        let rows = blocks.last().map_or(0, |&(start, rows)| start + rows);
        let per_channel = rows * output.taps.len();
        let channels = (WEIGHTS / per_channel.max(1)).clamp(8, 64).min(inputs.max(1));
        let mut weights = vec![0f32; groups * inputs * per_channel];
        let mut packed = Vec::new();
        let mut rest = weights.as_mut_slice();
        for group in 0..groups {
            for first in (0..inputs).step_by(channels) {
                let count = channels.min(inputs - first);
                let (block, tail) = rest.split_at_mut(count * per_channel);
                packed.push((group, first, count, block));
                rest = tail;
            }
        }
        packed.into_par_iter().for_each(|(group, first, count, block)| {
            let mut at = block.iter_mut();
            for &(start, rows) in blocks {
                for channel in first..first + count {
                    for &tap in &output.taps {
                        let from = group * strides.group + channel * strides.input + tap;
                        for (row, to) in (start..start + rows).zip(&mut at) {
                            *to = w[from + row * strides.output];
                        }
                    }
                }
            }
        });
        Self { weights, channels, inputs, per_channel }
    }

    /// `(first channel, weights)` of each channel block of a group.
    fn channel_blocks(&self, group: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let weights = &self.weights[group * self.inputs * self.per_channel..][..self.inputs * self.per_channel];
        let channels = self.channels;
        weights.chunks((channels * self.per_channel).max(1)).enumerate().map(move |(i, block)| (i * channels, block))
    }
}

/// `dw` from `x` and `dy`: as `w`.
pub(crate) fn weight_gradient(isa: Isa, s: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    assert_eq!((x.len(), dy.len()), (s.x_len(), s.y_len()), "convolution: wrong lengths");
    if s.batch == 0 {
        return vec![0f32; s.w_len()];
    }
    let (lowered, images) = lower(s, Lowered::forward);
    let (inputs, outputs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let blocks = halving_blocks(isa, outputs);
    let channel_pitch = lowered.sources.len() * lowered.plane;
    let Output { taps, offsets, .. } = &lowered.outputs[0];
    debug_assert!(taps.iter().enumerate().all(|(i, &tap)| i == tap), "taps of a forward pass come in kernel order");
    let entries: Vec<usize> =
        (0..inputs).flat_map(|c| offsets.iter().map(move |offset| c * channel_pitch + offset)).collect();
    let (input, output) = (s.input.0 * s.input.1, s.output.0 * s.output.1);
    let (x_image, y_image) = (s.in_channels * input, s.out_channels * output);

    let add_block = |sums: &mut [f32], x: &[f32], dy: &[f32]| {
        let images = x.len() / x_image;
        scratch::with(|scratch| {
            let x_planes = scratch.a.take(inputs * channel_pitch);
            let dy_planes = scratch.b.take(outputs * lowered.plane);
            for (group, sums) in sums.chunks_exact_mut(outputs * entries.len()).enumerate() {
                for (channel, planes) in x_planes.chunks_exact_mut(channel_pitch).enumerate() {
                    lowered.pack(&x[(group * inputs + channel) * input..], x_image, images, planes);
                }
                for (channel, plane) in dy_planes.chunks_exact_mut(lowered.plane).enumerate() {
                    lowered.pack_positions(&dy[(group * outputs + channel) * output..], y_image, images, plane);
                }
                isa.execute(Correlate {
                    dy: dy_planes,
                    dy_pitch: lowered.plane,
                    x: x_planes,
                    entries: &entries,
                    blocks: &blocks,
                    positions: lowered.positions(images),
                    sums,
                });
            }
        });
    };
    // A task sums its own run of blocks; the tasks' sums are added in order. Fewer tasks where the weights are many.
    let tasks = (4 * 1024 * 1024 / s.w_len()).clamp(4, 16);
    let run = s.batch.div_ceil(images).div_ceil(tasks) * images;
    let partial = x.par_chunks(run * x_image).zip(dy.par_chunks(run * y_image)).map(|(x, dy)| {
        let mut sums = vec![0f32; s.w_len()];
        for (x, dy) in x.chunks(images * x_image).zip(dy.chunks(images * y_image)) {
            add_block(&mut sums, x, dy);
        }
        sums
    });
    let mut partial = partial.collect::<Vec<_>>().into_iter();
    let mut total = partial.next().unwrap_or_default();
    for sums in partial {
        total.iter_mut().zip(&sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::reference::{self, Special};
    use proptest::prelude::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        crate::normal_stream(seed, "values", len).into_iter().map(|v| v as f32).collect()
    }

    fn check(s: &ConvShape) {
        check_with(s, Special::Same, |_, _, _| {});
    }

    /// `change` changes inputs, weights and the outputs' gradient.
    fn check_with(s: &ConvShape, special: Special, change: impl Fn(&mut [f32], &mut [f32], &mut [f32])) {
        let (mut x, mut w, mut dy) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3));
        change(&mut x, &mut w, &mut dy);
        let want = (
            reference::forward(s, &x, &w),
            reference::input_gradient(s, &dy, &w),
            reference::weight_gradient(s, &x, &dy),
        );
        for isa in Isa::available() {
            let what = |pass: &'static str| move || format!("{pass} {isa:?} {s:?}");
            special.assert(what("y"), &forward(isa, s, &x, &w), &want.0);
            special.assert(what("dx"), &input_gradient(isa, s, &dy, &w), &want.1);
            special.assert(what("dw"), &weight_gradient(isa, s, &x, &dy), &want.2);
        }
    }

    /// Zeros of the padding are multiplied here: what is not finite reaches a little further than in the twin, never less far.
    #[test]
    fn nan_and_infinities_are_where_the_scalar_twins_have_them() {
        let kind = |at: usize| reference::NOT_FINITE[at % reference::NOT_FINITE.len()];
        for s in [
            shape([2, 2, 3], (5, 6), 3, 1, 1, 1),
            shape([3, 3, 2], (5, 4), 3, 2, 1, 1),
            shape([2, 4, 4], (4, 3), 2, 1, 0, 4),
            shape([2, 2, 9], (3, 3), 1, 2, 0, 1),
        ] {
            (0..s.x_len()).for_each(|at| check_with(&s, Special::Further, |x, _, _| x[at] = kind(at)));
            (0..s.w_len()).for_each(|at| check_with(&s, Special::Further, |_, w, _| w[at] = kind(at)));
            (0..s.y_len()).for_each(|at| check_with(&s, Special::Further, |_, _, dy| dy[at] = kind(at)));
        }
    }

    fn shape([n, c, o]: [usize; 3], hw: (usize, usize), k: usize, s: usize, p: usize, g: usize) -> ConvShape {
        ConvShape::new(&[n, c, hw.0, hw.1], &[o, c / g, k, k], s, p, g).unwrap()
    }

    #[test]
    fn the_layers_of_real_networks() {
        for s in [
            shape([9, 3, 16], (32, 32), 3, 1, 1, 1),
            shape([2, 16, 16], (32, 32), 3, 1, 1, 1),
            shape([3, 16, 32], (32, 32), 3, 2, 1, 1),
            shape([17, 64, 64], (8, 8), 3, 1, 1, 1),
            shape([33, 24, 40], (2, 2), 3, 1, 1, 1),
            shape([5, 16, 32], (16, 16), 1, 2, 0, 1),
            shape([3, 20, 20], (15, 15), 3, 1, 1, 20),
            shape([1, 3, 8], (56, 56), 7, 2, 3, 1),
            shape([2, 200, 30], (4, 4), 1, 1, 0, 1),
            shape([2, 130, 19], (5, 5), 3, 1, 1, 1),
        ] {
            check(&s);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(160))]
        #[test]
        fn any_shape(
            n in 1usize..6, per_in in 1usize..6, per_out in 1usize..12, g in 1usize..5, h in 1usize..14, w in 1usize..14,
            k in 1usize..6, s in 1usize..4, p in 0usize..4,
        ) {
            prop_assume!(h + 2 * p >= k && w + 2 * p >= k);
            check(&shape([n, g * per_in, g * per_out], (h, w), k, s, p, g));
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let s = shape([40, 12, 20], (9, 7), 3, 2, 1, 2);
        let (x, w, dy) = (values(s.x_len(), 1), values(s.w_len(), 2), values(s.y_len(), 3));
        let all = || {
            let isa = Isa::best();
            (forward(isa, &s, &x, &w), input_gradient(isa, &s, &dy, &w), weight_gradient(isa, &s, &x, &dy))
        };
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all);
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(5));
    }
}
