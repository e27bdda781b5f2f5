//! Measured times, memory and energy.

pub mod bench;
pub mod energy;
pub mod latency;
pub mod layers;
pub mod memory;
pub mod noise;
pub mod probe;
pub mod subject;

/// Bytes that are copied to measure the memory's speed: several times the last cache of most processors.
pub const COPIED: usize = 256 << 20;
