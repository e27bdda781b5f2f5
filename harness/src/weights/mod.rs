//! A network's weights as files, and the names that tensors have in them.

pub mod given;
pub mod names;
pub mod start;
#[cfg(test)]
mod tests;
mod torch;
