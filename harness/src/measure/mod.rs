//! Measured times and memory.

pub mod bench;
pub mod layers;

/// Bytes that are copied to measure the memory's speed: several times the last cache of most processors.
pub const COPIED: usize = 256 << 20;
