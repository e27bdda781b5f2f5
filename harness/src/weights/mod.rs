//! A network's weights as files ([`WeightsFile`]), and the names that tensors have in them ([`names`]).

mod file;
pub mod given;
mod matching;
pub mod names;
pub mod start;
#[cfg(test)]
mod tests;
mod torch;

pub use file::{InputSpec, WeightsFile, values};
