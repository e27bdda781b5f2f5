//! The layers networks are made of.

mod batch_norm;
mod conv;
mod linear;

pub use batch_norm::BatchNorm2d;
pub use conv::Conv2d;
pub use linear::Linear;
