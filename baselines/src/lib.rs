//! The rivals of CompConv: one compact convolution or pruning method a file.

pub mod pruning;
mod vanilla;

pub use vanilla::Vanilla;
