//! The layers networks are made of.

mod batch_norm;
mod conv;
mod group_norm;
mod linear;

pub use batch_norm::BatchNorm2d;
pub use conv::Conv2d;
pub use group_norm::GroupNorm;
pub(crate) use group_norm::check_groups;
pub use linear::Linear;
