//! What a training remembers from step to step, beside the weights.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::{Average, Optimizer};

/// The optimizer with what it remembers, and the average of the weights where the recipe asks for one.
pub struct Memory {
    /// What changes the weights.
    pub optimizer: Optimizer,
    /// What is judged instead of them.
    pub average: Option<Average>,
}

impl Memory {
    /// What a checkpoint keeps of it.
    ///
    /// # Errors
    /// Those of making tensors.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.optimizer.state()?;
        state.extend(self.average.iter().flat_map(Average::state));
        Ok(state)
    }

    /// Takes back what [`Memory::state`] gave.
    ///
    /// # Errors
    /// Names or shapes that are not exactly those.
    pub fn set_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        if let Some(average) = &mut self.average {
            average.restore(&mut state)?;
        }
        self.optimizer.set_state(&state)
    }

    /// Exchanges the weights for their average, or back, where there is one.
    ///
    /// # Errors
    /// Those of copying tensors.
    pub fn exchange(&mut self) -> Result<()> {
        self.average.as_mut().map_or(Ok(()), Average::exchange)
    }
}
