//! What a layer pays and how deep it went, as exact integers.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// The price of a layer or network, for one image.
///
/// Convention: `params` counts weights, biases and the scale and shift of batch norms (not running statistics);
/// `macs` counts multiply-accumulates of convolutions and linear layers, padded taps included, and nothing else
/// (papers print these as "FLOPs"); `activations` counts the elements that convolutions and linear layers write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Elements written by convolutions and linear layers.
    pub activations: u64,
}

impl Cost {
    /// The sum, if it has no more than 64 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            params: self.params.checked_add(other.params)?,
            macs: self.macs.checked_add(other.macs)?,
            activations: self.activations.checked_add(other.activations)?,
        })
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            params: self.params + other.params,
            macs: self.macs + other.macs,
            activations: self.activations + other.activations,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// How deep a recursion was asked for and how deep the layer allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// As configured (for an adaptive rule: what the rule gave).
    pub requested: usize,
    /// As built.
    pub effective: usize,
}
