//! 2-D convolution.

use candle_core::{Module, Result, Tensor};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, VarBuilder};

use crate::{ConvSpec, ops};

/// Kaiming normal, fan-out, ReLU: as PyTorch's ResNets initialise their convolutions.
pub(crate) const KAIMING_FAN_OUT: Init =
    Init::Kaiming { dist: NormalOrUniform::Normal, fan: FanInOut::FanOut, non_linearity: NonLinearity::ReLU };

/// A convolution as a layer: dense, grouped, depthwise or 1 x 1, any stride and padding.
#[derive(Clone)]
pub struct Conv2d {
    spec: ConvSpec,
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

impl Conv2d {
    /// Takes `weight` (and `bias: [o]`, if the specification has one) from `vb`.
    ///
    /// # Errors
    /// An impossible specification; those of `vb`.
    pub fn new(spec: ConvSpec, vb: VarBuilder<'_>) -> Result<Self> {
        spec.validate()?;
        let weight = vb.get_with_hints(&spec.weight_shape(), "weight", KAIMING_FAN_OUT)?;
        let bias = match spec.bias {
            true => Some(vb.get_with_hints(spec.out_channels, "bias", Init::Const(0.0))?),
            false => None,
        };
        Ok(Self { spec, weight, bias })
    }

    /// What this layer computes.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// `[out_channels, in_channels / groups, kernel, kernel]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out_channels]`, where there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

impl Module for Conv2d {
    /// `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::conv2d(x, &self.weight, self.spec.stride, self.spec.padding, self.spec.groups)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
            None => Ok(y),
        }
    }
}
