//! What a network asks a convolution for.

use std::fmt;

use candle_core::{Result, bail};

use crate::Cost;

/// No convolution has more weights than this, nor as many input channels: what is larger comes from a slip in channel
/// arithmetic, or from an option far out of reason, and no memory would hold it.
pub const MOST_WEIGHTS: u64 = 1 << 36;

/// A 2-D convolution with a square kernel, as its layer sees it: `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Step of the kernel, in pixels, both ways.
    pub stride: usize,
    /// Zero pixels added on every side of the input.
    pub padding: usize,
    /// Groups of channels convolved apart; divides both channel counts. 1: dense, `in_channels`: depthwise.
    pub groups: usize,
    /// Whether one value per output channel is added.
    pub bias: bool,
}

impl ConvSpec {
    /// A dense `kernel x kernel` convolution without bias, padded to keep the size at stride 1 (odd kernels).
    pub fn same(in_channels: usize, out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding: kernel.saturating_sub(1) / 2,
            groups: 1,
            bias: false,
        }
    }

    /// The same convolution in `groups` groups.
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Whether its kernel is odd and padded to keep the size at stride 1: each output pixel has an input pixel, every `stride`-th,
    /// at the centre of its window.
    pub fn is_centred(&self) -> bool {
        !self.kernel.is_multiple_of(2) && self.padding == (self.kernel - 1) / 2
    }

    /// Shape of the weight: `[out_channels, in_channels / groups, kernel, kernel]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel]
    }

    /// Checks that the numbers describe a convolution at all.
    ///
    /// # Errors
    /// Any zero among channels, kernel, stride and groups; groups that do not divide both channel counts; more than
    /// [`MOST_WEIGHTS`].
    pub fn validate(&self) -> Result<()> {
        let Self { in_channels, out_channels, kernel, stride, groups, .. } = *self;
        if [in_channels, out_channels, kernel, stride, groups].contains(&0) {
            bail!("convolution {self:?}: channels, kernel, stride and groups must be at least 1");
        }
        if in_channels % groups != 0 || out_channels % groups != 0 {
            bail!(
                "convolution: groups = {groups} must divide in_channels = {in_channels} and out_channels = {out_channels}"
            );
        }
        // The input counts whole: a tensor that a grouped convolution reads has all its channels.
        let factors = [in_channels / groups, out_channels, kernel, kernel];
        let weights = factors.into_iter().try_fold(1u64, |product, factor| product.checked_mul(factor as u64));
        if weights.is_none_or(|weights| weights > MOST_WEIGHTS) || in_channels as u64 > MOST_WEIGHTS {
            bail!("{self}: more than {MOST_WEIGHTS} weights are too many");
        }
        Ok(())
    }

    /// Output height and width for an input of `(height, width)`.
    ///
    /// # Errors
    /// An input that, with its padding, is smaller than the kernel.
    pub fn output_size(&self, (height, width): (usize, usize)) -> Result<(usize, usize)> {
        let padded = |size: usize| self.padding.checked_mul(2)?.checked_add(size);
        let side = |size: usize| match padded(size).and_then(|padded| padded.checked_sub(self.kernel)) {
            Some(room) => Ok(room / self.stride.max(1) + 1),
            None => bail!(
                "a {k} x {k} kernel does not fit a {height} x {width} input with padding {p}",
                k = self.kernel,
                p = self.padding
            ),
        };
        Ok((side(height)?, side(width)?))
    }

    /// Weights and biases.
    pub fn params(&self) -> u64 {
        let [o, i, k, l] = self.weight_shape();
        (o * i * k * l) as u64 + if self.bias { o as u64 } else { 0 }
    }

    /// Multiply-accumulates for one image with an output of `(height, width)`; padding is counted, biases are not.
    pub fn macs(&self, (height, width): (usize, usize)) -> u64 {
        let [o, i, k, l] = self.weight_shape();
        (height * width) as u64 * (o * i * k * l) as u64
    }

    /// Elements written for one image with an output of `(height, width)`.
    pub fn activations(&self, (height, width): (usize, usize)) -> u64 {
        (self.out_channels * height * width) as u64
    }

    /// All three for one image with an output of `(height, width)`.
    ///
    /// # Errors
    /// Numbers of more than 64 bits.
    pub fn cost(&self, (height, width): (usize, usize)) -> Result<Cost> {
        self.validate()?;
        let pixels = (height as u64).checked_mul(width as u64);
        let bias = if self.bias { self.out_channels as u64 } else { 0 };
        let weights = self.params() - bias;
        let macs = pixels.and_then(|pixels| pixels.checked_mul(weights));
        let activations = pixels.and_then(|pixels| pixels.checked_mul(self.out_channels as u64));
        let (Some(macs), Some(activations)) = (macs, activations) else {
            bail!("{self} with an output of {height} x {width} pixels: its cost has more than 64 bits");
        };
        Ok(Cost { params: weights + bias, macs, activations })
    }
}

/// As signatures have it: equal texts, equal layers.
impl fmt::Display for ConvSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_channels, out_channels, kernel, stride, padding, groups, bias } = self;
        write!(f, "conv {in_channels}->{out_channels} k{kernel} s{stride} p{padding} g{groups} bias={bias}")
    }
}

/// What a convolution is for; which roles a method replaces is an experiment's choice (every table states it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The first convolution of a network.
    Stem,
    /// A convolution with a kernel larger than 1 x 1.
    Spatial,
    /// A 1 x 1 convolution on the main path.
    Pointwise,
    /// The projection of a residual connection.
    Shortcut,
}

/// The function after the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(x, 0)`, with gradient 0 at 0.
    Relu,
    /// `min(max(x, 0), 6)`, with gradient 0 at 0 and at 6. A method writes a ReLU; [`Scope::make`](crate::Scope::make) clips it.
    Relu6,
}

/// A convolution with what follows it: `activation(norm(conv(x)) + residual)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnitSpec {
    /// The convolution to be made, or replaced by something with the same input and output.
    pub conv: ConvSpec,
    /// Its place in the network.
    pub role: Role,
    /// Whether batch normalisation follows.
    pub norm: bool,
    /// What follows the residual addition (or the normalisation, where there is none).
    pub activation: Option<Activation>,
}

impl UnitSpec {
    /// Convolution, batch norm, ReLU.
    pub fn conv_bn_relu(conv: ConvSpec, role: Role) -> Self {
        Self { conv, role, norm: true, activation: Some(Activation::Relu) }
    }

    /// Convolution and batch norm, nothing after.
    pub fn conv_bn(conv: ConvSpec, role: Role) -> Self {
        Self { conv, role, norm: true, activation: None }
    }

    /// The convolution alone.
    pub fn plain(conv: ConvSpec) -> Self {
        Self { conv, role: Role::Spatial, norm: false, activation: None }
    }

    /// The same with a ReLU at its end, or without.
    pub fn with_relu(self, relu: bool) -> Self {
        Self { activation: relu.then_some(Activation::Relu), ..self }
    }

    /// What the vanilla unit costs for an input of `(height, width)`, per image.
    ///
    /// # Errors
    /// An impossible convolution, an input smaller than its kernel, numbers of more than 64 bits.
    pub fn cost(&self, input: (usize, usize)) -> Result<Cost> {
        let conv = self.conv.cost(self.conv.output_size(input)?)?;
        Ok(Cost { params: conv.params + self.norm_params(), ..conv })
    }

    /// Parameters of the unit's outer batch norm: scale and shift per output channel.
    pub fn norm_params(&self) -> u64 {
        if self.norm { 2 * self.conv.out_channels as u64 } else { 0 }
    }

    /// Whether it ends in a ReLU, clipped or not.
    pub fn relu(&self) -> bool {
        self.activation.is_some()
    }

    /// Whether that is clipped: a ReLU6.
    pub fn is_clipped(&self) -> bool {
        self.activation == Some(Activation::Relu6)
    }
}
