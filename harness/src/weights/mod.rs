//! A network's weights as files, and the names that tensors have in them.

pub mod names;
