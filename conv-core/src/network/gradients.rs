//! Gradients by parameter.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId};

/// Gradients by parameter.
#[derive(Clone, Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of this parameter, if the loss depends on it.
    pub fn get(&self, parameter: &Tensor) -> Option<&Tensor> {
        self.0.get(&parameter.id())
    }
}

impl Extend<(Tensor, Tensor)> for Gradients {
    fn extend<T: IntoIterator<Item = (Tensor, Tensor)>>(&mut self, gradients: T) {
        self.0.extend(gradients.into_iter().map(|(of, gradient)| (of.id(), gradient)));
    }
}

impl FromIterator<(Tensor, Tensor)> for Gradients {
    fn from_iter<T: IntoIterator<Item = (Tensor, Tensor)>>(gradients: T) -> Self {
        let mut all = Self::default();
        all.extend(gradients);
        all
    }
}
