//! Which kernel computes a convolution, and what a network needs to run on the engine. This page alone decides which kernel, and
//! every threshold stands below as a constant with its reason.
//!
//! First the regime, from how many images come at a time and what for ([`regime`]):
//!
//! | images | training | inference |
//! | --- | --- | --- |
//! | [`SMALLEST_BATCH`] and more | [`Regime::Batch`]: 16 images a vector | [`Regime::Batch`] |
//! | fewer | off the engine | [`Regime::Image`]: one image after the other, its pixels or channels a vector |
//!
//! Then the kernel of every convolution, from its shape:
//!
//! | regime | pass | kernel | runs | because |
//! | --- | --- | --- | --- | --- |
//! | batch | forward | [`BatchKernel::Winograd`] | 3 x 3, stride 1, padding 1, one group, [`WINOGRAD_CHANNELS`] channels and more on both sides, maps of [`WINOGRAD_SIDE`] pixels and more | 16 multiplications do the work of 36; transforms cost the same for few channels as for many |
//! | | | [`BatchKernel::Gathered`] | 1 x 1 with [`GATHERED_ROWS`] outputs a group and more | sources are copied together once and read by every output |
//! | | | [`BatchKernel::Direct`] | everything else | the sum over channels and taps, read where it lies |
//! | | input gradient | as forward | as forward, with inputs and outputs exchanged | it is a convolution of the outputs' gradient |
//! | | weight gradient | [`WeightKernel::Depthwise`] | as many groups as inputs | one input channel meets few outputs |
//! | | | [`WeightKernel::AllBlocks`] | one group, and more than [`ALL_BLOCKS_WEIGHTS`] weights or maps below [`ALL_BLOCKS_PIXELS`] pixels | channels as lanes: no sum over lanes for every weight |
//! | | | [`WeightKernel::EachBlock`] | everything else | a block finds its planes in the cache |
//! | batch, bf16 | forward | [`HalfKernel::Depthwise`] | as many groups as inputs | a pair of channels would be half zeros |
//! | | | [`HalfKernel::Product`] | everything else | products of pairs |
//! | | input gradient | [`HalfKernel::Depthwise`] | as many groups as inputs and as outputs | as forward |
//! | | | [`HalfKernel::Product`] | everything else | as forward |
//! | | weight gradient | as that of f32 | as that of f32 | pairs are of images there |
//! | image | forward | [`ImageKernel::Pixels`] | the size is kept, the padding is there, and it costs no more than channels | neighbouring pixels meet one weight |
//! | | | [`ImageKernel::SpreadPixels`] | the size changes, the outputs' padding has room, and it costs no more, copying included | the phases of the stride are neighbours again |
//! | | | [`ImageKernel::Channels`] | everything else | a pixel meets the weights of 16 outputs |
//!
//! A layer in somebody's candle network may be asked for gradients whenever it is called, so fewer than [`SMALLEST_BATCH`] images
//! are left to the operations there even for inference. What a graph itself rules out is found while it is lowered; all reasons
//! are the variants of [`OffEngine`].
//!
//! Off the engine ([`OffEngine`] says why) a network runs operation by operation, by the functions of [`crate::ops`]: on CPU
//! tensors of f32 by kernels of this crate, elsewhere and inside of [`crate::ops::composed`] by candle's own operations.
//! Poolings, norms, residuals, ReLU, products, gates and upsampling have one kernel in each regime, so nothing is to be chosen
//! for them.

use std::fmt;

use candle_core::{DType, Tensor};

use crate::kernels::image::{LANES, PlaneLayout, Spread};
use crate::kernels::shape::ConvShape;
use crate::kernels::taps::Axis;

/// Images from which a batch fills the engine's vectors of 16 well enough: fewer are inferred one after the other, and trained
/// operation by operation. Single layers of 4 to 7 images can be faster on the engine all the same (docs/performance/README.md, off the
/// engine), others are slower there; as what such batches trained before would change in its last bits, the limit stays.
pub const SMALLEST_BATCH: usize = 8;

/// Channels on either side from which Winograd's form is faster: below, its transforms cost more than the products save.
const WINOGRAD_CHANNELS: usize = 16;

/// Rows and columns from which Winograd's form is faster: on 2 x 2 maps the padding leaves the direct sum as little to do.
const WINOGRAD_SIDE: usize = 3;

/// Destination channels from which copying the sources of a 1 x 1 convolution together costs less than reading them where
/// they lie: every channel of a pixel is in another plane, too far away for the processor to guess.
const GATHERED_ROWS: usize = 16;

/// Weights above which their gradient is made of all blocks at once. Each block for itself finds its planes in the cache,
/// but ends with a sum over lanes for every weight, and needs a gradient of its own: too dear where the weights are many.
const ALL_BLOCKS_WEIGHTS: usize = 1 << 18;

/// Output pixels below which the gradient is made of all blocks at once: on so small a map the sum over lanes that ends
/// every weight costs more than the products before it.
const ALL_BLOCKS_PIXELS: usize = 64;

/// The widest padding that a single image's maps are given; beyond it a map would be mostly padding.
pub(super) const WIDEST_PADDING: usize = 4;

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The engine where it can, by the table of its choices; else operation by operation on candle tensors, on the CPU by
    /// this crate's kernels. [`OffEngine`] says why, where it cannot.
    Engine {
        /// Whether convolutions take Winograd's form where it gains. Without, as many multiplications are made as counted.
        winograd: bool,
    },
    /// Operation by operation on candle tensors, by candle's own operations alone, as on any other device: see
    /// [`ops::composed`](crate::ops::composed).
    Candle,
}

impl Backend {
    /// Why so many images of f32 on the CPU are computed operation by operation, whatever the network; none where the engine
    /// takes them, if it takes the network.
    pub fn off_engine(self, images: usize, train: bool) -> Option<OffEngine> {
        match self {
            Self::Engine { winograd } => regime_of(winograd, images, train).err(),
            Self::Candle => Some(OffEngine::CandleAsked),
        }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self::Engine { winograd: true }
    }
}

/// Why a network does not run on the engine but operation by operation, at a fraction of its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffEngine {
    /// [`Backend::Candle`] was asked for, or [`ops::composed`](crate::ops::composed).
    CandleAsked,
    /// The images are not on the CPU.
    Device,
    /// The images are not of f32.
    Precision,
    /// So few images train at a time that the engine's vectors would be mostly empty.
    FewImages {
        /// How many they are.
        images: usize,
    },
    /// A function of candle tensors is among the operations ([`Graph::custom`](crate::Graph::custom)).
    Custom,
    /// The graph's inputs are not one value, the images.
    Inputs,
    /// A linear layer reads maps of more than one pixel.
    LinearOfMaps,
    /// An operation, or the output, has one channel twice: its gradient would be the sum of two.
    RepeatedChannel,
    /// Few images, and an output that is an image.
    FewImagesOfMaps,
    /// Running statistics normalise, and parameters that are themselves computed want gradients.
    ComputedParameters,
}

impl fmt::Display for OffEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CandleAsked => "candle's own operations were asked for",
            Self::Device => "the images are on another device than the CPU",
            Self::Precision => "the images are of another precision than f32",
            Self::FewImages { images } => {
                return write!(
                    f,
                    "{images} image{} at a time, and the engine trains {SMALLEST_BATCH} and more",
                    if *images == 1 { "" } else { "s" }
                );
            }
            Self::Custom => "a custom operation is part of it",
            Self::Inputs => "it has other inputs than the images",
            Self::LinearOfMaps => "a linear layer reads maps of more than one pixel",
            Self::RepeatedChannel => "an operation reads one channel twice",
            Self::FewImagesOfMaps => "its output is an image, and the images are few",
            Self::ComputedParameters => "parameters that are computed themselves want gradients of a frozen norm",
        })
    }
}

/// How images are laid over vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regime {
    /// 16 images a vector, for training and inference.
    Batch {
        /// Whether Winograd's form may be chosen.
        winograd: bool,
    },
    /// One image after the other, for inference of few.
    Image,
}

/// The regime in which `images` (`[n, ..]`) are computed.
///
/// # Errors
/// Why they are not computed by the engine. What the graph has to say about it, its lowering says.
pub(crate) fn regime(backend: Backend, images: &Tensor, train: bool) -> Result<Regime, OffEngine> {
    let Backend::Engine { winograd } = backend else { return Err(OffEngine::CandleAsked) };
    if !images.device().is_cpu() {
        return Err(OffEngine::Device);
    }
    if images.dtype() != DType::F32 {
        return Err(OffEngine::Precision);
    }
    regime_of(winograd, images.dims().first().copied().unwrap_or(0), train)
}

/// The same for so many images of f32 on the CPU.
pub(crate) fn regime_of(winograd: bool, images: usize, train: bool) -> Result<Regime, OffEngine> {
    if images >= SMALLEST_BATCH {
        Ok(Regime::Batch { winograd })
    } else if train {
        Err(OffEngine::FewImages { images })
    } else {
        Ok(Regime::Image)
    }
}

/// How blocks of 16 images are convolved, forward or to the inputs' gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchKernel {
    /// `kernels/batch16/winograd.rs`
    Winograd,
    /// `kernels/batch16/conv.rs`, with the sources of some pixels copied together first.
    Gathered,
    /// `kernels/batch16/conv.rs`
    Direct,
}

/// How blocks of 16 images are convolved in bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfKernel {
    /// `kernels/bf16/depthwise.rs`
    Depthwise,
    /// `kernels/bf16/conv.rs`
    Product,
}

/// The kernel of the forward pass over blocks of 16 images in bfloat16.
pub(crate) fn half(s: &ConvShape) -> HalfKernel {
    // With one channel a group half of every pair of products would be of zeros.
    if s.groups == s.in_channels { HalfKernel::Depthwise } else { HalfKernel::Product }
}

/// The kernel of the inputs' gradient in bfloat16.
pub(crate) fn half_input_gradient(s: &ConvShape) -> HalfKernel {
    // Of several outputs a group the gradients are summed, which products do.
    if s.groups == s.in_channels && s.groups == s.out_channels { HalfKernel::Depthwise } else { HalfKernel::Product }
}

/// The kernel of the forward pass over blocks of 16 images.
pub(crate) fn forward(s: &ConvShape, winograd: bool) -> BatchKernel {
    batch(s, s.out_channels / s.groups, winograd)
}

/// The kernel of the inputs' gradient over blocks of 16 images: a convolution whose destinations are the inputs.
pub(crate) fn input_gradient(s: &ConvShape, winograd: bool) -> BatchKernel {
    batch(s, s.in_channels / s.groups, winograd)
}

fn batch(s: &ConvShape, rows: usize, winograd: bool) -> BatchKernel {
    let of_winograd = (s.kernel, s.stride, s.padding, s.groups) == (3, 1, 1, 1)
        && s.in_channels.min(s.out_channels) >= WINOGRAD_CHANNELS
        && s.input.0.min(s.input.1) >= WINOGRAD_SIDE;
    if winograd && of_winograd {
        BatchKernel::Winograd
    } else if s.kernel == 1 && rows >= GATHERED_ROWS {
        BatchKernel::Gathered
    } else {
        BatchKernel::Direct
    }
}

/// How the weights' gradient is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightKernel {
    /// Block by block, `kernels/batch16/depthwise.rs`.
    Depthwise,
    /// Block by block, `kernels/batch16/weight.rs`.
    EachBlock,
    /// Of all blocks at once, `kernels/batch16/weight_channels.rs`.
    AllBlocks,
}

/// The kernel of the weights' gradient.
pub(crate) fn weight_gradient(s: &ConvShape) -> WeightKernel {
    let pixels = s.output.0 * s.output.1;
    if s.groups == s.in_channels && s.groups > 1 {
        WeightKernel::Depthwise
    } else if s.groups == 1 && (s.w_len() > ALL_BLOCKS_WEIGHTS || pixels < ALL_BLOCKS_PIXELS) {
        WeightKernel::AllBlocks
    } else {
        WeightKernel::EachBlock
    }
}

/// How a single image is convolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageKernel {
    /// `kernels/image/pixels.rs`
    Pixels,
    /// The same over planes that `kernels/image/spread.rs` has filled.
    SpreadPixels,
    /// `kernels/image/channels.rs`
    Channels,
}

/// The kernel for a single image, whose maps lie as the two layouts say.
pub(crate) fn image(s: &ConvShape, from: &PlaneLayout, to: &PlaneLayout) -> ImageKernel {
    // Costs in multiply-adds of 8 lanes. With channels as lanes these take half as long again, as weights are read more
    // often, and every output has to be taken out of a vector; spreading copies every input.
    let (inputs, outputs, taps) = (s.in_channels / s.groups, s.out_channels / s.groups, s.kernel * s.kernel);
    let pixels = s.out_channels * inputs * taps * to.lines * LANES / 8;
    let channels = s.in_channels * outputs.div_ceil(8) * taps_met(s) * 3 / 2 + 2 * s.y_len();
    if keeps_size(s) && from.pad >= s.padding && pixels <= channels {
        ImageKernel::Pixels
    } else if !keeps_size(s) && to.pad >= Spread::room(s) && pixels + s.x_len() / 2 <= channels {
        ImageKernel::SpreadPixels
    } else {
        ImageKernel::Channels
    }
}

/// The map whose padding pixels as lanes would need for this convolution, and how much of it.
pub(super) fn padding(s: &ConvShape) -> ((usize, usize), usize) {
    if keeps_size(s) { (s.input, s.padding) } else { (s.output, Spread::room(s)) }
}

/// Whether outputs lie where the inputs do.
fn keeps_size(s: &ConvShape) -> bool {
    s.stride == 1 && s.input == s.output
}

/// Taps that outputs of one channel meet in one input channel, all together.
fn taps_met(s: &ConvShape) -> usize {
    let (rows, columns) = s.axes();
    let along = |axis: Axis| -> usize { (0..axis.output).map(|o| axis.taps(o).len()).sum() };
    along(rows) * along(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(
        [inputs, outputs]: [usize; 2],
        side: (usize, usize),
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> ConvShape {
        let weight = [outputs, inputs / groups, kernel, kernel];
        ConvShape::new(&[1, inputs, side.0, side.1], &weight, stride, kernel / 2, groups).unwrap()
    }

    #[test]
    fn regimes_by_the_number_of_images() {
        let batch = Ok(Regime::Batch { winograd: true });
        for (images, train, infer) in [
            (1, Err(OffEngine::FewImages { images: 1 }), Ok(Regime::Image)),
            (7, Err(OffEngine::FewImages { images: 7 }), Ok(Regime::Image)),
            (8, batch, batch),
            (500, batch, batch),
        ] {
            assert_eq!((regime_of(true, images, true), regime_of(true, images, false)), (train, infer), "{images}");
        }
    }

    #[test]
    fn kernels_of_batches_change_where_the_thresholds_say() {
        use BatchKernel::{Direct, Gathered, Winograd};
        for (s, kernels) in [
            (shape([16, 16], (3, 3), 3, 1, 1), [Winograd, Winograd]),
            (shape([15, 16], (3, 3), 3, 1, 1), [Direct, Direct]),
            (shape([16, 15], (3, 3), 3, 1, 1), [Direct, Direct]),
            (shape([16, 16], (9, 2), 3, 1, 1), [Direct, Direct]),
            (shape([16, 16], (9, 9), 3, 2, 1), [Direct, Direct]),
            (shape([32, 32], (9, 9), 3, 1, 2), [Direct, Direct]),
            (shape([16, 16], (9, 9), 1, 1, 1), [Gathered, Gathered]),
            (shape([16, 15], (9, 9), 1, 1, 1), [Direct, Gathered]),
            (shape([15, 16], (9, 9), 1, 2, 1), [Gathered, Direct]),
            (shape([32, 30], (9, 9), 1, 1, 2), [Direct, Gathered]),
        ] {
            assert_eq!([forward(&s, true), input_gradient(&s, true)], kernels, "{s:?}");
            let direct = kernels.map(|kernel| if kernel == Winograd { Direct } else { kernel });
            assert_eq!([forward(&s, false), input_gradient(&s, false)], direct, "{s:?} without Winograd");
        }
    }

    #[test]
    fn kernels_of_weight_gradients_change_where_the_thresholds_say() {
        for (s, kernel) in [
            (shape([16, 16], (8, 8), 3, 1, 1), WeightKernel::EachBlock),
            (shape([16, 16], (7, 9), 3, 1, 1), WeightKernel::AllBlocks),
            (shape([512, 512], (8, 8), 1, 1, 1), WeightKernel::EachBlock),
            (shape([512, 513], (8, 8), 1, 1, 1), WeightKernel::AllBlocks),
            (shape([16, 16], (7, 7), 3, 1, 2), WeightKernel::EachBlock),
            (shape([16, 16], (7, 7), 3, 1, 16), WeightKernel::Depthwise),
            (shape([16, 32], (9, 9), 3, 1, 16), WeightKernel::Depthwise),
            (shape([1, 16], (9, 9), 3, 1, 1), WeightKernel::EachBlock),
        ] {
            assert_eq!(weight_gradient(&s), kernel, "{s:?}");
        }
    }

    #[test]
    fn a_single_image_takes_pixels_on_large_maps_and_channels_on_small_ones_or_without_padding() {
        let layout = |s: &ConvShape, pad| (PlaneLayout::new(s.input, pad), PlaneLayout::new(s.output, pad));
        for (s, pad, kernel) in [
            (shape([16, 16], (32, 32), 3, 1, 1), 1, ImageKernel::Pixels),
            (shape([16, 16], (32, 32), 3, 1, 1), 0, ImageKernel::Channels),
            (shape([64, 64], (2, 2), 3, 1, 1), 1, ImageKernel::Channels),
            (shape([16, 32], (32, 32), 3, 2, 1), 1, ImageKernel::SpreadPixels),
            (shape([16, 32], (32, 32), 3, 2, 1), 0, ImageKernel::Channels),
            (shape([64, 64], (4, 4), 3, 2, 1), 1, ImageKernel::Channels),
        ] {
            let (from, to) = layout(&s, pad);
            assert_eq!(image(&s, &from, &to), kernel, "{s:?} with padding {pad}");
        }
    }
}
