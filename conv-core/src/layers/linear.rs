//! Fully connected layer.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::{Cost, ops};

/// `y = x w^T + b`.
#[derive(Clone)]
pub struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl Linear {
    /// Takes `weight: [outputs, inputs]` and `bias: [outputs]` from `vb`; fresh ones are uniform in
    /// +-1/sqrt(inputs), PyTorch's default.
    ///
    /// # Errors
    /// Those of `vb`.
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let bound = 1.0 / (inputs as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        Ok(Self {
            weight: vb.get_with_hints((outputs, inputs), "weight", init)?,
            bias: vb.get_with_hints(outputs, "bias", init)?,
        })
    }

    /// Features in and out.
    pub fn features(&self) -> (usize, usize) {
        (self.weight.elem_count() / self.bias.elem_count().max(1), self.bias.elem_count())
    }

    /// `[outputs, inputs]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[outputs]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// The price of such a layer for one image.
    pub fn cost(inputs: usize, outputs: usize) -> Cost {
        let (inputs, outputs) = (inputs as u64, outputs as u64);
        Cost { params: inputs * outputs + outputs, macs: inputs * outputs, activations: outputs }
    }
}

impl Module for Linear {
    /// `[n, inputs] -> [n, outputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, &self.bias)
    }
}
